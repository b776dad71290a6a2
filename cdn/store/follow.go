package store

import (
	"context"
	"io"
)

// A follower reads a body that may still be growing.
type follower struct {
	f      *Fill
	ctx    context.Context // of the request that reads: the wait for bytes ends with it
	pos    int64
	end    int64 // -1: that of the body
	at     int64 // pos, for the writer to see; f.mu guards it
	buf    *[blockSize]byte
	cur    []byte // bytes at pos
	closed bool
}

func (f *Fill) reader(ctx context.Context, off, n int64) *follower {
	off = max(off, 0)
	end := int64(-1)
	if n >= 0 {
		end = off + n
	}
	r := &follower{f: f, ctx: ctx, pos: off, at: off, end: end}
	f.refs.Add(1)
	f.mu.Lock()
	f.readers[r] = struct{}{}
	f.mu.Unlock()
	return r
}

// next makes cur hold bytes at pos, at most to the end of a block, waiting for
// the first of them.
func (r *follower) next() error {
	for {
		switch {
		case r.closed:
			return ErrClosed
		case len(r.cur) > 0:
			return nil
		case r.end >= 0 && r.pos >= r.end:
			return io.EOF
		}
		wait, err := r.look()
		if err != nil {
			return err
		}
		if len(r.cur) > 0 {
			if r.end >= 0 && int64(len(r.cur)) > r.end-r.pos {
				r.cur = r.cur[:r.end-r.pos]
			}
			continue
		}
		select {
		case <-wait:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// look finds the bytes at pos, in memory or on the disk, or returns a channel
// that is closed when there may be some.
func (r *follower) look() (<-chan struct{}, error) {
	f := r.f
	f.mu.Lock()
	r.at = r.pos
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
	if f.end != nil && f.end != io.EOF {
		defer f.mu.Unlock()
		return nil, f.end
	}
	if r.pos >= f.size {
		defer f.mu.Unlock()
		if f.end == io.EOF {
			return nil, io.EOF
		}
		if f.grown == nil {
			f.grown = make(chan struct{})
		}
		return f.grown, nil
	}
	i, skip := r.pos/blockSize, r.pos%blockSize
	if len(f.blocks) == 1 && int64(len(f.blocks[0])) == f.size {
		i, skip = 0, r.pos // joined
	}
	if b := f.blocks[i]; b != nil {
		r.cur = b[skip:]
		f.mu.Unlock()
		return nil, nil
	}
	if f.disk == nil || i >= int64(len(f.disk.table)) {
		f.mu.Unlock()
		return nil, ErrBehind
	}
	g, off, n, _ := f.disk.locate(i)
	sum := f.disk.table[i]
	seq := f.disk.seq
	f.mu.Unlock()
	if err := r.ctx.Err(); err != nil {
		return nil, context.Cause(r.ctx)
	}
	if r.buf == nil {
		r.buf = blockPool.Get().(*[blockSize]byte)
	}
	block, err := readBlock(g, off, r.buf[:n], sum)
	if err != nil {
		f.s.damage(f.key, seq, err)
		return nil, err
	}
	r.cur = block[skip:]
	return nil, nil
}

func (r *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.next(); err != nil {
		return 0, err
	}
	n := copy(p, r.cur)
	r.cur = r.cur[n:]
	r.pos += int64(n)
	return n, nil
}

func (r *follower) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		err := r.next()
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		n, err := w.Write(r.cur)
		r.cur = r.cur[n:]
		r.pos += int64(n)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
}

func (r *follower) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.cur = nil
	if r.buf != nil {
		blockPool.Put(r.buf)
		r.buf = nil
	}
	f := r.f
	f.mu.Lock()
	delete(f.readers, r)
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
	f.mu.Unlock()
	f.release()
	return nil
}
