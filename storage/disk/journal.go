package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// Changes yields the changes after a version. It reaches back over at least
// Options.JournalKeep versions. A version that was never given out is a gap
// too: whoever names it has seen another past than this store's, such as that
// before a restore.
func (b *Backend) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	return func(yield func(storage.Change, error) bool) {
		if err := b.changes(ctx, after, yield); err != nil {
			yield(storage.Change{}, err)
		}
	}
}

func (b *Backend) changes(ctx context.Context, after uint64, yield func(storage.Change, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.enter() {
		return storage.ErrUnavailable
	}
	defer b.leave()
	it, err := b.journalFrom(after)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		version := binary.BigEndian.Uint64(it.Key()[1:])
		if isMoved(value) {
			e, err := decodeMoved(value)
			if err != nil {
				return err
			}
			if !e.changes(version, after, yield) {
				return nil
			}
			continue
		}
		c, err := decodeChange(value)
		if err != nil {
			return err
		}
		c.Version = version
		if !yield(c, nil) {
			return nil
		}
	}
	return it.Error()
}

func (b *Backend) journalFrom(after uint64) (*pebble.Iterator, error) {
	v := b.look()
	defer v.release()
	var s state
	if _, err := lookup(v.snap, keyState, func(value []byte) (err error) { s, err = decodeState(value); return err }); err != nil {
		return nil, err
	}
	if after < s.forgotten || after > s.version {
		return nil, storage.ErrGap
	}
	return v.snap.NewIter(&pebble.IterOptions{
		LowerBound: idKey(tableJournal, after+1), UpperBound: []byte{tableJournal + 1},
	})
}

// trimJournal forgets the oldest changes, an eighth of the journal at a time.
func (t *tx) trimJournal() {
	keep := uint64(t.b.o.JournalKeep)
	if t.state.version-t.state.forgotten <= keep+keep/8 {
		return
	}
	to := t.state.version - keep
	t.batch.DeleteRange(idKey(tableJournal, t.state.forgotten), idKey(tableJournal, to+1), nil)
	t.state.forgotten = to
}

// Expire removes objects that are due, the longest due first.
func (b *Backend) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if max <= 0 {
		return nil, nil
	}
	if err := b.space.admitRemove(); err != nil {
		return nil, err
	}
	due, err := b.due(now, max)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	var gone []storage.Path
	err = b.submit(ctx, 128*len(due), func(t *tx) error {
		names := make(map[uint64]map[uint64]string)
		for _, e := range due {
			p := e.path
			c, err := t.container(p)
			if err != nil || c.now.id != e.container {
				if p.Container, err = t.containerName(e, names); err != nil {
					return err
				}
				if c, err = t.container(p); err != nil || c.now.id != e.container {
					continue // removed meanwhile
				}
			}
			// It may have been replaced or given more time since it was found.
			r, err := t.row(rowKey(c.now.id, p.Object), false)
			if err == errMoving {
				continue // its time comes where it is going
			}
			if err != nil {
				return err
			}
			if r == nil || !r.expired(now) {
				continue
			}
			if err := t.expire(c, p, r); err != nil {
				return err
			}
			gone = append(gone, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

// expire takes away what is due, and keeps what its container wants to be kept.
func (t *tx) expire(c *draft, p storage.Path, r *row) error {
	if k := storage.KeepDue(c.now.meta, p); k != nil {
		s, err := t.slot(p, 0, storage.Cond{Keep: k})
		if err == nil && s.keep != nil {
			if err = t.displace(s); err == nil {
				err = t.takeRow(c, p, s.old)
			}
			return err
		}
		if err != nil && !errors.Is(err, storage.ErrNoArchive) {
			return err
		}
	}
	return t.removeRow(c, p, r)
}

// A due is an object that is to expire.
type due struct {
	container uint64
	path      storage.Path // its container may have been renamed since
}

// containerName finds the name that a container has now. names are those found
// before, by account.
func (t *tx) containerName(e due, names map[uint64]map[uint64]string) (string, error) {
	a, err := t.place(storage.Path{Account: e.path.Account})
	if err != nil || a.now == nil {
		return "", err
	}
	if names[a.now.id] == nil {
		byID := make(map[uint64]string)
		names[a.now.id] = byID
		err := scanTree(t.b.db, idKey(tableContainer, a.now.id), func(key, value []byte) error {
			r, err := decodeRecord(value)
			_, byID[r.id], _ = splitName(key)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return names[a.now.id][e.container], nil
}

func (b *Backend) due(now time.Time, max int) (found []due, err error) {
	if !b.enter() {
		return nil, storage.ErrUnavailable
	}
	defer b.leave()
	v := b.look()
	defer v.release()
	it, err := v.snap.NewIter(&pebble.IterOptions{
		LowerBound: []byte{tableExpiry}, UpperBound: expiryKey(now.Unix()+1, 0, ""),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && len(found) < max; ok = it.Next() {
		_, container, name, ok := splitExpiry(it.Key())
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		p, err := decodePlace(value)
		if err != nil || !ok {
			return nil, errors.Join(errRecord, err)
		}
		p.Object = name
		found = append(found, due{container, p})
	}
	return found, nil
}
