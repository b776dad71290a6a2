package store

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// stored is a body on the disk. It holds references to its segments until the
// last of its own users has released it.
type stored struct {
	s     *Store
	key   Key
	seq   uint64
	size  int64
	parts []part
	table []uint32
	refs  atomic.Int32
}

// A part is an extent and its segment.
type part struct {
	seg *segment
	extent
}

func (b *stored) acquire() { b.refs.Add(1) }

func (b *stored) release() {
	if b.refs.Add(-1) == 0 {
		for _, p := range b.parts {
			p.seg.release()
		}
	}
}

// entry reads the front of a record, and returns its entry with one reference,
// or nil if it is gone or damaged, in which case it has been dropped.
func (d *disk) entry(k Key, p place, extents []extent) *Entry {
	g := d.segment(p.seg)
	if g == nil {
		d.s.lost(k, p)
		return nil
	}
	defer g.release()
	buf := make([]byte, p.meta)
	rec, err := d.front(g, k, p, buf)
	if err != nil {
		d.s.damage(k, p.seq, err)
		return nil
	}
	b := &stored{s: d.s, key: k, seq: p.seq, size: p.size, table: rec.table}
	b.refs.Store(1)
	if rec.kind == kindInline && p.size > 0 {
		extents = []extent{{p.seg, p.off + p.meta, uint32(p.size)}}
	}
	b.parts = make([]part, 0, len(extents))
	for _, x := range extents {
		seg := d.segment(x.seg)
		if seg == nil {
			b.release()
			d.s.lost(k, p)
			return nil
		}
		b.parts = append(b.parts, part{seg, x})
	}
	return &Entry{s: d.s, key: k, head: rec.head, seq: p.seq, disk: b}
}

// front reads and verifies a record at its place into buf.
func (d *disk) front(g *segment, k Key, p place, buf []byte) (record, error) {
	if _, err := g.file.ReadAt(buf, int64(p.off)); err != nil {
		return record{}, err
	}
	rec, ok := parseRecord(buf, g.nonce)
	if !ok || rec.key != k || rec.seq != p.seq || rec.size != p.size {
		return record{}, fmt.Errorf("%w: record in %s at %d", ErrDamaged, g.path, p.off)
	}
	return rec, nil
}

// small reads a whole inline entry into memory.
func (d *disk) small(k Key, p place) *Entry {
	g := d.segment(p.seg)
	if g == nil {
		d.s.lost(k, p)
		return nil
	}
	defer g.release()
	buf := make([]byte, int64(p.meta)+p.size)
	rec, err := d.front(g, k, p, buf)
	if err == nil {
		body := buf[p.meta:]
		for i := range rec.table {
			block := body[i*blockSize : min((i+1)*blockSize, len(body))]
			if checksum(block) != rec.table[i] {
				err = fmt.Errorf("%w: block %d of record in %s at %d", ErrDamaged, i, g.path, p.off)
			}
		}
	}
	if err != nil {
		d.s.damage(k, p.seq, err)
		return nil
	}
	return &Entry{s: d.s, key: k, head: rec.head, seq: p.seq, mem: buf[p.meta:], held: int64(len(buf))}
}

// locate returns where block i is: its segment, offset, length, and how many
// bytes of the body follow it there.
func (b *stored) locate(i int64) (g *segment, off, n, run int64) {
	pos := i * blockSize
	for _, p := range b.parts {
		if pos < int64(p.length) {
			run = int64(p.length) - pos
			return p.seg, int64(p.off) + pos, min(run, blockSize), run
		}
		pos -= int64(p.length)
	}
	return nil, 0, 0, 0
}

// block reads block i into buf, and verifies it.
func (b *stored) block(i int64, buf []byte) ([]byte, error) {
	g, off, n, _ := b.locate(i)
	if g == nil {
		return nil, fmt.Errorf("%w: block %d is nowhere", ErrDamaged, i)
	}
	return readBlock(g, off, buf[:n], b.table[i])
}

func readBlock(g *segment, off int64, buf []byte, sum uint32) ([]byte, error) {
	if _, err := g.file.ReadAt(buf, off); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if checksum(buf) != sum {
		return nil, fmt.Errorf("%w: block in %s at %d", ErrDamaged, g.path, off)
	}
	if len(buf) == blockSize {
		g.setVerified(off)
	}
	return buf, nil
}

var blockPool = sync.Pool{New: func() any { return new([blockSize]byte) }}

// diskReader reads a part of a stored body.
type diskReader struct {
	b        *stored
	ctx      context.Context // of the request that reads
	pos, end int64
	buf      *[blockSize]byte
	cur      []byte // verified bytes at pos
	closed   bool
}

func (b *stored) reader(ctx context.Context, off, n int64) *diskReader {
	off = min(max(off, 0), b.size)
	end := b.size
	if n >= 0 && n < end-off {
		end = off + n
	}
	b.acquire()
	return &diskReader{b: b, ctx: ctx, pos: off, end: end}
}

// next makes cur hold the rest of the block at pos.
func (r *diskReader) next() error {
	switch {
	case r.closed:
		return ErrClosed
	case r.pos >= r.end:
		return io.EOF
	case len(r.cur) > 0:
		return nil
	}
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	if r.buf == nil {
		r.buf = blockPool.Get().(*[blockSize]byte)
	}
	i, skip := r.pos/blockSize, r.pos%blockSize
	block, err := r.b.block(i, r.buf[:])
	if err != nil {
		r.b.s.damage(r.b.key, r.b.seq, err)
		return err
	}
	r.cur = block[skip:min(int64(len(block)), r.end-i*blockSize)]
	return nil
}

func (r *diskReader) Read(p []byte) (int, error) {
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

// WriteTo gives the file itself to a writer that can read from one, a plain TCP
// connection above all, for stretches that have been verified since the start:
// those never pass through here. Others go through a buffer, once.
func (r *diskReader) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	direct, _ := w.(io.ReaderFrom)
	for {
		if len(r.cur) == 0 && direct != nil && !r.closed {
			n, err := r.send(direct)
			sum += n
			if err != nil {
				return sum, err
			}
		}
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

// send passes on the longest verified stretch at pos, if there is one that is
// worth it.
func (r *diskReader) send(w io.ReaderFrom) (int64, error) {
	if r.b.s.opt.VerifyAlways || r.end-r.pos < blockSize/2 {
		return 0, nil
	}
	i := r.pos / blockSize
	g, start, _, run := r.b.locate(i)
	if g == nil {
		return 0, nil
	}
	start += r.pos % blockSize
	n := int64(0)
	for run >= blockSize && r.pos+n < r.end {
		if !g.isVerified(start + n - (r.pos+n)%blockSize) {
			break
		}
		step := blockSize - (r.pos+n)%blockSize
		n += step
		run -= blockSize
	}
	n = min(n, r.end-r.pos)
	if n == 0 {
		return 0, nil
	}
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	f, err := g.descriptor()
	if err != nil {
		return 0, nil // the file's name is gone: read it through the descriptor we have
	}
	defer g.giveBack(f)
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return 0, nil
	}
	sent, err := w.ReadFrom(&io.LimitedReader{R: f, N: n})
	r.pos += sent
	if err == nil && sent < n {
		err = fmt.Errorf("%w: %s is shorter than it was", ErrDamaged, g.path)
		r.b.s.damage(r.b.key, r.b.seq, err)
	}
	return sent, err
}

func (r *diskReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.cur = nil
	if r.buf != nil {
		blockPool.Put(r.buf)
		r.buf = nil
	}
	r.b.release()
	return nil
}
