package store

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment file begins with a header and goes on with records, each at a
// multiple of recordAlign, back to back. All numbers are little endian:
//
//	segment   magic 8 | nonce 8 | id 4 | log 4 | zero 36 | crc32c 4
//	record    magic 4 | crc32c 4 | nonce 8 | key 16 | seq 8 | size 8 | length 4 | head length 4 | extents 4 | kind 4
//	          head | extents, 12 each: segment, offset, length | crc32c of each block of the body, 4 each
//	          body, if the kind is inline
//
// The CRC of a record covers all of it but itself and the body, whose blocks
// have their own. The nonce is drawn for each segment: nobody who writes a body
// can make it look like a record, to be found by a scan that lost its way.
const (
	segmentMagic  = "MSEDGE1\n"
	segmentHeader = 64
	recordMagic   = 0x3152534d // "MSR1"
	recordHeader  = 64
	recordAlign   = 8
	extentSize    = 12
)

// Kinds of record.
const (
	kindInline = 1 // an entry, its body after it
	kindSpread = 2 // an entry whose body is in extents elsewhere
	kindData   = 3 // room for such a body, and no entry
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// An extent is a stretch of a segment that holds a stretch of a body. All
// extents of a body but the last hold whole blocks.
type extent struct{ seg, off, length uint32 }

// A record is the front of one, taken apart: all that is not body.
type record struct {
	key     Key
	seq     uint64
	size    int64 // of the body
	length  int64 // in the segment, from the header to the end of an inline body
	kind    uint32
	head    []byte
	extents []extent
	table   []uint32 // checksums of the body's blocks
}

// blocksOf returns how many blocks a body has.
func blocksOf(size int64) int64 { return (size + blockSize - 1) / blockSize }

// aligned rounds up to where the next record may begin.
func aligned(n int64) int64 { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// meta is the length of r without its body.
func (r *record) meta() int64 {
	return recordHeader + int64(len(r.head)) + extentSize*int64(len(r.extents)) + 4*int64(len(r.table))
}

// append encodes r, its body left out, for the segment of that nonce.
func (r *record) append(b []byte, nonce uint64) []byte {
	le, start := binary.LittleEndian, len(b)
	b = le.AppendUint32(b, recordMagic)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, nonce)
	b = append(b, r.key[:]...)
	b = le.AppendUint64(b, r.seq)
	b = le.AppendUint64(b, uint64(r.size))
	b = le.AppendUint32(b, uint32(r.length))
	b = le.AppendUint32(b, uint32(len(r.head)))
	b = le.AppendUint32(b, uint32(len(r.extents)))
	b = le.AppendUint32(b, r.kind)
	b = append(b, r.head...)
	for _, x := range r.extents {
		b = appendExtent(b, x)
	}
	for _, sum := range r.table {
		b = le.AppendUint32(b, sum)
	}
	le.PutUint32(b[start+4:], checksum(b[start+8:]))
	return b
}

func appendExtent(b []byte, x extent) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint32(le.AppendUint32(b, x.seg), x.off), x.length)
}

func parseExtent(b []byte) extent {
	le := binary.LittleEndian
	return extent{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])}
}

// claims are the lengths that the first recordHeader bytes of a record tell,
// not verified but such that they can be.
type claims struct {
	meta, length          int64
	heads, extents, table int64
}

// peekRecord reads the claims of what may be a record.
func peekRecord(b []byte, nonce uint64) (c claims, ok bool) {
	le := binary.LittleEndian
	if len(b) < recordHeader || le.Uint32(b) != recordMagic || le.Uint64(b[8:]) != nonce {
		return c, false
	}
	c.length = int64(le.Uint32(b[48:]))
	c.meta = recordHeader
	if le.Uint32(b[60:]) != kindData {
		size := int64(le.Uint64(b[40:]))
		if size < 0 || size/blockSize > c.length {
			return c, false
		}
		c.heads, c.extents, c.table = int64(le.Uint32(b[52:])), int64(le.Uint32(b[56:])), blocksOf(size)
		c.meta += c.heads + extentSize*c.extents + 4*c.table
	}
	return c, c.meta <= c.length
}

// parseRecord verifies the front of a record and takes it apart. The head is a
// part of b.
func parseRecord(b []byte, nonce uint64) (r record, ok bool) {
	c, ok := peekRecord(b, nonce)
	le := binary.LittleEndian
	if !ok || c.meta > int64(len(b)) || checksum(b[8:c.meta]) != le.Uint32(b[4:]) {
		return r, false
	}
	r = record{seq: le.Uint64(b[32:]), size: int64(le.Uint64(b[40:])), length: c.length, kind: le.Uint32(b[60:])}
	copy(r.key[:], b[16:])
	b = b[recordHeader:]
	r.head, b = b[:c.heads:c.heads], b[c.heads:]
	if c.extents > 0 {
		r.extents = make([]extent, c.extents)
		for i := range r.extents {
			r.extents[i], b = parseExtent(b), b[extentSize:]
		}
	}
	if c.table > 0 {
		r.table = make([]uint32, c.table)
		for i := range r.table {
			r.table[i] = le.Uint32(b[4*i:])
		}
	}
	return r, true
}

// sums returns the checksums of the blocks of a body.
func sums(body []byte) []uint32 {
	table := make([]uint32, 0, blocksOf(int64(len(body))))
	for len(body) > 0 {
		n := min(len(body), blockSize)
		table = append(table, checksum(body[:n]))
		body = body[n:]
	}
	return table
}
