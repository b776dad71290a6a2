package sftp

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
)

// A file is an open file or directory of an SFTP session. pkg/sftp reads and
// writes from eight goroutines at once, in no order, even when the client asks
// in order.
type file struct {
	h         *handler
	inner     afero.File
	mode      int // as given to OpenFile
	directory bool
	began     time.Time

	path  string // guarded by h.mu: it changes when the file is renamed
	moved bool   // renamed since it was opened; guarded by h.mu

	appending bool  // every write goes behind what was there
	end       int64 // the size it had when opened
	shift     int64 // what to add to the client's offsets; set once by firstWrite
	shiftOnce sync.Once

	read, written atomic.Int64
	failed        atomic.Pointer[error] // the first thing that went wrong
	settled       bool                  // what it was opened for is done otherwise: Close has nothing to do
}

var (
	_ pkgsftp.WriterAtReaderAt = (*file)(nil)
	_ pkgsftp.TransferError    = (*file)(nil)
	_ io.Closer                = (*file)(nil)
)

// ReadAt reads from anywhere in the file.
func (f *file) ReadAt(p []byte, offset int64) (n int, err error) {
	defer f.guard("read", &err)
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	n, err = f.inner.ReadAt(p, offset)
	f.read.Add(int64(n))
	return n, err
}

// WriteAt writes anywhere in the file, or behind its end if it was opened for
// appending.
func (f *file) WriteAt(p []byte, offset int64) (n int, err error) {
	defer f.guard("write", &err)
	if offset += f.shift; offset < 0 {
		return 0, fs.ErrInvalid
	}
	n, err = f.inner.WriteAt(p, offset)
	f.written.Add(int64(n))
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// firstWrite settles where the writes of a file opened for appending go. The
// protocol wants each at the end, wherever its offset points: some clients
// count from the end of the file and others from zero. As writes come out of
// order, the first in the order of the client lands at the end and the others
// keep their distance from it, which is the same.
func (f *file) firstWrite(offset int64) {
	f.shiftOnce.Do(func() { f.shift = f.end - offset })
}

// TransferError is called when the connection has ended and the file is still
// open.
func (f *file) TransferError(err error) {
	defer f.h.rescue("transfer error")
	f.fail(lost(err))
	if a, ok := f.inner.(Aborter); ok && !f.settled {
		a.TransferError(err)
	}
}

// Close closes the file, which for an upload is the moment that it becomes
// visible, and reports the transfer.
func (f *file) Close() (err error) {
	defer f.h.drop(f)
	defer f.guard("close", &err)
	if !f.settled {
		err = f.inner.Close()
	}
	if err != nil {
		f.fail(err)
	}
	if f.directory {
		return err
	}
	f.h.mu.Lock()
	op := Operation{Protocol: "sftp", Verb: "get", Path: f.path, Bytes: f.read.Load(), Began: f.began}
	f.h.mu.Unlock()
	switch {
	case f.settled:
		return nil // reported as a copy
	case f.mode&os.O_RDWR != 0 && f.read.Load() > 0:
		op.Verb = "update"
		op.Bytes += f.written.Load()
	case f.mode&(os.O_WRONLY|os.O_RDWR) != 0:
		op.Verb = "put"
		op.Bytes = f.written.Load()
	}
	if cause := f.failed.Load(); cause != nil {
		op.Err = *cause
	}
	f.h.finish(op)
	return reported(err)
}

func (f *file) fail(err error) { f.failed.CompareAndSwap(nil, &err) }

// guard is handler.guard for one file. The cause of a failure goes into the line
// that the log gets when the file is closed.
func (f *file) guard(verb string, err *error) {
	if p := recover(); p != nil {
		f.h.panicked(verb, p)
		*err = errInternal
	}
	if *err == nil || *err == io.EOF {
		return
	}
	if errors.Is(*err, io.EOF) {
		*err = io.EOF
		return
	}
	f.fail(*err)
	*err = reported(*err)
}

// A listing is an open directory. Its ListAt is asked for ever higher offsets,
// so it reads on where it stopped.
type listing struct {
	*file
	left []os.FileInfo // read from the directory, but not yet handed out
}

// ListAt fills dst from the directory, as far as a reply should go: clients
// need not take packets larger than 34,000 bytes, though all that are in use
// take twice that.
func (l *listing) ListAt(dst []os.FileInfo, _ int64) (n int, err error) {
	defer l.guard("readdir", &err)
	if len(l.left) == 0 {
		l.left, err = l.inner.Readdir(len(dst))
		if len(l.left) == 0 {
			if err == nil {
				err = io.EOF
			}
			return 0, err
		}
	}
	const most, fixed = 64 << 10, 128 // bytes: of a reply, and of an entry besides its name, which comes twice
	for size := 0; n < len(dst) && n < len(l.left); n++ {
		if size += fixed + 2*len(l.left[n].Name()); size > most && n > 0 {
			break
		}
		dst[n] = l.left[n]
	}
	l.left = l.left[n:]
	return n, nil
}

// described is the listing of one file that Stat is answered with.
type described struct{ os.FileInfo }

func (d described) ListAt(dst []os.FileInfo, offset int64) (int, error) {
	if offset > 0 || len(dst) == 0 {
		return 0, io.EOF
	}
	dst[0] = d.FileInfo
	return 1, io.EOF
}
