package crypt

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"slices"
)

// A layout says which bytes of an object are encrypted, and from which counter
// on. Whatever is in no span is not: it is a hole, which reads as zeros, or was
// stored before encryption was switched on.
//
// No counter is ever used for two different bytes at the same offset, since
// from both together anybody could tell how they differ. An object that is put
// in one go has one span. Who writes over what he wrote before he commits, or
// to a clone of an object, gets another counter for it.
type layout struct {
	counters []counter
	spans    []span // in order, and apart from each other
}

// A counter is where the counter of AES-CTR stands at offset 0.
type counter [16]byte

// A span is a stretch of bytes.
type span struct {
	from, to int64
	counter  int // index
}

func newCounter() (c counter) {
	rand.Read(c[:])
	return c
}

// at is the counter where off lies.
func (c counter) at(off int64) counter {
	low, carry := bits.Add64(binary.BigEndian.Uint64(c[8:]), uint64(off)/16, 0)
	binary.BigEndian.PutUint64(c[8:], low)
	binary.BigEndian.PutUint64(c[:], binary.BigEndian.Uint64(c[:])+carry)
	return c
}

// stream is the key stream of a counter from an offset on.
func stream(block cipher.Block, c counter, off int64) cipher.Stream {
	c = c.at(off)
	s := cipher.NewCTR(block, c[:])
	if n := off % 16; n > 0 {
		var skipped [16]byte
		s.XORKeyStream(skipped[:n], skipped[:n])
	}
	return s
}

// A content encrypts and decrypts bytes, which is the same.
type content struct {
	block cipher.Block
	layout
}

// turn encrypts or decrypts in place the bytes at an offset.
func (c *content) turn(p []byte, off int64) {
	end := off + int64(len(p))
	for _, s := range c.spans[c.first(off):] {
		if s.from >= end {
			break
		}
		from, to := max(s.from, off), min(s.to, end)
		part := p[from-off : to-off]
		stream(c.block, c.counters[s.counter], from).XORKeyStream(part, part)
	}
}

// first is the first span that ends behind off.
func (l *layout) first(off int64) int {
	i, _ := slices.BinarySearchFunc(l.spans, off, func(s span, off int64) int {
		if s.to <= off {
			return -1
		}
		return 1
	})
	return i
}

// uses reports whether a counter is used between two offsets.
func (l *layout) uses(counter int, from, to int64) bool {
	for _, s := range l.spans[l.first(from):] {
		if s.from >= to {
			break
		}
		if s.counter == counter {
			return true
		}
	}
	return false
}

// cut takes what lies between two offsets out, and returns it.
func (l *layout) cut(from, to int64) (out []span) {
	if from >= to {
		return nil
	}
	i := l.first(from)
	var rest []span
	j := i
	for ; j < len(l.spans) && l.spans[j].from < to; j++ {
		s := l.spans[j]
		if s.from < from {
			rest = append(rest, span{s.from, from, s.counter})
		}
		if s.to > to {
			rest = append(rest, span{to, s.to, s.counter})
		}
		out = append(out, span{max(s.from, from), min(s.to, to), s.counter})
	}
	l.spans = slices.Replace(l.spans, i, j, rest...)
	return out
}

// put enters spans where there are none, in order, and joins them with what
// they go on from.
func (l *layout) put(spans ...span) {
	for _, s := range spans {
		i := l.first(s.from)
		if i < len(l.spans) && l.spans[i].from == s.to && l.spans[i].counter == s.counter {
			s.to = l.spans[i].to
			l.spans = slices.Delete(l.spans, i, i+1)
		}
		if i > 0 && l.spans[i-1].to == s.from && l.spans[i-1].counter == s.counter {
			l.spans[i-1].to = s.to
			continue
		}
		l.spans = slices.Insert(l.spans, i, s)
	}
}

// upTo is a copy of what lies before an offset, with the counters that it uses
// and no others.
func (l *layout) upTo(size int64) (c layout) {
	renamed := make(map[int]int)
	for _, s := range l.spans {
		if s.from >= size {
			break
		}
		s.to = min(s.to, size)
		n, ok := renamed[s.counter]
		if !ok {
			n = len(c.counters)
			renamed[s.counter] = n
			c.counters = append(c.counters, l.counters[s.counter])
		}
		s.counter = n
		c.spans = append(c.spans, s)
	}
	return c
}

// append encodes a layout.
func (l *layout) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(l.counters)))
	for _, c := range l.counters {
		b = append(b, c[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(l.spans)))
	at := int64(0)
	for _, s := range l.spans {
		b = binary.AppendUvarint(b, uint64(s.from-at))
		b = binary.AppendUvarint(b, uint64(s.to-s.from))
		b = binary.AppendUvarint(b, uint64(s.counter))
		at = s.to
	}
	return b
}

// layout decodes what append has encoded.
func (d *decoder) layout() (l layout) {
	n := d.number()
	if n > int64(len(d.b))/int64(len(counter{})) {
		d.fail()
		return l
	}
	l.counters = make([]counter, n)
	for i := range l.counters {
		copy(l.counters[i][:], d.bytes(len(counter{})))
	}
	n = d.number()
	if n > int64(len(d.b))/3 {
		d.fail()
		return l
	}
	l.spans = make([]span, n)
	at := int64(0)
	for i := range l.spans {
		s := &l.spans[i]
		s.from = at + d.number()
		s.to = s.from + d.number()
		c := d.number()
		if c >= int64(len(l.counters)) || s.from < at || s.to <= s.from {
			d.fail()
			return layout{}
		}
		s.counter, at = int(c), s.to
	}
	return l
}
