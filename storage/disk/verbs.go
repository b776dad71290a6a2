package disk

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"memstore.dev/memstore/storage"
)

// ready says why nothing can be done about p: the context has ended, or p
// names nothing that could be kept.
func ready(ctx context.Context, p storage.Path) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.Account == "" || p.IsObject() && p.Container == "" {
		return fs.ErrInvalid
	}
	return nil
}

// Stat describes a path, with its Meta. Of accounts and containers it is
// answered from memory.
func (b *Backend) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	in, err := b.stat(ctx, p)
	return in, storage.Wrap("stat", p, err)
}

func (b *Backend) stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	if err := ready(ctx, p); err != nil {
		return storage.Info{}, err
	}
	if !b.enter() {
		return storage.Info{}, storage.ErrUnavailable
	}
	defer b.leave()
	v := b.look()
	defer v.release()
	if p.IsObject() {
		r, err := b.row(v, p)
		if err == nil && (r == nil || r.expired(time.Now())) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return storage.Info{}, err
		}
		return r.info(p), nil
	}
	h, err := b.head(v, p)
	if err == nil && h == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return storage.Info{}, err
	}
	return handOut(h.info(p)), nil
}

// handOut makes an Info the caller's own.
func handOut(in storage.Info) storage.Info {
	in.Meta = in.Meta.Clone()
	return in
}

// Make creates an account or a container.
func (b *Backend) Make(ctx context.Context, p storage.Path, m storage.Meta) (created bool, err error) {
	err = ready(ctx, p)
	if err == nil && p.IsObject() {
		err = fs.ErrInvalid
	}
	if err == nil {
		err = b.space.admit(int64(metaSize(m)))
	}
	if err == nil {
		m = m.Clone()
		err = b.submit(ctx, 256+metaSize(m), func(t *tx) (err error) {
			created, err = t.make(p, m)
			return err
		})
	}
	return created && err == nil, storage.Wrap("make", p, err)
}

func (t *tx) make(p storage.Path, m storage.Meta) (created bool, err error) {
	var account *draft
	if p.IsContainer() {
		if account, err = t.place(p.Parent()); err != nil {
			return false, err
		}
		if account.now == nil {
			return false, fs.ErrNotExist
		}
	}
	d, err := t.place(p)
	if err != nil || d.now != nil {
		return false, err
	}
	h := d.edit()
	h.id, h.meta = t.b.ids.take(), m
	h.created = t.tick(0)
	h.modified = h.created
	if account != nil {
		d.parent = account.now.id
		account.edit().containers++
	}
	h.version = t.log(storage.OpPut, p)
	t.writeRecord(d)
	return true, nil
}

// Update replaces the metadata of a path.
func (b *Backend) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	p := in.Path
	err := ready(ctx, p)
	if err == nil {
		err = b.space.admit(int64(metaSize(in.Meta)))
	}
	var updated storage.Info
	if err == nil {
		in = handOut(in)
		err = b.submit(ctx, 256+metaSize(in.Meta), func(t *tx) (err error) {
			if p.IsObject() {
				updated, err = t.updateObject(in, c)
			} else {
				updated, err = t.updatePlace(in, c)
			}
			return err
		})
	}
	if err != nil {
		return storage.Info{}, storage.Wrap("post", p, err)
	}
	return handOut(updated), nil
}

func (t *tx) updatePlace(in storage.Info, c storage.Cond) (storage.Info, error) {
	d, err := t.place(in.Path)
	if err != nil {
		return storage.Info{}, err
	}
	if d.now == nil {
		return storage.Info{}, fs.ErrNotExist
	}
	if err := hold(c, true, d.now.version); err != nil {
		return storage.Info{}, err
	}
	h := d.edit()
	h.meta, h.modified = in.Meta, t.tick(h.modified)
	h.version = t.log(storage.OpUpdate, in.Path)
	t.writeRecord(d)
	return h.info(in.Path), nil
}

func (t *tx) updateObject(in storage.Info, c storage.Cond) (storage.Info, error) {
	_, old, err := t.live(in.Path)
	if err != nil {
		return storage.Info{}, err
	}
	s, err := t.slot(in.Path, old.size, storage.Cond{Absent: c.Absent, Version: c.Version})
	if err != nil {
		return storage.Info{}, err
	}
	r := *old
	typ := in.Type
	if typ == "" {
		typ = old.typ
	}
	r.setInfo(typ, in.DeleteAt, in.Meta)
	r.modified = t.tick(old.modified)
	t.fill(s, &r, storage.OpUpdate)
	return r.info(in.Path), nil
}

// Remove deletes an object, or an empty container or account.
func (b *Backend) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	err := ready(ctx, p)
	if err == nil {
		err = b.space.admitRemove()
	}
	if err == nil {
		err = b.submit(ctx, 256, func(t *tx) error {
			if p.IsObject() {
				return t.removeObject(p, c)
			}
			return t.removePlace(p, c)
		})
	}
	return storage.Wrap("delete", p, err)
}

func (t *tx) removeObject(p storage.Path, c storage.Cond) error {
	if c.Keep != nil {
		return t.retire(p, c)
	}
	d, r, err := t.live(p)
	if err != nil {
		return err
	}
	if err := hold(c, true, r.version); err != nil {
		return err
	}
	return t.removeRow(d, p, r)
}

// retire deletes an object, and leaves of it what c wants kept.
func (t *tx) retire(p storage.Path, c storage.Cond) error {
	s, err := t.slot(p, 0, storage.Cond{Absent: c.Absent, Version: c.Version, Keep: c.Keep})
	if err != nil {
		return err
	}
	if (s.old == nil || s.old.expired(time.Now()) && s.keep == nil) && c.Keep.Mark == nil {
		return fs.ErrNotExist
	}
	if err := t.canDisplace(s); err != nil {
		return err
	}
	if c.Keep.Mark != nil {
		r := &row{etag: emptyMD5, created: t.tick(s.modified())}
		r.modified = r.created
		in := c.Keep.Mark(tickTime(r.created))
		place, err := t.keeper(in.Path, 0)
		if err != nil {
			return err
		}
		if err := t.displace(place); err != nil {
			return err
		}
		r.setInfo(in.Type, time.Time{}, in.Meta)
		t.fill(place, r, storage.OpPut)
	}
	if s.old == nil {
		return nil
	}
	if err := t.displace(s); err != nil {
		return err
	}
	return t.takeRow(s.container, p, s.old)
}

// emptyMD5 is the ETag of no bytes.
const emptyMD5 = "d41d8cd98f00b204e9800998ecf8427e"

func (t *tx) removePlace(p storage.Path, c storage.Cond) error {
	d, err := t.place(p)
	if err != nil {
		return err
	}
	if d.now == nil {
		return fs.ErrNotExist
	}
	if err := hold(c, true, d.now.version); err != nil {
		return err
	}
	// A container may hold nothing but expired objects; they are listed, so
	// they are there.
	if d.now.objects+d.now.containers > 0 {
		return storage.ErrNotEmpty
	}
	if p.IsContainer() && t.b.movingWithin(rowKey(d.now.id, "")) {
		return errMoving
	}
	if p.IsContainer() {
		a, err := t.place(p.Parent())
		if err != nil {
			return err
		}
		a.edit().containers--
		t.dropTombstones(d.now.id)
	}
	record, totals := placeKeys(p, d.parent, d.now.id)
	t.batch.Delete(record, nil)
	t.batch.Delete(totals, nil)
	d.changed, d.now = true, nil
	t.log(storage.OpRemove, p)
	return nil
}

// Copy makes to.Path an object with the bytes of from; it writes a row.
func (b *Backend) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (storage.Info, error) {
	err := readyTwo(ctx, from.Path, to.Path)
	if err == nil {
		err = b.space.admit(int64(metaSize(to.Meta)))
	}
	var copied storage.Info
	if err == nil {
		to = handOut(to)
		err = b.submit(ctx, 512+metaSize(to.Meta), func(t *tx) (err error) {
			copied, err = t.copy(from, to, c)
			return err
		})
	}
	if err != nil {
		return storage.Info{}, storage.Wrap("copy", from.Path, err)
	}
	return handOut(copied), nil
}

func (t *tx) copy(from, to storage.Info, c storage.Cond) (storage.Info, error) {
	_, source, err := t.live(from.Path)
	if err != nil {
		return storage.Info{}, err
	}
	if from.Version != 0 && from.Version != source.version {
		return storage.Info{}, storage.ErrPrecondition
	}
	s, err := t.slot(to.Path, source.size, c)
	if err != nil {
		return storage.Info{}, err
	}
	r := &row{blob: source.blob, size: source.size, etag: source.etag}
	r.setInfo(to.Type, to.DeleteAt, to.Meta)
	if r.created = ticks(to.ModTime); to.ModTime.IsZero() {
		r.created = t.tick(s.modified())
	}
	r.modified = r.created
	if err := t.canDisplace(s); err != nil {
		return storage.Info{}, err
	}
	// Shared before it is displaced: it may be copied onto itself.
	if err := t.share(r.blob); err != nil {
		return storage.Info{}, err
	}
	if err := t.displace(s); err != nil {
		return storage.Info{}, err
	}
	t.fill(s, r, storage.OpPut)
	return r.info(to.Path), nil
}

// Move renames an object; it writes a row and removes one.
func (b *Backend) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (storage.Info, error) {
	err := readyTwo(ctx, from, to)
	if err == nil && from.Account != to.Account {
		err = errors.ErrUnsupported
	}
	if err == nil {
		err = b.space.admit(0)
	}
	var moved storage.Info
	if err == nil {
		err = b.submit(ctx, 1024, func(t *tx) (err error) {
			moved, err = t.move(from, to, c)
			return err
		})
	}
	if err != nil {
		return storage.Info{}, storage.Wrap("move", from, err)
	}
	return handOut(moved), nil
}

func (t *tx) move(from, to storage.Path, c storage.Cond) (storage.Info, error) {
	d, source, err := t.live(from)
	if err != nil {
		return storage.Info{}, err
	}
	quota := c.Quota
	c.Quota = nil // the object leaves one place for another; judged here
	s, err := t.slot(to, source.size, c)
	if err != nil {
		return storage.Info{}, err
	}
	moved := *source
	if c.Retype {
		moved.typ = storage.TypeAfter(moved.typ, from, to)
	}
	if from != to {
		if err := t.withinMove(quota, d, s, source.size); err != nil {
			return storage.Info{}, err
		}
		if err := t.canDisplace(s); err != nil {
			return storage.Info{}, err
		}
		// The new row takes the reference over before the old one gives it up.
		if err := t.share(moved.blob); err != nil {
			return storage.Info{}, err
		}
		if err := t.removeRow(d, from, source); err != nil {
			return storage.Info{}, err
		}
		if err := t.displace(s); err != nil {
			return storage.Info{}, err
		}
	}
	t.fill(s, &moved, storage.OpPut)
	return moved.info(to), nil
}

// withinMove judges a quota of what a move adds to a container. To the account
// it adds nothing.
func (t *tx) withinMove(q *storage.Quota, from *draft, s slot, size int64) error {
	if q == nil {
		return nil
	}
	objects, bytes := int64(1), size
	if from == s.container {
		objects, bytes = 0, 0
	}
	if s.old != nil {
		objects, bytes = objects-1, bytes-s.old.size
	}
	container := *q
	container.AccountBytes = -1
	return within(&container, s.container.now.totals, totals{}, objects, bytes, 0)
}

func readyTwo(ctx context.Context, from, to storage.Path) error {
	if err := ready(ctx, from); err != nil {
		return err
	}
	if !from.IsObject() || !to.IsObject() || ready(ctx, to) != nil {
		return fs.ErrInvalid
	}
	return nil
}
