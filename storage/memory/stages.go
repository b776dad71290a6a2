package memory

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// A shelf holds the stages that are kept, or open, under a key.
type shelf struct {
	mu     sync.Mutex
	stages map[string]*shelved
}

// shelved is what a shelf holds under one key.
type shelved struct {
	open *stage // nil if nobody has it open

	// As it was kept; at is zero if it never was.
	path storage.Path
	data []byte
	note []byte
	at   time.Time
}

// Stage opens what was kept under key, or begins anew.
func (b *Backend) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	s, err := b.stage(ctx, p, key)
	if err != nil {
		return nil, storage.Wrap("put", p, err)
	}
	return s, nil
}

func (b *Backend) stage(ctx context.Context, p storage.Path, key string) (*stage, error) {
	home, err := b.home(ctx, p)
	if err != nil {
		return nil, err
	}
	s := &stage{b: b, path: p, home: home, key: key, written: timestamp()}
	if key == "" {
		return s, nil
	}
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	held := b.shelf.stages[key]
	switch {
	case held == nil:
		if b.shelf.stages == nil {
			b.shelf.stages = map[string]*shelved{}
		}
		b.shelf.stages[key] = &shelved{open: s}
	case held.open != nil:
		return nil, fs.ErrExist
	default:
		held.open = s
		s.data, s.note, s.written = held.data, slices.Clone(held.note), held.at
	}
	return s, nil
}

// Staged yields what is kept, or open, under keys with this prefix.
func (b *Backend) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	return func(yield func(storage.Kept, error) bool) {
		b.shelf.mu.Lock()
		found := make(map[string]shelved)
		for key, held := range b.shelf.stages {
			if strings.HasPrefix(key, prefix) {
				found[key] = *held
			}
		}
		b.shelf.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(found)) {
			if err := ctx.Err(); err != nil {
				yield(storage.Kept{}, err)
				return
			}
			held := found[key]
			k := storage.Kept{Key: key, Path: held.path, Size: int64(len(held.data)), ModTime: held.at, Note: slices.Clone(held.note)}
			if held.open != nil {
				k.Path, k.Open = held.open.path, true
				k.Size, k.ModTime = held.open.look()
			}
			if !yield(k, nil) {
				return
			}
		}
	}
}

// Forget drops what is kept under key.
func (b *Backend) Forget(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	held := b.shelf.stages[key]
	switch {
	case held == nil:
		return fs.ErrNotExist
	case held.open != nil:
		return fs.ErrExist
	}
	delete(b.shelf.stages, key)
	return nil
}

// A stage is an object-to-be.
type stage struct {
	b    *Backend
	path storage.Path
	home uint64 // id of its container
	key  string
	note []byte

	mu      sync.RWMutex
	data    []byte
	written time.Time
	ended   bool
}

var _ storage.Cloner = (*stage)(nil)

// look tells the size, and when it was last written.
func (s *stage) look() (int64, time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(len(s.data)), s.written
}

func (s *stage) Size() int64 {
	size, _ := s.look()
	return size
}

func (s *stage) Note() []byte { return slices.Clone(s.note) }

func (s *stage) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.ended:
		return 0, storage.Wrap("put", s.path, fs.ErrClosed)
	case off < 0:
		return 0, storage.Wrap("put", s.path, fs.ErrInvalid)
	case off >= int64(len(s.data)):
		return 0, io.EOF
	}
	n := copy(p, s.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *stage) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if off < 0 {
		return 0, storage.Wrap("put", s.path, fs.ErrInvalid)
	}
	size := int64(len(s.data))
	if len(p) > 0 {
		size = max(size, off+int64(len(p)))
	}
	if err := s.resize(size); err != nil {
		return 0, err
	}
	return copy(s.data[min(off, size):], p), nil
}

func (s *stage) Truncate(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size < 0 {
		return storage.Wrap("put", s.path, fs.ErrInvalid)
	}
	return s.resize(size)
}

// resize is called with mu held. What it adds is zeros, also where something
// was before it was cut off.
func (s *stage) resize(size int64) error {
	if s.ended {
		return storage.Wrap("put", s.path, fs.ErrClosed)
	}
	s.written = timestamp()
	if grow := size - int64(len(s.data)); grow > 0 {
		old := len(s.data)
		s.data = slices.Grow(s.data, int(grow))[:size]
		clear(s.data[old:])
	} else {
		s.data = s.data[:size]
	}
	return nil
}

// Clone takes the bytes of an object.
func (s *stage) Clone(ctx context.Context, from storage.Info) error {
	if err := ready(ctx, from.Path); err != nil {
		return storage.Wrap("put", s.path, err)
	}
	o := s.b.state().object(from.Path)
	if o == nil {
		return storage.Wrap("open", from.Path, fs.ErrNotExist)
	}
	if from.Version != 0 && from.Version != o.info.Version {
		return storage.Wrap("open", from.Path, storage.ErrPrecondition)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return storage.Wrap("put", s.path, fs.ErrClosed)
	}
	s.data, s.written = slices.Clone(o.data), timestamp()
	return nil
}

func (s *stage) Commit(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return storage.Info{}, storage.Wrap("put", s.path, fs.ErrClosed)
	}
	in.Path, in.Size, in.Meta = s.path, int64(len(s.data)), in.Meta.Clone()
	err = s.b.change(ctx, s.path, func(next *state) (err error) {
		committed, err = next.commit(s.home, in, trim(s.data), c)
		return err
	})
	if err == nil {
		s.end(nil)
	}
	return committed, storage.Wrap("put", s.path, err)
}

func (s *stage) Keep(note []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return storage.Wrap("put", s.path, fs.ErrClosed)
	case s.key == "":
		return storage.Wrap("put", s.path, fs.ErrInvalid)
	}
	s.end(&shelved{path: s.path, data: trim(s.data), note: slices.Clone(note), at: timestamp()})
	return nil
}

// Close leaves no trace, neither of what was kept before.
func (s *stage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.end(nil)
	}
	return nil
}

// end is called with mu held, and leaves what is to be kept on the shelf.
func (s *stage) end(keep *shelved) {
	s.ended, s.data = true, nil
	if s.key == "" {
		return
	}
	s.b.shelf.mu.Lock()
	defer s.b.shelf.mu.Unlock()
	if keep == nil {
		delete(s.b.shelf.stages, s.key)
	} else {
		s.b.shelf.stages[s.key] = keep
	}
}
