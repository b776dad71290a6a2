package disk

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/storage"
)

// A head is all that Stat says of an account or a container. It never changes:
// each commit makes new ones of those it touched.
type head struct {
	record
	totals
}

func (h *head) info(p storage.Path) storage.Info {
	return storage.Info{
		Path: p, Version: h.version, Size: h.bytes, Objects: h.objects, Containers: h.containers,
		Created: tickTime(h.created), ModTime: tickTime(h.modified), Meta: h.meta,
	}
}

// heads keeps the heads in use in memory, because a Store asks for those of
// account and container with every request.
//
// A commit publishes its heads before readers see the rows it wrote (see
// view), so each entry also has the head before: a reader whose epoch is not
// yet that of the entry takes the older, and thus sees totals and rows of the
// same moment.
type heads struct {
	seed       maphash.Seed
	shards     [16]headShard
	limit      int           // bytes in a shard
	publishing atomic.Uint64 // epoch of the latest publish that has begun
}

type headShard struct {
	mu      sync.Mutex // guards what follows
	entries map[storage.Path]*headEntry
	bytes   int
}

type headEntry struct {
	now, before *head // nil if there is none
	epoch       uint64
	cost        int
}

func newHeads(limit int) *heads {
	h := &heads{seed: maphash.MakeSeed(), limit: limit / 16}
	for i := range h.shards {
		h.shards[i].entries = make(map[storage.Path]*headEntry)
	}
	return h
}

func (h *heads) shard(p storage.Path) *headShard {
	n := maphash.String(h.seed, p.Container) ^ maphash.String(h.seed, p.Account)>>7
	return &h.shards[n%uint64(len(h.shards))]
}

// get returns the head of a path as of an epoch, and whether it is known here.
func (h *heads) get(p storage.Path, epoch uint64) (*head, bool) {
	s := h.shard(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[p]
	switch {
	case e == nil:
		return nil, false
	case e.epoch <= epoch:
		return e.now, true
	default:
		return e.before, true
	}
}

// fill remembers what a reader of that epoch found in the index, unless a
// publish that has begun since might know better.
func (h *heads) fill(p storage.Path, epoch uint64, found *head) {
	s := h.shard(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[p] == nil && h.publishing.Load() == epoch {
		s.set(p, &headEntry{now: found, before: found, epoch: epoch}, h.limit)
	}
}

// publish puts a head in place that readers see from the epoch on. The commit
// loop has said before, in publishing, that it would.
func (h *heads) publish(p storage.Path, epoch uint64, before, now *head) {
	s := h.shard(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(p, &headEntry{now: now, before: before, epoch: epoch}, h.limit)
}

func (s *headShard) set(p storage.Path, e *headEntry, limit int) {
	e.cost = 200 + len(p.Account) + len(p.Container)
	if e.now != nil {
		e.cost += metaSize(e.now.meta)
	}
	if old := s.entries[p]; old != nil {
		s.bytes -= old.cost
	}
	s.entries[p] = e
	s.bytes += e.cost
	for other, o := range s.entries { // whichever comes: those in use return soon
		if s.bytes <= limit {
			break
		}
		if other != p {
			s.bytes -= o.cost
			delete(s.entries, other)
		}
	}
}
