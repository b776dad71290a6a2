package crypt

import (
	"context"
	"errors"
	"iter"
	"time"

	"memstore.dev/memstore/storage"
)

// The extra powers of the Backend behind. Bytes move in none of them.

var (
	_ storage.Copier    = (*Backend)(nil)
	_ storage.Mover     = (*Backend)(nil)
	_ storage.TreeMover = (*Backend)(nil)
	_ storage.Stager    = (*Backend)(nil)
	_ storage.Expirer   = (*Backend)(nil)
	_ storage.Journal   = (*Backend)(nil)
	_ storage.Announcer = (*Backend)(nil)
)

// Copy copies an object, with what stands in for its ETag, which has the key
// of its bytes.
func (b *Backend) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (storage.Info, error) {
	copier, ok := b.b.(storage.Copier)
	if !ok {
		return storage.Info{}, storage.Wrap("copy", to.Path, errors.ErrUnsupported)
	}
	to.Meta = b.sealMeta(to.Meta)
	in, err := copier.Copy(ctx, storage.Info{Path: from.Path, Version: from.Version}, to, b.cond(c))
	if err != nil {
		return in, err
	}
	return b.shown("copy", in)
}

// Move renames an object.
func (b *Backend) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (storage.Info, error) {
	mover, ok := b.b.(storage.Mover)
	if !ok {
		return storage.Info{}, storage.Wrap("move", from, errors.ErrUnsupported)
	}
	in, err := mover.Move(ctx, from, to, b.cond(c))
	if err != nil {
		return in, err
	}
	return b.shown("move", in)
}

// MoveTree renames many objects at once.
func (b *Backend) MoveTree(ctx context.Context, from, to storage.Path) (int64, error) {
	mover, ok := b.b.(storage.TreeMover)
	if !ok {
		return 0, storage.Wrap("move", from, errors.ErrUnsupported)
	}
	return mover.MoveTree(ctx, from, to)
}

// Expire removes objects that are due.
func (b *Backend) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	e, ok := b.b.(storage.Expirer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return e.Expire(ctx, now, max)
}

// Changes yields what has changed.
func (b *Backend) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	j, ok := b.b.(storage.Journal)
	if !ok {
		return failed[storage.Change](errors.ErrUnsupported)
	}
	return j.Changes(ctx, after)
}

// Announce enters an announcement into the journal.
func (b *Backend) Announce(ctx context.Context, c storage.Change) (storage.Change, error) {
	a, ok := b.b.(storage.Announcer)
	if !ok {
		return c, storage.Wrap("announce", c.Path, errors.ErrUnsupported)
	}
	return a.Announce(ctx, c)
}

// cond is c for the Backend behind: what it says of objects that are to be
// kept is about objects as they are to be seen.
func (b *Backend) cond(c storage.Cond) storage.Cond {
	if c.Keep == nil {
		return c
	}
	keep := *c.Keep
	if old := c.Keep.Old; old != nil {
		keep.Old = func(in storage.Info) storage.Info {
			// Of one whose metadata cannot be read the bytes are kept all the same.
			seen, err := b.shown("keep", in)
			if err != nil {
				seen.Meta = nil
			}
			as := old(seen)
			as.Meta = b.sealMeta(as.Meta)
			return as
		}
	}
	if mark := c.Keep.Mark; mark != nil {
		keep.Mark = func(at time.Time) storage.Info {
			in := mark(at)
			in.Meta = b.sealMeta(in.Meta)
			return in
		}
	}
	c.Keep = &keep
	return c
}

// failed yields nothing but an error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}
