package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
)

// A reader is a file open for reading. It reads the object it opened, also
// when another takes its place.
type reader struct {
	noWrite
	f  *FS
	in storage.Info

	mu     sync.Mutex
	pos    int64         // of Read and Seek
	body   io.ReadCloser // of the object from some offset on, nil if none is open
	begins int64         // where the stretch begins that body is of
	at     int64         // where body stands
	window window        // what ReadAt has read of it
	closed bool

	anywhere io.ReaderAt // body, if it reads anywhere; it then lives as long as the reader
}

var (
	_ afero.File  = (*reader)(nil)
	_ io.WriterTo = (*reader)(nil)
)

// errReplaced ends a reading that cannot be continued.
var errReplaced = &explained{text: "the file was replaced while it was read", kind: io.ErrUnexpectedEOF}

func (f *FS) openRead(name string, p storage.Path) (afero.File, error) {
	if !p.IsObject() {
		e, err := f.lookup(p)
		if err != nil {
			return nil, err
		}
		return f.openDir(name, p, e)
	}
	body, in, err := f.store.Open(f.ctx, p, storage.All)
	exists := err == nil
	if !exists && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if exists {
		within := isMarker(&in)
		if !within {
			within, err = f.anythingIn(p)
		}
		if err == nil && !within {
			r := &reader{noWrite: noWrite{name}, f: f, in: in, body: body}
			r.anywhere, _ = body.(io.ReaderAt)
			return r, nil
		}
		body.Close()
		if err != nil {
			return nil, err
		}
	}
	e, err := f.describe(p, in, exists)
	if err != nil {
		return nil, err
	}
	if e.IsDir() {
		return f.openDir(name, p, e)
	}
	if u := f.uploading(p); u != nil && !exists {
		return &liveReader{noWrite: noWrite{name}, u: u}, nil
	}
	return nil, errUnfinished
}

// Stat describes the object that is read.
func (r *reader) Stat() (os.FileInfo, error) { return r.f.file(r.in.Path, r.in), nil }

// Read reads on.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.seekBody(r.pos); err != nil {
		return 0, failure("read", r.name, err)
	}
	n, err := r.body.Read(p)
	r.at += int64(n)
	r.pos += int64(n)
	return n, failure("read", r.name, err)
}

// WriteTo writes what is left, by way of the Store's own reader, which may have
// the kernel do it.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.seekBody(r.pos)
	if err == io.EOF {
		return 0, nil
	}
	if err != nil {
		return 0, failure("read", r.name, err)
	}
	n, err := io.Copy(w, r.body)
	r.at += n
	r.pos += n
	return n, err // which may be w's own, that its owner wants to know again
}

// seekBody has body stand at an offset. It is called with mu held.
func (r *reader) seekBody(offset int64) error {
	switch {
	case r.closed:
		return fs.ErrClosed
	case offset >= r.in.Size:
		return io.EOF
	case r.body != nil && r.at == offset:
		return nil
	}
	if s, ok := r.body.(io.Seeker); ok && offset >= r.begins {
		_, err := s.Seek(offset-r.begins, io.SeekStart)
		r.at = offset
		return err
	}
	body, in, err := r.f.store.Open(r.f.ctx, r.in.Path, storage.Range{Offset: offset, Length: -1})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrRange) {
		return errReplaced
	}
	if err != nil {
		return err
	}
	if identity(in, true) != identity(r.in, true) {
		body.Close()
		return errReplaced
	}
	if r.body != nil {
		r.body.Close()
	}
	r.body, r.begins, r.at = body, offset, offset
	return nil
}

// ReadAt reads anywhere. Those who read on nearly in order, several at a time
// as SFTP clients do, are served from one stretch of reading.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.readAt(p, off)
	return n, failure("read", r.name, err)
}

func (r *reader) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if r.anywhere != nil {
		return r.anywhere.ReadAt(p, off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(p) {
		piece, err := r.window.get(r, off+int64(n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], piece)
	}
	return n, nil
}

// Seek moves to where Read goes on.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pos, err := seek(offset, whence, r.pos, r.in.Size)
	if err != nil {
		return 0, failure("seek", r.name, err)
	}
	r.pos = pos
	return pos, nil
}

func seek(offset int64, whence int, pos, size int64) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += pos
	case io.SeekEnd:
		offset += size
	case io.SeekStart:
	default:
		return 0, fs.ErrInvalid
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	return offset, nil
}

func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return failure("close", r.name, fs.ErrClosed)
	}
	r.closed = true
	r.window = window{}
	if r.body == nil {
		return nil
	}
	return failure("close", r.name, r.body.Close())
}

// A window holds the pieces of a file that were read last.
type window struct {
	pieces [windowPieces]piece
	next   int // is replaced next
}

type piece struct {
	off  int64
	data []byte // nil if there is none
}

const (
	windowPieces = 12
	windowPiece  = 256 << 10
	windowAhead  = 8 * windowPiece // as far ahead as eight large packets reach
)

// get returns what lies in the window from off to the end of a piece, having
// read on, or there, if need be. It is called with r.mu held.
func (w *window) get(r *reader, off int64) ([]byte, error) {
	if r.closed {
		return nil, fs.ErrClosed
	}
	if off >= r.in.Size {
		return nil, io.EOF
	}
	from := off - off%windowPiece
	for _, p := range w.pieces {
		if p.data != nil && p.off == from {
			return p.data[off-from:], nil
		}
	}
	// A little ahead, what lies between will be asked for next.
	start := from
	if ahead := from - r.at; r.body != nil && ahead >= 0 && ahead <= windowAhead && r.at%windowPiece == 0 {
		start = r.at
	}
	if err := r.seekBody(start); err != nil {
		return nil, err
	}
	var p *piece
	for ; start <= from; start += windowPiece {
		p = &w.pieces[w.next]
		w.next = (w.next + 1) % windowPieces
		size := min(windowPiece, r.in.Size-start)
		data := p.data
		*p = piece{}
		if int64(cap(data)) < size {
			data = make([]byte, size)
		}
		n, err := io.ReadFull(r.body, data[:size])
		r.at += int64(n)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		*p = piece{start, data[:size]}
	}
	return p.data[off-from:], nil
}

// A liveReader reads what the session itself is uploading where there was
// nothing, as it comes, and then what that has become.
type liveReader struct {
	noWrite
	u *upload

	mu     sync.Mutex
	pos    int64
	object *reader // what is read when the upload has ended, nil before
}

func (r *liveReader) Stat() (os.FileInfo, error) { return r.u.f.Stat(r.name) }

func (r *liveReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.u.ReadAt(p, off)
	if !errors.Is(err, fs.ErrClosed) {
		return n, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.object == nil {
		in := r.u.result()
		if in.Version == 0 {
			return 0, failure("read", r.name, fs.ErrClosed) // it has become nothing
		}
		r.object = &reader{noWrite: r.noWrite, f: r.u.f, in: in}
	}
	return r.object.ReadAt(p, off)
}

func (r *liveReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	pos := r.pos
	r.mu.Unlock()
	n, err := r.ReadAt(p, pos)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pos = pos + int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (r *liveReader) Seek(offset int64, whence int) (int64, error) {
	e, err := r.Stat()
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pos, err := seek(offset, whence, r.pos, e.Size())
	if err != nil {
		return 0, failure("seek", r.name, err)
	}
	r.pos = pos
	return pos, nil
}

func (r *liveReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.object != nil {
		return r.object.Close()
	}
	return nil
}
