package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// WriteAt writes anywhere, in any order. After an error the file will not
// appear.
func (u *upload) WriteAt(p []byte, off int64) (n int, err error) {
	if u.flag&os.O_APPEND != 0 {
		return 0, failure("write", u.name, fs.ErrInvalid)
	}
	return u.writeAt(p, off)
}

func (u *upload) writeAt(p []byte, off int64) (n int, err error) {
	used := false
	err = u.use("write", func(g *storage.Staging) (err error) {
		used = true
		n, err = g.WriteAt(p, off)
		return err
	})
	if err == nil && !used {
		n = len(p)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wanted, u.written, u.touched = true, true, time.Now()
	if err != nil && u.failed == nil && !u.ended {
		u.failed = err
	}
	return n, err
}

// errBeyond meets who wants to resume where nothing has arrived.
var errBeyond = &explained{text: "the file does not reach to where writing is to go on", kind: fs.ErrInvalid}

// Write writes on, or at the end if the file was opened with O_APPEND. It does
// not leave out bytes: that is a client who takes for arrived what was lost.
func (u *upload) Write(p []byte) (int, error) {
	off := u.position()
	if off > u.size() && !u.unnamed() {
		err := failure("write", u.name, errBeyond)
		u.TransferError(err)
		return 0, err
	}
	n, err := u.writeAt(p, off)
	u.setPosition(off + int64(n))
	return n, err
}

// WriteString is Write.
func (u *upload) WriteString(s string) (int, error) { return u.Write([]byte(s)) }

// ReadFrom writes on with what r has. If that ends in an error the file will
// not appear.
func (u *upload) ReadFrom(r io.Reader) (total int64, err error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(*buf)
		if n > 0 {
			n, werr := u.Write((*buf)[:n])
			total += int64(n)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			u.TransferError(err)
			return total, err
		}
	}
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// position is where Write goes.
func (u *upload) position() int64 {
	if u.flag&os.O_APPEND != 0 {
		return u.size()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pos
}

func (u *upload) setPosition(pos int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pos = pos
}

// ReadAt reads what was written, or was there before.
func (u *upload) ReadAt(p []byte, off int64) (n int, err error) {
	used := false
	err = u.use("read", func(g *storage.Staging) (err error) {
		used = true
		n, err = g.ReadAt(p, off)
		return err
	})
	if err == nil && !used {
		err = io.EOF
	}
	return n, err
}

// Read reads on.
func (u *upload) Read(p []byte) (int, error) {
	if u.flag&os.O_RDWR == 0 {
		return 0, failure("read", u.name, fs.ErrPermission)
	}
	u.mu.Lock()
	pos := u.pos
	u.mu.Unlock()
	n, err := u.ReadAt(p, pos)
	u.setPosition(pos + int64(n))
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek moves to where Read and Write go on.
func (u *upload) Seek(offset int64, whence int) (int64, error) {
	size := u.size()
	u.mu.Lock()
	defer u.mu.Unlock()
	pos, err := seek(offset, whence, u.pos, size)
	if err != nil {
		return 0, failure("seek", u.name, err)
	}
	u.pos = pos
	return pos, nil
}

// Truncate cuts the file off, or makes it longer by zeros.
func (u *upload) Truncate(size int64) error {
	if size == 0 {
		u.mu.Lock()
		u.base = nil // nothing of it is needed
		u.mu.Unlock()
	}
	err := u.use("truncate", func(g *storage.Staging) error { return g.Truncate(size) })
	if err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.wanted, u.shaped, u.touched = true, true, time.Now()
	}
	return err
}
