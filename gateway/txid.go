package gateway

import (
	"math/rand/v2"
	"time"
)

// NewTransID makes a transaction id in the form that this door's have, for what
// comes in by other doors of the same process.
func NewTransID() string { return newTransID(time.Now(), "", "") }

// newTransID makes a transaction id as Swift forms it: "tx", 21 hexadecimal
// digits drawn by lot, a dash, the time in ten more; then the operator's
// suffix and, behind another dash, up to 32 bytes that the client wants to
// find in the logs.
func newTransID(now time.Time, extra, suffix string) string {
	const digits = "0123456789abcdef"
	room := [128]byte{'t', 'x'}
	b := room[:2]
	for bits, n := rand.Uint64(), 0; n < 21; n++ {
		if n == 16 {
			bits = rand.Uint64()
		}
		b = append(b, digits[bits&15])
		bits >>= 4
	}
	b = append(b, '-')
	for shift := 36; shift >= 0; shift -= 4 {
		b = append(b, digits[uint64(now.Unix())>>shift&15])
	}
	b = appendQuoted(b, suffix)
	if extra != "" {
		b = append(b, '-')
		b = appendQuoted(b, extra[:min(len(extra), 32)])
	}
	return string(b)
}

// appendQuoted appends s as Python's urllib.parse.quote has it, which forms
// the paths in Swift's headers: all but letters, digits, "_.-~" and "/" is
// escaped.
func appendQuoted(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch ch := s[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '_', ch == '.', ch == '-', ch == '~', ch == '/':
			b = append(b, ch)
		default:
			b = append(b, '%', digits[ch>>4], digits[ch&15])
		}
	}
	return b
}

func quote(s string) string { return string(appendQuoted(nil, s)) }
