package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/internal/durable"
)

// A reclaimer unlinks the files that no row names anymore. That they are to go
// is in the index, in the same batch as the change that freed them, until they
// are gone for good; so a crash forgets none. Who has such a file open goes on
// reading it.
type reclaimer struct {
	b *Backend

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	queue   []uint64
	pins    int  // snapshots that may still want the files
	working bool // on what was taken from the queue
	closed  bool
	done    chan struct{}
}

func newReclaimer(b *Backend) *reclaimer {
	r := &reclaimer{b: b, done: make(chan struct{})}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// add hands over files whose reclaim records are durable.
func (r *reclaimer) add(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, ids...)
	r.changed.Broadcast()
}

// pin keeps all files from then on, until unpin.
func (r *reclaimer) pin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pins++
	for r.working {
		r.changed.Wait()
	}
}

func (r *reclaimer) unpin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pins--
	r.changed.Broadcast()
}

// idle waits until there is nothing to reclaim. It is for tests.
func (r *reclaimer) idle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.working || len(r.queue) > 0 {
		r.changed.Wait()
	}
}

func (r *reclaimer) close() {
	r.mu.Lock()
	r.closed = true
	r.changed.Broadcast()
	r.mu.Unlock()
	<-r.done
}

// reclaimAtOnce bounds a round, and with it how long a snapshot or Close waits.
const reclaimAtOnce = 1024

func (r *reclaimer) run() {
	defer close(r.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for !r.closed && (r.pins > 0 || len(r.queue) == 0) {
			r.changed.Wait()
		}
		if r.closed {
			return // the records remain, and are found at the next start
		}
		n := min(len(r.queue), reclaimAtOnce)
		round := r.queue[:n:n]
		if r.queue = r.queue[n:]; len(r.queue) == 0 {
			r.queue = nil
		}
		r.working = true
		r.mu.Unlock()
		err := r.b.reclaim(round)
		r.mu.Lock()
		r.working = false
		r.changed.Broadcast()
		if err != nil {
			r.b.log.Error("files could not be reclaimed; they will be at the next start", "error", err)
		}
	}
}

// reclaim unlinks files, makes that durable, and only then forgets them.
func (b *Backend) reclaim(round []uint64) error {
	batch := b.db.NewBatch()
	defer batch.Close()
	touched := make(map[uint64]bool)
	var errs error
	for _, id := range round {
		b.footers.forget(id)
		if err := os.Remove(blobPath(b.dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, err)
			continue
		}
		touched[id>>shelfShift] = true
		batch.Delete(idKey(tableReclaim, id), nil)
	}
	for n := range touched {
		if b.o.Sync == SyncFull {
			err := durable.SyncDir(filepath.Join(b.dir, dirBlobs, shelfName(n)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				b.fail(err)
				return err
			}
		}
		// Nothing is put on a shelf below that of the next id, but for what
		// is in flight, and that keeps it open.
		if n < b.ids.peek()>>shelfShift {
			b.shelves.removeEmpty(n)
		}
	}
	return errors.Join(errs, batch.Commit(pebble.NoSync))
}

// pendingReclaims reads what a former run did not get to.
func pendingReclaims(r pebble.Reader) (ids []uint64, err error) {
	err = scan(r, tableReclaim, func(key, _ []byte) error {
		id, ok := splitID(key)
		if !ok {
			return errRecord
		}
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// scan calls f with each key and value of a table, in order.
func scan(r pebble.Reader, table byte, f func(key, value []byte) error) error {
	return scanFrom(r, []byte{table}, []byte{table + 1}, f)
}

func scanFrom(r pebble.Reader, lower, upper []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = f(it.Key(), value)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// compactAfter is how many rows of a container may be removed before the index
// is asked to sweep up their tombstones, which every listing from the front
// must step over.
const compactAfter = 200_000

// noteDeletes counts removals, and has containers compacted that had many.
func (b *Backend) noteDeletes(deleted map[uint64]int) {
	for id, n := range deleted {
		if b.deletes[id] += n; b.deletes[id] < compactAfter {
			continue
		}
		delete(b.deletes, id)
		select {
		case b.compactions <- id:
		default: // one is waiting; this container's turn comes with its next
		}
	}
}

// compactLoop compacts containers one at a time, until ctx ends.
func (b *Backend) compactLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-b.compactions:
			err := b.db.Compact(ctx, idKey(tableRow, id), idKey(tableRow, id+1), false)
			if err != nil && ctx.Err() == nil {
				b.log.Warn("compaction of a container failed", "container", id, "error", err)
			}
		}
	}
}

// dropTombstones covers the rows of a container that is removed, empty as it
// is, with one tombstone in place of many.
func (t *tx) dropTombstones(id uint64) {
	if t.b.deletes[id]+t.deleted[id] > 1000 {
		t.batch.DeleteRange(idKey(tableRow, id), idKey(tableRow, id+1), nil)
	}
	delete(t.b.deletes, id)
	delete(t.deleted, id)
}
