package vfs

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
)

// An upload is a file open for writing. What is written is the object's when
// Close has returned nil, and before that nobody's but the user's.
type upload struct {
	f    *FS
	name string
	flag int

	// gate is held to use what is staged, and alone to put another stage, at
	// another path, in its place.
	gate  sync.RWMutex
	path  storage.Path
	stage *storage.Staging
	key   string // the stage's; empty if it cannot be kept

	resumed bool         // the stage began with what had been kept
	became  storage.Info // what it was committed as

	mu      sync.Mutex
	pos     int64         // of Read, Write and Seek
	base    *storage.Info // the object whose bytes the stage is yet to take; nil if it has what it needs
	note    note
	wanted  bool      // Close is to make an object of it
	shaped  bool      // its size was set
	written bool      // bytes were
	touched time.Time // when that was last
	mtime   time.Time // as the client set it
	failed  error     // what ended the transfer
	removed bool      // the file was removed meanwhile
	ended   bool

	loading sync.Mutex // held while the stage takes the bytes of base
}

var (
	_ afero.File    = (*upload)(nil)
	_ io.ReaderFrom = (*upload)(nil)
)

func (f *FS) openWrite(name string, p storage.Path, flag int) (afero.File, error) {
	if p.IsAccount() {
		return nil, errIsDirectory
	}
	if p.IsContainer() {
		switch _, err := f.lookup(p); {
		case err == nil:
			return nil, errIsDirectory
		case flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist):
			return nil, errRootFile
		default:
			return nil, err
		}
	}
	u := &upload{f: f, name: name, flag: flag, path: p, touched: time.Now()}
	if err := u.open(); err != nil {
		return nil, err
	}
	f.enlist(p, u)
	return u, nil
}

// open looks at what is there, and begins accordingly.
func (u *upload) open() error {
	create := u.flag&os.O_CREATE != 0
	object, err := u.f.stat(u.path)
	exists := err == nil
	if create && errors.Is(err, fs.ErrPermission) {
		return u.begin(nil, nil) // who may only put may do so without knowing where
	}
	if !exists && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	seen, err := u.f.describe(u.path, object, exists)
	switch {
	case err == nil && seen.IsDir():
		return errIsDirectory
	case err == nil && create && u.flag&os.O_EXCL != 0:
		return fs.ErrExist
	case err != nil && (!create || !errors.Is(err, fs.ErrNotExist)):
		return err
	case err != nil:
		if err := u.f.isDirectory(parent(u.path)); err != nil {
			return err
		}
		return u.begin(nil, nil)
	case exists:
		return u.begin(&object, seen.partial)
	}
	return u.begin(nil, seen.partial)
}

// begin opens the stage for what is to replace or amend an object, if there is
// one, or to go on with what the user sees in its place.
func (u *upload) begin(object *storage.Info, part *partial) (err error) {
	truncate := u.flag&os.O_TRUNC != 0
	resume := part != nil && !truncate
	if object != nil {
		u.note.Base = identity(*object, true)
	}
	c := storage.Cond{Absent: u.flag&os.O_CREATE != 0 && u.flag&os.O_EXCL != 0}
	in := storage.Info{Path: u.path, Size: -1}
	u.key = u.f.key(u.path)
	u.stage, err = u.f.store.Stage(u.f.ctx, in, u.key, c)
	if errors.Is(err, fs.ErrExist) && !truncate && u.f.uploading(u.path) == nil {
		elsewhere, err2 := u.f.findPartial(u.path)
		switch {
		case err2 != nil:
			return err2
		case elsewhere == nil || elsewhere.note.Amends:
			// It has ended this moment, or leaves as much as it changes.
		case object != nil:
			// If his line was cut, what the user sees is the size of the object,
			// and he must not go on there. Soon the other session will end.
			return errBusy
		default:
			// He goes on where he was: his line was cut, and the session does
			// not know yet.
			if err = u.f.store.TakeOver(u.key); err == nil || errors.Is(err, fs.ErrNotExist) {
				resume = true
				u.stage, err = u.f.store.Stage(u.f.ctx, in, u.key, c)
			}
		}
	}
	if errors.Is(err, fs.ErrExist) {
		u.key = ""
		u.stage, err = u.f.store.Stage(u.f.ctx, in, "", c) // the last to close wins
	}
	if err != nil {
		return err
	}
	if u.stage.Resumed() {
		var kept note
		if resume && json.Unmarshal(u.stage.Note(), &kept) == nil && kept.Base == u.note.Base {
			u.note, u.wanted, u.resumed = kept, true, true
			return nil
		}
		if err := u.stage.Truncate(0); err != nil { // it is out of date
			u.stage.Close()
			return err
		}
	}
	if object != nil && !truncate {
		u.note.Amends, u.base = true, object
	}
	u.wanted = u.base == nil
	u.stage.SetNote(u.note.marshal())
	return nil
}

// errBusy meets who wants to change a file that another of his sessions is about
// to replace.
var errBusy = &explained{text: "the file is being uploaded by another connection", kind: syscall.EBUSY}

// load has the stage take the bytes of the object that is amended, before the
// first use of them: many open a file for writing and then do not.
func (u *upload) load() error {
	u.loading.Lock()
	defer u.loading.Unlock()
	u.mu.Lock()
	waiting := u.base != nil
	u.mu.Unlock()
	if !waiting {
		return nil
	}
	in, err := u.stage.Load(u.f.ctx, u.path)
	if err != nil {
		return err
	}
	u.loaded(in)
	return nil
}

// loaded takes note that the stage has what it needs.
func (u *upload) loaded(in storage.Info) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.base = nil
	u.note.Base = identity(in, true)
	u.stage.SetNote(u.note.marshal())
}

// use does what needs the stage and what is in it. Of a file that was removed
// nothing is left to use.
func (u *upload) use(op string, f func(*storage.Staging) error) error {
	u.gate.RLock()
	defer u.gate.RUnlock()
	u.mu.Lock()
	ended, removed := u.ended, u.removed
	u.mu.Unlock()
	switch {
	case ended:
		return failure(op, u.name, fs.ErrClosed)
	case removed:
		return nil
	}
	err := u.load()
	if err == nil {
		err = f(u.stage)
	}
	return failure(op, u.name, err)
}

// Sync does nothing: what was written is safe when Close has returned.
func (u *upload) Sync() error { return nil }

// Name is the name the file was opened by.
func (u *upload) Name() string { return u.name }

func (u *upload) Readdir(int) ([]os.FileInfo, error) {
	return nil, failure("readdir", u.name, errNotDirectory)
}

func (u *upload) Readdirnames(int) ([]string, error) {
	return nil, failure("readdir", u.name, errNotDirectory)
}

// Stat describes the file as it would be if it were closed now.
func (u *upload) Stat() (os.FileInfo, error) {
	if e := u.entry(); e != nil {
		return e, nil
	}
	return nil, failure("stat", u.name, fs.ErrClosed)
}

// entry is nil if the upload has ended.
func (u *upload) entry() *entry {
	size := u.size()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return nil
	}
	in := storage.Info{Size: size, ModTime: u.touched}
	e := u.f.file(u.path, in)
	switch {
	case !u.mtime.IsZero():
		e.modTime = u.mtime
	case u.base != nil:
		e.modTime = modTimeOf(u.base)
	}
	return e
}

func (u *upload) size() int64 {
	u.gate.RLock()
	defer u.gate.RUnlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.base != nil {
		return u.base.Size
	}
	return u.stage.Size()
}

func (u *upload) where() storage.Path {
	u.gate.RLock()
	defer u.gate.RUnlock()
	return u.path
}

// result is what it has become, the zero Info if nothing.
func (u *upload) result() storage.Info {
	u.gate.RLock()
	defer u.gate.RUnlock()
	return u.became
}

func (u *upload) setModTime(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mtime = t
}

// TransferError tells that the transfer failed, so that Close does not make a
// file of what has arrived but keeps it for the user. Doors call it before
// Close.
func (u *upload) TransferError(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil && !u.ended {
		u.failed = failure("write", u.name, err)
	}
}

// Close makes the file appear, unless its transfer has failed. Its cost does
// not grow with the file if that was written once and nearly in order.
func (u *upload) Close() error {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.mu.Lock()
	if u.ended {
		u.mu.Unlock()
		return failure("close", u.name, fs.ErrClosed)
	}
	u.ended = true
	failed, removed, wanted := u.failed, u.removed, u.wanted
	untouched := u.resumed && u.shaped && !u.written
	u.mu.Unlock()
	defer u.f.delist(u.path, u)
	defer u.stage.Close()
	switch {
	case removed || !wanted && failed == nil:
		return nil
	case failed != nil:
		u.keep()
		return failed
	case untouched:
		// Who opens an unfinished upload only to set its size does not say that
		// it is finished now.
		return failure("close", u.name, u.stage.Keep())
	case u.resumed && !u.stage.Whole():
		// The client counts on bytes that never arrived here.
		u.keep()
		return failure("close", u.name, errHole)
	}
	err := u.commit()
	if err != nil && worthKeeping(err) {
		u.keep()
	}
	return failure("close", u.name, err)
}

var errHole = &explained{
	text: "part of the file is missing between what was resumed and what came now",
	kind: io.ErrUnexpectedEOF,
}

// worthKeeping reports whether what failed to become a file may do so later.
func worthKeeping(err error) bool {
	for _, hopeless := range []error{storage.ErrQuota, storage.ErrPrecondition, storage.ErrTooLarge, fs.ErrPermission, fs.ErrNotExist, fs.ErrInvalid} {
		if errors.Is(err, hopeless) {
			return false
		}
	}
	return true
}

// keep puts aside what has arrived. If that fails it is lost, which the client
// finds by the size he sees. It is called with the gate held alone.
func (u *upload) keep() {
	u.mu.Lock()
	loaded, over := u.base == nil, u.note.Base != ""
	u.mu.Unlock()
	// Of an upload that was to replace a file it must be known that nothing has
	// arrived; of any other there is nothing to know then.
	if loaded && (over || u.stage.Size() > 0) {
		u.stage.Keep()
	}
}

// commit is called with the gate held alone.
func (u *upload) commit() error {
	u.mu.Lock()
	amends, mtime := u.note.Amends, u.mtime
	u.mu.Unlock()
	in := &u.stage.Info
	in.Meta = storage.Meta{}
	if amends {
		old, err := u.f.store.Stat(u.f.ctx, u.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		in.Type, in.DeleteAt = old.Type, old.DeleteAt
		for name, value := range old.Meta {
			if lasting(name) {
				in.Meta[name] = value
			}
		}
	}
	if !mtime.IsZero() {
		in.Meta[metaMtime] = formatMtime(mtime)
	}
	became, err := u.stage.Commit(u.f.ctx)
	if err != nil {
		return err
	}
	u.became = became
	if key := u.f.key(u.path); key != u.key {
		u.f.store.Forget(u.f.ctx, key) // what another upload left is out of date
	}
	return nil
}

// lasting reports whether an item of metadata is as true of the file after it
// was amended.
func lasting(name string) bool {
	switch name {
	case "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language":
		return true
	}
	return strings.HasPrefix(name, "X-Object-Meta-") && name != metaMtime
}

// Discard closes the file as though it had never been opened.
func (u *upload) Discard() error {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return failure("close", u.name, fs.ErrClosed)
	}
	u.ended = true
	defer u.f.delist(u.path, u)
	if u.resumed {
		return failure("close", u.name, u.stage.Keep())
	}
	return failure("close", u.name, u.stage.Close())
}

// remove makes of it a file without a name: it may be written still, to no
// effect.
func (u *upload) remove() {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ended {
		u.removed = true
		u.f.delist(u.path, u)
		u.stage.Close()
	}
}

// unnamed reports whether the file was removed.
func (u *upload) unnamed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.removed
}

// rename moves the upload to another path.
func (u *upload) rename(to storage.Path) error {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.mu.Lock()
	gone := u.ended || u.removed
	u.mu.Unlock()
	if gone {
		return nil
	}
	if err := u.load(); err != nil {
		return err
	}
	return u.f.restage(u.stage, to, func(next *storage.Staging) error {
		u.stage.Close()
		u.f.delist(u.path, u)
		u.stage, u.path, u.key = next, to, u.f.key(to)
		u.f.enlist(to, u)
		return nil
	})
}
