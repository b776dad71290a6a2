package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// moveAtOnce is how many objects are moved in one turn of the commit loop,
// which then takes 20 ms or so. A larger tree is relocated (see relocate.go).
const moveAtOnce = 20_000

// MoveTree renames a container, by one record, or all objects with a prefix, by
// a row for each. Of a prefix, changes on either side wait until it has moved;
// nothing else waits longer than for any other change.
func (b *Backend) MoveTree(ctx context.Context, from, to storage.Path) (int64, error) {
	n, err := b.moveTree(ctx, from, to)
	return n, storage.Wrap("move", from, err)
}

func (b *Backend) moveTree(ctx context.Context, from, to storage.Path) (n int64, err error) {
	if err := readyTree(ctx, from, to); err != nil {
		return 0, err
	}
	if err := b.space.admit(0); err != nil {
		return 0, err
	}
	if !b.enter() {
		return 0, storage.ErrUnavailable
	}
	defer b.leave()
	if from.IsContainer() {
		err = b.submit(ctx, 512, func(t *tx) (err error) {
			n, err = t.moveContainer(from, to)
			return err
		})
		return n, err
	}
	objects, bytes, err := b.survey(from)
	if err != nil {
		return 0, err
	}
	if objects > moveAtOnce {
		return b.relocate(ctx, from, to)
	}
	if err := b.space.admit(2 * bytes); err != nil {
		return 0, err
	}
	c := &change{ctx: ctx, weight: 2*int(bytes) + 1024, alone: true, apply: func(t *tx) (err error) {
		n, err = t.moveTree(from, to)
		return err
	}}
	if err := b.await(c); err != nil {
		return 0, err
	}
	return n, nil
}

func readyTree(ctx context.Context, from, to storage.Path) error {
	if err := ready(ctx, from); err != nil {
		return err
	}
	if from.Account != to.Account || from.IsAccount() || to.Container == "" || from.IsObject() != to.IsObject() {
		return fs.ErrInvalid
	}
	if from.IsObject() && from.Container == to.Container &&
		(strings.HasPrefix(to.Object, from.Object) || strings.HasPrefix(from.Object, to.Object)) {
		return fs.ErrInvalid // one within the other
	}
	return nil
}

// survey counts the objects of a tree, up to where they are too many for one
// turn, and about how much their rows take.
func (b *Backend) survey(from storage.Path) (objects, bytes int64, err error) {
	v := b.look()
	defer v.release()
	c, err := b.head(v, from.Parent())
	if err != nil || c == nil {
		return 0, 0, err // it is the change that says so
	}
	err = scanTree(v.snap, rowKey(c.id, from.Object), func(key, value []byte) error {
		bytes += int64(len(key) + len(value))
		if objects++; objects > moveAtOnce {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return objects, bytes, err
}

// scanTree calls f for each key that begins so.
func scanTree(r pebble.Reader, begin []byte, f func(key, value []byte) error) error {
	return scanFrom(r, begin, after(begin), f)
}

// A tree is a prefix that is to be moved, judged and found fit.
type tree struct {
	from, to       storage.Path // prefixes
	source, target *draft       // their containers
	fromKey, toKey []byte       // what the keys of their rows begin with
}

// tree judges a move. The change must be alone in its turn, as it looks at the
// index as it is.
func (t *tx) tree(from, to storage.Path) (tr tree, err error) {
	tr.from, tr.to = from, to
	if tr.source, err = t.container(from); err != nil {
		return tr, err
	}
	if tr.target, err = t.container(to); err != nil {
		return tr, err
	}
	tr.fromKey, tr.toKey = rowKey(tr.source.now.id, from.Object), rowKey(tr.target.now.id, to.Object)
	if t.b.movingWithin(tr.fromKey) || t.b.movingWithin(tr.toKey) {
		return tr, errMoving
	}
	switch there, err := anyWithin(t.b.db, tr.toKey); {
	case err != nil:
		return tr, err
	case there:
		return tr, fs.ErrExist
	}
	there, err := anyWithin(t.b.db, tr.fromKey)
	if err == nil && !there {
		err = fs.ErrNotExist
	}
	return tr, err
}

// anyWithin reports whether there is a key that begins so.
func anyWithin(r pebble.Reader, begin []byte) (there bool, err error) {
	err = scanTree(r, begin, func([]byte, []byte) error { there = true; return errEnough })
	if errors.Is(err, errEnough) {
		err = nil
	}
	return there, err
}

// errEnough ends a scan.
var errEnough = errors.New("seen enough")

// moveTree renames a prefix in this turn, of which it is the only change.
func (t *tx) moveTree(from, to storage.Path) (int64, error) {
	tr, err := t.tree(from, to)
	if err != nil {
		return 0, err
	}
	var names []string
	var moved totals
	base := t.state.version
	err = scanTree(t.b.db, tr.fromKey, func(key, value []byte) error {
		r, err := decodeRow(value, false, "")
		if err != nil {
			return err
		}
		name := string(key[len(tr.fromKey):])
		names = append(names, name)
		moved.objects++
		moved.bytes += r.size
		t.batch.Set(append(tr.toKey[:len(tr.toKey):len(tr.toKey)], name...), rowAt(value, base+2*uint64(moved.objects)), nil)
		if r.expires {
			t.moveExpiry(tr, name, r.deleteAt)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return moved.objects, t.leaveTree(tr, moved, names)
}

// leaveTree takes the rows of a tree from where they were, now that they are
// elsewhere too. names are those of the last of its objects.
func (t *tx) leaveTree(tr tree, moved totals, names []string) error {
	t.batch.DeleteRange(tr.fromKey, after(tr.fromKey), nil)
	if tr.source != tr.target {
		account, err := t.place(storage.Path{Account: tr.from.Account})
		if err != nil {
			return err
		}
		t.count(tr.source, account, -moved.objects, -moved.bytes)
		t.count(tr.target, account, moved.objects, moved.bytes)
	}
	t.logMoved(tr.from, tr.to, moved.objects, names)
	return nil
}

// moveExpiry has the object of a tree expire where it is going.
func (t *tx) moveExpiry(tr tree, name string, deleteAt int64) {
	t.batch.Delete(expiryKey(deleteAt, tr.source.now.id, tr.from.Object+name), nil)
	t.batch.Set(expiryKey(deleteAt, tr.target.now.id, tr.to.Object+name), encodePlace(tr.to), nil)
}

// rowAt is an encoded row with another version.
func rowAt(value []byte, version uint64) []byte {
	_, n := binary.Uvarint(value[2:])
	b := append(make([]byte, 0, len(value)+binary.MaxVarintLen64), value[:2]...)
	return append(binary.AppendUvarint(b, version), value[2+n:]...)
}

// moveContainer renames a container. Its objects are under its id, and know
// nothing of it.
func (t *tx) moveContainer(from, to storage.Path) (int64, error) {
	source, err := t.container(from)
	if err != nil {
		return 0, err
	}
	target, err := t.place(to)
	if err != nil {
		return 0, err
	}
	if target.now != nil {
		return 0, fs.ErrExist
	}
	if t.b.movingWithin(rowKey(source.now.id, "")) {
		return 0, errMoving
	}
	record, totals := placeKeys(from, source.parent, source.now.id)
	t.batch.Delete(record, nil)
	t.batch.Delete(totals, nil)
	t.log(storage.OpRemove, from)
	h := *source.now
	h.version = t.log(storage.OpPut, to)
	target.parent, target.now, target.changed = source.parent, &h, true
	source.now, source.changed = nil, true
	t.writeRecord(target)
	return h.objects, nil
}
