package storage

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// A spool is the Stage of a Backend that has none: a temporary file, whose
// bytes go into the Backend at the commit. It cannot be kept.
type spool struct {
	b    Backend
	path Path
	f    *os.File // it has no name anymore

	mu   sync.Mutex
	size int64
}

// spool opens one, if the container it is for is there.
func (s *Store) spool(ctx context.Context, p Path) (Stage, error) {
	if _, err := s.b.Stat(ownEyes(ctx), p.Parent()); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "memstore-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return &spool{b: s.b, path: p, f: f}, nil
}

func (g *spool) ReadAt(p []byte, off int64) (int, error) { return g.f.ReadAt(p, off) }

func (g *spool) WriteAt(p []byte, off int64) (int, error) {
	n, err := g.f.WriteAt(p, off)
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > 0 {
		g.size = max(g.size, off+int64(n))
	}
	return n, err
}

func (g *spool) Size() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size
}

func (g *spool) Truncate(size int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.f.Truncate(size); err != nil {
		return err
	}
	g.size = size
	return nil
}

func (g *spool) Note() []byte { return nil }

func (g *spool) Keep([]byte) error { return errors.ErrUnsupported }

func (g *spool) Commit(ctx context.Context, in Info, c Cond) (Info, error) {
	in.Path, in.Size = g.path, g.Size()
	w, err := g.b.Create(ctx, in)
	if err != nil {
		return Info{}, err
	}
	defer w.Close()
	if _, err := io.Copy(w, io.NewSectionReader(g.f, 0, in.Size)); err != nil {
		return Info{}, err
	}
	in, err = w.Commit(ctx, in, c)
	if err == nil {
		g.f.Close()
	}
	return in, err
}

func (g *spool) Close() error {
	if err := g.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
