package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// At most so much goes into one commit: enough to share its sync among all who
// wait, little enough that the first of them does not wait for the last.
const (
	groupChanges = 1024
	groupBytes   = 8 << 20
)

// A change waits for its turn in the commit loop.
type change struct {
	ctx    context.Context
	apply  func(*tx) error // judges, then writes; if it fails it has written nothing
	weight int             // bytes it will write, about
	alone  bool            // takes a turn of its own, which it fails with
	always bool            // also if the store has failed: to say so to who waits for this
	err    error
	done   chan struct{}
}

// submit hands a change to the commit loop and waits until it is durable and
// seen by every reader, or refused.
func (b *Backend) submit(ctx context.Context, weight int, apply func(*tx) error) error {
	return b.await(&change{ctx: ctx, apply: apply, weight: weight})
}

func (b *Backend) await(c *change) error {
	c.done = make(chan struct{})
	if err := b.enqueue(c); err != nil {
		return err
	}
	// Once in the queue it may become durable at any moment, so even if ctx
	// ends there is nothing true to say before the loop has spoken.
	<-c.done
	return c.err
}

func (b *Backend) enqueue(c *change) error {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.closed || b.broken() != nil && !c.always {
		return storage.ErrUnavailable
	}
	select {
	case b.queue <- c:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// commitLoop owns all changes. What it decides is decided in one order, so
// conditions, quotas and totals need no locks and are exact.
func (b *Backend) commitLoop() {
	defer close(b.loopDone)
	group := make([]*change, 0, groupChanges)
	var next *change // taken from the queue, but not fit for the group before
	for {
		c := next
		if next = nil; c == nil {
			var ok bool
			if c, ok = <-b.queue; !ok {
				break
			}
		}
		group = append(group[:0], c)
		weight := c.weight
	gather:
		for len(group) < groupChanges && weight < groupBytes && !c.alone {
			select {
			case c, ok := <-b.queue:
				if !ok {
					break gather
				}
				if c.alone {
					next = c
					break gather
				}
				group = append(group, c)
				weight += c.weight
			default:
				break gather
			}
		}
		moving := len(b.moving)
		b.turn(group, weight)
		clear(group)
		if len(b.moving) < moving || b.broken() != nil {
			b.unpark()
		}
	}
	for _, c := range b.parked {
		c.err = storage.ErrUnavailable
		close(c.done)
	}
}

// turn commits a group and answers it, but for those that have to wait.
func (b *Backend) turn(group []*change, weight int) {
	b.commit(group, weight)
	for _, c := range group {
		if c.err == errMoving {
			b.parked = append(b.parked, c)
		} else {
			close(c.done)
		}
	}
}

// unpark takes up the changes that have waited for a tree to be moved.
func (b *Backend) unpark() {
	parked := b.parked
	b.parked = nil
	for len(parked) > 0 {
		n, weight := 1, parked[0].weight
		for !parked[0].alone && n < len(parked) && n < groupChanges && weight < groupBytes && !parked[n].alone {
			weight += parked[n].weight
			n++
		}
		b.turn(parked[:n], weight)
		parked = parked[n:]
	}
}

// commit makes one durable step of a group of changes.
func (b *Backend) commit(group []*change, weight int) {
	t := b.begin(weight)
	defer t.batch.Close()
	for _, c := range group {
		if c.err = c.ctx.Err(); c.err == nil {
			c.err = c.apply(t)
		}
	}
	err := b.broken()
	if group[0].alone && group[0].err != nil {
		t.batch.Reset() // it may have failed halfway
	}
	if err == nil && !t.batch.Empty() {
		err = b.finish(t)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, storage.ErrUnavailable) {
		b.fail(fmt.Errorf("commit: %w", err))
	}
	for _, c := range group {
		c.err = storage.ErrUnavailable
	}
}

// finish commits what a transaction has gathered, and lets it be seen.
func (b *Backend) finish(t *tx) error {
	t.writeTotals()
	t.trimJournal()
	t.state.watermark = b.ids.watermark(t.released)
	t.state.next = b.ids.peek()
	t.batch.Set(keyState, t.state.encode(), nil)
	if err := t.batch.Commit(b.writeOptions()); err != nil {
		return err
	}
	// When the write-ahead log fails, Pebble says so to its logger only.
	if err := b.broken(); err != nil {
		return err
	}
	b.state = t.state
	for id := range t.released {
		b.ids.release(id)
	}
	b.epoch++
	b.heads.publishing.Store(b.epoch)
	for p, d := range t.drafts {
		if d.changed {
			b.heads.publish(p, b.epoch, d.before, d.now)
		}
	}
	if t.then != nil {
		t.then()
	}
	b.show(b.epoch, b.state.version)
	b.reclaimer.add(t.reclaim)
	b.noteDeletes(t.deleted)
	return nil
}

func (b *Backend) writeOptions() *pebble.WriteOptions {
	if b.o.Sync == SyncNone {
		return pebble.NoSync
	}
	return pebble.Sync
}

// tick returns the time for a change: the clock's, in steps of 10 µs, but
// always later than any given out before, and than old.
func (t *tx) tick(old int64) int64 {
	now := max(ticks(time.Now()), t.state.clock+1)
	t.state.clock = now
	return max(now, old+1)
}
