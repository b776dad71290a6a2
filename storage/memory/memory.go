// Package memory keeps a store in memory, for tests and demonstrations. It is
// a complete backend: it keeps every promise of storage.Backend but that of
// outliving the process, and has every extra power.
//
// All that is stored is one immutable state. A change builds the next state
// and puts it in place by one atomic store, so readers never wait, and a
// listing reads the state it began with.
package memory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/storage"
)

// A Backend keeps everything in memory. The zero Backend is empty and ready.
type Backend struct {
	mu  sync.Mutex            // held while the next state is made
	now atomic.Pointer[state] // nil until the first change

	shelf shelf // what is to become objects, and no part of the state yet
}

var (
	_ storage.Backend   = (*Backend)(nil)
	_ storage.Copier    = (*Backend)(nil)
	_ storage.Mover     = (*Backend)(nil)
	_ storage.TreeMover = (*Backend)(nil)
	_ storage.Stager    = (*Backend)(nil)
	_ storage.Expirer   = (*Backend)(nil)
	_ storage.Journal   = (*Backend)(nil)
)

// New returns an empty Backend.
func New() *Backend { return new(Backend) }

var empty state

// state returns all that is stored at this moment.
func (b *Backend) state() *state {
	if s := b.now.Load(); s != nil {
		return s
	}
	return &empty
}

// Stat describes a path, with its Meta.
func (b *Backend) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	in, err := b.stat(ctx, p)
	return in, storage.Wrap("stat", p, err)
}

func (b *Backend) stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	if err := ready(ctx, p); err != nil {
		return storage.Info{}, err
	}
	in := b.state().info(p)
	if in == nil {
		return storage.Info{}, fs.ErrNotExist
	}
	return handOut(in), nil
}

// List yields what lies beneath an account or a container.
func (b *Backend) List(ctx context.Context, p storage.Path, q storage.Query) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := b.list(ctx, p, q, yield); err != nil {
			yield(storage.Info{}, storage.Wrap("list", p, err))
		}
	}
}

func (b *Backend) list(ctx context.Context, p storage.Path, q storage.Query, yield func(storage.Info, error) bool) error {
	if err := ready(ctx, p); err != nil {
		return err
	}
	if p.IsObject() {
		return fs.ErrInvalid
	}
	a := b.state().accounts.get(p.Account)
	if a == nil {
		return fs.ErrNotExist
	}
	if p.IsAccount() {
		return page(ctx, a.containers, q, yield,
			func(name string) storage.Path { return storage.Path{Account: p.Account, Container: name} },
			func(c *container) *storage.Info { return &c.info })
	}
	c := a.containers.get(p.Container)
	if c == nil {
		return fs.ErrNotExist
	}
	return page(ctx, c.objects, q, yield,
		func(name string) storage.Path { p.Object = name; return p },
		func(o *object) *storage.Info { return &o.info })
}

// page yields the entries of t that q asks for. at makes a path of a subdir's
// name, and info describes what a name stands for.
func page[V any](ctx context.Context, t tree[V], q storage.Query, yield func(storage.Info, error) bool,
	at func(string) storage.Path, info func(V) *storage.Info,
) (err error) {
	c := &cursor[V]{tree: t}
	q.Page(c, func(name []byte, subdir bool) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		if subdir {
			return yield(storage.Info{Path: at(string(name)), Subdir: true}, nil)
		}
		in := *info(c.at.value)
		kind, is := in.Meta[storage.MetaKind]
		switch {
		case q.Meta:
			in.Meta = in.Meta.Clone()
		case is:
			in.Meta = storage.Meta{storage.MetaKind: kind}
		default:
			in.Meta = nil
		}
		return yield(in, nil)
	})
	return err
}

// Open returns a stretch of an object, and the Info of all of it.
func (b *Backend) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.open(ctx, p, r)
	return rc, in, storage.Wrap("open", p, err)
}

func (b *Backend) open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	if err := ready(ctx, p); err != nil {
		return nil, storage.Info{}, err
	}
	if !p.IsObject() {
		return nil, storage.Info{}, fs.ErrInvalid
	}
	o := b.state().object(p)
	if o == nil {
		return nil, storage.Info{}, fs.ErrNotExist
	}
	offset, length, err := r.Resolve(o.info.Size)
	if err != nil {
		return nil, handOut(&o.info), err
	}
	return reader{bytes.NewReader(o.data[offset:][:length])}, handOut(&o.info), nil
}

// A reader reads, seeks and reads at any offset, since what it reads lies in
// memory.
type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// Make creates an account or a container.
func (b *Backend) Make(ctx context.Context, p storage.Path, m storage.Meta) (created bool, err error) {
	err = b.change(ctx, p, func(s *state) error {
		if p.IsObject() {
			return fs.ErrInvalid
		}
		if p.IsContainer() && s.accounts.get(p.Account) == nil {
			return fs.ErrNotExist
		}
		if s.info(p) != nil {
			return errUnchanged
		}
		t := timestamp()
		s.put(storage.Info{Path: p, Meta: m.Clone(), Created: t, ModTime: t})
		created = true
		return nil
	})
	return created && err == nil, storage.Wrap("make", p, err)
}

// Update replaces the metadata of a path.
func (b *Backend) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	var updated storage.Info
	err := b.change(ctx, in.Path, func(s *state) error {
		old := s.info(in.Path)
		if old == nil {
			return fs.ErrNotExist
		}
		if err := hold(c, old); err != nil {
			return err
		}
		updated = *old
		updated.Meta = in.Meta.Clone()
		updated.ModTime = later(timestamp(), old)
		if in.Path.IsObject() {
			updated.DeleteAt = in.DeleteAt
			if in.Type != "" {
				updated.Type = in.Type
			}
		}
		updated = handOut(s.put(updated))
		return nil
	})
	return updated, storage.Wrap("post", in.Path, err)
}

// Remove deletes an object, or an empty container or account.
func (b *Backend) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	err := b.change(ctx, p, func(s *state) error {
		if p.IsObject() {
			return s.removeObject(p, c)
		}
		old := s.info(p)
		if old == nil {
			return fs.ErrNotExist
		}
		if err := hold(c, old); err != nil {
			return err
		}
		// A container may hold nothing but expired objects; they are listed,
		// so they are there.
		if old.Objects+old.Containers > 0 {
			return storage.ErrNotEmpty
		}
		s.remove(p)
		return nil
	})
	return storage.Wrap("delete", p, err)
}

// removeObject deletes an object, and leaves of it what c wants kept.
func (s *state) removeObject(p storage.Path, c storage.Cond) error {
	if s.container(p) == nil {
		return fs.ErrNotExist
	}
	old, mark := s.info(p), c.Keep != nil && c.Keep.Mark != nil
	if old == nil && c.Keep == nil {
		return fs.ErrNotExist
	}
	if err := hold(c, old); err != nil {
		return err
	}
	kept, err := s.keep(p, c)
	if err != nil {
		return err
	}
	if old == nil && !mark && kept == 0 {
		return fs.ErrNotExist
	}
	if mark {
		at := s.tick()
		in := c.Keep.Mark(at)
		if s.container(in.Path) == nil {
			return storage.ErrNoArchive
		}
		s.putObject(storage.Info{Path: in.Path, ETag: emptyMD5, Type: in.Type, Created: at, ModTime: at, Meta: in.Meta.Clone()}, nil)
	}
	if s.container(p).objects.get(p.Object) != nil { // expired it may be
		s.remove(p)
	}
	return nil
}

// emptyMD5 is the ETag of no bytes.
const emptyMD5 = "d41d8cd98f00b204e9800998ecf8427e"

// errUnchanged ends a change that found nothing to do.
var errUnchanged = errors.New("unchanged")

// change makes the next state with f, which is given a copy of this one to
// alter. If f fails nothing changes.
func (b *Backend) change(ctx context.Context, p storage.Path, f func(*state) error) error {
	if err := ready(ctx, p); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := *b.state()
	if err := f(&next); err != nil {
		if err == errUnchanged {
			return nil
		}
		return err
	}
	b.now.Store(&next)
	return nil
}

// ready says why nothing can be done about p: the context has ended, or p
// names nothing.
func ready(ctx context.Context, p storage.Path) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.Account == "" || p.IsObject() && p.Container == "" {
		return fs.ErrInvalid
	}
	return nil
}

// handOut copies an Info for a caller, who may do with it what he likes.
func handOut(in *storage.Info) storage.Info {
	out := *in
	out.Meta = in.Meta.Clone()
	return out
}
