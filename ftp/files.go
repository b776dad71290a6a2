package ftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// listingName is what the library is told to retrieve when a client lists a
// directory: no client can name it.
const listingName = "/\x00listing"

// files is a login's filesystem as the library sees it. What goes wrong is
// noted for the client's answer, and what changes is reported.
type files struct {
	c  *session
	fs afero.Fs
}

var (
	_ ftpserver.ClientDriver                      = (*files)(nil)
	_ ftpserver.ClientDriverExtentionFileTransfer = (*files)(nil)
	_ ftpserver.ClientDriverExtensionRemoveDir    = (*files)(nil)
	_ ftpserver.FileTransfer                      = (*transfer)(nil)
	_ ftpserver.FileTransferError                 = (*transfer)(nil)
	_ io.WriterTo                                 = (*transfer)(nil)
	_ io.ReaderFrom                               = (*transfer)(nil)
)

// catch turns a panic of the filesystem's into an error.
func (f *files) catch(err *error) {
	if p := recover(); p != nil {
		f.c.panicked(p)
		*err = f.c.note(errInternal)
	}
}

// do carries out a change, and reports it.
func (f *files) do(verb, name, target string, change func() error) (err error) {
	defer f.catch(&err)
	began := time.Now()
	err = change()
	f.c.finish(Operation{Verb: verb, Path: name, Target: target, Began: began, Err: err})
	return f.c.note(err)
}

func (f *files) Name() string { return f.fs.Name() }

func (f *files) Stat(name string) (info os.FileInfo, err error) {
	defer f.catch(&err)
	info, err = f.fs.Stat(name)
	return info, f.c.note(err)
}

func (f *files) Mkdir(name string, mode os.FileMode) error {
	return f.do("mkdir", name, "", func() error { return f.fs.Mkdir(name, mode) })
}

// Remove removes a file; ftpserverlib asks it for nothing else.
func (f *files) Remove(name string) error {
	return f.do("remove", name, "", func() error {
		if r, ok := f.fs.(FileRemover); ok {
			return r.RemoveFile(name)
		}
		info, err := f.fs.Stat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return errIsDirectory
		}
		return f.fs.Remove(name)
	})
}

// RemoveDir removes a directory in which nothing is.
func (f *files) RemoveDir(name string) error {
	return f.do("rmdir", name, "", func() error {
		if r, ok := f.fs.(DirRemover); ok {
			return r.RemoveDir(name)
		}
		if name == "/" {
			return fs.ErrPermission
		}
		d, err := f.fs.Open(name)
		if err != nil {
			return err
		}
		defer d.Close()
		if found, err := d.Readdirnames(1); len(found) > 0 {
			return errNotEmpty
		} else if err != nil && err != io.EOF {
			return err
		}
		return f.fs.Remove(name)
	})
}

func (f *files) Rename(from, to string) error {
	return f.do("rename", from, to, func() error { return f.fs.Rename(from, to) })
}

func (f *files) Chtimes(name string, atime, mtime time.Time) (err error) {
	defer f.catch(&err)
	return f.c.note(f.fs.Chtimes(name, atime, mtime))
}

// What follows ftpserverlib does not ask for, as it is set up.

var errUnasked = errors.New("ftpserverlib has asked for what it is not to")

func (f *files) Create(string) (afero.File, error)                     { return nil, errUnasked }
func (f *files) Open(string) (afero.File, error)                       { return nil, errUnasked }
func (f *files) OpenFile(string, int, os.FileMode) (afero.File, error) { return nil, errUnasked }
func (f *files) MkdirAll(string, os.FileMode) error                    { return errUnasked }
func (f *files) RemoveAll(string) error                                { return errUnasked }
func (f *files) Chmod(string, os.FileMode) error                       { return errUnasked }
func (f *files) Chown(string, int, int) error                          { return errUnasked }

// GetHandle opens a file for a transfer, or what stands for a listing.
func (f *files) GetHandle(name string, flag int, offset int64) (_ ftpserver.FileTransfer, err error) {
	defer f.catch(&err)
	c := f.c
	if l := c.list; l != nil {
		if err := l.open(); err != nil {
			return nil, c.note(err)
		}
		c.open.Add(1)
		return l, nil
	}
	t := &transfer{c: c, offset: offset, announced: -1}
	t.op = Operation{Verb: "get", Path: name, Began: time.Now()}
	switch {
	case flag&os.O_APPEND != 0:
		t.op.Verb, t.upload = "append", true
	case flag&os.O_WRONLY != 0:
		t.op.Verb, t.upload = "put", true
		t.announced = c.announced
	}
	if c.fresh {
		flag |= os.O_EXCL
	}
	if t.file, err = f.fs.OpenFile(name, flag, 0o666); err == nil && !t.upload {
		var info os.FileInfo
		if info, err = t.file.Stat(); err == nil {
			t.size = info.Size()
			if info.IsDir() {
				err = errIsDirectory
			}
		}
		if err != nil {
			t.file.Close()
		}
	}
	if err != nil {
		t.op.Err = err
		c.finish(t.op)
		return nil, c.note(err)
	}
	c.open.Add(1)
	return t, nil
}

// A transfer is a file on its way.
type transfer struct {
	c         *session
	file      afero.File
	op        Operation
	upload    bool
	size      int64 // of a file that is downloaded
	offset    int64 // where it starts
	announced int64 // by ALLO, -1 if nothing was
	failed    error
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// catch turns a panic of the filesystem's into an error.
func (t *transfer) catch(err *error) {
	if p := recover(); p != nil {
		t.c.panicked(p)
		*err = t.c.note(errInternal)
	}
}

func (t *transfer) Read(p []byte) (n int, err error) {
	defer t.catch(&err)
	n, err = t.file.Read(p)
	t.op.Bytes += int64(n)
	return n, err
}

func (t *transfer) Write(p []byte) (n int, err error) {
	defer t.catch(&err)
	n, err = t.file.Write(p)
	t.op.Bytes += int64(n)
	return n, t.c.note(err)
}

// Seek is where a transfer goes on that was broken off.
func (t *transfer) Seek(offset int64, whence int) (n int64, err error) {
	defer t.catch(&err)
	if !t.upload && offset > t.size {
		err = errOffset
	} else {
		n, err = t.file.Seek(offset, whence)
	}
	if err != nil {
		t.failed = err
		if a, ok := t.file.(Aborter); ok {
			a.TransferError(err)
		}
	}
	return n, t.c.note(err)
}

// WriteTo sends the file, in the quickest way that it and w have in common.
func (t *transfer) WriteTo(w io.Writer) (n int64, err error) {
	defer t.catch(&err)
	defer func() { t.op.Bytes += n }()
	from, direct := w.(io.ReaderFrom)
	if file, ok := t.file.(*os.File); ok && direct {
		n, err = from.ReadFrom(file)
	} else if own, ok := t.file.(io.WriterTo); ok {
		n, err = own.WriteTo(w)
	} else {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		n, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{t.file}, *buf)
	}
	return n, t.c.note(err)
}

// ReadFrom takes the file from the client.
func (t *transfer) ReadFrom(r io.Reader) (n int64, err error) {
	defer t.catch(&err)
	defer func() { t.op.Bytes += n }()
	_, bare := t.file.(*os.File)
	if own, ok := t.file.(io.ReaderFrom); ok && !bare {
		n, err = own.ReadFrom(r)
	} else {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		n, err = io.CopyBuffer(struct{ io.Writer }{t.file}, struct{ io.Reader }{r}, *buf)
	}
	return n, t.c.note(err)
}

// TransferError is told by the library when a transfer has failed, before Close.
func (t *transfer) TransferError(err error) {
	if t.failed != nil {
		return
	}
	t.failed = err
	if _, lost := t.c.dataState(); lost != nil {
		t.failed = fmt.Errorf("%w: %w", errLost, lost)
	}
}

// Close makes an upload appear, unless something has gone wrong with it.
func (t *transfer) Close() (err error) {
	defer t.c.open.Done()
	defer t.catch(&err)
	if t.upload && t.failed == nil {
		t.failed = t.judge()
	}
	if t.failed == nil {
		err = t.file.Close()
		t.failed = err
	} else {
		err = t.giveUp()
	}
	t.op.Err = t.failed
	t.c.finish(t.op)
	return t.c.note(err)
}

// judge says what speaks against taking what has arrived for the whole of an
// upload that has ended well.
func (t *transfer) judge() error {
	switch {
	case t.announced >= 0 && t.offset+t.op.Bytes < t.announced:
		return errShort
	case t.announced >= 0 && t.offset+t.op.Bytes == t.announced, t.c.endKnown():
		return nil
	case t.c.missing(moment(time.Since(t.op.Began))):
		return errVanished
	}
	return nil
}

// giveUp closes a file whose transfer has failed. If it had never begun, nothing
// has happened to the file.
func (t *transfer) giveUp() error {
	connected, _ := t.c.dataState()
	if d, ok := t.file.(Discarder); ok && !connected {
		d.Discard()
		return t.failed
	}
	if a, ok := t.file.(Aborter); ok {
		a.TransferError(t.failed)
	}
	t.file.Close()
	return t.failed
}
