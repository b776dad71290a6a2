package disk

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// A view is what readers see: everything that was committed and durable when
// it was taken, and nothing else. Pebble alone would show a batch before its
// sync has ended; a reader could then be told what a power cut takes back, and
// see rows whose totals are not published yet.
type view struct {
	snap    *pebble.Snapshot
	epoch   uint64
	version uint64   // of the latest change in it
	hidden  [][]byte // what keys of rows begin with that are not to be seen yet
	refs    atomic.Int64
}

// look returns the view of this moment, until its release.
func (b *Backend) look() *view {
	for {
		v := b.view.Load()
		for n := v.refs.Load(); n > 0; n = v.refs.Load() {
			if v.refs.CompareAndSwap(n, n+1) {
				return v
			}
		}
		// Replaced and released since; there is a newer one.
	}
}

func (v *view) release() {
	if v.refs.Add(-1) == 0 {
		v.snap.Close()
	}
}

// show makes a new view of all that is committed the one that readers get.
func (b *Backend) show(epoch, version uint64) {
	v := &view{snap: b.db.NewSnapshot(), epoch: epoch, version: version}
	for _, m := range b.moving {
		v.hidden = append(v.hidden, m.toKey)
	}
	v.refs.Store(1)
	if old := b.view.Swap(v); old != nil {
		old.release()
	}
}

// lookup calls f with the value of a key, and reports whether there is one.
func lookup(r pebble.Reader, key []byte, f func(value []byte) error) (bool, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, indexError(err)
	}
	err = f(value)
	return true, errors.Join(err, closer.Close())
}

// indexError gives damage of the index the store's word for it.
func indexError(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
	}
	return err
}

// readHead reads a head from the index; nil if there is none. parent is that
// of a container's account.
func readHead(r pebble.Reader, p storage.Path, parent uint64) (*head, error) {
	h := new(head)
	record, _ := placeKeys(p, parent, 0)
	ok, err := lookup(r, record, func(v []byte) (err error) { h.record, err = decodeRecord(v); return err })
	if !ok || err != nil {
		return nil, err
	}
	_, totals := placeKeys(p, parent, h.id)
	_, err = lookup(r, totals, func(v []byte) (err error) { h.totals, err = decodeTotals(v); return err })
	return h, err
}

// readRow reads a row from the index; nil if there is none.
func readRow(r pebble.Reader, key []byte, meta bool) (*row, error) {
	var found row
	ok, err := lookup(r, key, func(v []byte) (err error) { found, err = decodeRow(v, meta, ""); return err })
	if !ok || err != nil {
		return nil, err
	}
	return &found, nil
}

func readBlob(r pebble.Reader, id uint64) (*blob, error) {
	var found blob
	ok, err := lookup(r, idKey(tableBlob, id), func(v []byte) (err error) { found, err = decodeBlob(v); return err })
	if !ok || err != nil {
		return nil, err
	}
	return &found, nil
}

// head returns the head of an account or container as of a view; nil if there
// is none.
func (b *Backend) head(v *view, p storage.Path) (*head, error) {
	if h, ok := b.heads.get(p, v.epoch); ok {
		return h, nil
	}
	var parent uint64
	if p.IsContainer() {
		a, err := b.head(v, p.Parent())
		if a == nil || err != nil {
			return nil, err
		}
		parent = a.id
	}
	h, err := readHead(v.snap, p, parent)
	if err == nil {
		b.heads.fill(p, v.epoch, h)
	}
	return h, err
}

// row returns an object's row, and the head of its container; nil if there is
// none.
func (b *Backend) row(v *view, p storage.Path) (*row, error) {
	c, err := b.head(v, p.Parent())
	if c == nil || err != nil {
		return nil, err
	}
	key := rowKey(c.id, p.Object)
	if hiddenIn(v.hidden, key) != nil {
		return nil, nil
	}
	return readRow(v.snap, key, true)
}

// hiddenIn returns the stretch of keys that hides one, nil if none does.
func hiddenIn(hidden [][]byte, key []byte) []byte {
	for _, begin := range hidden {
		if bytes.HasPrefix(key, begin) {
			return begin
		}
	}
	return nil
}
