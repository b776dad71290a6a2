package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// blockSize is the unit in which bodies grow and are checksummed.
const blockSize = 64 << 10

// A Fill is an entry in the making: Write its body, then Commit or Abort. One
// goroutine writes; any number may read its Entry meanwhile.
type Fill struct {
	s      *Store
	key    Key
	head   []byte
	want   int64 // the size announced, or -1
	entry  *Entry
	doomed atomic.Bool   // removed since Create: will not be kept
	seq    atomic.Uint64 // of what was kept

	mu     sync.Mutex // guards all below
	blocks [][]byte   // full ones of blockSize, and the last; nil where let go
	size   int64      // bytes written
	end    error      // nil while open; io.EOF when whole, else why readers fail
	grown  chan struct{}
}

// Create begins an entry of which the head is known, and the size of the body
// or -1. Get does not find it before Commit. Every Fill must be ended by Commit
// or Abort.
func (s *Store) Create(k Key, head []byte, size int64) *Fill {
	f := &Fill{s: s, key: k, head: head, want: size}
	f.entry = &Entry{s: s, key: k, head: head, fill: f}
	sh := s.shard(k)
	sh.mu.Lock()
	sh.open[k] = append(sh.open[k], f)
	sh.mu.Unlock()
	return f
}

// Entry returns a view of the growing entry, which its caller must Release.
func (f *Fill) Entry() *Entry { return f.entry }

// Write appends to the body. It does not wait for readers.
func (f *Fill) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		return 0, f.ended()
	}
	if f.want >= 0 && f.size+int64(len(p)) > f.want {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrSize, f.want)
	}
	n := len(p)
	for len(p) > 0 {
		last := len(f.blocks) - 1
		if last < 0 || len(f.blocks[last]) == blockSize {
			room := 4 << 10
			if f.want >= 0 {
				room = int(min(f.want-f.size, blockSize))
			} else if last >= 0 {
				room = blockSize
			}
			f.blocks = append(f.blocks, make([]byte, 0, room))
			last++
		}
		b := f.blocks[last]
		part := min(len(p), blockSize-len(b))
		f.blocks[last] = append(b, p[:part]...) // readers hold what was before: it does not change
		f.size += int64(part)
		p = p[part:]
	}
	f.wake()
	return n, nil
}

// Commit ends the fill: its readers come to the end of the body, and Get finds
// the entry. If the error is ErrNotKept, they do and it does not: it was
// removed since Create, or there is no room. With any other error the readers
// fail, as after Abort.
func (f *Fill) Commit() error {
	f.mu.Lock()
	if f.end != nil {
		defer f.mu.Unlock()
		return f.ended()
	}
	if f.want >= 0 && f.size != f.want {
		f.mu.Unlock()
		err := fmt.Errorf("%w: %d bytes instead of %d", ErrSize, f.size, f.want)
		f.Abort(err)
		return err
	}
	f.end = io.EOF
	body := f.whole()
	f.blocks = [][]byte{body}
	f.wake()
	f.mu.Unlock()
	return f.keep(body)
}

// keep makes the entry visible.
func (f *Fill) keep(body []byte) error {
	s, sh := f.s, f.s.shard(f.key)
	sh.mu.Lock()
	f.leave(sh)
	if f.doomed.Load() || int64(len(body)) > s.opt.MaxMemoryEntry || s.closed.Load() {
		sh.mu.Unlock()
		s.notKept.Add(1)
		return ErrNotKept
	}
	e := &Entry{s: s, key: f.key, head: f.head, mem: body, seq: s.seq.Add(1)}
	it := &item{key: f.key, size: itemOverhead + int64(len(f.head)+cap(body))}
	it.entry.Store(e)
	old := sh.items[f.key]
	sh.items[f.key] = it
	f.seq.Store(e.seq)
	out := s.mem.add(it, old)
	sh.mu.Unlock()
	s.fills.Add(1)
	s.leave(out)
	return nil
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

// Abort ends the fill: nothing is kept, and its readers fail with err. After
// Commit or Abort it does nothing.
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
	f.blocks = nil
	f.wake()
	f.mu.Unlock()
	sh := f.s.shard(f.key)
	sh.mu.Lock()
	f.leave(sh)
	sh.mu.Unlock()
	f.s.aborted.Add(1)
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
	if f.end != io.EOF || len(f.blocks) != 1 {
		return nil
	}
	return f.blocks[0]
}

func (f *Fill) reader(ctx context.Context, off, n int64) *follower {
	off = max(off, 0)
	end := int64(-1)
	if n >= 0 {
		end = off + n
	}
	return &follower{f: f, ctx: ctx, pos: off, end: end}
}

// A follower reads a body that may still be growing.
type follower struct {
	f    *Fill
	ctx  context.Context // of the request that reads: the wait for bytes ends with it
	pos  int64
	end  int64 // -1: that of the body
	done bool
}

// next returns bytes at pos, at most as many as one block has, waiting for the
// first of them.
func (r *follower) next() ([]byte, error) {
	if r.done {
		return nil, ErrClosed
	}
	if r.end >= 0 && r.pos >= r.end {
		return nil, io.EOF
	}
	for {
		b, wait, err := r.look()
		if b != nil || err != nil {
			return b, err
		}
		select {
		case <-wait:
		case <-r.ctx.Done():
			return nil, context.Cause(r.ctx)
		}
	}
}

// look returns the bytes at pos, or a channel that is closed when there may be
// some.
func (r *follower) look() ([]byte, <-chan struct{}, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil && f.end != io.EOF {
		return nil, nil, f.end
	}
	if r.pos < f.size {
		var b []byte
		if f.end == io.EOF {
			b = f.blocks[0][r.pos:]
		} else {
			b = f.blocks[r.pos/blockSize][r.pos%blockSize:]
		}
		if r.end >= 0 && int64(len(b)) > r.end-r.pos {
			b = b[:r.end-r.pos]
		}
		return b, nil, nil
	}
	if f.end == io.EOF {
		return nil, nil, io.EOF
	}
	if f.grown == nil {
		f.grown = make(chan struct{})
	}
	return nil, f.grown, nil
}

func (r *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.next()
	n := copy(p, b)
	r.pos += int64(n)
	return n, err
}

func (r *follower) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		b, err := r.next()
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		n, err := w.Write(b)
		r.pos += int64(n)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
}

func (r *follower) Close() error { r.done = true; return nil }
