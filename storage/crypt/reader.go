package crypt

import (
	"io"
	"sync"
	"sync/atomic"
)

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// smallBuffer is the size up to which a buffer is made for the occasion: the
// pool's are large, and new ones must be cleared.
const smallBuffer = 16 << 10

// takeBuffer returns a buffer for so many bytes or, if that is less, for as many
// as are turned at a time.
func takeBuffer(size int) *[]byte {
	if size <= smallBuffer {
		b := make([]byte, size)
		return &b
	}
	return buffers.Get().(*[]byte)
}

func giveBuffer(b *[]byte) {
	if len(*b) == bufferSize {
		buffers.Put(b)
	}
}

// newReader returns a reader that decrypts what rc reads, which begins at start
// within the object. It can do what rc can.
func newReader(rc io.ReadCloser, c *content, start int64) io.ReadCloser {
	r := &reader{rc: rc, c: c, start: start, at: start}
	seeker, seeks := rc.(io.Seeker)
	readerAt, anywhere := rc.(io.ReaderAt)
	switch {
	case seeks && anywhere:
		return &fullReader{seekReader{r, seeker}, readAt{r, readerAt}}
	case seeks:
		return &seekReader{r, seeker}
	}
	return r
}

// A reader decrypts from the first byte to the last.
type reader struct {
	rc     io.ReadCloser
	c      *content
	start  int64
	at     int64 // within the object, of the next byte
	closed atomic.Bool
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.rc.Read(p)
	r.c.turn(p[:n], r.at)
	r.at += int64(n)
	return n, err
}

// WriteTo writes the rest, in large pieces.
func (r *reader) WriteTo(w io.Writer) (written int64, err error) {
	buf := takeBuffer(bufferSize)
	defer giveBuffer(buf)
	for {
		n, err := r.Read(*buf)
		if n > 0 {
			m, werr := w.Write((*buf)[:n])
			written += int64(m)
			if werr != nil {
				return written, werr
			}
		}
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.rc.Close()
}

// A seekReader can be told where to go on.
type seekReader struct {
	*reader
	s io.Seeker
}

func (r *seekReader) Seek(offset int64, whence int) (int64, error) {
	at, err := r.s.Seek(offset, whence)
	if err == nil {
		r.at = r.start + at
	}
	return at, err
}

// A readAt reads anywhere.
type readAt struct {
	r  *reader
	at io.ReaderAt
}

func (r *readAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.at.ReadAt(p, off)
	r.r.c.turn(p[:n], r.r.start+off)
	return n, err
}

// A fullReader can do all of it.
type fullReader struct {
	seekReader
	readAt
}
