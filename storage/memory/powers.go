package memory

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"time"

	"memstore.dev/memstore/storage"
)

// Copy copies an object; the bytes are shared.
func (b *Backend) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (copied storage.Info, err error) {
	err = b.changeTwo(ctx, from.Path, to.Path, func(s *state, source *object) (err error) {
		if from.Version != 0 && source.info.Version != from.Version {
			return storage.ErrPrecondition
		}
		copied, err = s.replace(storage.Info{
			Path: to.Path, Size: source.info.Size, ETag: source.info.ETag,
			Type: to.Type, DeleteAt: to.DeleteAt, Meta: to.Meta.Clone(),
		}, source.data, c)
		return err
	})
	return copied, storage.Wrap("copy", from.Path, err)
}

// Move renames an object.
func (b *Backend) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (moved storage.Info, err error) {
	err = b.changeTwo(ctx, from, to, func(s *state, source *object) error {
		if from.Account != to.Account {
			return errors.ErrUnsupported
		}
		if s.container(to) == nil {
			return fs.ErrNotExist
		}
		if err := hold(c, s.info(to)); err != nil {
			return err
		}
		before := *s
		var kept uint64
		if from != to {
			var err error
			if kept, err = s.keep(to, c); err != nil {
				return err
			}
			s.remove(from)
		}
		in := source.info
		in.Path = to
		if c.Retype {
			in.Type = storage.TypeAfter(in.Type, from, to)
		}
		put := s.putObject(in, source.data)
		if err := within(c.Quota, to, &before, s, counted(c, to, kept, &before)); err != nil {
			return err
		}
		moved = handOut(put)
		return nil
	})
	return moved, storage.Wrap("move", from, err)
}

// changeTwo is change for what takes one object to another path.
func (b *Backend) changeTwo(ctx context.Context, from, to storage.Path, f func(*state, *object) error) error {
	return b.change(ctx, from, func(s *state) error {
		if !from.IsObject() || !to.IsObject() || ready(ctx, to) != nil {
			return fs.ErrInvalid
		}
		source := s.object(from)
		if source == nil {
			return fs.ErrNotExist
		}
		return f(s, source)
	})
}

// Expire removes at most max objects that are due at now.
func (b *Backend) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := *b.state()
	var gone []storage.Path
	for len(gone) < max {
		first := seekGE(next.due.root, "")
		if first == nil {
			break
		}
		p := first.value
		if in := next.container(p).objects.get(p.Object).info; !in.Expired(now) {
			break
		}
		if err := next.expire(p); err != nil {
			return gone, err
		}
		gone = append(gone, p)
	}
	b.now.Store(&next)
	return gone, nil
}

// expire takes away what is due, and keeps what its container wants to be kept.
func (s *state) expire(p storage.Path) error {
	if k := storage.KeepDue(s.container(p).info.Meta, p); k != nil {
		if _, err := s.keep(p, storage.Cond{Keep: k}); err != nil && !errors.Is(err, storage.ErrNoArchive) {
			return err
		}
	}
	s.remove(p)
	return nil
}

// remembered is how many changes the journal reaches back at least.
const remembered = 1 << 16

// A journal holds the latest changes. States share its array: each sees as
// much of it as was there when it was made, and only the next state appends.
type journal struct {
	changes   []storage.Change
	forgotten uint64 // version of the last change that is not held anymore
}

// log enters a change and returns its version.
func (s *state) log(op storage.Op, p storage.Path) uint64 {
	s.version++
	j := &s.journal
	if len(j.changes) >= 2*remembered {
		j.forgotten = j.changes[remembered-1].Version
		j.changes = append(make([]storage.Change, 0, 2*remembered), j.changes[remembered:]...)
	}
	j.changes = append(j.changes, storage.Change{Op: op, Path: p, Version: s.version, Time: timestamp()})
	return s.version
}

// Changes yields the changes after a version. It reaches at least the latest
// 65,536 of them.
func (b *Backend) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	return func(yield func(storage.Change, error) bool) {
		j := b.state().journal
		if after < j.forgotten {
			yield(storage.Change{}, storage.ErrGap)
			return
		}
		// Versions are consecutive, which makes finding the first arithmetic.
		for _, c := range j.changes[min(after-j.forgotten, uint64(len(j.changes))):] {
			if err := ctx.Err(); err != nil {
				yield(storage.Change{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}
