package store

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// memory decides what stays in memory, by S3-FIFO counted in bytes. Entries
// come into a small queue (a tenth of the budget) and go from there to the main
// queue if they were used meanwhile, else out, remembered as a ghost; a ghost
// that comes again goes to the main queue at once. What reaches the end of the
// main queue goes round again if it was used since, else out. A use is one
// atomic store: nothing is moved, and no lock taken, on a hit.
//
// One policy serves all shards, so that a budget of few entries is not cut into
// slices of none.
type memory struct {
	budget int64

	mu      sync.Mutex // guards all below, and the fields of items but entry and freq
	used    int64
	small   fifo
	main    fifo
	ghost   ghosts
	count   int64
	evicted int64
}

// An item is an entry's place in memory.
type item struct {
	key        Key
	entry      atomic.Pointer[Entry]
	freq       atomic.Uint32
	queued     atomic.Bool // on the disk, or on its way there
	size       int64       // with overhead
	prev, next *item
	queue      *fifo // nil: in none
}

// itemOverhead is what an entry costs beside its bytes: item, Entry, map slot
// and the headers of two allocations.
const itemOverhead = 352

// maxFreq is how many uses count: each takes an entry round the main queue once.
const maxFreq = 7

// newItem makes the item of an entry whose body is in memory.
func newItem(e *Entry) *item {
	it := &item{key: e.key, size: itemOverhead + e.held}
	it.entry.Store(e)
	return it
}

// use counts a use, and reports whether that makes the item worth a place on
// the disk, which it does not have yet.
func (it *item) use() bool {
	f := it.freq.Load()
	if f < maxFreq {
		it.freq.CompareAndSwap(f, f+1) // a lost race is a use not counted: no matter
	}
	return f == 0 && !it.queued.Load()
}

// fifo is an intrusive queue; new items come in at the front.
type fifo struct {
	front, back *item
	bytes       int64
}

func (q *fifo) push(it *item) {
	it.queue, it.prev, it.next = q, nil, q.front
	if q.front != nil {
		q.front.prev = it
	} else {
		q.back = it
	}
	q.front = it
	q.bytes += it.size
}

func (q *fifo) remove(it *item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		q.front = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		q.back = it.prev
	}
	it.queue, it.prev, it.next = nil, nil, nil
	q.bytes -= it.size
}

func (m *memory) init(budget int64) {
	m.budget = budget
	m.ghost.init(budget, budget/1024)
}

// add takes an item that is in its shard's map already; old is the one that it
// replaces, if any. It returns the items that must leave the maps for it.
func (m *memory) add(it, old *item) []*item {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := &m.small
	if m.ghost.take(it.key) {
		q = &m.main
	}
	if old != nil && old.queue != nil {
		if old.queue == &m.main {
			q = &m.main
		}
		it.freq.Store(old.freq.Load())
		m.unlink(old)
	}
	q.push(it)
	m.used += it.size
	m.count++
	return m.shrink()
}

// shrink makes room until the budget holds.
func (m *memory) shrink() []*item {
	var out []*item
	for m.used+m.ghost.bytes() > m.budget && m.count > 0 {
		if m.main.back == nil || m.small.bytes > m.budget/10 && m.small.back != nil {
			it := m.small.back
			m.small.remove(it)
			if it.freq.Load() > 0 {
				it.freq.Store(0)
				m.main.push(it)
				continue
			}
			m.ghost.add(it.key, it.size)
			out = append(out, it)
		} else {
			it := m.main.back
			m.main.remove(it)
			if f := it.freq.Load(); f > 0 {
				it.freq.Store(f - 1)
				m.main.push(it)
				continue
			}
			out = append(out, it)
		}
		m.used -= out[len(out)-1].size
		m.count--
		m.evicted++
	}
	return out
}

func (m *memory) unlink(it *item) {
	if it.queue == nil {
		return
	}
	it.queue.remove(it)
	m.used -= it.size
	m.count--
}

// drop forgets an item.
func (m *memory) drop(it *item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlink(it)
}

// resize accounts for a new head, and returns the items that must leave for it.
func (m *memory) resize(it *item, by int64) []*item {
	m.mu.Lock()
	defer m.mu.Unlock()
	it.size += by
	if it.queue != nil {
		it.queue.bytes += by
		m.used += by
	}
	return m.shrink()
}

func (m *memory) stats(st *Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st.MemoryEntries, st.MemoryBytes, st.MemoryEvicted = m.count, m.used+m.ghost.bytes(), m.evicted
}

// ghosts remember keys that left a queue unused, until a budget's worth of
// others has left after them. They are fingerprints in a table of fixed size:
// eight bytes for each, so that the past does not crowd out the present; once
// in some hundred million times one is taken for another.
type ghosts struct {
	slots []ghost // in buckets of bucketSize
	unit  int64   // bytes of one step of the clock
	clock int64   // bytes that have left so far
}

type ghost struct {
	print uint32 // of the key, never 0
	at    uint32 // on the clock
}

const (
	ghostSize  = 8
	bucketSize = 8
	lifetime   = 1 << 20 // of a ghost, in steps of the clock
)

// init makes room for about n ghosts of what leaves a queue of that budget.
func (g *ghosts) init(budget, n int64) {
	buckets := int64(1)
	for 2*buckets*bucketSize <= n {
		buckets *= 2
	}
	g.slots = make([]ghost, buckets*bucketSize)
	g.unit = max(budget/lifetime, 1)
}

func (g *ghosts) bytes() int64 { return int64(len(g.slots)) * ghostSize }

func (g *ghosts) now() uint32 { return uint32(g.clock / g.unit) }

// bucket returns where k may be, and its fingerprint.
func (g *ghosts) bucket(k Key) ([]ghost, uint32) {
	h := binary.LittleEndian.Uint64(k[:8]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(k[8:]), 32)
	h *= 0x9e3779b97f4a7c15
	h ^= h >> 32
	n := h % uint64(len(g.slots)/bucketSize) * bucketSize
	return g.slots[n : n+bucketSize], uint32(h>>32) | 1
}

func (g *ghosts) add(k Key, size int64) {
	g.clock += size
	now := g.now()
	slots, print := g.bucket(k)
	old := &slots[0]
	for i := range slots {
		s := &slots[i]
		if s.print == print || s.print == 0 {
			old = s
			break
		}
		if now-s.at > now-old.at {
			old = s
		}
	}
	*old = ghost{print, now}
}

// take reports whether k is a ghost, and forgets it.
func (g *ghosts) take(k Key) bool {
	now := g.now()
	slots, print := g.bucket(k)
	for i := range slots {
		if s := &slots[i]; s.print == print {
			fresh := now-s.at <= lifetime
			*s = ghost{}
			return fresh
		}
	}
	return false
}
