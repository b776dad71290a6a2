package cdn

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A flight is one fetch from the origin, and all who wait for it.
type flight struct {
	resource, key store.Key
	born          uint64 // the purge generation when it began
	ctx           context.Context
	cancel        context.CancelCauseFunc

	landed chan struct{} // closed when the outcome is known
	outcome
	fields http.Header // of the request, for Vary; set before it lands

	// The flights' mutex of the resource guards these.
	waiters int
	steady  bool         // goes on though nobody waits
	over    bool         // the body has come, or never will
	purged  bool         // not to be kept
	private bool         // not to be joined
	fill    *store.Key   // what it is filling
	entry   *store.Entry // released when all have left
}

// An outcome is what has come of a flight.
type outcome struct {
	kind  outcomeKind
	found *found // of shared
	err   error  // of broken
}

type outcomeKind int

const (
	unshared outcomeKind = iota // it is for one alone; the others ask for themselves
	shared                      // a response that all may have, perhaps still growing
	again                       // the store has what there is to have
	broken                      // the origin cannot be reached
)

// errDeserted ends a fetch that nobody waits for.
var errDeserted = errors.New("cdn: nobody waits any more")

// flights are all under way, by resource and then by key.
type flights [256]flightShard

type flightShard struct {
	mu        sync.Mutex
	resources map[store.Key][]*flight
	_         [48]byte // shards do not share a cache line
}

// collapseWait is how long a request waits for another's fetch to begin answering
// before one of those that wait asks for itself.
const collapseWait = time.Second

// begin makes a flight.
func (c *Cache) begin(resource, key store.Key) *flight {
	f := &flight{resource: resource, key: key, born: c.gens.last.Load(), landed: make(chan struct{}), waiters: 1}
	f.ctx, f.cancel = context.WithCancelCause(c.ctx)
	return f
}

// join finds the flight for key, or begins one. One that began before a purge
// of what it is for is not joined, nor is slow, which took too long.
func (c *Cache) join(resource, key store.Key, slow *flight, p *Profile) (f *flight, leads bool) {
	sh := &c.flights[resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, f := range sh.resources[resource] {
		if f.key != key || f.private {
			continue
		}
		if f == slow || p != nil && (c.gens.judge(f.born, p.Scopes, p.Key) != genFresh ||
			p.Composed != "" && c.gens.judge(f.born, []string{p.Composed}, p.Key) != genFresh) {
			break
		}
		f.waiters++
		return f, false
	}
	f = c.begin(resource, key)
	sh.put(f)
	return f, true
}

// solo begins a flight that nobody joins.
func (c *Cache) solo(resource, key store.Key) *flight {
	sh := &c.flights[resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f := c.begin(resource, key)
	f.private = true
	sh.put(f)
	return f
}

func (sh *flightShard) put(f *flight) {
	if sh.resources == nil {
		sh.resources = make(map[store.Key][]*flight)
	}
	// The latest is found first: what it brings is the newest.
	sh.resources[f.resource] = slices.Insert(sh.resources[f.resource], 0, f)
}

func (sh *flightShard) drop(f *flight) {
	rest := slices.DeleteFunc(sh.resources[f.resource], func(o *flight) bool { return o == f })
	if len(rest) == 0 {
		delete(sh.resources, f.resource)
	} else {
		sh.resources[f.resource] = rest
	}
}

// leave says that one who waited has what he wanted, or has gone. With the last
// the fetch ends, unless there is reason to finish it.
func (c *Cache) leave(f *flight) {
	sh := &c.flights[f.resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.waiters--
	if f.waiters > 0 {
		return
	}
	switch {
	case f.over:
		f.release()
	case !f.steady:
		sh.drop(f)
		f.cancel(errDeserted)
	}
}

// end says that nothing more will come of a flight.
func (c *Cache) end(f *flight) {
	sh := &c.flights[f.resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.drop(f)
	f.over, f.fill = true, nil
	if f.waiters == 0 {
		f.release()
	}
}

func (f *flight) release() {
	if f.entry != nil {
		f.entry.Release()
		f.entry = nil
	}
	f.cancel(nil)
}

// land tells those who wait what has come of it.
func (f *flight) land(o outcome) {
	f.outcome = o
	close(f.landed)
}

// purge ends what is kept for a resource, and has no fetch of it kept.
func (c *Cache) purge(resource store.Key, hard bool) {
	sh := &c.flights[resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, f := range sh.resources[resource] {
		f.purged = true
		if f.fill != nil {
			c.Store.Remove(*f.fill) // which keeps what is being filled from being kept
		}
	}
	delete(sh.resources, resource) // so that nobody joins them
	e := c.Store.Peek(resource)
	if e == nil {
		return
	}
	defer e.Release()
	d := c.heads.decode(resource, e)
	if hard || d == nil || !c.soften(resource, e, d) {
		c.Store.Remove(resource)
	}
}

// soften marks what is kept for a resource as stale. It reports whether it did.
func (c *Cache) soften(resource store.Key, e *store.Entry, d *decoded) bool {
	if d.index != nil {
		next := *d.index
		next.epoch++
		return c.Store.SetHead(resource, e, next.encode())
	}
	if d.response.softened {
		return true
	}
	next := d.response.copy()
	next.softened = true
	return c.Store.SetHead(resource, e, next.encode())
}

// A note remembers until when something holds for a key.
type note struct {
	key   store.Key
	until time.Time
}
