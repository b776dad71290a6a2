package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"memstore.dev/memstore/internal/durable"
)

// shelves are the directories that blob files are put into. A directory is
// kept open while somebody puts a file there, so that all who do at the same
// time share its fsyncs.
type shelves struct {
	dir  string // of all the shelves
	sync bool   // directories are fsynced

	mu     sync.Mutex // guards what follows
	open   map[uint64]*shelf
	synced map[uint64]bool // shelves whose own names are known to be durable
}

func newShelves(dir string, sync bool) *shelves {
	return &shelves{dir: dir, sync: sync, open: make(map[uint64]*shelf), synced: make(map[uint64]bool)}
}

type shelf struct {
	users int // guarded by shelves.mu
	ready sync.Once
	err   error // of making it ready
	dir   *os.File
	flush flusher
}

// take returns the shelf for a blob, made and durable, until leave.
func (s *shelves) take(n uint64) (*shelf, error) {
	s.mu.Lock()
	sh := s.open[n]
	if sh == nil {
		sh = new(shelf)
		s.open[n] = sh
	}
	sh.users++
	s.mu.Unlock()
	sh.ready.Do(func() { sh.dir, sh.err = s.make(n) })
	if sh.err != nil {
		s.leave(n, sh)
		return nil, sh.err
	}
	return sh, nil
}

func (s *shelves) make(n uint64) (*os.File, error) {
	dir := filepath.Join(s.dir, shelfName(n))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// One that is there may have been made just before a crash, and never
	// synced, so being there is not enough.
	s.mu.Lock()
	known := s.synced[n] || !s.sync
	s.mu.Unlock()
	if !known {
		if err := durable.SyncDir(s.dir); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.synced[n] = true
		s.mu.Unlock()
	}
	return os.Open(dir)
}

func (s *shelves) leave(n uint64, sh *shelf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.users--; sh.users == 0 {
		delete(s.open, n)
		if sh.dir != nil {
			sh.dir.Close()
		}
	}
}

// removeEmpty removes a shelf that nothing is on, unless it is in use.
func (s *shelves) removeEmpty(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n] == nil {
		if os.Remove(filepath.Join(s.dir, shelfName(n))) == nil { // else it is not empty
			delete(s.synced, n)
		}
	}
}

// put gives a file its name on the shelf, beside the one it may have.
func (sh *shelf) put(f *spool, id uint64) error {
	name := strconv.FormatUint(id, 16)
	if f.name == "" {
		return linkUnnamed(f.File, sh.dir, name)
	}
	// Not by rename: a link refuses to replace what is there.
	return os.Link(f.name, filepath.Join(sh.dir.Name(), name))
}

// A flusher lets those who want the same thing flushed share the work: a call
// returns when a flush that began after the call has ended.
type flusher struct {
	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	wanted  uint64 // calls so far
	done    uint64 // of these, the first so many are served
	busy    bool
	err     error // of the first flush that failed; there is no second chance
}

func (f *flusher) do(flush func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = sync.NewCond(&f.mu)
	}
	f.wanted++
	for mine := f.wanted; f.done < mine && f.err == nil; {
		if f.busy {
			f.changed.Wait()
			continue
		}
		f.busy = true
		target := f.wanted
		f.mu.Unlock()
		err := flush()
		f.mu.Lock()
		f.busy, f.done = false, target
		if err != nil {
			f.err = err
		}
		f.changed.Broadcast()
	}
	return f.err
}

// A spool is a file on its way to become a blob.
type spool struct {
	*os.File
	name string // in staging, if it could not be had without a name, or was kept
}

// discard closes the spool and takes its name in staging from it. What has not
// become a blob is gone then.
func (s *spool) discard() {
	s.Close()
	if s.name != "" {
		os.Remove(s.name)
	}
}
