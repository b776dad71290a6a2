package gateway

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/storage"
)

// records remember what is kept with accounts and containers, as far as the
// gateway needs it for requests about what is in them: so that these need not
// look it up each time. The Store tells of every change before whoever made it
// is answered, so what is remembered is never older than what anybody knows.
type records struct {
	changes atomic.Uint64 // counts what was told

	mu    sync.RWMutex
	known map[storage.Path]storage.Meta // nil for what is not there
}

// maxRecords is how many are remembered; beyond it all are forgotten, which is
// rare, and cheap to make up for.
const maxRecords = 10_000

// watch has changes that s makes known to the records.
func (r *records) watch(s *storage.Store) {
	r.known = make(map[storage.Path]storage.Meta)
	s.Watch(func(c storage.Change) {
		if c.Path.IsObject() {
			return
		}
		r.changes.Add(1)
		r.mu.Lock()
		delete(r.known, c.Path)
		if c.Path.IsAccount() {
			clear(r.known) // its containers may have come or gone with it
		}
		r.mu.Unlock()
	})
}

// meta is what is kept with an account or a container, nil if that is not there.
// It is for the gateway's own eyes, and not to be changed.
func (c *call) meta(p storage.Path) storage.Meta {
	r := &c.g.records
	r.mu.RLock()
	m, ok := r.known[p]
	r.mu.RUnlock()
	if ok {
		return m
	}
	before := r.changes.Load()
	in, err := c.g.Store.Stat(c.ownEyes(), p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes.Load() == before { // else it may have changed since we looked
		if len(r.known) >= maxRecords {
			clear(r.known)
		}
		r.known[p] = in.Meta
	}
	return in.Meta
}
