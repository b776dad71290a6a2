package storagetest

import (
	"context"
	"errors"
	"iter"

	"memstore.dev/memstore/storage"
)

// The points at which the power to stage and that to move trees can fail.
const (
	Stage    Verb = "stage"
	WriteAt  Verb = "write at" // to a stage; each byte counts
	ReadAt   Verb = "read at"  // of a stage; each byte counts
	Keep     Verb = "keep"
	Staged   Verb = "staged" // each entry counts
	Forget   Verb = "forget"
	MoveTree Verb = "move tree"
)

var (
	_ storage.Stager    = (*Faulty)(nil)
	_ storage.TreeMover = (*Faulty)(nil)
)

func (f *Faulty) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	inner, ok := f.Backend.(storage.Stager)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	g, err := attempt(ctx, f, Stage, func() (storage.Stage, error) { return inner.Stage(ctx, p, key) })
	if err != nil {
		return nil, err
	}
	return &faultyStage{g, ctx, f}, nil
}

// A faultyStage commits under the verb Commit, as a Writer does.
type faultyStage struct {
	storage.Stage
	ctx context.Context // of Stage
	f   *Faulty
}

func (g *faultyStage) WriteAt(p []byte, off int64) (int, error) {
	pass, fault := g.f.strike(WriteAt, int64(len(p)))
	if err := fault.err(g.ctx); err != nil {
		if fault.Late {
			pass = int64(len(p))
		}
		n, inner := g.Stage.WriteAt(p[:pass], off)
		return n, errors.Join(err, inner)
	}
	return g.Stage.WriteAt(p, off)
}

func (g *faultyStage) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.Stage.ReadAt(p, off)
	return g.f.cut(g.ctx, ReadAt, n, err)
}

func (g *faultyStage) Clone(ctx context.Context, from storage.Info) error {
	if c, ok := g.Stage.(storage.Cloner); ok {
		return c.Clone(ctx, from)
	}
	return errors.ErrUnsupported
}

func (g *faultyStage) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	return attempt(ctx, g.f, Commit, func() (storage.Info, error) { return g.Stage.Commit(ctx, in, c) })
}

func (g *faultyStage) Keep(note []byte) error {
	_, err := attempt(context.WithoutCancel(g.ctx), g.f, Keep, func() (struct{}, error) { return struct{}{}, g.Stage.Keep(note) })
	return err
}

func (f *Faulty) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	inner, ok := f.Backend.(storage.Stager)
	if !ok {
		return func(yield func(storage.Kept, error) bool) { yield(storage.Kept{}, errors.ErrUnsupported) }
	}
	return interrupted(ctx, f, Staged, inner.Staged(ctx, prefix))
}

func (f *Faulty) Forget(ctx context.Context, key string) error {
	inner, ok := f.Backend.(storage.Stager)
	if !ok {
		return errors.ErrUnsupported
	}
	_, err := attempt(ctx, f, Forget, func() (struct{}, error) { return struct{}{}, inner.Forget(ctx, key) })
	return err
}

func (f *Faulty) MoveTree(ctx context.Context, from, to storage.Path) (int64, error) {
	inner, ok := f.Backend.(storage.TreeMover)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return attempt(ctx, f, MoveTree, func() (int64, error) { return inner.MoveTree(ctx, from, to) })
}
