package sftp

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"

	"memstore.dev/memstore/internal/door"
)

// A handler serves the requests of one SFTP session from a filesystem. pkg/sftp
// calls everything but reads and writes from one goroutine, in the order the
// requests came; a panic in there would end the process, hence every method
// recovers.
type handler struct {
	*session
	fs afero.Fs

	mu      sync.Mutex         // guards what follows
	files   map[*file]struct{} // every open file and directory
	fresh   []*file            // opened, with the reply not yet sent: the filter takes them as replies pass
	handles map[string]*file   // by the handle the client knows
}

var (
	_ pkgsftp.OpenFileWriter       = (*handler)(nil)
	_ pkgsftp.FileReader           = (*handler)(nil)
	_ pkgsftp.PosixRenameFileCmder = (*handler)(nil)
	_ pkgsftp.StatVFSFileCmder     = (*handler)(nil)
	_ pkgsftp.LstatFileLister      = (*handler)(nil)
	_ pkgsftp.ReadlinkFileLister   = (*handler)(nil)
)

func init() {
	// How many names pkg/sftp asks a listing for at once; ListAt returns fewer
	// when they are long.
	pkgsftp.MaxFilelist = 1000
}

// guard turns a panic into an error, and any error into what the client may
// know of it. Use it deferred.
func (h *handler) guard(verb, name string, err *error) {
	if p := recover(); p != nil {
		h.panicked(verb, p)
		*err = errInternal
		return
	}
	*err = h.answer(verb, name, *err)
}

// Fileread opens a file for reading.
func (h *handler) Fileread(r *pkgsftp.Request) (io.ReaderAt, error) {
	f, err := h.openFile(r, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Filewrite opens a file for writing.
func (h *handler) Filewrite(r *pkgsftp.Request) (io.WriterAt, error) {
	f, err := h.openFile(r, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenFile opens a file for both.
func (h *handler) OpenFile(r *pkgsftp.Request) (pkgsftp.WriterAtReaderAt, error) {
	f, err := h.openFile(r, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (h *handler) openFile(r *pkgsftp.Request, mode int) (f *file, err error) {
	defer h.guard("open", r.Filepath, &err)
	if err := h.check(r.Filepath); err != nil {
		return nil, err
	}
	if h.full() {
		return nil, errTooManyOpen
	}
	flags := r.Pflags()
	if flags.Creat {
		mode |= os.O_CREATE
		if flags.Excl {
			mode |= os.O_EXCL
		}
	}
	if flags.Trunc {
		mode |= os.O_TRUNC
	}
	// Never O_APPEND: every write says where it goes, see file.place.
	inner, err := h.fs.OpenFile(r.Filepath, mode, 0o644)
	if err != nil {
		return nil, err
	}
	f = &file{h: h, inner: inner, path: r.Filepath, mode: mode, began: time.Now()}
	if mode != os.O_RDONLY && flags.Append {
		info, err := inner.Stat()
		if err != nil {
			return nil, errors.Join(err, inner.Close())
		}
		f.appending, f.end = true, info.Size()
	}
	h.add(f)
	return f, nil
}

// Filelist opens a directory, or describes one file.
func (h *handler) Filelist(r *pkgsftp.Request) (l pkgsftp.ListerAt, err error) {
	defer h.guard(strings.ToLower(r.Method), r.Filepath, &err)
	if err := h.check(r.Filepath); err != nil {
		return nil, err
	}
	switch r.Method {
	case "List":
		if h.full() {
			return nil, errTooManyOpen
		}
		inner, err := h.fs.Open(r.Filepath)
		if err != nil {
			return nil, err
		}
		info, err := inner.Stat()
		if err == nil && !info.IsDir() {
			err = errNotDirectory
		}
		if err != nil {
			inner.Close()
			return nil, err
		}
		f := &file{h: h, inner: inner, path: r.Filepath, directory: true, began: time.Now()}
		h.add(f)
		return &listing{file: f}, nil
	case "Stat", "Lstat":
		info, err := h.fs.Stat(r.Filepath)
		if err != nil {
			return nil, err
		}
		return described{info}, nil
	}
	return nil, errUnsupported
}

// Lstat is Stat: there are no links.
func (h *handler) Lstat(r *pkgsftp.Request) (pkgsftp.ListerAt, error) { return h.Filelist(r) }

// Readlink is refused: there are no links.
func (h *handler) Readlink(string) (string, error) { return "", errUnsupported }

// Filecmd changes something.
func (h *handler) Filecmd(r *pkgsftp.Request) (err error) {
	verb := strings.ToLower(r.Method)
	defer h.guard(verb, r.Filepath, &err)
	if err := h.check(r.Filepath, r.Target); err != nil {
		return err
	}
	switch r.Method {
	case "Setstat":
		return h.setstat(r)
	case "Rename":
		return h.change(verb, r, func() error {
			// Protocol 3 lets no rename replace anything; posix-rename is for that.
			switch _, err := h.fs.Stat(r.Target); {
			case err == nil:
				return errExists
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
			return h.rename(r)
		})
	case "Remove":
		return h.change(verb, r, func() error {
			info, err := h.fs.Stat(r.Filepath)
			if err != nil {
				return err
			}
			if info.IsDir() {
				return errIsDirectory
			}
			return h.fs.Remove(r.Filepath)
		})
	case "Rmdir":
		return h.change(verb, r, func() error { return h.rmdir(r.Filepath) })
	case "Mkdir":
		return h.change(verb, r, func() error { return h.fs.Mkdir(r.Filepath, 0o755) })
	}
	return errUnsupported // links of both kinds
}

// PosixRename renames, and replaces what was there.
func (h *handler) PosixRename(r *pkgsftp.Request) (err error) {
	defer h.guard("rename", r.Filepath, &err)
	if err := h.check(r.Filepath, r.Target); err != nil {
		return err
	}
	return h.change("rename", r, func() error { return h.rename(r) })
}

// StatVFS tells how much space there is.
func (h *handler) StatVFS(r *pkgsftp.Request) (_ *pkgsftp.StatVFS, err error) {
	defer h.guard("statvfs", r.Filepath, &err)
	if err := h.check(r.Filepath); err != nil {
		return nil, err
	}
	s, err := h.space(r.Filepath)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// space is StatVFS in numbers, whose unit is a block of 4 KiB.
func (h *handler) space(name string) (s pkgsftp.StatVFS, err error) {
	fs, ok := h.fs.(SpaceReporter)
	if !ok {
		return s, errUnsupported
	}
	total, free, err := fs.StatVFS(name)
	if err != nil {
		return s, err
	}
	const block = 4096
	s = pkgsftp.StatVFS{Bsize: block, Frsize: block, Blocks: total / block, Namemax: 255}
	s.Bfree = min(free/block, s.Blocks)
	s.Bavail = s.Bfree
	return s, nil
}

// change does f and reports it as an operation.
func (h *handler) change(verb string, r *pkgsftp.Request, f func() error) error {
	began := time.Now()
	err := f()
	h.finish(Operation{Protocol: "sftp", Verb: verb, Path: r.Filepath, Target: r.Target, Began: began, Err: err})
	return reported(err)
}

// reported is err for a client, when the log has it already.
func reported(err error) error {
	as, _ := toStatus(err)
	return as
}

func (h *handler) rename(r *pkgsftp.Request) error {
	if err := h.fs.Rename(r.Filepath, r.Target); err != nil {
		return err
	}
	// Files that are open move along: their handles are asked by path later.
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.files {
		if f.path == r.Filepath {
			f.path, f.moved = r.Target, true
		} else if rest, ok := strings.CutPrefix(f.path, r.Filepath+"/"); ok {
			f.path, f.moved = path.Join(r.Target, rest), true
		}
	}
	return nil
}

func (h *handler) rmdir(name string) error {
	if fs, ok := h.fs.(DirRemover); ok {
		return fs.RemoveDir(name)
	}
	d, err := h.fs.Open(name)
	if err != nil {
		return err
	}
	info, err := d.Stat()
	if err == nil && !info.IsDir() {
		err = errNotDirectory
	}
	if err == nil {
		var names []string
		if names, err = d.Readdirnames(1); len(names) > 0 {
			err = errNotEmpty
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	return h.fs.Remove(name)
}

// setstat sets what it is asked to set. Size goes first: it may fail, and the
// modification time must outlast it.
func (h *handler) setstat(r *pkgsftp.Request) error {
	set, to := r.AttrFlags(), r.Attributes()
	if to == nil {
		return errBadMessage
	}
	if set.Size {
		if to.Size > 1<<63-1 {
			return fs.ErrInvalid
		}
		if err := h.truncate(r.Filepath, int64(to.Size)); err != nil {
			return err
		}
	}
	if set.UidGid {
		if err := h.fs.Chown(r.Filepath, int(to.UID), int(to.GID)); err != nil {
			return err
		}
	}
	if set.Permissions {
		if err := h.fs.Chmod(r.Filepath, to.FileMode().Perm()); err != nil {
			return err
		}
	}
	if set.Acmodtime {
		return h.fs.Chtimes(r.Filepath, time.Unix(int64(to.Atime), 0), time.Unix(int64(to.Mtime), 0))
	}
	return nil
}

// truncate sets the size of a file, and if this session is writing the file, of
// what it is writing.
func (h *handler) truncate(name string, size int64) error {
	h.mu.Lock()
	var writing *file
	for f := range h.files {
		if f.path == name && f.mode != os.O_RDONLY && (writing == nil || f.began.After(writing.began)) {
			writing = f
		}
	}
	h.mu.Unlock()
	if writing != nil {
		return writing.inner.Truncate(size)
	}
	f, err := h.fs.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		if a, ok := f.(Aborter); ok {
			a.TransferError(err)
		}
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// check refuses names that could not be shown to anybody.
func (h *handler) check(names ...string) error {
	for _, name := range names {
		if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return errBadName
		}
	}
	return nil
}

// add counts a file that was opened.
func (h *handler) add(f *file) {
	h.acquire()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[f] = struct{}{}
	h.fresh = append(h.fresh, f)
}

// full reports whether no more files may be opened.
func (h *handler) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.files) >= door.Limit(h.srv.MaxOpenFiles, 256)
}

// named remembers that the client knows the oldest fresh file by a handle.
func (h *handler) named(handle string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.fresh) == 0 {
		return
	}
	f := h.fresh[0]
	h.fresh = h.fresh[1:]
	h.handles[handle] = f
}

// forget drops a handle, which the client is closing.
func (h *handler) forget(handle string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.handles, handle)
}

// byHandle is the open file that the client knows by a handle.
func (h *handler) byHandle(handle string) (*file, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f, ok := h.handles[handle]; ok {
		return f, nil
	}
	return nil, errBadHandle
}

// pathOf is where an open file is now.
func (h *handler) pathOf(f *file) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return f.path
}

// whereabouts is where an open file is now, and whether it was renamed since it
// was opened.
func (h *handler) whereabouts(f *file) (name string, moved bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return f.path, f.moved
}

// drop forgets a file that is closed.
func (h *handler) drop(f *file) {
	h.mu.Lock()
	delete(h.files, f)
	h.mu.Unlock()
	h.release()
}
