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
		c, err := decodeChange(value)
		if err != nil {
			return err
		}
		c.Version = binary.BigEndian.Uint64(it.Key()[1:])
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
		for _, p := range due {
			c, err := t.container(p)
			if err != nil {
				continue // removed meanwhile
			}
			// It may have been replaced or given more time since it was found.
			r, err := t.row(rowKey(c.now.id, p.Object), false)
			if err != nil {
				return err
			}
			if r == nil || !r.expired(now) {
				continue
			}
			if err := t.removeRow(c, p, r); err != nil {
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

func (b *Backend) due(now time.Time, max int) (due []storage.Path, err error) {
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
	for ok := it.First(); ok && len(due) < max; ok = it.Next() {
		_, _, name, ok := splitExpiry(it.Key())
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		p, err := decodePlace(value)
		if err != nil || !ok {
			return nil, errors.Join(errRecord, err)
		}
		p.Object = name
		due = append(due, p)
	}
	return due, nil
}
