// Package md5lanes hashes several streams at once for less than each costs by
// itself: where the processor has vectors of eight words (AVX2), one of them
// holds a word of each of eight MD5s.
//
// Nobody waits to be joined by others: who has something to hash lets those run
// who could run anyway, and then hashes for all who have come. Where processors
// are free nobody has, and crypto/md5 does it.
package md5lanes

import (
	"crypto/md5"
	"encoding"
	"encoding/binary"
	"hash"
	"runtime"
	"slices"
	"sync"
)

const (
	lanes = 8  // streams that are hashed together
	block = 64 // bytes

	least = 16 << 10 // bytes that are worth to be hashed with others
	worth = 2        // streams that are: all lanes together take about as long as crypto/md5 does with one
)

// Write adds p to h, which must be of md5.New. It may be called concurrently
// for different hashes.
func Write(h hash.Hash, p []byte) { shared.write(h, p) }

var shared desk

// A desk is where those come who have something to be hashed.
type desk struct {
	mu      sync.Mutex // guards what follows
	waiting []*job     // in the order they came
}

// A job is a stretch of a message.
type job struct {
	h     hash.Hash
	p     []byte
	taken bool          // by somebody who does it; guarded by desk.mu
	done  chan struct{} // closed by him
}

func (d *desk) write(h hash.Hash, p []byte) {
	if !usable || len(p) < least {
		h.Write(p)
		return
	}
	j := &job{h: h, p: p, done: make(chan struct{})}
	d.mu.Lock()
	d.waiting = append(d.waiting, j)
	d.mu.Unlock()
	runtime.Gosched()
	group := d.take(j)
	if group == nil {
		<-j.done
		return
	}
	together(group)
	for _, j := range group {
		close(j.done)
	}
}

// take takes a job and those that wait with it, up to as many as there are
// lanes. It returns nil if somebody else has.
func (d *desk) take(j *job) []*job {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j.taken {
		return nil
	}
	// Not only the first: they wait for their own turns, and this one has come.
	at := slices.Index(d.waiting, j)
	from := max(0, min(at, len(d.waiting)-lanes))
	to := min(from+lanes, len(d.waiting))
	group := slices.Clone(d.waiting[from:to])
	d.waiting = slices.Delete(d.waiting, from, to)
	for _, j := range group {
		j.taken = true
	}
	return group
}

// together hashes what several have.
func together(group []*job) {
	if len(group) < worth {
		for _, j := range group {
			j.h.Write(j.p)
		}
		return
	}
	var m [lanes]message
	active := m[:len(group)]
	for i, j := range group {
		active[i] = message{h: j.h, p: j.p}
		active[i].begin()
	}
	for {
		rest := active[:0]
		for i := range active {
			if len(active[i].p) >= block {
				rest = append(rest, active[i])
			} else {
				active[i].end()
			}
		}
		if active = rest; len(active) < worth {
			break
		}
		advance(active)
	}
	for i := range active {
		active[i].end()
	}
}

// advance hashes as many blocks as all have.
func advance(active []message) {
	var state [4][lanes]uint32
	var in [lanes]*byte
	n := len(active[0].p) / block
	for lane := range lanes {
		m := &active[min(lane, len(active)-1)] // what is left over does as the last
		for word := range state {
			state[word][lane] = m.state[word]
		}
		in[lane] = &m.p[0]
		n = min(n, len(m.p)/block)
	}
	blocks(&state, &in, n)
	for lane := range active {
		m := &active[lane]
		for word := range state {
			m.state[word] = state[word][lane]
		}
		m.p = m.p[n*block:]
		m.size += uint64(n * block)
		m.added = true
	}
}

// A message is a hash taken apart.
type message struct {
	h     hash.Hash
	p     []byte // not hashed yet
	state [4]uint32
	size  uint64 // hashed so far
	added bool   // something was, to what h knows
}

// How crypto/md5 writes its state down: a name, the words, the block that is
// not full, and the size.
const (
	magic     = "md5\x01"
	stateSize = len(magic) + 4*4 + block + 8
)

// begin brings the hash to the beginning of a block, if there is enough for
// that, and takes it apart.
func (m *message) begin() {
	if part := m.load() % block; part != 0 {
		n := min(block-part, uint64(len(m.p)))
		m.h.Write(m.p[:n])
		m.p = m.p[n:]
		m.load()
	}
}

// load takes the hash apart, and returns how much it has hashed.
func (m *message) load() uint64 {
	b, err := m.h.(encoding.BinaryAppender).AppendBinary(make([]byte, 0, stateSize))
	if err != nil {
		panic("md5lanes: " + err.Error()) // which md5 has no reason for
	}
	for i := range m.state {
		m.state[i] = binary.BigEndian.Uint32(b[len(magic)+4*i:])
	}
	m.size = binary.BigEndian.Uint64(b[stateSize-8:])
	return m.size
}

// end puts the hash together again, if blocks were added to what it was, and has
// it hash what is left.
func (m *message) end() {
	if m.added {
		b := append(make([]byte, 0, stateSize), magic...)
		for _, word := range m.state {
			b = binary.BigEndian.AppendUint32(b, word)
		}
		b = append(b, make([]byte, block)...)
		b = binary.BigEndian.AppendUint64(b, m.size)
		if err := m.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
			panic("md5lanes: " + err.Error())
		}
	}
	m.h.Write(m.p)
}

// usable says that there are lanes, and that crypto/md5 writes its state down
// as it did when this was written.
var usable = hasLanes && func() bool {
	h := md5.New()
	if _, ok := h.(encoding.BinaryUnmarshaler); !ok {
		return false
	}
	a, ok := h.(encoding.BinaryAppender)
	if !ok {
		return false
	}
	b, err := a.AppendBinary(nil)
	return err == nil && len(b) == stateSize && string(b[:len(magic)]) == magic &&
		binary.BigEndian.Uint32(b[len(magic):]) == 0x67452301
}()
