package vfs

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// typeDirectory marks the empty object that stands for a directory.
const typeDirectory = "application/directory"

// isMarker reports whether an object stands for a directory.
func isMarker(in *storage.Info) bool {
	t, _, _ := strings.Cut(in.Type, ";")
	return in.Size == 0 && (strings.EqualFold(strings.TrimSpace(t), typeDirectory) || strings.HasSuffix(in.Path.Object, "/"))
}

// An entry describes a file or directory.
type entry struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time

	object  storage.Info // what it is made of; the zero Info if of no object or container
	partial *partial     // set if what is described is an upload that was cut off
}

var _ fs.FileInfo = (*entry)(nil)

func (e *entry) Name() string       { return e.name }
func (e *entry) Size() int64        { return e.size }
func (e *entry) Mode() fs.FileMode  { return e.mode }
func (e *entry) ModTime() time.Time { return e.modTime }
func (e *entry) IsDir() bool        { return e.mode.IsDir() }
func (e *entry) Sys() any           { return nil }

// ETag is the MD5 of a stored file in lower-case hex, empty if it has none.
func (e *entry) ETag() string {
	if e.IsDir() || e.partial != nil || e.object.Large != nil {
		return ""
	}
	return e.object.ETag
}

func (f *FS) directory(p storage.Path, in storage.Info, modTime time.Time) *entry {
	mode := fs.ModeDir | 0o755
	if !f.writable(storage.Path{Account: p.Account, Container: p.Container}) {
		mode &^= 0o222
	}
	return &entry{name: base(p), mode: mode, modTime: modTime, object: in}
}

func (f *FS) file(p storage.Path, in storage.Info) *entry {
	e := &entry{name: base(p), size: in.Size, mode: 0o644, modTime: modTimeOf(&in), object: in}
	if !f.writable(p.Parent()) {
		e.mode &^= 0o222
	}
	return e
}

// modTimeOf is when the client who stored the file says it was modified, else
// when that was.
func modTimeOf(in *storage.Info) time.Time {
	if t, ok := parseMtime(in.Meta[metaMtime]); ok {
		return t
	}
	return in.ModTime
}

// lookup describes what the user sees at p.
func (f *FS) lookup(p storage.Path) (*entry, error) {
	switch {
	case p.IsAccount():
		in, err := f.store.Stat(f.ctx, p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		return f.directory(p, in, in.ModTime), nil // it is there for everybody, even before it is
	case p.IsContainer():
		in, err := f.store.Stat(f.ctx, p)
		if err != nil {
			return nil, err
		}
		f.enter(p.Container)
		return f.directory(p, in, in.ModTime), nil
	}
	in, err := f.stat(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f.describe(p, in, err == nil)
}

// describe is lookup when it is known what object is at p, if there is one.
func (f *FS) describe(p storage.Path, in storage.Info, exists bool) (*entry, error) {
	if exists && isMarker(&in) {
		return f.directory(p, in, modTimeOf(&in)), nil
	}
	// Where a name is that of a file and of a directory, it is the directory:
	// otherwise nobody could reach what lies within.
	within, err := f.anythingIn(p)
	if err != nil {
		return nil, err
	}
	if within {
		return f.implied(p)
	}
	if u := f.uploading(p); u != nil {
		if e := u.entry(); e != nil {
			return e, nil
		}
		return f.lookup(p) // it has ended since
	}
	part, err := f.findPartial(p)
	if err != nil {
		return nil, err
	}
	if part != nil && part.shownOver(in, exists) {
		e := f.file(p, in)
		e.size, e.modTime, e.partial = part.Size, part.ModTime, part
		return e, nil
	}
	if !exists {
		return nil, fs.ErrNotExist
	}
	return f.file(p, in), nil
}

// implied describes a directory that has no marker. The time it shows must be
// one that a listing knows as well: that its container was made.
func (f *FS) implied(p storage.Path) (*entry, error) {
	container, err := f.store.Stat(f.ctx, p.Parent())
	if err != nil {
		return nil, err
	}
	return f.directory(p, storage.Info{}, container.Created), nil
}

// anythingIn reports whether an object lies beneath a directory, or is the
// marker that ends in a slash.
func (f *FS) anythingIn(dir storage.Path) (bool, error) {
	for _, err := range f.store.List(f.ctx, dir.Parent(), storage.Query{Prefix: inside(dir), Limit: 1}) {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // not even the container
		}
		return err == nil, err
	}
	return false, nil
}

// isDirectory fails unless p is a directory.
func (f *FS) isDirectory(p storage.Path) error {
	e, err := f.lookup(p)
	if err != nil {
		return err
	}
	if !e.IsDir() {
		return errNotDirectory
	}
	return nil
}

// enter remembers a container that was found by its name. To a user who may not
// list the account they are all there are.
func (f *FS) enter(container string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered[container] = struct{}{}
}
