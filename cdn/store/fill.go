package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// blockSize is the unit in which bodies grow and are checksummed.
const blockSize = 64 << 10

const (
	// recent is how many of the newest blocks of a body that goes to the disk
	// stay in memory for readers close behind.
	recent = 4
	// window is how many blocks of a body that goes nowhere stay in memory.
	window = 16
)

// patience is how long a body that goes nowhere waits for a first reader.
const patience = 5 * time.Second

// A Fill is an entry in the making: Write its body, then Commit or Abort. One
// goroutine writes; any number may read its Entry meanwhile.
//
// A small body grows in memory, a larger one on the disk, so that its size does
// not matter to memory nor a slow reader to the fill. Where there is no disk,
// or none that works, only the last MiB is held: the fill then waits for its
// fastest reader, and readers that are further behind fail.
type Fill struct {
	s      *Store
	key    Key
	head   []byte
	want   int64 // the size announced, or -1
	entry  *Entry
	doomed atomic.Bool   // removed since Create: will not be kept
	seq    atomic.Uint64 // of what was kept
	refs   atomic.Int32  // of who may read: the fill itself while open, its entry, its readers

	// Only the writer's:
	mode int
	last bool   // nothing more will be written
	log  int    // of the disk tier
	next extent // what is left of the extent being filled
	seg  *segment

	mu      sync.Mutex // guards all below
	blocks  [][]byte   // all of blockSize but the last; nil where let go
	base    int        // blocks before it are let go
	size    int64      // bytes written
	disk    *stored    // what is on the disk; its parts and table grow
	busy    bool       // the writer is at work: it releases what Abort ends meanwhile
	freed   bool       // the fill's own reference is given back
	end     error      // nil while open; io.EOF when whole, else why readers fail
	grown   chan struct{}
	moved   chan struct{} // readers that made room tell the writer who waits for it
	readers map[*follower]struct{}
}

// Where the body of a fill goes.
const (
	inMemory = iota
	onDisk
	nowhere
)

// Create begins an entry of which the head is known, and the size of the body
// or -1. Get does not find it before Commit. Every Fill must be ended by Commit
// or Abort.
func (s *Store) Create(k Key, head []byte, size int64) *Fill {
	f := &Fill{s: s, key: k, head: head, want: size, readers: make(map[*follower]struct{})}
	f.entry = &Entry{s: s, key: k, head: head, fill: f}
	f.refs.Store(1)
	sh := s.shard(k)
	sh.mu.Lock()
	sh.open[k] = append(sh.open[k], f)
	sh.mu.Unlock()
	return f
}

// Entry returns a view of the growing entry, which its caller must Release. It
// must not be asked for after Commit or Abort; those who have it keep it.
func (f *Fill) Entry() *Entry {
	f.refs.Add(1)
	return f.entry
}

// release gives back a reference; with the last one the segments of the body
// may go.
func (f *Fill) release() {
	if f.refs.Add(-1) > 0 {
		return
	}
	f.mu.Lock()
	b := f.disk
	f.disk = nil
	f.mu.Unlock()
	if b != nil {
		b.release()
	}
}

// enter begins the writer's work.
func (f *Fill) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		return f.ended()
	}
	f.busy = true
	return nil
}

// exit ends it.
func (f *Fill) exit() {
	f.mu.Lock()
	f.busy = false
	over := f.end != nil && !f.freed
	f.freed = f.freed || over
	f.mu.Unlock()
	if over {
		f.release()
	}
}

// Write appends to the body. It waits for readers only if the body cannot be
// kept.
func (f *Fill) Write(p []byte) (int, error) {
	if err := f.enter(); err != nil {
		return 0, err
	}
	defer f.exit()
	if f.want >= 0 && f.size+int64(len(p)) > f.want {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrSize, f.want)
	}
	done := 0
	for done < len(p) {
		f.mu.Lock()
		if f.end != nil {
			defer f.mu.Unlock()
			return done, f.ended()
		}
		n, full := f.grow(p[done:])
		f.mu.Unlock()
		done += n
		if full {
			if err := f.settle(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// grow appends to the last block, and reports whether it is full; f.mu is held.
func (f *Fill) grow(p []byte) (n int, full bool) {
	last := len(f.blocks) - 1
	if last < 0 || len(f.blocks[last]) == blockSize {
		room := blockSize
		if f.want >= 0 {
			room = int(min(f.want-f.size, blockSize))
		} else if last < 0 {
			room = 4 << 10
		}
		f.blocks = append(f.blocks, make([]byte, 0, room))
		last++
	}
	b := f.blocks[last]
	n = min(len(p), blockSize-len(b))
	f.blocks[last] = append(b, p[:n]...) // readers hold what was before: it does not change
	f.size += int64(n)
	f.wake()
	return n, len(b)+n == blockSize
}

// settle sends full blocks to where the body goes.
func (f *Fill) settle() error {
	if f.mode == inMemory && max(f.size, f.want) > f.s.opt.MaxMemoryEntry {
		f.mode = onDisk
		if f.s.disk == nil {
			f.mode = nowhere
		} else if f.s.disk.haunted(f.key) {
			f.log = logMain
		}
	}
	if f.mode == onDisk {
		if max(f.size, f.want) > f.s.disk.maxBody() || f.store() != nil {
			f.mode = nowhere
		}
	}
	if f.mode == nowhere {
		return f.makeRoom()
	}
	return nil
}

// store writes blocks to the disk that are not there yet, the last one too if
// it is all there is to come.
func (f *Fill) store() error {
	d := f.s.disk
	f.mu.Lock()
	if f.disk == nil {
		f.disk = &stored{s: f.s, key: f.key}
		f.disk.refs.Store(1)
	}
	first := len(f.disk.table)
	blocks := f.blocks[first:]
	written := f.size
	f.mu.Unlock()
	for _, b := range blocks {
		if f.next.length < uint32(len(b)) { // only ever 0: extents hold whole blocks, but for the last
			if err := f.extend(written - int64(first)*blockSize); err != nil {
				return err
			}
		}
		if err := d.fill(f.seg, int64(f.next.off), b); err != nil {
			return err
		}
		sum := checksum(b)
		f.next.off += uint32(len(b))
		f.next.length -= uint32(len(b))
		first++
		f.mu.Lock()
		f.disk.parts[len(f.disk.parts)-1].length += uint32(len(b))
		f.disk.table = append(f.disk.table, sum)
		f.disk.size += int64(len(b))
		for f.base < len(f.disk.table)-recent {
			f.blocks[f.base] = nil
			f.base++
		}
		f.mu.Unlock()
	}
	return nil
}

// extend reserves the next extent, for at least that many bytes.
func (f *Fill) extend(least int64) error {
	d := f.s.disk
	want := least
	switch {
	case f.want >= 0:
		want = f.want - f.disk.size // which only the writer changes
	case !f.last:
		// Of unknown length: an eighth at most is reserved in vain.
		want = max(least, min(f.size/8, 1<<20)) + blockSize - 1
		want -= want % blockSize
	}
	if f.disk.size > d.segmentSize {
		f.log = logMain // it would have flowed out of probation before it is whole
	}
	g, x, err := d.reserve(f.log, f.key, want, patient)
	if err != nil {
		return err
	}
	f.seg, f.next = g, x
	x.length = 0
	f.mu.Lock()
	f.disk.parts = append(f.disk.parts, part{g, x})
	f.mu.Unlock()
	return nil
}

// makeRoom lets go of the oldest blocks of a body that is not kept, once a
// reader has them, and waits for that.
func (f *Fill) makeRoom() error {
	began := time.Now()
	for {
		f.mu.Lock()
		if f.end != nil {
			defer f.mu.Unlock()
			return f.ended()
		}
		fastest := int64(-1)
		for r := range f.readers {
			if r.ctx.Err() != nil {
				delete(f.readers, r)
				continue
			}
			fastest = max(fastest, r.at)
		}
		stored := 0
		if f.disk != nil {
			stored = len(f.disk.table)
		}
		for len(f.blocks)-f.base > window && (f.base < stored || fastest >= int64(f.base+1)*blockSize) {
			f.blocks[f.base] = nil
			f.base++
		}
		if len(f.blocks)-f.base <= window {
			f.mu.Unlock()
			return nil
		}
		if fastest < 0 && time.Since(began) > patience {
			f.mu.Unlock()
			return fmt.Errorf("%w: and nobody reads it", ErrNotKept)
		}
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		moved := f.moved
		f.mu.Unlock()
		timer := time.NewTimer(time.Second) // readers' contexts end without a word
		select {
		case <-moved:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Commit ends the fill: its readers come to the end of the body, and Get finds
// the entry in place of what was kept under its key. If the error is
// ErrNotKept, they do and it does not: its key was removed since Create, or
// there is no room; what was kept before is removed in any case. With any other
// error the readers fail, as after Abort, and what was kept before stays.
func (f *Fill) Commit() error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.exit()
	if f.want >= 0 && f.size != f.want {
		err := fmt.Errorf("%w: %d bytes instead of %d", ErrSize, f.size, f.want)
		f.Abort(err)
		return err
	}
	f.last = true
	if f.mode == inMemory && f.size <= f.s.opt.MaxMemoryEntry {
		f.mu.Lock()
		body := f.whole()
		f.blocks, f.base = [][]byte{body}, 0
		f.mu.Unlock()
		return f.finish(f.keepInMemory(body))
	}
	err := f.keepOnDisk()
	f.mu.Lock()
	if f.disk != nil {
		for ; f.base < len(f.disk.table); f.base++ {
			f.blocks[f.base] = nil // readers find it on the disk from now on
		}
	}
	f.mu.Unlock()
	return f.finish(err)
}

// finish brings readers to the end.
func (f *Fill) finish(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil { // aborted meanwhile
		return f.ended()
	}
	f.end = io.EOF
	f.wake()
	return err
}

// Abort ends the fill: nothing is kept, and its readers fail with err. After
// Commit or Abort it does nothing. It may be called while Write waits.
func (f *Fill) Abort(err error) {
	if err == nil {
		err = ErrAborted
	}
	f.mu.Lock()
	if f.end != nil {
		f.mu.Unlock()
		return
	}
	f.end = err
	f.wake()
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
	over := !f.busy && !f.freed
	f.freed = f.freed || over
	f.mu.Unlock()
	sh := f.s.shard(f.key)
	sh.mu.Lock()
	f.leave(sh)
	sh.mu.Unlock()
	f.s.aborted.Add(1)
	if over {
		f.release()
	}
}

// leave takes f from the open fills of its key; sh.mu is held.
func (f *Fill) leave(sh *shard) {
	rest := slices.DeleteFunc(sh.open[f.key], func(o *Fill) bool { return o == f })
	if len(rest) == 0 {
		delete(sh.open, f.key)
	} else {
		sh.open[f.key] = rest
	}
}

func (f *Fill) ended() error {
	if errors.Is(f.end, io.EOF) {
		return ErrClosed
	}
	return f.end
}

// wake tells waiting readers to look again; f.mu is held.
func (f *Fill) wake() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}

// whole joins the blocks, in as many bytes as it takes; f.mu is held.
func (f *Fill) whole() []byte {
	if len(f.blocks) == 1 && cap(f.blocks[0]) == len(f.blocks[0]) {
		return f.blocks[0]
	}
	body := make([]byte, 0, f.size)
	for _, b := range f.blocks {
		body = append(body, b...)
	}
	return body
}

func (f *Fill) length() (int64, bool) {
	if f.want >= 0 {
		return f.want, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, f.end == io.EOF
}

func (f *Fill) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != io.EOF || f.disk != nil || len(f.blocks) != 1 || f.base > 0 {
		return nil
	}
	return f.blocks[0]
}
