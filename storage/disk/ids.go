package disk

import "sync"

// ids gives out the ids of accounts, containers and blobs: one sequence, of
// which none is ever used twice.
type ids struct {
	mu     sync.Mutex // guards what follows
	next   uint64
	flight map[uint64]struct{} // of files that may have a name, but no record yet
}

func (s *ids) peek() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

func (s *ids) take() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// takeFile is take for a file that is about to get its name. Until release
// the watermark stays below it.
func (s *ids) takeFile() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	s.flight[s.next-1] = struct{}{}
	return s.next - 1
}

func (s *ids) release(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flight, id)
}

// watermark is the least id that a file may have without being in the index,
// once the change is durable in which the released are entered there.
func (s *ids) watermark(released map[uint64]struct{}) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.next
	for id := range s.flight {
		if _, ok := released[id]; !ok {
			w = min(w, id)
		}
	}
	return w
}
