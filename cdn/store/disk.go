package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// disk is the second tier: two logs of segment files, both only ever appended
// to, under one budget. What nobody is known to want comes to the probation
// log. When room is needed, the oldest segment of the log that has more than
// its share is given up: of its records those used since they were written are
// written once more, to the main log, and the others go, those of probation
// remembered as ghosts, whose next coming is to the main log at once. That is
// S3-FIFO with segments for queues.
//
// Nothing is synced: what a crash tears does not verify, and what does not
// verify is not there.
type disk struct {
	s           *Store
	dir         string
	segmentSize int64
	lock        *os.File
	retry       time.Duration      // how long a failing disk is left alone
	fault       func(string) error // for tests: what the named operation meets
	doubtful    bool

	table     atomic.Pointer[map[uint32]*segment]
	lingering atomic.Int64 // bytes of segments deleted and still read
	written   atomic.Int64
	saved     atomic.Int64 // written, at the last snapshot
	evicted   atomic.Int64
	damaged   atomic.Int64
	pressed   atomic.Bool // segments had to go already
	isDown    atomic.Bool

	// mu guards all below, and is held while records are written: it is what
	// makes each log one log.
	mu       sync.Mutex
	order    []*segment // oldest first
	active   [2]*segment
	size     [2]int64 // of the segments of each log
	nextID   uint32
	gone     []*segment // the index may still speak of them
	retryAt  time.Time
	started  bool          // there are a snapshot and a journal
	snapshot uint32        // number of the last one and of the journal
	previous uint32        // number of the last one that is whole
	side     int64         // bytes of snapshots and journals
	made     chan struct{} // closed when the keeper has made room

	journalMu sync.Mutex // after mu, where both are held
	journal   *journal   // nil: not started

	syncMu sync.Mutex // before mu: a journal is being exchanged, or all are being synced

	ghostMu sync.Mutex
	ghost   ghosts

	wake chan struct{} // for the keeper
}

// The logs.
const (
	logProbation = 0
	logMain      = 1
)

var (
	errDown   = errors.New("store: the disk tier is out of use")
	errNoRoom = errors.New("store: no room on the disk")
)

// space is how many bytes of segments the budget allows, with what else there
// is on the disk and the next snapshot; mu is held.
func (d *disk) space() int64 {
	next := d.s.records()*placeLine + int64(len(d.order))*snapshotSegment + journalGrow + 4096
	return d.s.opt.Disk - d.side - next
}

// used is how many bytes the segments take; mu is held.
func (d *disk) used() int64 { return d.size[logProbation] + d.size[logMain] + d.lingering.Load() }

// bytes is what the tier takes on the disk.
func (d *disk) bytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used() + d.side
}

// maxBody is the size from which bodies are not kept.
func (d *disk) maxBody() int64 { return d.s.opt.Disk / 4 }

func (d *disk) segment(id uint32) *segment {
	g := (*d.table.Load())[id]
	if g == nil || !g.acquire() {
		return nil
	}
	return g
}

// alive reports whether a segment has not been given up.
func (d *disk) alive(id uint32) bool { return (*d.table.Load())[id] != nil }

// haste is how long a writer may wait for room.
type haste bool

const (
	hasty   haste = true  // not at all: it holds locks, or it is the keeper
	patient haste = false // for the keeper to save what is worth it
)

// room returns the segment to append to, with at least that many bytes left;
// mu is held, and is let go while a patient caller waits.
func (d *disk) room(log int, least int64, h haste) (*segment, error) {
	if least > d.segmentSize-segmentHeader {
		return nil, errNoRoom
	}
	if !d.retryAt.IsZero() && time.Now().Before(d.retryAt) {
		return nil, errDown
	}
	if g := d.active[log]; g != nil && g.length-g.tail >= least {
		return g, nil
	}
	if !d.started {
		if err := d.start(); err != nil {
			return nil, d.fail(err)
		}
	}
	if h == patient && d.short() {
		d.await()
		if g := d.active[log]; g != nil && g.length-g.tail >= least {
			return g, nil
		}
	}
	space := d.space()
	for d.used()+d.segmentSize > space {
		d.pressed.Store(true)
		g := d.victim(space)
		if g == nil || d.lingering.Load() > space/2 {
			return nil, errNoRoom
		}
		if err := d.drop(g); err != nil {
			return nil, err
		}
	}
	var nonce [8]byte
	rand.Read(nonce[:])
	g, err := createSegment(d, d.nextID, binary.LittleEndian.Uint64(nonce[:]), log)
	if err != nil {
		return nil, d.fail(err)
	}
	d.nextID++
	d.works()
	d.admit(g)
	d.active[log] = g
	if d.short() {
		d.kick()
	}
	return g, nil
}

// short reports whether the keeper has to make room: of two segments, so that
// one is left for what it writes again. mu is held.
func (d *disk) short() bool {
	space := d.space()
	if d.used()+2*d.segmentSize <= space {
		return false
	}
	d.pressed.Store(true)
	return d.lingering.Load() <= space/2 && d.victim(space) != nil
}

// await gives the keeper some time to make room; mu is held, and let go
// meanwhile.
func (d *disk) await() {
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	for d.short() {
		if d.made == nil {
			d.made = make(chan struct{})
		}
		made := d.made
		d.kick()
		d.mu.Unlock()
		over := false
		select {
		case <-made:
		case <-timer.C:
			over = true
		case <-d.s.stop:
			over = true
		}
		d.mu.Lock()
		if over {
			return
		}
	}
}

// admit puts a segment into the table; mu is held.
func (d *disk) admit(g *segment) {
	d.order = append(d.order, g)
	d.size[g.log] += g.length
	table := maps.Clone(*d.table.Load())
	table[g.id] = g
	d.table.Store(&table)
}

// victim is the segment to give up next, or nil; mu is held.
func (d *disk) victim(space int64) *segment {
	logs := [2]int{logMain, logProbation}
	if d.size[logProbation] > max(space/8, 2*d.segmentSize) {
		logs = [2]int{logProbation, logMain}
	}
	for _, log := range logs {
		for _, g := range d.order {
			if g.log == log && g != d.active[log] {
				return g
			}
		}
	}
	return nil
}

// drop gives up a segment; mu is held. That it is gone is on the record before
// the index forgets what was in it: else a Remove, finding nothing to remove,
// would leave no line, and a crash would bring back what it removed.
func (d *disk) drop(g *segment) error {
	if err := d.note(journalEntry{kind: lineDropped, seq: uint64(g.id)}); err != nil {
		d.wipe(err)
		return errDown
	}
	os.Remove(g.path)
	d.order = slices.DeleteFunc(d.order, func(o *segment) bool { return o == g })
	d.size[g.log] -= g.length
	d.dismiss(g)
	return nil
}

// dismiss takes a segment out of the table and leaves the index to the keeper;
// mu is held.
func (d *disk) dismiss(g *segment) {
	table := maps.Clone(*d.table.Load())
	delete(table, g.id)
	d.table.Store(&table)
	d.gone = append(d.gone, g)
	d.lingering.Add(g.length)
	g.release()
	d.kick()
}

// note writes a line to the journal.
func (d *disk) note(e journalEntry) error {
	d.journalMu.Lock()
	defer d.journalMu.Unlock()
	if d.journal == nil {
		return nil // nothing of this tier would be read after a crash
	}
	if err := d.fault("note"); err != nil {
		return err
	}
	return d.journal.write(e)
}

// forget makes it certain that no record of k up to seq is ever read again.
// Where that cannot be written down, the whole tier is given up: deleting
// works where writing does not.
func (d *disk) forget(k Key, seq uint64) {
	if err := d.note(journalEntry{lineRemoved, seq, k}); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.wipe(err)
	}
}

// wipe gives up all that is on the disk, snapshots first: without them, nothing
// else is believed. mu is held.
func (d *disk) wipe(why error) {
	d.s.opt.Log.Error("edge store: cannot record removals, so the disk tier is emptied", "err", why)
	d.journalMu.Lock()
	if d.journal != nil {
		d.journal.file.Close()
		d.journal = nil
	}
	d.journalMu.Unlock()
	d.started = false
	d.side = 0
	for _, name := range d.files("index-") {
		if err := os.Remove(name); err != nil {
			d.s.opt.Log.Error("edge store: cannot delete a snapshot; delete it before the next start", "err", err)
		}
	}
	for _, g := range d.order {
		os.Remove(g.path)
		d.dismiss(g)
	}
	d.order, d.active, d.size = nil, [2]*segment{}, [2]int64{}
	for _, name := range d.files("removed-") {
		os.Remove(name)
	}
	d.fail(why)
}

// fail takes the tier out of use for a while, as far as writing goes; mu is
// held.
func (d *disk) fail(err error) error {
	d.retryAt = time.Now().Add(d.retry)
	if !d.isDown.Swap(true) {
		d.s.opt.Log.Error("edge store: the disk cannot be written; what does not fit in memory is passed through", "err", err, "retry", d.retry)
	}
	return errDown
}

// works ends what fail began; mu is held.
func (d *disk) works() {
	d.retryAt = time.Time{}
	if d.isDown.Swap(false) {
		d.s.opt.Log.Info("edge store: the disk can be written again")
	}
}

// haunted reports whether k is a ghost, and lays it to rest.
func (d *disk) haunted(k Key) bool {
	d.ghostMu.Lock()
	defer d.ghostMu.Unlock()
	return d.ghost.take(k)
}

func (d *disk) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// changed reports whether there is something that the last snapshot does not
// say.
func (d *disk) changed() bool {
	return d.journalLength() > 0 || d.written.Load() != d.saved.Load()
}

// journalLength is how many bytes of removals there are since the snapshot.
func (d *disk) journalLength() int64 {
	d.journalMu.Lock()
	defer d.journalMu.Unlock()
	if d.journal == nil {
		return 0
	}
	return d.journal.off
}

// close writes a snapshot and lets go of the files.
func (d *disk) close() error {
	d.save()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.order {
		d.lingering.Add(g.length)
		g.release()
	}
	d.order, d.active, d.size, d.started = nil, [2]*segment{}, [2]int64{}, false
	d.table.Store(&map[uint32]*segment{})
	d.retryAt = time.Now().Add(1 << 62) // nothing is written any more
	d.journalMu.Lock()
	if d.journal != nil {
		d.journal.file.Close()
		d.journal = nil
	}
	d.journalMu.Unlock()
	if !d.isDown.Load() {
		os.Remove(filepath.Join(d.dir, "running"))
	}
	return errors.Join(syncDirectory(d.dir), d.lock.Close())
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
