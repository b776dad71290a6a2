package memory

import (
	"context"
	"io/fs"

	"memstore.dev/memstore/storage"
)

// Create starts an object.
func (b *Backend) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	home, err := b.home(ctx, in.Path)
	if err != nil {
		return nil, storage.Wrap("put", in.Path, err)
	}
	// The hint may be wrong, so no more than a little is taken on its word.
	return &writer{ctx: ctx, b: b, path: in.Path, home: home, data: make([]byte, 0, min(max(in.Size, 0), 1<<20))}, nil
}

// home is the id of the container in which an object is to be.
func (b *Backend) home(ctx context.Context, p storage.Path) (uint64, error) {
	if err := ready(ctx, p); err != nil {
		return 0, err
	}
	if !p.IsObject() {
		return 0, fs.ErrInvalid
	}
	c := b.state().container(p)
	if c == nil {
		return 0, fs.ErrNotExist
	}
	return c.id, nil
}

// A writer collects the bytes of an object.
type writer struct {
	ctx  context.Context // of Create: when it ends, so does the upload
	b    *Backend
	path storage.Path
	home uint64 // id of its container
	data []byte
	done bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, storage.Wrap("put", w.path, fs.ErrClosed)
	}
	if err := w.ctx.Err(); err != nil {
		return 0, storage.Wrap("put", w.path, err)
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

func (w *writer) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	committed, err := w.commit(ctx, in, c)
	return committed, storage.Wrap("put", w.path, err)
}

func (w *writer) commit(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	if w.done {
		return storage.Info{}, fs.ErrClosed
	}
	if err := w.ctx.Err(); err != nil {
		return storage.Info{}, err
	}
	in.Path, in.Size, in.Meta = w.path, int64(len(w.data)), in.Meta.Clone()
	err = w.b.change(ctx, w.path, func(s *state) (err error) {
		committed, err = s.commit(w.home, in, trim(w.data), c)
		return err
	})
	if err == nil {
		w.Close()
	}
	return committed, err
}

func (w *writer) Close() error {
	w.done, w.data = true, nil
	return nil
}

// commit is replace for an object that was begun in the container with this
// id. One made since under the same name is another.
func (s *state) commit(home uint64, in storage.Info, data []byte, c storage.Cond) (storage.Info, error) {
	if there := s.container(in.Path); there == nil || there.id != home {
		return storage.Info{}, fs.ErrNotExist
	}
	return s.replace(in, data, c)
}

// replace puts an object with these bytes where c allows it. Of in it takes
// what a client may choose, and the Size.
func (s *state) replace(in storage.Info, data []byte, c storage.Cond) (storage.Info, error) {
	if s.container(in.Path) == nil {
		return storage.Info{}, fs.ErrNotExist
	}
	old := s.info(in.Path)
	if err := hold(c, old); err != nil {
		return storage.Info{}, err
	}
	t := precise(in.ModTime)
	if in.ModTime.IsZero() {
		t = later(s.tick(), old)
	}
	before := *s
	kept, err := s.keep(in.Path, c)
	if err != nil {
		return storage.Info{}, err
	}
	put := s.putObject(storage.Info{
		Path: in.Path, Size: in.Size, ETag: in.ETag, Type: in.Type,
		Created: t, ModTime: t, DeleteAt: in.DeleteAt, Meta: in.Meta,
	}, data)
	if err := within(c.Quota, in.Path, &before, s, counted(c, in.Path, kept, &before)); err != nil {
		return storage.Info{}, err
	}
	return handOut(put), nil
}

// keep puts a copy of what is at p where c wants it to be kept, and returns its
// version; 0 if it is not to be kept.
func (s *state) keep(p storage.Path, c storage.Cond) (version uint64, err error) {
	if c.Keep == nil || c.Keep.Old == nil {
		return 0, nil
	}
	old := s.container(p).objects.get(p.Object)
	if old == nil {
		return 0, nil
	}
	as := c.Keep.Old(handOut(&old.info))
	if as.Path == (storage.Path{}) {
		return 0, nil
	}
	if s.container(as.Path) == nil {
		return 0, storage.ErrNoArchive
	}
	in := old.info
	in.Path, in.DeleteAt, in.Meta = as.Path, as.DeleteAt, as.Meta.Clone()
	return s.putObject(in, old.data).Version, nil
}

// counted is how many bytes of what was kept count where it was.
func counted(c storage.Cond, p storage.Path, kept uint64, before *state) int64 {
	if kept == 0 || !c.Keep.Counted {
		return 0
	}
	return before.container(p).objects.get(p.Object).info.Size
}

// trim gives back what a growing buffer took ahead, if that is much.
func trim(data []byte) []byte {
	if cap(data)-len(data) > len(data)/8 {
		return append(make([]byte, 0, len(data)), data...)
	}
	return data
}
