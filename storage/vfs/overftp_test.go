package vfs_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/ftp"
	"memstore.dev/memstore/internal/ftpclient"
	"memstore.dev/memstore/storage/vfs/vfstest"
)

// The contract of the filesystem holds for who comes by FTP, as far as that can
// say it. It has no words for an owner (Modes), for making a file only if there
// is none (Exclusive), for writing here and there, reading what is being
// written, or cutting it off (Amend, OutOfOrder, ReadWrite, Truncate), nor for
// anything else on a connection while a file is being written (UnderWay).
func TestFilesystemOverFTP(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) afero.Fs {
		login := logins()
		addr := open(t, &ftp.Server{
			Log: slog.New(slog.DiscardHandler),
			Password: func(ctx context.Context, _ ftp.Attempt, pw string) (ftp.Login, error) {
				f, err := login(ctx, pw)
				return ftp.Login{Fs: f}, err
			},
		})
		f := &ftpFs{addr: addr}
		t.Cleanup(f.close)
		return f
	}, "Modes", "Exclusive", "Amend", "Truncate", "OutOfOrder", "ReadWrite", "UnderWay")
}

// ftpFs is an FTP client as a filesystem. Since a connection is busy while a
// file is open it has several.
type ftpFs struct {
	addr string

	mu   sync.Mutex
	idle []*ftpclient.Conn
}

var (
	_ afero.Fs   = (*ftpFs)(nil)
	_ afero.File = (*ftpReader)(nil)
	_ afero.File = (*ftpWriter)(nil)
)

func (f *ftpFs) close() {
	for _, c := range f.idle {
		c.Close()
	}
}

func (f *ftpFs) take() (*ftpclient.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.idle); n > 0 {
		c := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return c, nil
	}
	return ftpclient.Dial(context.Background(), f.addr, ftpclient.Options{User: user, Password: password})
}

// give takes a connection back, unless it is broken.
func (f *ftpFs) give(c *ftpclient.Conn, err error) {
	if err != nil {
		if _, no := errors.AsType[*ftpclient.Error](err); !no {
			c.Cut()
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, c)
}

// do does one thing on a connection.
func (f *ftpFs) do(op func(*ftpclient.Conn) error) error {
	c, err := f.take()
	if err != nil {
		return err
	}
	err = op(c)
	f.give(c, err)
	return err
}

func (f *ftpFs) Name() string { return "ftp" }

func (f *ftpFs) Stat(name string) (in os.FileInfo, err error) {
	err = f.do(func(c *ftpclient.Conn) error { in, err = c.Stat(name); return err })
	return in, err
}

func (f *ftpFs) Mkdir(name string, _ os.FileMode) error {
	return f.do(func(c *ftpclient.Conn) error { return c.Mkdir(name) })
}

func (f *ftpFs) Rename(from, to string) error {
	return f.do(func(c *ftpclient.Conn) error { return c.Rename(from, to) })
}

func (f *ftpFs) Chtimes(name string, _, mtime time.Time) error {
	return f.do(func(c *ftpclient.Conn) error { return c.SetModTime(name, mtime) })
}

func (f *ftpFs) Chmod(string, os.FileMode) error { return errors.ErrUnsupported }
func (f *ftpFs) Chown(string, int, int) error    { return errors.ErrUnsupported }

// Remove asks what there is, as FTP has one command for files and another for
// directories.
func (f *ftpFs) Remove(name string) error {
	in, err := f.Stat(name)
	if err != nil {
		return err
	}
	return f.do(func(c *ftpclient.Conn) error {
		if in.IsDir() {
			return c.RemoveDir(name)
		}
		return c.Remove(name)
	})
}

func (f *ftpFs) MkdirAll(name string, m os.FileMode) error { return mkdirAll(f, name, m) }
func (f *ftpFs) RemoveAll(name string) error               { return removeAll(f, name) }

func (f *ftpFs) Open(name string) (afero.File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

func (f *ftpFs) Create(name string) (afero.File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0)
}

func (f *ftpFs) OpenFile(name string, flag int, _ os.FileMode) (afero.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 || flag&os.O_CREATE == 0 {
		in, err := f.Stat(name)
		if err != nil {
			return nil, err
		}
		if in.IsDir() {
			return &dir{name: name, info: in, list: func() ([]fs.FileInfo, error) { return f.list(name) }}, nil
		}
		if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
			// A download begins here: it is of what is there now.
			r := &ftpReader{ftpFile: ftpFile{f: f, name: name}, info: in}
			return r, r.begin(0)
		}
	}
	c, err := f.take()
	if err != nil {
		return nil, err
	}
	w := &ftpWriter{ftpFile: ftpFile{f: f, name: name}, c: c}
	if flag&os.O_APPEND != 0 {
		w.u, err = c.Append(name)
	} else {
		w.u, err = c.Store(name, 0)
	}
	if err != nil {
		f.give(c, err)
		return nil, err
	}
	return w, nil
}

func (f *ftpFs) list(name string) (infos []fs.FileInfo, err error) {
	err = f.do(func(c *ftpclient.Conn) error {
		entries, err := c.List(name)
		for _, e := range entries {
			infos = append(infos, e)
		}
		return err
	})
	return infos, err
}

// An ftpFile refuses what neither who reads nor who writes can do.
type ftpFile struct {
	f    *ftpFs
	name string
}

func (f *ftpFile) refuse(op string, why error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: why}
}

func (f *ftpFile) Name() string { return f.name }
func (f *ftpFile) Sync() error  { return nil }

func (f *ftpFile) Stat() (os.FileInfo, error) { return f.f.Stat(f.name) }
func (f *ftpFile) Truncate(int64) error       { return f.refuse("truncate", errors.ErrUnsupported) }
func (f *ftpFile) WriteAt([]byte, int64) (int, error) {
	return 0, f.refuse("write", errors.ErrUnsupported)
}
func (f *ftpFile) Readdir(int) ([]os.FileInfo, error) {
	return nil, f.refuse("readdir", syscall.ENOTDIR)
}
func (f *ftpFile) Readdirnames(int) ([]string, error) {
	return nil, f.refuse("readdir", syscall.ENOTDIR)
}

// An ftpReader downloads a file, from another offset on when it is told to.
type ftpReader struct {
	ftpFile
	info fs.FileInfo

	mu     sync.Mutex
	c      *ftpclient.Conn
	d      *ftpclient.Download // nil between a Seek and the next Read
	pos    int64
	closed bool
}

func (r *ftpReader) begin(at int64) (err error) {
	r.pos = at
	if r.c, err = r.f.take(); err != nil {
		return err
	}
	if r.d, err = r.c.Retrieve(r.name, at); err != nil {
		r.f.give(r.c, err)
	}
	return err
}

func (r *ftpReader) end() (err error) {
	if r.d != nil {
		err = r.d.Close()
		r.f.give(r.c, err)
		r.d = nil
	}
	return err
}

func (r *ftpReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, r.refuse("read", fs.ErrClosed)
	}
	if r.d == nil {
		if r.pos >= r.info.Size() {
			return 0, io.EOF
		}
		if err := r.begin(r.pos); err != nil {
			return 0, err
		}
	}
	n, err := r.d.Read(p)
	r.pos += int64(n)
	return n, err
}

// ReadAt is a download of its own.
func (r *ftpReader) ReadAt(p []byte, off int64) (n int, err error) {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return 0, r.refuse("read", fs.ErrClosed)
	}
	if off >= r.info.Size() {
		return 0, io.EOF
	}
	part := &ftpReader{ftpFile: r.ftpFile, info: r.info}
	if err := part.begin(off); err != nil {
		return 0, err
	}
	n, err = io.ReadFull(part, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, cmp.Or(part.Close(), err)
}

func (r *ftpReader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.info.Size()
	}
	if offset < 0 {
		return 0, r.refuse("seek", fs.ErrInvalid)
	}
	if offset != r.pos {
		if err := r.end(); err != nil {
			return 0, err
		}
		r.pos = offset
	}
	return offset, nil
}

func (r *ftpReader) Stat() (os.FileInfo, error)      { return r.info, nil }
func (r *ftpReader) Write([]byte) (int, error)       { return 0, r.refuse("write", fs.ErrPermission) }
func (r *ftpReader) WriteString(string) (int, error) { return 0, r.refuse("write", fs.ErrPermission) }

func (r *ftpReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.refuse("close", fs.ErrClosed)
	}
	r.closed = true
	return r.end()
}

// An ftpWriter uploads a file, from its first byte to its last.
type ftpWriter struct {
	ftpFile
	c      *ftpclient.Conn
	u      *ftpclient.Upload
	closed bool
}

func (w *ftpWriter) Write(p []byte) (int, error) {
	if w.closed {
		return 0, w.refuse("write", fs.ErrClosed)
	}
	return w.u.Write(p)
}

func (w *ftpWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *ftpWriter) Read([]byte) (int, error) { return 0, w.refuse("read", errors.ErrUnsupported) }
func (w *ftpWriter) ReadAt([]byte, int64) (int, error) {
	return 0, w.refuse("read", errors.ErrUnsupported)
}
func (w *ftpWriter) Seek(int64, int) (int64, error) {
	return 0, w.refuse("seek", errors.ErrUnsupported)
}

func (w *ftpWriter) Close() error {
	if w.closed {
		return w.refuse("close", fs.ErrClosed)
	}
	w.closed = true
	err := w.u.Close()
	w.f.give(w.c, err)
	return err
}
