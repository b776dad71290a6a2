package disk

import (
	"errors"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// A tx is one turn of the commit loop: the changes of a group, each judged by
// what those before it have left.
type tx struct {
	b     *Backend
	batch *pebble.Batch
	state state

	// What the batch says that the index does not say yet.
	rows   map[string]*row // by key; nil if removed
	blobs  map[uint64]*blob
	drafts map[storage.Path]*draft

	released map[uint64]struct{} // file blobs that now have their record, or are to be reclaimed
	reclaim  []uint64            // to be unlinked once this is durable
	deleted  map[uint64]int      // rows removed, by container
	then     func()              // called when this is durable; nil for nothing
}

// A draft is an account or container in the making.
type draft struct {
	before, now *head // nil if there is none
	changed     bool
	parent      uint64 // id of a container's account
	path        storage.Path
}

func (b *Backend) begin(weight int) *tx {
	return &tx{
		b: b, batch: b.db.NewBatchWithSize(weight + 1024), state: b.state,
		rows:     make(map[string]*row),
		blobs:    make(map[uint64]*blob),
		drafts:   make(map[storage.Path]*draft),
		released: make(map[uint64]struct{}),
	}
}

// place returns the draft of an account or container, whose now is nil if it
// is not there.
func (t *tx) place(p storage.Path) (*draft, error) {
	if d := t.drafts[p]; d != nil {
		return d, nil
	}
	d := &draft{path: p}
	if p.IsContainer() {
		a, err := t.place(p.Parent())
		if err != nil {
			return nil, err
		}
		if a.now == nil {
			return d, nil // not kept: the account may be made in this very group
		}
		d.parent = a.now.id
	}
	// Nobody but this loop publishes, so what is published is the latest.
	h, ok := t.b.heads.get(p, t.b.epoch)
	if !ok {
		var err error
		if h, err = readHead(t.b.db, p, d.parent); err != nil {
			return nil, err
		}
	}
	d.before, d.now = h, h
	t.drafts[p] = d
	return d, nil
}

// edit returns the head of a draft, to be changed.
func (d *draft) edit() *head {
	if !d.changed || d.now == nil {
		d.changed = true
		fresh := new(head)
		if d.now != nil {
			*fresh = *d.now
		}
		d.now = fresh
	}
	return d.now
}

// container returns the draft of a container that is there.
func (t *tx) container(p storage.Path) (*draft, error) {
	d, err := t.place(storage.Path{Account: p.Account, Container: p.Container})
	if err == nil && d.now == nil {
		err = fs.ErrNotExist
	}
	return d, err
}

// writeRecord puts the record of a place into the batch.
func (t *tx) writeRecord(d *draft) {
	key, _ := placeKeys(d.path, d.parent, 0)
	t.batch.Set(key, d.now.record.encode(), nil)
}

// writeTotals puts the totals of all places that changed into the batch.
func (t *tx) writeTotals() {
	for p, d := range t.drafts {
		if d.changed && d.now != nil {
			_, key := placeKeys(p, d.parent, d.now.id)
			t.batch.Set(key, d.now.totals.encode(), nil)
		}
	}
}

// row returns the row under a key, expired or not; nil if there is none. While
// it is being moved there is only the error that has a change wait.
func (t *tx) row(key []byte, meta bool) (*row, error) {
	if len(t.b.moving) > 0 && t.b.movingRow(key) {
		return nil, errMoving
	}
	if r, ok := t.rows[string(key)]; ok {
		return r, nil
	}
	return readRow(t.b.db, key, meta)
}

// live returns the row of an object that is there and not expired.
func (t *tx) live(p storage.Path) (c *draft, r *row, err error) {
	if c, err = t.container(p); err != nil {
		return nil, nil, err
	}
	r, err = t.row(rowKey(c.now.id, p.Object), true)
	if err == nil && (r == nil || r.expired(time.Now())) {
		err = fs.ErrNotExist
	}
	return c, r, err
}

// hold reports whether c, but for its quota, is met where this version is, or
// nothing if there is false.
func hold(c storage.Cond, there bool, version uint64) error {
	if c.Absent && there || c.Version != 0 && (!there || version != c.Version) {
		return storage.ErrPrecondition
	}
	return nil
}

// within reports whether a container and its account may grow by so much.
// The account grows by another number of bytes than the container if what makes
// room there stays in the account.
func within(q *storage.Quota, c, a totals, objects, bytes, account int64) error {
	over := func(bound, now, by int64) bool { return bound >= 0 && by > 0 && now+by > bound }
	if q != nil && (over(q.ContainerBytes, c.bytes, bytes) ||
		over(q.ContainerObjects, c.objects, objects) ||
		over(q.AccountBytes, a.bytes, account)) {
		return storage.ErrQuota
	}
	return nil
}

// A slot is where a row is to go, judged and found free.
type slot struct {
	path      storage.Path
	key       []byte
	container *draft
	account   *draft
	old       *row // what is there now, expired or not

	keep *slot // where old is to be kept; nil if it is not
	kept *row  // old as it is to be kept
}

// slot finds the place for a row at p, which c must allow. Of what else this
// same change will do it is told how much that adds to the totals of the
// container and of the account.
func (t *tx) slot(p storage.Path, size int64, c storage.Cond) (s slot, err error) {
	s.path = p
	if s.container, err = t.container(p); err != nil {
		return s, err
	}
	if s.account, err = t.place(p.Parent().Parent()); err != nil {
		return s, err
	}
	s.key = rowKey(s.container.now.id, p.Object)
	keeps := c.Keep != nil && c.Keep.Old != nil
	if s.old, err = t.row(s.key, keeps); err != nil {
		return s, err
	}
	there := s.old != nil && !s.old.expired(time.Now())
	if err := hold(c, there, s.version()); err != nil {
		return s, err
	}
	if keeps && s.old != nil {
		if err := t.keepOld(&s, c.Keep); err != nil {
			return s, err
		}
	}
	objects, bytes := int64(1), size
	if s.old != nil {
		objects, bytes = 0, size-s.old.size
	}
	grows := bytes // what the account does
	if s.keep != nil {
		grows = size
		if c.Keep.Counted {
			bytes = size
		}
	}
	return s, within(c.Quota, s.container.now.totals, s.account.now.totals, objects, bytes, grows)
}

// keepOld finds the place where what is in a slot is to be kept.
func (t *tx) keepOld(s *slot, k *storage.Keep) error {
	as := k.Old(handOut(s.old.info(s.path)))
	if as.Path == (storage.Path{}) {
		return nil
	}
	place, err := t.keeper(as.Path, s.old.size)
	if err != nil {
		return err
	}
	r := *s.old
	r.setInfo(r.typ, as.DeleteAt, as.Meta)
	s.keep, s.kept = &place, &r
	return nil
}

// keeper is a slot for what is to be kept.
func (t *tx) keeper(p storage.Path, size int64) (slot, error) {
	s, err := t.slot(p, size, storage.Cond{})
	if errors.Is(err, fs.ErrNotExist) {
		err = storage.ErrNoArchive
	}
	if err == nil {
		err = t.canDisplace(s)
	}
	return s, err
}

func (s *slot) version() uint64 {
	if s.old == nil {
		return 0
	}
	return s.old.version
}

func (s *slot) modified() int64 {
	if s.old == nil {
		return 0
	}
	return s.old.modified
}

// displace drops the bytes of what is in a slot, or keeps them elsewhere, before
// other bytes go there.
func (t *tx) displace(s slot) error {
	if s.keep != nil {
		if err := t.displace(*s.keep); err != nil {
			return err
		}
		t.fill(*s.keep, s.kept, storage.OpPut)
		return nil
	}
	if s.old == nil {
		return nil
	}
	return t.drop(s.old.blob)
}

// canDisplace fails where displace would, before anything is written that it
// would leave by half.
func (t *tx) canDisplace(s slot) error {
	if s.old == nil || s.old.blob == 0 || s.keep != nil {
		return nil
	}
	_, err := t.blob(s.old.blob)
	return err
}

// fill puts a row into a slot, in place of what is there, and gives it its
// version.
func (t *tx) fill(s slot, r *row, op storage.Op) {
	objects, bytes := int64(1), r.size
	if s.old != nil {
		objects, bytes = 0, r.size-s.old.size
		if s.old.expires && (!r.expires || r.deleteAt != s.old.deleteAt) {
			t.batch.Delete(expiryKey(s.old.deleteAt, s.container.now.id, s.path.Object), nil)
		}
	}
	r.version = t.log(op, s.path)
	if r.expires {
		t.batch.Set(expiryKey(r.deleteAt, s.container.now.id, s.path.Object), encodePlace(s.path), nil)
	}
	t.batch.Set(s.key, r.encode(), nil)
	t.rows[string(s.key)] = r
	t.count(s.container, s.account, objects, bytes)
}

// count adds to the totals of a container and its account.
func (t *tx) count(c, a *draft, objects, bytes int64) {
	if objects == 0 && bytes == 0 {
		return
	}
	for _, d := range [...]*draft{c, a} {
		h := d.edit()
		h.objects += objects
		h.bytes += bytes
	}
}

// removeRow takes an object away.
func (t *tx) removeRow(c *draft, p storage.Path, r *row) error {
	if err := t.drop(r.blob); err != nil {
		return err
	}
	return t.takeRow(c, p, r)
}

// takeRow takes the row of an object away, and leaves its bytes alone.
func (t *tx) takeRow(c *draft, p storage.Path, r *row) error {
	a, err := t.place(storage.Path{Account: p.Account})
	if err != nil {
		return err
	}
	key := rowKey(c.now.id, p.Object)
	t.batch.Delete(key, nil)
	t.rows[string(key)] = nil
	if r.expires {
		t.batch.Delete(expiryKey(r.deleteAt, c.now.id, p.Object), nil)
	}
	t.count(c, a, -1, -r.size)
	if t.deleted == nil {
		t.deleted = make(map[uint64]int)
	}
	t.deleted[c.now.id]++
	t.log(storage.OpRemove, p)
	return nil
}

// log enters a change into the journal and returns its version.
func (t *tx) log(op storage.Op, p storage.Path) uint64 {
	c := storage.Change{Op: op, Path: p}
	t.enter(&c)
	return c.Version
}

// enter gives a change its version and time, and enters it into the journal.
func (t *tx) enter(c *storage.Change) {
	t.state.version++
	c.Version, c.Time = t.state.version, tickTime(max(t.state.clock, ticks(time.Now())))
	t.batch.Set(idKey(tableJournal, c.Version), encodeChange(c), nil)
}

// blob returns the record of a blob; nil if there is none, which is damage.
func (t *tx) blob(id uint64) (*blob, error) {
	if r, ok := t.blobs[id]; ok {
		return r, nil
	}
	return readBlob(t.b.db, id)
}

// share adds a row to those that name a blob.
func (t *tx) share(id uint64) error {
	if id == 0 {
		return nil
	}
	r, err := t.blob(id)
	if err != nil {
		return err
	}
	if r == nil {
		return storage.ErrDamaged
	}
	more := *r
	more.refs++
	t.setBlob(id, &more)
	return nil
}

// drop takes a row from those that name a blob, and the blob with the last.
func (t *tx) drop(id uint64) error {
	if id == 0 {
		return nil
	}
	r, err := t.blob(id)
	if err != nil {
		return err
	}
	switch {
	case r == nil: // damage, but none that should keep anyone from deleting
		t.b.log.Error("a row names a blob that is not there", "blob", id)
	case r.refs > 1:
		less := *r
		less.refs--
		t.setBlob(id, &less)
	default:
		t.batch.Delete(idKey(tableBlob, id), nil)
		t.blobs[id] = nil
		if r.home == homeInline {
			t.batch.DeleteSized(idKey(tableInline, id), uint32(inlineHead+r.size), nil)
		} else {
			t.abandon(id)
		}
	}
	return nil
}

func (t *tx) setBlob(id uint64, r *blob) {
	t.batch.Set(idKey(tableBlob, id), r.encode(), nil)
	t.blobs[id] = r
}

// abandon leaves a file to the reclaimer.
func (t *tx) abandon(id uint64) {
	t.batch.Set(idKey(tableReclaim, id), []byte{recordVersion, homeFile}, nil)
	t.reclaim = append(t.reclaim, id)
	t.released[id] = struct{}{}
}
