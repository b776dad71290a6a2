package disk

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
)

// space judges what there is room for. The file system is asked at most once a
// second; in between, what was written since counts as taken, and so does what
// running uploads have announced.
//
// Three lines are drawn. Above the reserve everything is allowed. Below it
// only removals are, which need a little room themselves. When even that is
// gone, because others write to the disk too, the ballast is given to the
// index, and removals go on; it is made again when there is room.
type space struct {
	dir     string
	log     *slog.Logger
	reserve int64 // bytes
	inodes  int64
	floor   int64 // bytes that a removal may still need, at worst
	ballast int64 // size of the file

	mu       sync.Mutex // guards what follows
	asked    time.Time
	free     int64 // as of asked
	nodes    int64
	since    int64 // written after asked
	promised int64
	released bool // the ballast is gone
	full     bool // said so in the log
}

// A promise is what an upload has been granted and not used up.
type promise struct {
	left int64
}

// ahead is how much an upload of unknown size takes at once.
const ahead = 1 << 20

func newSpace(dir string, o Options) (*space, error) {
	s := &space{
		dir: dir, log: o.Log, reserve: o.Reserve, inodes: o.ReserveInodes,
		floor: 2*o.MemTable + 4<<20, ballast: o.Ballast,
	}
	_, size, _, err := freeSpace(dir)
	if err != nil {
		return nil, err
	}
	if s.reserve == 0 {
		s.reserve = max(size/50, 1<<30+o.Ballast+2*o.MemTable)
	}
	s.floor = min(s.floor, s.reserve/2)
	if err := s.makeBallast(); err != nil {
		return nil, err
	}
	return s, nil
}

// makeBallast puts the ballast file in place, if there is room for it.
func (s *space) makeBallast() error {
	name := filepath.Join(s.dir, fileBallast)
	if s.ballast == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	in, err := os.Stat(name)
	if err == nil && in.Size() == s.ballast {
		return nil
	}
	free, _, _, err := freeSpace(s.dir)
	if err != nil {
		return err
	}
	s.released = true
	if free < s.ballast+s.reserve {
		s.log.Warn("no room for the ballast file", "free", free, "ballast", s.ballast)
		return nil
	}
	f, err := durable.Create(name, 0o600)
	if err != nil {
		return noSpace(err)
	}
	defer f.Close()
	if err := preallocate(f.File, s.ballast); err != nil {
		// Without fallocate there is no cheap way to be sure of the room.
		s.log.Warn("no ballast file", "error", err)
		return nil
	}
	if err := f.Commit(); err != nil {
		return err
	}
	s.released = false
	return nil
}

// dropBallast gives the ballast to whoever is in need. Pebble calls it when a
// write has met a full disk, and tries that write again.
func (s *space) dropBallast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

func (s *space) drop() {
	if s.released {
		return
	}
	s.released = true
	err := os.Truncate(filepath.Join(s.dir, fileBallast), 0)
	s.log.Error("the disk is full: the ballast is released; only removals are possible until there is room", "error", err)
	s.asked = time.Time{}
}

// left is how much room there is, all promises kept.
func (s *space) left() (bytes, inodes int64, err error) {
	if now := time.Now(); now.Sub(s.asked) >= time.Second || now.Before(s.asked) {
		free, _, nodes, err := freeSpace(s.dir)
		if err != nil {
			return 0, 0, err
		}
		s.free, s.nodes, s.since, s.asked = free, nodes, 0, now
		if s.released && s.ballast > 0 && free > s.reserve+s.ballast {
			if err := s.makeBallast(); err != nil {
				s.log.Warn("the ballast cannot be made again", "error", err)
			} else if !s.released {
				s.free -= s.ballast
				s.log.Info("there is room again; the ballast is in place")
			}
		}
	}
	return s.free - s.since - s.promised, s.nodes, nil
}

// grant takes n bytes, or says that there is no room for them.
func (s *space) grant(n int64) error {
	bytes, inodes, err := s.left()
	if err != nil {
		return err
	}
	if bytes-n < s.reserve || inodes >= 0 && inodes < s.inodes {
		if !s.full {
			s.full = true
			s.log.Warn("no room: new data is refused", "free", bytes, "reserve", s.reserve, "inodes", inodes)
		}
		return storage.ErrNoSpace
	}
	if s.full && n <= ahead {
		s.full = false
		s.log.Info("there is room: new data is taken")
	}
	return nil
}

// admit judges a change that adds about n bytes to the index.
func (s *space) admit(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(n)
}

// admitRemove judges a change that takes something away.
func (s *space) admitRemove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes, _, err := s.left()
	if err != nil {
		return err
	}
	if bytes+s.promised >= s.floor {
		return nil
	}
	if !s.released {
		s.drop()
		if bytes, _, err = s.left(); err != nil {
			return err
		}
	}
	if bytes+s.promised < s.floor/2 {
		return storage.ErrNoSpace
	}
	return nil
}

// promise reserves room for an upload that says it has n bytes.
func (s *space) promise(p *promise, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.grant(n); err != nil {
		return err
	}
	p.left = n
	s.promised += n
	return nil
}

// use turns n bytes of a promise into bytes written, and asks for more where
// it was too small.
func (s *space) use(p *promise, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > p.left {
		more := max(n-p.left, min(ahead, 4*n))
		if err := s.grant(more); err != nil {
			return err
		}
		p.left += more
		s.promised += more
	}
	p.left -= n
	s.promised -= n
	s.since += n
	return nil
}

// release gives back what is left of a promise.
func (s *space) release(p *promise) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised -= p.left
	p.left = 0
}
