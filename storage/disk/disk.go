// Package disk is the embedded engine: a storage.Backend that keeps everything
// below one directory of one machine, and answers a change only when it would
// survive a power cut.
//
// The index is an ordered map (Pebble) in which a container is one stretch of
// keys and the order of keys is the order of listings. One goroutine owns all
// changes: it takes those that wait, judges each by what is there at that
// moment, keeps the totals exact, commits them with one sync, and then answers
// them all. The bytes of objects are blobs, immutable and counted by the rows
// that name them, so a copy or a rename moves none; small ones are in the
// index, larger ones in a file each. docs/format.md describes all that is on
// disk.
//
// A change goes: Create (writer.go) → commit loop (commit.go) → transaction
// (tx.go) → view (view.go), which is what readers see.
package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// Names in a data directory. Others may be there too, and are left alone.
const (
	fileFormat    = "FORMAT"
	fileLock      = "LOCK"
	fileBallast   = "BALLAST"
	dirMeta       = "meta"
	dirBlobs      = "blobs"
	dirStaging    = "staging"
	dirCradles    = "cradles"
	dirQuarantine = "quarantine"
	dirSnapshots  = "snapshots"
)

// A Backend is an open store.
type Backend struct {
	dir   string
	o     Options
	log   *slog.Logger
	lock  *os.File
	db    *pebble.DB
	space *space

	view    atomic.Pointer[view]
	heads   *heads
	footers *footers
	ids     *ids
	shelves *shelves
	stages  stages
	unnamed bool     // files can be had without a name
	cradles *cradles // where; nil if they cannot

	queue    chan *change
	loopDone chan struct{}

	// Owned by the commit loop.
	state   state
	epoch   uint64
	deletes map[uint64]int // rows removed since the last compaction, by container
	moving  []*relocation
	parked  []*change // they wait for one of moving to end

	reclaimer   *reclaimer
	compactions chan uint64
	background  sync.WaitGroup
	stop        context.CancelFunc // ends the background

	life    sync.RWMutex // guards closed
	closed  bool
	readers sync.WaitGroup // calls in the index; added to under life

	failure  atomic.Pointer[error]
	damages  atomic.Int64
	spools   atomic.Uint64 // files taken from staging
	snapshot atomic.Uint64 // number of the latest
}

var (
	_ storage.Backend = (*Backend)(nil)
	_ storage.Copier  = (*Backend)(nil)
	_ storage.Mover   = (*Backend)(nil)
	_ storage.Expirer = (*Backend)(nil)
	_ storage.Journal = (*Backend)(nil)
	_ storage.Stager  = (*Backend)(nil)

	_ storage.TreeMover = (*Backend)(nil)
)

// ErrLocked is the error of opening a data directory that a process has open.
var ErrLocked = errors.New("data directory is in use by another process")

// Open opens the store in a directory, and makes it if there is none. After a
// crash it brings the store back to its last acknowledged change.
func Open(dir string, o Options) (_ *Backend, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open %s: %w", dir, err)
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	lock, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		dir: dir, o: o, log: o.Log, lock: lock,
		heads:       newHeads(headsBudget),
		footers:     newFooters(o.VerifyAgain, footersBudget),
		shelves:     newShelves(filepath.Join(dir, dirBlobs), o.Sync == SyncFull),
		queue:       make(chan *change, groupChanges),
		loopDone:    make(chan struct{}),
		deletes:     make(map[uint64]int),
		compactions: make(chan uint64, 1),
	}
	if err := b.start(); err != nil {
		if b.db != nil {
			b.db.Close()
		}
		lock.Close()
		return nil, err
	}
	return b, nil
}

// start opens what a Backend is made of, from the bottom up.
func (b *Backend) start() (err error) {
	if b.space, err = newSpace(b.dir, b.o); err != nil {
		return err
	}
	if b.db, err = openIndex(b.dir, b.o, b.fail, b.space); err != nil {
		return err
	}
	reclaims, err := b.recover()
	if err != nil {
		return err
	}
	b.epoch = 1
	b.heads.publishing.Store(b.epoch)
	b.show(b.epoch, b.state.version)
	b.reclaimer = newReclaimer(b)
	b.reclaimer.add(reclaims)
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	go b.commitLoop()
	go b.reclaimer.run()
	b.background.Go(func() { b.compactLoop(ctx) })
	if b.o.ScrubRate > 0 {
		b.background.Go(func() { b.scrubLoop(ctx) })
	}
	return nil
}

// Close waits for the changes that were begun, and closes the store. Readers
// that are open stay good; everything else is answered storage.ErrUnavailable
// from then on.
func (b *Backend) Close() error {
	b.life.Lock()
	if b.closed {
		b.life.Unlock()
		return nil
	}
	b.closed = true
	close(b.queue)
	b.life.Unlock()

	<-b.loopDone
	b.stop()
	b.background.Wait()
	b.reclaimer.close()
	b.readers.Wait()
	b.view.Load().release()
	err := b.db.Close()
	return errors.Join(err, b.lock.Close())
}

// enter reports whether the index may be used, and keeps it open until leave.
func (b *Backend) enter() bool {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.closed {
		return false
	}
	b.readers.Add(1)
	return true
}

func (b *Backend) leave() { b.readers.Done() }

// fail stops the Backend for good.
func (b *Backend) fail(err error) {
	if b.failure.CompareAndSwap(nil, &err) {
		b.o.Fatal(err)
	}
}

// broken returns why the Backend has stopped, if it has.
func (b *Backend) broken() error {
	if err := b.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// damaged tells the operator that content was found damaged.
func (b *Backend) damaged(p storage.Path, id uint64, err error) {
	b.damages.Add(1)
	b.log.Error("stored data is damaged", "path", p.String(), "blob", id, "error", err)
}
