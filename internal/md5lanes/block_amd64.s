#include "textflag.h"

// A vector register holds one word of each of eight MD5s. In each step a is
// that which changes; what it is mixed from comes from the message (DI, where
// it lies transposed) and from the table of constants (BX).

#define MIX(a, m, k) \
	VPBROADCASTD k*4(BX), Y7 \
	VPADDD       m*32(DI), Y7, Y7 \
	VPADDD       Y7, a, a

#define TURN(a, b, s) \
	VPADDD Y8, a, a \
	VPSLLD $s, a, Y9 \
	VPSRLD $(32-s), a, a \
	VPOR   Y9, a, a \
	VPADDD b, a, a

// (b AND c) OR (NOT b AND d)
#define STEP1(a, b, c, d, m, k, s) \
	MIX(a, m, k) \
	VPXOR c, d, Y8 \
	VPAND b, Y8, Y8 \
	VPXOR d, Y8, Y8 \
	TURN(a, b, s)

// (b AND d) OR (c AND NOT d), whose parts are never both 1: they can be added
#define STEP2(a, b, c, d, m, k, s) \
	MIX(a, m, k) \
	VPANDN c, d, Y10 \
	VPADDD Y10, a, a \
	VPAND  b, d, Y8 \
	TURN(a, b, s)

// b XOR c XOR d
#define STEP3(a, b, c, d, m, k, s) \
	MIX(a, m, k) \
	VPXOR c, d, Y8 \
	VPXOR b, Y8, Y8 \
	TURN(a, b, s)

// c XOR (b OR NOT d)
#define STEP4(a, b, c, d, m, k, s) \
	MIX(a, m, k) \
	VPXOR Y15, d, Y8 \
	VPOR  b, Y8, Y8 \
	VPXOR c, Y8, Y8 \
	TURN(a, b, s)

// FOUR takes four steps, after which every word has its own place again.
#define FOUR(STEP, k, m0, m1, m2, m3, s0, s1, s2, s3) \
	STEP(Y0, Y1, Y2, Y3, m0, (k+0), s0) \
	STEP(Y3, Y0, Y1, Y2, m1, (k+1), s1) \
	STEP(Y2, Y3, Y0, Y1, m2, (k+2), s2) \
	STEP(Y1, Y2, Y3, Y0, m3, (k+3), s3)

// TRANSPOSE takes 32 bytes, from at on, of each of eight blocks, and lays them
// down so that the first words of all are together, then the second ones.
#define TRANSPOSE(at, to) \
	VMOVDQU     at(R8), Y0 \
	VMOVDQU     at(R9), Y1 \
	VMOVDQU     at(R10), Y2 \
	VMOVDQU     at(R11), Y3 \
	VMOVDQU     at(R12), Y4 \
	VMOVDQU     at(R13), Y5 \
	VMOVDQU     at(R15), Y6 \
	VMOVDQU     at(AX), Y7 \
	VPUNPCKLDQ  Y1, Y0, Y8 \
	VPUNPCKHDQ  Y1, Y0, Y9 \
	VPUNPCKLDQ  Y3, Y2, Y10 \
	VPUNPCKHDQ  Y3, Y2, Y11 \
	VPUNPCKLDQ  Y5, Y4, Y12 \
	VPUNPCKHDQ  Y5, Y4, Y13 \
	VPUNPCKLDQ  Y7, Y6, Y14 \
	VPUNPCKHDQ  Y7, Y6, Y15 \
	VPUNPCKLQDQ Y10, Y8, Y0 \
	VPUNPCKHQDQ Y10, Y8, Y1 \
	VPUNPCKLQDQ Y11, Y9, Y2 \
	VPUNPCKHQDQ Y11, Y9, Y3 \
	VPUNPCKLQDQ Y14, Y12, Y4 \
	VPUNPCKHQDQ Y14, Y12, Y5 \
	VPUNPCKLQDQ Y15, Y13, Y6 \
	VPUNPCKHQDQ Y15, Y13, Y7 \
	VPERM2I128  $0x20, Y4, Y0, Y8 \
	VPERM2I128  $0x20, Y5, Y1, Y9 \
	VPERM2I128  $0x20, Y6, Y2, Y10 \
	VPERM2I128  $0x20, Y7, Y3, Y11 \
	VPERM2I128  $0x31, Y4, Y0, Y12 \
	VPERM2I128  $0x31, Y5, Y1, Y13 \
	VPERM2I128  $0x31, Y6, Y2, Y14 \
	VPERM2I128  $0x31, Y7, Y3, Y15 \
	VMOVDQA     Y8, (to+0)(DI) \
	VMOVDQA     Y9, (to+32)(DI) \
	VMOVDQA     Y10, (to+64)(DI) \
	VMOVDQA     Y11, (to+96)(DI) \
	VMOVDQA     Y12, (to+128)(DI) \
	VMOVDQA     Y13, (to+160)(DI) \
	VMOVDQA     Y14, (to+192)(DI) \
	VMOVDQA     Y15, (to+224)(DI)

// func blocks8(state *[4][8]uint32, in *[8]*byte, n int, k *[64]uint32)
TEXT ·blocks8(SB), NOSPLIT, $544-32
	MOVQ state+0(FP), SI
	MOVQ in+8(FP), DX
	MOVQ n+16(FP), CX
	MOVQ k+24(FP), BX
	LEAQ 31(SP), DI
	ANDQ $-32, DI
	MOVQ 0(DX), R8
	MOVQ 8(DX), R9
	MOVQ 16(DX), R10
	MOVQ 24(DX), R11
	MOVQ 32(DX), R12
	MOVQ 40(DX), R13
	MOVQ 48(DX), R15
	MOVQ 56(DX), AX

block:
	TRANSPOSE(0, 0)
	TRANSPOSE(32, 256)
	VPCMPEQD Y15, Y15, Y15
	VMOVDQU  0(SI), Y0
	VMOVDQU  32(SI), Y1
	VMOVDQU  64(SI), Y2
	VMOVDQU  96(SI), Y3

	FOUR(STEP1, 0, 0, 1, 2, 3, 7, 12, 17, 22)
	FOUR(STEP1, 4, 4, 5, 6, 7, 7, 12, 17, 22)
	FOUR(STEP1, 8, 8, 9, 10, 11, 7, 12, 17, 22)
	FOUR(STEP1, 12, 12, 13, 14, 15, 7, 12, 17, 22)

	FOUR(STEP2, 16, 1, 6, 11, 0, 5, 9, 14, 20)
	FOUR(STEP2, 20, 5, 10, 15, 4, 5, 9, 14, 20)
	FOUR(STEP2, 24, 9, 14, 3, 8, 5, 9, 14, 20)
	FOUR(STEP2, 28, 13, 2, 7, 12, 5, 9, 14, 20)

	FOUR(STEP3, 32, 5, 8, 11, 14, 4, 11, 16, 23)
	FOUR(STEP3, 36, 1, 4, 7, 10, 4, 11, 16, 23)
	FOUR(STEP3, 40, 13, 0, 3, 6, 4, 11, 16, 23)
	FOUR(STEP3, 44, 9, 12, 15, 2, 4, 11, 16, 23)

	FOUR(STEP4, 48, 0, 7, 14, 5, 6, 10, 15, 21)
	FOUR(STEP4, 52, 12, 3, 10, 1, 6, 10, 15, 21)
	FOUR(STEP4, 56, 8, 15, 6, 13, 6, 10, 15, 21)
	FOUR(STEP4, 60, 4, 11, 2, 9, 6, 10, 15, 21)

	VPADDD  0(SI), Y0, Y0
	VPADDD  32(SI), Y1, Y1
	VPADDD  64(SI), Y2, Y2
	VPADDD  96(SI), Y3, Y3
	VMOVDQU Y0, 0(SI)
	VMOVDQU Y1, 32(SI)
	VMOVDQU Y2, 64(SI)
	VMOVDQU Y3, 96(SI)

	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ $64, R11
	ADDQ $64, R12
	ADDQ $64, R13
	ADDQ $64, R15
	ADDQ $64, AX
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET
