package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// A relocation is the move of a tree that is too large for one turn of the
// commit loop. It begins with a record of what is intended; from then on no
// view shows what is under the target, and changes beneath either prefix wait.
// Meanwhile rows are written under the target, beside the loop. The turn that
// ends it drops the record and, by one tombstone for all, the rows under the
// source, and shows the target. If the process dies before, or there is no
// room, what is under the target is dropped: so it is undone, never finished.
type relocation struct {
	id      uint64 // of its record: a version
	fromKey []byte // what the keys of rows at the source begin with
	toKey   []byte // and at the target
}

// errMoving is the error of a change that must wait for a relocation.
var errMoving = errors.New("beneath it a tree is being moved")

func (m *relocation) encode() []byte {
	b := appendString([]byte{recordVersion}, string(m.fromKey[1:]))
	return appendString(b, string(m.toKey[1:]))
}

func decodeRelocation(b []byte) (m relocation, err error) {
	d := decode(b)
	m.fromKey = append([]byte{tableRow}, d.string()...)
	m.toKey = append([]byte{tableRow}, d.string()...)
	if len(m.fromKey) < 10 || len(m.toKey) < 10 {
		d.fail()
	}
	return m, d.end()
}

// holds reports whether a row is at either end.
func (m *relocation) holds(key []byte) bool {
	return bytes.HasPrefix(key, m.fromKey) || bytes.HasPrefix(key, m.toKey)
}

// movingRow reports whether a row is part of what is being moved.
func (b *Backend) movingRow(key []byte) bool {
	return slices.ContainsFunc(b.moving, func(m *relocation) bool { return m.holds(key) })
}

// movingWithin reports whether any row whose key begins so may be.
func (b *Backend) movingWithin(begin []byte) bool {
	return slices.ContainsFunc(b.moving, func(m *relocation) bool {
		return m.holds(begin) || bytes.HasPrefix(m.fromKey, begin) || bytes.HasPrefix(m.toKey, begin)
	})
}

// A moved is what a relocation has to remember until it ends.
type moved struct {
	totals
	names    [][]string // of the last objects, as many as the journal reaches back
	expiring []expiring
}

type expiring struct {
	name     string
	deleteAt int64
}

// relocateAtOnce bounds what is written beside the loop in one batch.
const relocateAtOnce = 4000

// relocate moves a tree of any size.
func (b *Backend) relocate(ctx context.Context, from, to storage.Path) (int64, error) {
	m := new(relocation)
	err := b.await(&change{ctx: ctx, weight: 512, alone: true, apply: func(t *tx) error {
		return t.depart(m, from, to)
	}})
	if err != nil {
		return 0, err
	}
	carried, err := b.carry(ctx, m)
	if err == nil {
		err = b.await(&change{ctx: ctx, weight: groupBytes, alone: true, apply: func(t *tx) error {
			return t.arrive(m, from, to, carried)
		}})
	}
	if err != nil {
		b.turnBack(m)
		return 0, err
	}
	return carried.objects, nil
}

// depart begins a relocation.
func (t *tx) depart(m *relocation, from, to storage.Path) error {
	tr, err := t.tree(from, to)
	if err != nil {
		return err
	}
	t.state.version++
	*m = relocation{id: t.state.version, fromKey: tr.fromKey, toKey: tr.toKey}
	t.batch.Set(idKey(tableRelocation, m.id), m.encode(), nil)
	t.then = func() { t.b.moving = append(t.b.moving, m) }
	return nil
}

// carry writes the rows of a tree under its target, where nobody sees them. It
// needs no turn of the loop but to be given versions: nothing under the source
// changes, and what is not synced here is by the turn that ends it, as the log
// is one.
func (b *Backend) carry(ctx context.Context, m *relocation) (carried moved, err error) {
	v := b.look()
	defer v.release()
	batch := b.db.NewBatch()
	defer func() { batch.Close() }()
	var version, given uint64
	var names []string
	most := (b.o.JournalKeep+b.o.JournalKeep/8)/2/relocateAtOnce + 2 // of names, in lists
	flush := func() error {
		if err := b.space.admit(2 * int64(batch.Len())); err != nil {
			return err
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
		batch.Close()
		batch = b.db.NewBatch()
		if carried.names = append(carried.names, names); len(carried.names) > most {
			carried.names = slices.Delete(carried.names, 0, 1)
		}
		names = nil
		return nil
	}
	err = scanTree(v.snap, m.fromKey, func(key, value []byte) error {
		if version == given {
			if names != nil {
				if err := flush(); err != nil {
					return err
				}
			}
			version, err = b.reserveVersions(ctx, m, relocateAtOnce)
			if err != nil {
				return err
			}
			given = version + relocateAtOnce
		}
		r, err := decodeRow(value, false, "")
		if err != nil {
			return err
		}
		version++
		name := string(key[len(m.fromKey):])
		names = append(names, name)
		carried.objects++
		carried.bytes += r.size
		if r.expires {
			carried.expiring = append(carried.expiring, expiring{name, r.deleteAt})
		}
		return batch.Set(append(m.toKey[:len(m.toKey):len(m.toKey)], name...), rowAt(value, version), nil)
	})
	if err == nil && names != nil {
		err = flush()
	}
	return carried, err
}

// reserveVersions returns the version after which so many are nobody else's.
func (b *Backend) reserveVersions(ctx context.Context, m *relocation, n uint64) (after uint64, err error) {
	err = b.submit(ctx, 128, func(t *tx) error {
		after = t.state.version
		t.state.version += n
		t.batch.Set(idKey(tableRelocation, m.id), m.encode(), nil) // the state is written only beside something
		return nil
	})
	return after, err
}

// arrive ends a relocation: the tree is seen at its target, and nowhere else.
func (t *tx) arrive(m *relocation, from, to storage.Path, carried moved) error {
	tr := tree{from: from, to: to, fromKey: m.fromKey, toKey: m.toKey}
	var err error
	if tr.source, err = t.container(from); err != nil {
		return err
	}
	if tr.target, err = t.container(to); err != nil {
		return err
	}
	for _, e := range carried.expiring {
		t.moveExpiry(tr, e.name, e.deleteAt)
	}
	if err := t.leaveTree(tr, carried.totals, slices.Concat(carried.names...)); err != nil {
		return err
	}
	t.end(m)
	return nil
}

// end drops the record of a relocation, and has it forgotten.
func (t *tx) end(m *relocation) {
	t.batch.Delete(idKey(tableRelocation, m.id), nil)
	t.then = func() {
		t.b.moving = slices.DeleteFunc(t.b.moving, func(other *relocation) bool { return other == m })
	}
}

// turnBack undoes a relocation. If the store is closed or has failed that is
// done when it is opened next; nobody waits for it then.
func (b *Backend) turnBack(m *relocation) {
	b.await(&change{ctx: context.Background(), weight: 256, alone: true, always: true, apply: func(t *tx) error {
		t.batch.DeleteRange(m.toKey, after(m.toKey), nil)
		t.end(m)
		return nil
	}})
}

// recoverRelocations undoes those that a crash has left.
func (b *Backend) recoverRelocations() error {
	batch := b.db.NewBatch()
	defer batch.Close()
	err := eachRelocation(b.db, func(m *relocation) error {
		b.log.Info("undoing the move of a tree that was not finished")
		batch.DeleteRange(m.toKey, after(m.toKey), nil)
		batch.Delete(idKey(tableRelocation, m.id), nil)
		return nil
	})
	if err != nil || batch.Empty() {
		return err
	}
	return batch.Commit(pebble.Sync)
}

func eachRelocation(r pebble.Reader, f func(m *relocation) error) error {
	return scan(r, tableRelocation, func(key, value []byte) error {
		id, ok := splitID(key)
		m, err := decodeRelocation(value)
		if !ok || err != nil {
			return errors.Join(errRecord, err)
		}
		m.id = id
		return f(&m)
	})
}

// A movedEntry is the journal's entry of objects that were moved together: two
// changes of each, as it was removed from one place, and put at the other. The
// version of the last of them is the entry's.
type movedEntry struct {
	at       int64 // ticks
	from, to storage.Path
	names    []string // behind the prefixes that the paths are
}

// opMoved is where in other entries of the journal there is a storage.Op.
const opMoved = 4

// movedNames is how many objects go into one entry.
const movedNames = 1000

func (e *movedEntry) encode() []byte {
	b := binary.AppendVarint([]byte{recordVersion, opMoved}, e.at)
	for _, s := range [...]string{e.from.Account, e.from.Container, e.from.Object, e.to.Container, e.to.Object} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(e.names)))
	for _, name := range e.names {
		b = appendString(b, name)
	}
	return b
}

func isMoved(b []byte) bool { return len(b) > 1 && b[1] == opMoved }

func decodeMoved(b []byte) (e movedEntry, err error) {
	d := decode(b)
	if d.byte() != opMoved {
		d.fail()
	}
	e.at = d.varint()
	e.from = storage.Path{Account: d.string(), Container: d.string(), Object: d.string()}
	e.to = storage.Path{Account: e.from.Account, Container: d.string(), Object: d.string()}
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return e, d.err
	}
	for range n {
		e.names = append(e.names, d.string())
	}
	return e, d.end()
}

// changes yields what an entry stands for, but for the first versions up to
// after, and reports whether there is to be more.
func (e *movedEntry) changes(version, after uint64, yield func(storage.Change, error) bool) bool {
	version -= 2 * uint64(len(e.names))
	for _, name := range e.names {
		for _, c := range [...]storage.Change{{Op: storage.OpRemove, Path: e.from}, {Op: storage.OpPut, Path: e.to}} {
			version++
			if version <= after {
				continue
			}
			c.Path.Object += name
			c.Version, c.Time = version, tickTime(e.at)
			if !yield(c, nil) {
				return false
			}
		}
	}
	return true
}

// logMoved enters the move of so many objects into the journal. It needs no
// more of their names than it reaches back to.
func (t *tx) logMoved(from, to storage.Path, objects int64, names []string) {
	e := movedEntry{at: max(t.state.clock, nowTicks()), from: from, to: to}
	t.state.version += 2 * uint64(objects-int64(len(names)))
	for e.names = range slices.Chunk(names, movedNames) {
		t.state.version += 2 * uint64(len(e.names))
		t.batch.Set(idKey(tableJournal, t.state.version), e.encode(), nil)
	}
}
