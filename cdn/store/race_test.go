package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// Many do everything to few keys, while segments come and go beneath them:
// whoever finds an entry finds it whole, and never an older one than he found,
// or saw kept or removed, before.
func TestConcurrentUse(t *testing.T) {
	opt := onDiskOptions(t)
	opt.Disk = minDisk
	opt.Memory = 128 << 10
	s := open(t, opt)
	const keys = 24
	var locks [keys]sync.Mutex // a key has one writer at a time, so that there is an order
	var least [keys]struct {
		sync.Mutex
		version uint64
	}
	raise := func(n int, v uint64) {
		least[n].Lock()
		least[n].version = max(least[n].version, v)
		least[n].Unlock()
	}
	floor := func(n int) uint64 {
		least[n].Lock()
		defer least[n].Unlock()
		return least[n].version
	}
	var version struct {
		sync.Mutex
		n uint64
	}
	next := func() uint64 {
		version.Lock()
		defer version.Unlock()
		version.n++
		return version.n
	}
	read := func(e *Entry, n int, atLeast uint64) {
		defer e.Release()
		var seed, v uint64
		fmt.Sscan(string(e.Head()), &seed, &v)
		if v < atLeast {
			t.Errorf("key %d: version %d after %d", n, v, atLeast)
		}
		r := e.Reader(context.Background(), 0, -1)
		defer r.Close()
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil || !bytes.Equal(b.Bytes(), content(seed, b.Len())) {
			t.Errorf("key %d: %d other bytes, %v", n, b.Len(), err)
		}
		raise(n, v)
	}
	busy := func() bool { return s.disk.written.Load() < opt.Disk*5/4 } // until segments had to go
	var tasks sync.WaitGroup
	for range 6 {
		tasks.Go(func() {
			for busy() {
				n := rand.IntN(keys)
				k := key(n)
				switch rand.IntN(8) {
				case 0, 1:
					locks[n].Lock()
					v := next()
					size := rand.IntN(10_000)
					if rand.IntN(3) == 0 {
						size = rand.IntN(600_000)
					}
					f := s.Create(k, fmt.Appendf(nil, "%d %d", v, v), -1)
					e := f.Entry()
					follower := make(chan struct{})
					go func() { defer close(follower); read(e, n, v) }()
					for b := content(v, size); len(b) > 0; b = b[min(len(b), 40_000):] {
						f.Write(b[:min(len(b), 40_000)])
					}
					f.Commit()
					raise(n, v)
					locks[n].Unlock()
					<-follower
				case 2:
					locks[n].Lock()
					v := next()
					s.Remove(k)
					raise(n, v)
					locks[n].Unlock()
				case 3:
					locks[n].Lock()
					if e := s.Peek(k); e != nil {
						var seed uint64
						fmt.Sscan(string(e.Head()), &seed)
						v := next()
						if s.SetHead(k, e, fmt.Appendf(nil, "%d %d", seed, v)) {
							raise(n, v)
						}
						e.Release()
					}
					locks[n].Unlock()
				default:
					atLeast := floor(n)
					if e := s.Get(k); e != nil {
						read(e, n, atLeast)
					}
				}
			}
		})
	}
	tasks.Go(func() {
		for busy() {
			s.disk.save()
			s.Stats()
		}
	})
	tasks.Wait()
	st := s.Stats()
	if st.DiskWritten < st.DiskBudget || st.DiskHits == 0 || st.MemoryHits == 0 {
		t.Errorf("not all roads were taken: %+v", st)
	}
	if st.Damaged > 0 {
		t.Errorf("%d entries did not verify", st.Damaged)
	}
}

// What is asked for once does not get to a disk that is short of room; what is
// asked for again does.
func TestOneHitWondersStayOffTheDisk(t *testing.T) {
	opt := onDiskOptions(t)
	opt.Memory = 8 << 20
	s := open(t, opt)
	s.disk.pressed.Store(true)
	for i := range 500 {
		put(t, s, key(i), "h", "a small body")
	}
	for i := range 10 {
		s.Get(key(i)).Release()
	}
	settled(t, s, 10)
	s.Close()
	s = open(t, opt)
	for i := range 500 {
		if e := s.Get(key(i)); (e != nil) != (i < 10) {
			t.Errorf("entry %d: on the disk: %v", i, e != nil)
		}
	}
}

// Followers of a large fill take no memory to speak of.
func TestFollowersAreCheap(t *testing.T) {
	opt := onDiskOptions(t)
	opt.Disk = 256 << 20
	s := open(t, opt)
	const size = 32 << 20
	f := s.Create(key(1), nil, size)
	e := f.Entry()
	defer e.Release()
	var tasks sync.WaitGroup
	stalled := make(chan struct{})
	for range 20 {
		tasks.Go(func() {
			r := e.Reader(context.Background(), 0, -1)
			defer r.Close()
			first := make([]byte, 10)
			io.ReadFull(r, first)
			<-stalled // a slow one: the fill must not wait for it
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); n != size-10 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	part := content(1, 32<<10)
	for range size / len(part) {
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		held := len(f.blocks) - f.base
		f.mu.Unlock()
		if held > recent+1 {
			t.Fatalf("%d blocks in memory", held)
		}
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	close(stalled)
	tasks.Wait()
}
