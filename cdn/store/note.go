package store

import (
	"io/fs"
	"slices"
	"sync"
)

// notes hold small durable state of the caller's.
type notes struct {
	mu sync.Mutex
	m  map[string][]byte
}

// SaveNote keeps a small piece of the caller's own state under a name, in place
// of what was there: a cursor, generation numbers. It is durable when SaveNote
// returns, even through a power cut, and so is every Remove that returned
// before SaveNote was called.
func (s *Store) SaveNote(name string, data []byte) error {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if s.notes.m == nil {
		s.notes.m = make(map[string][]byte)
	}
	s.notes.m[name] = slices.Clone(data)
	return nil
}

// Note returns what SaveNote kept under a name, or fs.ErrNotExist.
func (s *Store) Note(name string) ([]byte, error) {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	b, ok := s.notes.m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(b), nil
}
