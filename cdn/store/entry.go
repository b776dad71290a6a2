package store

import (
	"context"
	"io"
)

// An Entry is a head and a body, both immutable, except that the body of a
// fill's entry grows until the fill ends. Its methods may be called
// concurrently.
type Entry struct {
	s    *Store
	key  Key
	head []byte
	seq  uint64 // which of the entries that were ever kept; see version

	// The body is one of these.
	mem  []byte
	fill *Fill
	disk *stored

	held int64 // bytes of memory that head and mem hold
}

// Head returns the head as it was given. It must not be changed.
func (e *Entry) Head() []byte { return e.head }

// Size returns the length of the body, and whether it is known already.
func (e *Entry) Size() (n int64, known bool) {
	if e.fill != nil {
		return e.fill.length()
	}
	if e.disk != nil {
		return e.disk.size, true
	}
	return int64(len(e.mem)), true
}

// Bytes returns the whole body if it is in memory, else nil. It must not be
// changed.
func (e *Entry) Bytes() []byte {
	if e.fill != nil {
		return e.fill.bytes()
	}
	return e.mem
}

// Reader returns a reader of the n bytes of the body that begin at off; n < 0
// means all to the end, and what lies beyond the end is left out. It gives
// verified bytes only: an error, ErrDamaged for example, comes before the byte
// that cannot be given. It must be closed, may outlive Release, and is for one
// goroutine at a time. The readers of a growing entry wait for bytes as they
// come, no longer than ctx lives, and fail when the fill is aborted.
//
// The reader implements io.WriterTo. To a writer that is an io.ReaderFrom it
// hands verified stretches of a file on the disk as *os.File in an
// io.LimitedReader, which a plain TCP connection sends without copying; to any
// other it writes blocks of up to 64 KiB from pooled buffers.
func (e *Entry) Reader(ctx context.Context, off, n int64) io.ReadCloser {
	if e.fill != nil {
		return e.fill.reader(ctx, off, n)
	}
	if e.disk != nil {
		return e.disk.reader(ctx, off, n)
	}
	off = min(max(off, 0), int64(len(e.mem)))
	if rest := int64(len(e.mem)) - off; n < 0 || n > rest {
		n = rest
	}
	return &memoryReader{e.mem[off : off+n]}
}

// Release says that the caller is done with the entry; its methods must not be
// called any more. It does not end the entry's readers.
func (e *Entry) Release() {
	switch {
	case e.fill != nil:
		e.fill.release()
	case e.disk != nil:
		e.disk.release()
	}
}

// version identifies an entry among all that were ever kept; 0 is none.
func (e *Entry) version() uint64 {
	if e.fill != nil {
		return e.fill.seq.Load()
	}
	return e.seq
}

// memoryReader reads a body that is in memory.
type memoryReader struct{ b []byte }

func (r *memoryReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (r *memoryReader) WriteTo(w io.Writer) (int64, error) {
	if len(r.b) == 0 {
		return 0, nil
	}
	n, err := w.Write(r.b)
	r.b = r.b[n:]
	return int64(n), err
}

func (r *memoryReader) Close() error { r.b = nil; return nil }

var (
	_ io.WriterTo = (*memoryReader)(nil)
	_ io.WriterTo = (*follower)(nil)
	_ io.WriterTo = (*diskReader)(nil)
)
