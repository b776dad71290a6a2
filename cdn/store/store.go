// Package store keeps bytes under keys for an edge cache, in two tiers: what
// is small and hot in memory, the rest on a disk, each within a budget of
// bytes. It knows nothing of HTTP.
//
// An entry is an immutable head (what the caller wants to know before it
// answers) and a body. It is made by a Fill, which others can read along while
// it grows, and which nobody finds by its key before Commit. Entries leave when
// room is needed, by S3-FIFO: what was used once goes before what was used
// again. What is kept survives a restart and a SIGKILL; what was removed or
// replaced never comes back after either.
package store

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
)

// A Key tells one entry from all others: the first 16 bytes of a hash, made by
// the caller, of whatever tells one response from another.
type Key [16]byte

// Options say where and how much a Store keeps. The zero value is a store of
// 64 MiB in memory.
type Options struct {
	// Dir is the directory of the disk tier, made if it is missing. It belongs
	// to the store alone: what is in it and was not written by a store of this
	// format is deleted. With "" there is no disk tier.
	Dir string

	// Memory and Disk are the budgets of the tiers in bytes, their overhead
	// included. Defaults: 64 MiB and 1 GiB.
	Memory, Disk int64

	// MaxMemoryEntry is the largest body kept in memory. Larger ones are
	// written to the disk as they come. Default: 64 KiB with a disk tier, a
	// sixteenth of Memory without.
	MaxMemoryEntry int64

	// Log is told of what is not as it should be, once for each condition.
	// Default: slog.Default().
	Log *slog.Logger
}

// What Commit and readers report; ask with errors.Is.
var (
	// ErrNotKept says that a fill reached its readers whole, but that the store
	// does not keep it.
	ErrNotKept = errors.New("store: not kept")
	// ErrSize says that a fill had more or fewer bytes than were announced.
	ErrSize = errors.New("store: not the size that was announced")
	// ErrAborted says that a fill ended early, for no reason given.
	ErrAborted = errors.New("store: fill aborted")
	// ErrDamaged says that bytes on the disk are not those that were written.
	// The entry has been dropped.
	ErrDamaged = errors.New("store: entry is damaged")
	// ErrBehind says that a reader of a growing entry which is not being kept
	// was so slow that the bytes it wants next are gone.
	ErrBehind = errors.New("store: reader fell behind a fill that is not kept")
	// ErrClosed says that the store or the reader was closed.
	ErrClosed = errors.New("store: closed")
)

// Stats are counters since Open, and sizes of now.
type Stats struct {
	MemoryEntries, DiskEntries int64
	MemoryBytes, DiskBytes     int64 // overhead included
	MemoryBudget, DiskBudget   int64
	MemoryHits, DiskHits       int64 // of Get
	Misses                     int64 // of Get
	Fills                      int64 // committed and kept
	NotKept                    int64 // committed and not kept
	Aborted                    int64
	MemoryEvicted, DiskEvicted int64 // entries that left for lack of room
	Damaged                    int64 // entries dropped because bytes did not verify
	DiskWritten                int64 // bytes
	DiskDown                   bool  // the disk tier is out of use, and tried again from time to time
}

// A Store keeps entries. Its methods may be called concurrently.
type Store struct {
	opt    Options
	shards [shardCount]shard
	mem    memory
	notes  notes
	seq    atomic.Uint64
	closed atomic.Bool

	memoryHits, diskHits, misses atomic.Int64
	fills, notKept, aborted      atomic.Int64
}

const shardCount = 64

// A shard guards what concerns the keys that fall to it.
type shard struct {
	mu    sync.RWMutex // guards items and open; never held over I/O
	items map[Key]*item
	open  map[Key][]*Fill // fills begun and not ended: Remove dooms them
	_     [64]byte        // shards do not share a cache line
}

// Open opens a store, with whatever of its former content is still good. What
// is damaged or foreign in its directory is deleted and logged; it is no
// error. An error is a directory that cannot be made, or that is in use.
func Open(opt Options) (*Store, error) {
	if opt.Memory <= 0 {
		opt.Memory = 64 << 20
	}
	if opt.Disk <= 0 {
		opt.Disk = 1 << 30
	}
	if opt.MaxMemoryEntry <= 0 {
		opt.MaxMemoryEntry = 64 << 10
		if opt.Dir == "" {
			opt.MaxMemoryEntry = opt.Memory / 16
		}
	}
	opt.MaxMemoryEntry = min(opt.MaxMemoryEntry, opt.Memory/4)
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	s := &Store{opt: opt}
	for i := range s.shards {
		s.shards[i].items = make(map[Key]*item)
		s.shards[i].open = make(map[Key][]*Fill)
	}
	s.mem.init(s, opt.Memory)
	return s, nil
}

// Close ends the store: what is in memory and worth it is written to the disk,
// fills that are open are aborted.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var open []*Fill
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, fills := range sh.open {
			open = append(open, fills...)
		}
		sh.mu.Unlock()
	}
	for _, f := range open {
		f.Abort(ErrClosed)
	}
	return nil
}

func (s *Store) shard(k Key) *shard { return &s.shards[k[15]%shardCount] }

// Get returns what is kept under k, or nil. It counts as a use of the entry,
// which makes it stay longer. The caller must Release it.
func (s *Store) Get(k Key) *Entry {
	sh := s.shard(k)
	sh.mu.RLock()
	it := sh.items[k]
	sh.mu.RUnlock()
	if it == nil {
		s.misses.Add(1)
		return nil
	}
	it.use()
	s.memoryHits.Add(1)
	return it.entry.Load()
}

// Peek is Get, but does not count as a use.
func (s *Store) Peek(k Key) *Entry {
	sh := s.shard(k)
	sh.mu.RLock()
	it := sh.items[k]
	sh.mu.RUnlock()
	if it == nil {
		return nil
	}
	return it.entry.Load()
}

// SetHead gives the entry kept under k a new head, if e is still what is kept
// there; the body stays. It reports whether it did. Those who hold e go on
// seeing the old head.
func (s *Store) SetHead(k Key, e *Entry, head []byte) bool {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	it := sh.items[k]
	if it == nil {
		return false
	}
	old := it.entry.Load()
	if e == nil || old.version() != e.version() {
		return false
	}
	it.entry.Store(&Entry{s: s, key: k, head: head, mem: old.mem, seq: s.seq.Add(1)})
	s.mem.resize(it, int64(len(head)-len(old.head)))
	return true
}

// Remove forgets what is kept under k. It will not come back, not even if the
// process is killed as soon as Remove has returned. Fills of k that are open go
// on for their readers, but will not be kept: whoever asks an origin after
// Create knows that what Commit keeps was not removed meanwhile.
func (s *Store) Remove(k Key) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, f := range sh.open[k] {
		f.doomed.Store(true)
	}
	if it := sh.items[k]; it != nil {
		delete(sh.items, k)
		s.mem.drop(it)
	}
}

// Stats returns the store's counters.
func (s *Store) Stats() Stats {
	st := Stats{
		MemoryBudget: s.opt.Memory,
		MemoryHits:   s.memoryHits.Load(),
		DiskHits:     s.diskHits.Load(),
		Misses:       s.misses.Load(),
		Fills:        s.fills.Load(),
		NotKept:      s.notKept.Load(),
		Aborted:      s.aborted.Load(),
	}
	s.mem.stats(&st)
	return st
}
