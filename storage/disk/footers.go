package disk

import (
	"math/bits"
	"sync"
	"time"
)

// footers keeps the footers of files that are read, and remembers which of
// their blocks were found sound lately. Both are bounded by one budget.
type footers struct {
	window time.Duration // how long a check is good for
	limit  int           // bytes

	mu    sync.Mutex // guards what follows, and what in hotFooters says so
	hot   map[uint64]*hotFooter
	bytes int
}

type hotFooter struct {
	*footer
	since   time.Time // of the oldest check in sound; guarded by footers.mu
	sound   []uint64  // a bit for each block; guarded by footers.mu
	written bool      // sound says what was written here, and not read yet; guarded by footers.mu
}

// worthWritten is the size from which files that were written here are
// remembered as sound. To check less costs next to nothing, and footers of
// many small uploads would take the places of those that are read.
const worthWritten = 1 << 20

func newFooters(window time.Duration, limit int) *footers {
	return &footers{window: window, limit: limit, hot: make(map[uint64]*hotFooter)}
}

func (h *hotFooter) cost() int { return 200 + 4*len(h.blocks) + len(h.blocks)/8 }

func (s *footers) get(id uint64) *hotFooter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hot[id]
}

func (s *footers) add(f *footer) *hotFooter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hot[f.id]; h != nil {
		return h
	}
	h := &hotFooter{footer: f, sound: make([]uint64, (len(f.blocks)+63)/64)}
	if h.cost() > s.limit {
		return h // works for its reader alone
	}
	s.hot[f.id] = h
	s.bytes += h.cost()
	for id, other := range s.hot {
		if s.bytes <= s.limit {
			break
		}
		if other != h {
			s.remove(id)
		}
	}
	return h
}

// wrote notes that the file of a footer was written by this process just now:
// the checksums are of what it handed to the page cache, so that what is still
// there is as sound as if it had been read and checked. What came back from the
// disk since may not be; see trust.
func (s *footers) wrote(f *footer) {
	if f.size < worthWritten {
		return
	}
	h := s.add(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.footer != f {
		return // somebody was quicker to read it, and has checked what he read
	}
	for block := range int64(len(f.blocks)) {
		h.sound[block/64] |= 1 << (block % 64)
	}
	h.since, h.written = time.Now(), true
}

// trust is called when a file is opened. If it counts as sound because it was
// written here, that ends unless inMemory says that no byte of it has left the
// page cache; from then on it is checked as any other.
func (s *footers) trust(h *hotFooter, inMemory func() bool) {
	s.mu.Lock()
	written := h.written
	s.mu.Unlock()
	if !written || inMemory() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.written {
		s.doubt(h)
	}
}

// doubt forgets all checks of a file. It is called with mu held.
func (s *footers) doubt(h *hotFooter) {
	clear(h.sound)
	h.since, h.written = time.Now(), false
}

func (s *footers) remove(id uint64) {
	if h := s.hot[id]; h != nil {
		s.bytes -= h.cost()
		delete(s.hot, id)
	}
}

// forget drops what is known of a blob that is gone.
func (s *footers) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(id)
}

// checked notes that a block was found sound now.
func (s *footers) checked(h *hotFooter, block int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew(h)
	h.sound[block/64] |= 1 << (block % 64)
}

// renew forgets checks that are too old. One time stands for all blocks of a
// file, so a check counts for the window at most, and often for less.
func (s *footers) renew(h *hotFooter) {
	if time.Since(h.since) > s.window {
		s.doubt(h)
	}
}

// run is how many blocks from first on, up to last, were found sound lately.
func (s *footers) run(h *hotFooter, first, last int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew(h)
	block := first
	for block <= last {
		ones := int64(bits.TrailingZeros64(^(h.sound[block/64] >> (block % 64))))
		ones = min(ones, 64-block%64)
		block += ones
		if ones == 0 || block%64 != 0 {
			break
		}
	}
	return min(block, last+1) - first
}
