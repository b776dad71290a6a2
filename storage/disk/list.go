package disk

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// List yields what lies beneath an account or a container, as it was when the
// iteration began.
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
	if !b.enter() {
		return storage.ErrUnavailable
	}
	defer b.leave()
	if p.IsAccount() {
		return b.listContainers(ctx, p, q, yield)
	}
	return b.listObjects(ctx, p, q, yield)
}

func (b *Backend) listObjects(ctx context.Context, p storage.Path, q storage.Query, yield func(storage.Info, error) bool) error {
	c, err := b.cursor(p, q, tableRow)
	if err != nil {
		return err
	}
	defer c.close()
	var typ string
	n := 0
	q.Page(c, func(name []byte, subdir bool) bool {
		if n++; n&63 == 0 { // asking costs a lock
			if err = ctx.Err(); err != nil {
				return false
			}
		}
		p.Object = string(name)
		if subdir {
			return yield(storage.Info{Path: p, Subdir: true}, nil)
		}
		var r row
		if r, err = c.row(q.Meta, typ); err != nil {
			return false
		}
		typ = r.typ // most neighbours have the same
		return yield(r.info(p), nil)
	})
	return errors.Join(err, indexError(c.iter.Error()))
}

func (b *Backend) listContainers(ctx context.Context, p storage.Path, q storage.Query, yield func(storage.Info, error) bool) error {
	c, err := b.cursor(p, q, tableContainer)
	if err != nil {
		return err
	}
	defer c.close()
	q.Page(c, func(name []byte, subdir bool) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		p.Container = string(name)
		if subdir {
			return yield(storage.Info{Path: p, Subdir: true}, nil)
		}
		var h head
		if h, err = c.head(); err != nil {
			return false
		}
		in := h.info(p)
		if !q.Meta {
			in.Meta = nil
		}
		return yield(in, nil)
	})
	return errors.Join(err, indexError(c.iter.Error()))
}

// A cursor walks the names below an account or container. It is pinned to the
// moment it was made by its iterators.
type cursor struct {
	iter   *pebble.Iterator
	totals *pebble.Iterator // of containers, in the same order as iter
	key    []byte           // buffer; begins with the table and the id, head bytes long
	head8  int
	hidden [][]byte // see view
}

var _ storage.Cursor = (*cursor)(nil)

func (b *Backend) cursor(p storage.Path, q storage.Query, table byte) (*cursor, error) {
	v := b.look()
	defer v.release() // iterators keep what they need
	h, err := b.head(v, p)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, fs.ErrNotExist
	}
	lower, upper := bounds(q)
	options := &pebble.IterOptions{LowerBound: nameKey(table, h.id, lower)}
	if upper == "" {
		options.UpperBound = idKey(table, h.id+1)
	} else {
		options.UpperBound = nameKey(table, h.id, upper)
	}
	c := &cursor{key: idKey(table, h.id), head8: 9, hidden: v.hidden}
	if c.iter, err = v.snap.NewIter(options); err != nil {
		return nil, err
	}
	if table == tableContainer {
		c.totals, err = v.snap.NewIter(&pebble.IterOptions{
			LowerBound: idKey(tableContainerTotals, h.id), UpperBound: idKey(tableContainerTotals, h.id+1),
		})
		if err != nil {
			c.iter.Close()
			return nil, err
		}
	}
	return c, nil
}

// bounds are the least name that a listing could contain, and one above all
// that it could (or "" for none), so that no block beyond them is read.
func bounds(q storage.Query) (lower, upper string) {
	lower, upper = q.Marker, q.EndMarker
	if q.Reverse {
		lower, upper = upper, lower
	}
	if q.Prefix != "" {
		lower = max(lower, q.Prefix)
		end := after(append([]byte{0}, q.Prefix...))
		if end[0] == 0 && (upper == "" || string(end[1:]) < upper) {
			upper = string(end[1:])
		}
	}
	if upper != "" && upper < lower { // an iterator wants them in order
		upper = lower
	}
	return lower, upper
}

func (c *cursor) close() {
	c.iter.Close()
	if c.totals != nil {
		c.totals.Close()
	}
}

func (c *cursor) at(name string) []byte {
	c.key = append(c.key[:c.head8], name...)
	return c.key
}

func (c *cursor) SeekGE(name string) bool { return c.on(c.iter.SeekGE(c.at(name))) }

func (c *cursor) SeekLT(name string) bool {
	if name == "" {
		return c.back(c.iter.Last())
	}
	return c.back(c.iter.SeekLT(c.at(name)))
}

func (c *cursor) Next() bool { return c.on(c.iter.Next()) }
func (c *cursor) Prev() bool { return c.back(c.iter.Prev()) }

// on goes on from what is not to be seen.
func (c *cursor) on(ok bool) bool {
	for ok && len(c.hidden) > 0 {
		begin := hiddenIn(c.hidden, c.iter.Key())
		if begin == nil {
			break
		}
		ok = c.iter.SeekGE(after(begin))
	}
	return ok
}

// back does so backwards.
func (c *cursor) back(ok bool) bool {
	for ok && len(c.hidden) > 0 {
		begin := hiddenIn(c.hidden, c.iter.Key())
		if begin == nil {
			break
		}
		ok = c.iter.SeekLT(begin)
	}
	return ok
}

func (c *cursor) Name() []byte { return c.iter.Key()[c.head8:] }

// row decodes what the cursor stands on.
func (c *cursor) row(meta bool, typ string) (row, error) {
	value, err := c.iter.ValueAndErr()
	if err != nil {
		return row{}, err
	}
	return decodeRow(value, meta, typ)
}

// head decodes the container that the cursor stands on, with its totals.
func (c *cursor) head() (h head, err error) {
	value, err := c.iter.ValueAndErr()
	if err != nil {
		return h, err
	}
	if h.record, err = decodeRecord(value); err != nil {
		return h, err
	}
	name := c.Name()
	key := append(append(make([]byte, 0, c.head8+len(name)), c.key[:c.head8]...), name...)
	key[0] = tableContainerTotals
	if !c.totals.SeekGE(key) || string(c.totals.Key()) != string(key) {
		return h, errors.Join(errRecord, c.totals.Error())
	}
	if value, err = c.totals.ValueAndErr(); err != nil {
		return h, err
	}
	h.totals, err = decodeTotals(value)
	return h, err
}
