package auth

import (
	"context"
	"errors"
	"io/fs"

	"memstore.dev/memstore/storage"
)

// What is written takes time, in which the right to write it may end. A Guard
// therefore asks again at the commit whether who began it may still do so.

// A commitment is who began to write an object, and where.
type commitment struct {
	g       *Guard
	id      Identity
	byStore bool
	path    storage.Path
}

func (g *Guard) commitment(ctx context.Context, p storage.Path) commitment {
	return commitment{g, FromContext(ctx), storage.ByStore(ctx), p}
}

// still reports fs.ErrPermission if he may not write there any more.
func (c *commitment) still(ctx context.Context) error {
	if c.byStore || c.g.current(c.id) && c.g.allows(ctx, c.id, write, c.path) {
		return nil
	}
	return storage.Wrap("put", c.path, fs.ErrPermission)
}

// current reports whether an Identity that was good when something began still
// is. A stranger never becomes another.
func (g *Guard) current(id Identity) bool {
	return g.Current == nil || id.Stranger() || g.Current(id)
}

type guardedWriter struct {
	storage.Writer
	by commitment
}

func (w *guardedWriter) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if err := w.by.still(ctx); err != nil {
		return storage.Info{}, err
	}
	return w.Writer.Commit(ctx, in, c)
}

type guardedStage struct {
	storage.Stage
	by commitment
}

var (
	_ storage.Cloner       = (*guardedStage)(nil)
	_ storage.Checkpointer = (*guardedStage)(nil)
)

func (s *guardedStage) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if err := s.by.still(ctx); err != nil {
		return storage.Info{}, err
	}
	return s.Stage.Commit(ctx, in, c)
}

// Clone leaves it to its caller to judge whether the object may be read, as all
// Cloners do.
func (s *guardedStage) Clone(ctx context.Context, from storage.Info) error {
	c, ok := s.Stage.(storage.Cloner)
	if !ok {
		return storage.Wrap("put", s.by.path, errors.ErrUnsupported)
	}
	return c.Clone(ctx, from)
}

// Checkpoint keeps for who writes what he has written, as Keep does.
func (s *guardedStage) Checkpoint(size int64, note []byte) error {
	c, ok := s.Stage.(storage.Checkpointer)
	if !ok {
		return storage.Wrap("keep", s.by.path, errors.ErrUnsupported)
	}
	return c.Checkpoint(size, note)
}
