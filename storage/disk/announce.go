package disk

import (
	"context"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

var _ storage.Announcer = (*Backend)(nil)

// Announce enters into the journal something that changes nothing here.
func (b *Backend) Announce(ctx context.Context, c storage.Change) (storage.Change, error) {
	if err := ctx.Err(); err != nil {
		return c, err
	}
	if err := b.space.admitRemove(); err != nil {
		return c, err
	}
	err := b.submit(ctx, 256, func(t *tx) error { t.enter(&c); return nil })
	return c, err
}

// Latest returns the last change in the journal, the zero Change if there is
// none: where one who holds nothing may begin to follow.
func (b *Backend) Latest(ctx context.Context) (c storage.Change, err error) {
	if err := ctx.Err(); err != nil {
		return c, err
	}
	if !b.enter() {
		return c, storage.ErrUnavailable
	}
	defer b.leave()
	v := b.look()
	defer v.release()
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: []byte{tableJournal}, UpperBound: []byte{tableJournal + 1}})
	if err != nil {
		return c, err
	}
	defer it.Close()
	if !it.Last() {
		return c, it.Error()
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return c, err
	}
	version := binary.BigEndian.Uint64(it.Key()[1:])
	if isMoved(value) {
		e, err := decodeMoved(value)
		if err != nil {
			return c, err
		}
		e.changes(version, 0, func(last storage.Change, _ error) bool { c = last; return true })
		return c, nil
	}
	c, err = decodeChange(value)
	c.Version = version
	return c, err
}
