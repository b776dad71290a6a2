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
// second; in between, what was written since counts as taken. What running
// uploads are granted ahead of their bytes counts as taken against others that
// want the like, but not against small changes: otherwise whoever announces
// much and sends nothing would stop all work.
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
	small   int64 // up to so many bytes an upload is judged as a change of metadata is

	mu       sync.Mutex // guards what follows
	asked    time.Time
	free     int64 // as of asked
	nodes    int64
	since    int64 // written after asked
	promised int64 // granted ahead to all running uploads
	released bool  // the ballast is gone
	full     bool  // said so in the log
}

// A promise is what an upload has been granted and not used up.
type promise struct {
	left    int64 // granted, and not used yet
	used    int64
	further int64 // announced beyond what is granted and used; 0 if that is unknown
}

// An upload is granted as much ahead of its bytes as it has brought, up to
// this. So one that brings nothing holds nothing.
const aheadMost = 64 << 20

// ahead is how much is granted to an upload beyond the n bytes that it brings.
func (p *promise) ahead(n int64) int64 {
	window := min(p.used+n, aheadMost)
	if p.further > 0 {
		window = min(window, max(p.further-n, 0))
	}
	return window
}

func newSpace(dir string, o Options) (*space, error) {
	s := &space{
		dir: dir, log: o.Log, reserve: o.Reserve, inodes: o.ReserveInodes,
		floor: 2*o.MemTable + 4<<20, ballast: o.Ballast, small: max(o.InlineLimit, 0),
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

// left is how much room there is.
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
		s.sayFull()
	}
	return s.free - s.since, s.nodes, nil
}

// sayFull tells the log when new data begins to be refused, and when that ends.
func (s *space) sayFull() {
	full := s.free < s.reserve+1<<20 || s.nodes >= 0 && s.nodes < s.inodes
	switch {
	case full && !s.full:
		s.log.Warn("no room: new data is refused", "free", s.free, "reserve", s.reserve, "inodes", s.nodes)
	case s.full && !full:
		s.log.Info("there is room: new data is taken")
	}
	s.full = full
}

// fits says whether there is room for n bytes beside others that are taken.
func (s *space) fits(n, others int64) error {
	bytes, inodes, err := s.left()
	if err != nil {
		return err
	}
	if bytes-others-n < s.reserve || inodes >= 0 && inodes < s.inodes {
		return storage.ErrNoSpace
	}
	return nil
}

// admit judges a change that adds about n bytes to the index.
func (s *space) admit(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fits(n, 0)
	if err == nil {
		s.since += n
	}
	return err
}

// admitRemove judges a change that takes something away.
func (s *space) admitRemove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes, _, err := s.left()
	if err != nil {
		return err
	}
	if bytes >= s.floor {
		return nil
	}
	if !s.released {
		s.drop()
		if bytes, _, err = s.left(); err != nil {
			return err
		}
	}
	if bytes < s.floor/2 {
		return storage.ErrNoSpace
	}
	return nil
}

// promise admits an upload that says it has n bytes, if there is room for them
// when it is alone. It is granted nothing before it brings something.
func (s *space) promise(p *promise, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fits(n, 0); err != nil {
		return err
	}
	p.further = n
	return nil
}

// use turns n bytes of a promise into bytes written, and asks for more where
// it was too small.
func (s *space) use(p *promise, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > p.left {
		if err := s.grant(p, n-p.left); err != nil {
			return err
		}
	}
	p.left -= n
	p.used += n
	s.promised -= n
	s.since += n
	return nil
}

// grant adds n bytes to a promise, and as many ahead of them as there are.
func (s *space) grant(p *promise, n int64) error {
	others := s.promised
	if p.used+p.left+n <= s.small {
		others = 0
	}
	more := n + p.ahead(n)
	err := s.fits(more, others)
	if errors.Is(err, storage.ErrNoSpace) {
		more = n
		err = s.fits(more, others)
	}
	if err != nil {
		return err
	}
	p.left += more
	p.further = max(p.further-more, 0)
	s.promised += more
	return nil
}

// release gives back what is left of a promise.
func (s *space) release(p *promise) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised -= p.left
	p.left = 0
}
