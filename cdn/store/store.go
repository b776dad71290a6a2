// Package store keeps bytes under keys for an edge cache, in two tiers: what
// is small and hot in memory, the rest on a disk, each within a budget of
// bytes. It knows nothing of HTTP.
//
// An entry is an immutable head (what the caller wants to know before it
// answers) and a body. It is made by a Fill, which others can read along while
// it grows, and which nobody finds by its key before Commit. Entries leave when
// room is needed, by S3-FIFO: what was used once goes before what was used
// again.
//
// # What outlives what
//
// Bodies are not synced. An entry that has reached the disk outlives the
// process, and the machine if the kernel came to write it; what did not come
// through whole does not verify, and what does not verify is not there. An
// entry in memory is written to the disk at once while the disk has room to
// spare, else when it is first asked for again, and by Close.
//
// Removals are stronger. When Remove, SetHead or Commit has returned, what it
// took away never comes back after the process is killed. After a power cut it
// may, if no SaveNote was called since; Doubtful then says so. Should it be
// impossible to write a removal down, the whole disk tier is deleted instead.
// Only a disk that takes neither writes nor deletions, and does after a
// restart, is beyond this; that is logged.
package store

import (
	"cmp"
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
	// included. Defaults: 64 MiB and 1 GiB; Disk is at least 16 MiB. The index
	// of the disk, about 80 bytes for each entry there, and what open fills
	// hold, some 300 KiB each at most, come on top of Memory. A body larger
	// than a quarter of Disk is not kept.
	Memory, Disk int64

	// MaxMemoryEntry is the largest body kept in memory. Larger ones are
	// written to the disk as they come. Default: 64 KiB with a disk tier, a
	// sixteenth of Memory without.
	MaxMemoryEntry int64

	// VerifyAlways makes every byte from the disk pass its checksum each time it
	// is read. Otherwise blocks are verified when they are first read after
	// Open, and may be sent from the file by the kernel after that: faster, and
	// a disk that rots while the store is open may be believed.
	VerifyAlways bool

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
	disk   *disk // nil: none
	notes  notes
	seq    atomic.Uint64 // numbers entries in the order in which they came to be kept
	closed atomic.Bool
	saves  chan *item

	stop  chan struct{}
	tasks sync.WaitGroup

	fills, notKept, aborted atomic.Int64
}

const shardCount = 64

// A shard guards what concerns the keys that fall to it.
type shard struct {
	change sync.Mutex   // before mu; serialises changes of what is kept, and is held over their I/O
	mu     sync.RWMutex // guards all below; never held over I/O
	items  map[Key]*item
	open   map[Key][]*Fill // fills begun and not ended: Remove dooms them
	saving map[Key]uint64  // the seq of what is being written to the disk
	index  index

	memoryHits, diskHits, misses atomic.Int64

	_ [64]byte // shards do not share a cache line
}

// Open opens a store, with whatever of its former content is still good. What
// is damaged or foreign among its files is deleted and logged; it is no error.
// An error is a directory that cannot be made or read, or that another store
// has open.
func Open(opt Options) (*Store, error) {
	opt.Memory = cmp.Or(max(opt.Memory, 0), 64<<20)
	opt.Disk = max(cmp.Or(max(opt.Disk, 0), 1<<30), minDisk)
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
	s := &Store{opt: opt, stop: make(chan struct{})}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.items = make(map[Key]*item)
		sh.open = make(map[Key][]*Fill)
		sh.saving = make(map[Key]uint64)
		sh.index.init()
	}
	s.mem.init(opt.Memory)
	if opt.Dir == "" {
		return s, nil
	}
	d, err := openDisk(s)
	if err != nil {
		return nil, err
	}
	s.disk = d
	s.saves = make(chan *item, 4096)
	s.tasks.Go(func() { d.keep(s.stop) })
	s.tasks.Go(func() { s.save(s.stop) })
	return s, nil
}

// Close ends the store: fills that are open are aborted, and what is in memory
// is written to the disk. Entries and readers that are out keep working.
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
	close(s.stop)
	s.tasks.Wait()
	if s.disk == nil {
		return nil
	}
	s.saveAll()
	return s.disk.close()
}

func (s *Store) shard(k Key) *shard { return &s.shards[k[15]%shardCount] }

// Get returns what is kept under k, or nil. It counts as a use of the entry,
// which makes it stay longer. The caller must Release it.
func (s *Store) Get(k Key) *Entry {
	sh := s.shard(k)
	sh.mu.RLock()
	if it := sh.items[k]; it != nil {
		sh.mu.RUnlock()
		sh.memoryHits.Add(1)
		if it.use() {
			s.saveLater(it)
		}
		return it.entry.Load()
	}
	if s.disk != nil {
		if p, extents, ok := sh.index.get(k, true); ok {
			sh.mu.RUnlock()
			if e := s.load(k, p, extents, true); e != nil {
				sh.diskHits.Add(1)
				return e
			}
			sh.misses.Add(1)
			return nil
		}
	}
	sh.mu.RUnlock()
	sh.misses.Add(1)
	return nil
}

// Peek is Get, but does not count as a use.
func (s *Store) Peek(k Key) *Entry {
	sh := s.shard(k)
	sh.mu.RLock()
	if it := sh.items[k]; it != nil {
		sh.mu.RUnlock()
		return it.entry.Load()
	}
	p, extents, ok := sh.index.get(k, false)
	sh.mu.RUnlock()
	if !ok {
		return nil
	}
	return s.load(k, p, extents, false)
}

// load fetches an entry from the disk; into memory, if it is small and wanted
// there.
func (s *Store) load(k Key, p place, extents []extent, promote bool) *Entry {
	if p.flags&spreadFlag != 0 || p.size > s.opt.MaxMemoryEntry {
		return s.disk.entry(k, p, extents)
	}
	e := s.disk.small(k, p)
	if e == nil || !promote {
		return e
	}
	it := newItem(e)
	it.queued.Store(true) // it is on the disk
	sh := s.shard(k)
	sh.mu.Lock()
	now, _, ok := sh.index.get(k, false)
	if !ok || now.seq != p.seq || sh.items[k] != nil {
		sh.mu.Unlock()
		return e
	}
	sh.items[k] = it
	out := s.mem.add(it, nil)
	sh.mu.Unlock()
	s.leave(out)
	return e
}

// SetHead gives the entry kept under k a new head, if e is still what is kept
// there; the body stays. It reports whether it did; if not, nothing changed.
// Those who hold e go on seeing the old head.
func (s *Store) SetHead(k Key, e *Entry, head []byte) bool {
	if e == nil || e.version() == 0 {
		return false
	}
	sh := s.shard(k)
	sh.change.Lock()
	defer sh.change.Unlock()
	sh.mu.Lock()
	it := sh.items[k]
	if it == nil {
		p, extents, ok := sh.index.get(k, false)
		sh.mu.Unlock()
		return ok && p.seq == e.version() && s.setStoredHead(sh, k, p, extents, head)
	}
	old := it.entry.Load()
	if old.version() != e.version() {
		sh.mu.Unlock()
		return false
	}
	next := &Entry{s: s, key: k, head: head, mem: old.mem, seq: s.seq.Add(1)}
	next.held = old.held + int64(len(head)) // the old head may be in one allocation with the body
	it.entry.Store(next)
	out := s.mem.resize(it, next.held-old.held)
	saved := s.unindex(sh, k)
	sh.mu.Unlock()
	if saved {
		s.disk.forget(k, next.seq-1)
	}
	if s.disk != nil {
		it.queued.Store(false)
		if saved || !s.disk.pressed.Load() {
			s.saveLater(it)
		}
	}
	s.leave(out)
	return true
}

// setStoredHead writes a record with a new head for a body that is on the disk;
// sh.change is held.
func (s *Store) setStoredHead(sh *shard, k Key, p place, extents []extent, head []byte) bool {
	next := &pending{record: record{key: k, seq: s.seq.Add(1), size: p.size, head: head}}
	if extents == nil && p.size <= s.opt.MaxMemoryEntry {
		e := s.disk.small(k, p)
		if e == nil {
			return false
		}
		next.kind, next.body, next.table = kindInline, e.mem, sums(e.mem)
	} else {
		e := s.disk.entry(k, p, extents)
		if e == nil {
			return false
		}
		defer e.Release()
		next.kind, next.table = kindSpread, e.disk.table
		for _, part := range e.disk.parts {
			next.extents = append(next.extents, part.extent)
		}
	}
	log := logProbation
	if p.flags&usedFlag != 0 {
		log = logMain
	}
	if s.disk.write(log, []*pending{next}, hasty) != nil {
		return false
	}
	next.place.flags = p.flags & usedFlag
	sh.mu.Lock()
	if now, _, ok := sh.index.get(k, false); !ok || now.seq != p.seq {
		sh.mu.Unlock()
		s.disk.forget(k, next.seq) // its body was given up meanwhile
		return false
	}
	sh.index.put(k, next.place, next.extents)
	if it := sh.items[k]; it != nil { // promoted meanwhile, with the old head
		delete(sh.items, k)
		s.mem.drop(it)
	}
	sh.mu.Unlock()
	s.disk.forget(k, next.seq-1)
	return true
}

// unindex takes k out of the index of the disk, and reports whether there may
// be a record of it there; sh.mu is held. If so, the caller must have the disk
// forget k, after unlocking sh.mu and before unlocking sh.change: in that
// order, a snapshot that still has the record comes before the journal that
// has the removal.
func (s *Store) unindex(sh *shard, k Key) bool {
	if s.disk == nil {
		return false
	}
	_, saved := sh.index.slots[k]
	_, saving := sh.saving[k]
	sh.index.delete(k)
	delete(sh.saving, k)
	return saved || saving
}

// Remove forgets what is kept under k. It will not come back, not even if the
// process is killed as soon as Remove has returned. Fills of k that are open go
// on for their readers, but will not be kept: whoever asks an origin after
// Create knows that what Commit keeps was not removed meanwhile.
func (s *Store) Remove(k Key) {
	sh := s.shard(k)
	sh.change.Lock()
	defer sh.change.Unlock()
	sh.mu.Lock()
	for _, f := range sh.open[k] {
		f.doomed.Store(true)
	}
	s.purge(sh, k, s.seq.Load())
}

// purge ends what is kept under k up to seq; sh.change is held, and sh.mu,
// which it unlocks.
func (s *Store) purge(sh *shard, k Key, seq uint64) {
	if it := sh.items[k]; it != nil {
		delete(sh.items, k)
		s.mem.drop(it)
	}
	saved := s.unindex(sh, k)
	sh.mu.Unlock()
	if saved {
		s.disk.forget(k, seq)
	}
}

// damage drops an entry whose bytes on the disk are not what was written.
func (s *Store) damage(k Key, seq uint64, err error) {
	sh := s.shard(k)
	sh.change.Lock()
	defer sh.change.Unlock()
	sh.mu.Lock()
	p, _, ok := sh.index.get(k, false)
	if !ok || p.seq != seq {
		sh.mu.Unlock()
		return
	}
	sh.index.delete(k) // and not from memory: what is there was verified
	sh.mu.Unlock()
	s.disk.forget(k, seq)
	s.disk.damaged.Add(1)
	s.opt.Log.Warn("edge store: dropped an entry that did not verify", "err", err)
}

// lost takes an entry out of the index whose segment was given up.
func (s *Store) lost(k Key, p place) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if now, _, ok := sh.index.get(k, false); ok && now.seq == p.seq && now.seg == p.seg && now.off == p.off {
		sh.index.delete(k)
		s.disk.evicted.Add(1)
	}
}

// leave takes evicted items out of the maps.
func (s *Store) leave(out []*item) {
	for _, it := range out {
		sh := s.shard(it.key)
		sh.mu.Lock()
		if sh.items[it.key] == it {
			delete(sh.items, it.key)
		}
		sh.mu.Unlock()
	}
}

// records returns how many entries the disk has.
func (s *Store) records() int64 {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		n += len(sh.index.slots)
		sh.mu.RUnlock()
	}
	return int64(n)
}

// Doubtful reports whether the machine went down, rather than only the process,
// while the store was last open. Removals later than the last SaveNote, and
// only those, may then have been forgotten: a caller that cannot repeat them
// should revalidate what it finds.
func (s *Store) Doubtful() bool { return s.disk != nil && s.disk.doubtful }

// Stats returns the store's counters.
func (s *Store) Stats() Stats {
	st := Stats{
		MemoryBudget: s.opt.Memory,
		Fills:        s.fills.Load(),
		NotKept:      s.notKept.Load(),
		Aborted:      s.aborted.Load(),
	}
	for i := range s.shards {
		sh := &s.shards[i]
		st.MemoryHits += sh.memoryHits.Load()
		st.DiskHits += sh.diskHits.Load()
		st.Misses += sh.misses.Load()
	}
	s.mem.stats(&st)
	if d := s.disk; d != nil {
		st.DiskEntries, st.DiskBudget = s.records(), s.opt.Disk
		st.DiskBytes = d.bytes()
		st.DiskEvicted, st.Damaged, st.DiskWritten, st.DiskDown = d.evicted.Load(), d.damaged.Load(), d.written.Load(), d.isDown.Load()
	}
	return st
}
