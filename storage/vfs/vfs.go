// Package vfs is a filesystem over a Store, as those who speak FTP and SFTP
// expect one: an afero.Fs for one session of one user.
//
// The top directories are the containers of an account; what is beneath them
// are objects, whose names are taken for paths. A directory is there if an
// object lies beneath it, or if it has a marker, an empty object of type
// application/directory, which is left behind when its last file goes.
//
// A file that is written appears when it is closed, whole, in place of the one
// before; others read the old one until then. If its transfer fails (the door
// says so by TransferError) nothing appears, but what has arrived is put aside
// for the user: he sees a file of that size, and opening it again without
// O_TRUNC goes on behind it. Others never see it.
//
// Beside what afero asks for, an FS and its files have methods for what the
// doors do better if they can; they use standard types only, so that the doors
// need not know this package.
package vfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
)

// Options are what a session may be told beside whom it is for.
type Options struct {
	// Owner names the user among all of the store. Uploads that were cut off are
	// kept under his name and path. If it is empty they are not kept.
	Owner string

	// Keep is how long what was cut off is seen and may be resumed: 24 hours if
	// it is 0, never if it is negative. Removing it is Store.SweepStaged's.
	Keep time.Duration

	// Writable reports whether the session may write to a container and what is
	// in it, or make containers, if the path is the account. It decides what
	// modes are shown, and nothing else. If nil, everything is.
	Writable func(ctx context.Context, p storage.Path) bool

	// Space tells how much can be stored, and how much more, where no quota
	// says less. It may be nil if nobody knows.
	Space func() (total, free uint64, err error)
}

// An FS is the filesystem of one session. Its methods may be called
// concurrently.
type FS struct {
	// The session's, since afero has no place for one: it says who acts, and
	// ends what is under way when the session ends.
	ctx     context.Context
	store   *storage.Store
	account string
	opt     Options

	mu      sync.Mutex
	uploads map[storage.Path][]*upload // under way, those opened later behind
	entered map[string]struct{}        // containers that were named and found
}

var _ afero.Fs = (*FS)(nil)

// New returns the filesystem of a session that lives as long as ctx, whose
// Store judges by what ctx carries.
func New(ctx context.Context, s *storage.Store, account string, o Options) *FS {
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	return &FS{
		ctx: ctx, store: s, account: account, opt: o,
		uploads: map[storage.Path][]*upload{}, entered: map[string]struct{}{},
	}
}

// Name is what kind of filesystem this is.
func (f *FS) Name() string { return "memstore" }

// Close ends the session: uploads that are under way are cut off, and kept.
func (f *FS) Close() error {
	f.mu.Lock()
	var open []*upload
	for _, us := range f.uploads {
		open = append(open, us...)
	}
	f.mu.Unlock()
	for _, u := range open {
		u.TransferError(fs.ErrClosed)
		u.Close()
	}
	return nil
}

// Create opens a file for reading and writing, to begin anew.
func (f *FS) Create(name string) (afero.File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// Open opens a file or directory for reading.
func (f *FS) Open(name string) (afero.File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens a file, or for reading a directory.
func (f *FS) OpenFile(name string, flag int, _ os.FileMode) (afero.File, error) {
	p, err := f.resolve(name)
	if err != nil {
		return nil, failure("open", name, err)
	}
	var file afero.File
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		file, err = f.openRead(name, p)
	} else {
		file, err = f.openWrite(name, p, flag)
	}
	if err != nil {
		return nil, failure("open", name, err)
	}
	return file, nil
}

// Stat describes a file or directory, as it will be if it is being written.
func (f *FS) Stat(name string) (os.FileInfo, error) {
	p, err := f.resolve(name)
	if err != nil {
		return nil, failure("stat", name, err)
	}
	e, err := f.lookup(p)
	if err != nil {
		return nil, failure("stat", name, err)
	}
	return e, nil
}

// Chmod and Chown succeed where there is something, and do nothing: who may do
// what is for the container's access control lists to say.
func (f *FS) Chmod(name string, _ os.FileMode) error {
	_, err := f.Stat(name)
	return retitle("chmod", name, err)
}

// Chown is as Chmod.
func (f *FS) Chown(name string, _, _ int) error {
	_, err := f.Stat(name)
	return retitle("chown", name, err)
}

// Chtimes sets when a file was last modified, which is kept with the object as
// X-Object-Meta-Mtime. Of containers, and of directories without a marker, it
// changes nothing.
func (f *FS) Chtimes(name string, _, mtime time.Time) error {
	p, err := f.resolve(name)
	if err == nil {
		err = f.chtimes(p, mtime)
	}
	return failure("chtimes", name, err)
}

func (f *FS) chtimes(p storage.Path, mtime time.Time) error {
	if u := f.uploading(p); u != nil {
		u.setModTime(mtime)
		return nil
	}
	e, err := f.lookup(p)
	if err != nil || e.object.Path != p || !p.IsObject() {
		return err
	}
	for in := e.object; ; {
		next := in
		if next.Meta = in.Meta.Clone(); next.Meta == nil {
			next.Meta = storage.Meta{}
		}
		next.Meta[metaMtime] = formatMtime(mtime)
		_, err := f.store.Update(f.ctx, next, storage.Cond{Version: in.Version})
		if !errors.Is(err, storage.ErrPrecondition) {
			return err
		}
		if in, err = f.store.Stat(f.ctx, p); err != nil { // somebody changed it meanwhile
			return err
		}
	}
}

// Truncate makes a file of that size. If it is being written in this session,
// that is what is cut off or made longer.
func (f *FS) Truncate(name string, size int64) error {
	p, err := f.resolve(name)
	if err != nil {
		return failure("truncate", name, err)
	}
	if u := f.uploading(p); u != nil {
		return u.Truncate(size)
	}
	file, err := f.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return retitle("truncate", name, err)
	}
	if err := file.Truncate(size); err != nil {
		file.(*upload).Discard()
		return retitle("truncate", name, err)
	}
	return file.Close()
}

// uploading is the latest upload to p in this session, nil if there is none.
func (f *FS) uploading(p storage.Path) *upload {
	f.mu.Lock()
	defer f.mu.Unlock()
	if us := f.uploads[p]; len(us) > 0 {
		return us[len(us)-1]
	}
	return nil
}

func (f *FS) enlist(p storage.Path, u *upload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uploads[p] = append(f.uploads[p], u)
}

func (f *FS) delist(p storage.Path, u *upload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(f.uploads[p]), func(other *upload) bool { return other == u })
	if len(rest) == 0 {
		delete(f.uploads, p)
	} else {
		f.uploads[p] = rest
	}
}

// uploadsBeneath are those in this session to paths that begin with p.
func (f *FS) uploadsBeneath(p storage.Path) (found []*upload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, us := range f.uploads {
		if beneath(at, p) {
			found = append(found, us...)
		}
	}
	return found
}

func (f *FS) writable(p storage.Path) bool { return f.opt.Writable == nil || f.opt.Writable(f.ctx, p) }
