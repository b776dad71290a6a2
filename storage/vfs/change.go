package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"memstore.dev/memstore/storage"
)

// Mkdir makes a directory, or at the top a container.
func (f *FS) Mkdir(name string, _ os.FileMode) error {
	p, err := f.resolve(name)
	if err == nil {
		err = f.mkdir(p)
	}
	return failure("mkdir", name, err)
}

func (f *FS) mkdir(p storage.Path) error {
	if p.IsAccount() {
		return fs.ErrExist
	}
	if p.IsContainer() {
		created, err := f.store.Make(f.ctx, p, nil)
		if err == nil && !created {
			err = fs.ErrExist
		}
		if err == nil {
			f.enter(p.Container)
		}
		return err
	}
	if _, err := f.lookup(p); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.isDirectory(parent(p)); err != nil {
		return err
	}
	return f.mark(p)
}

// mark puts the marker of a directory.
func (f *FS) mark(p storage.Path) error {
	up, err := f.store.Create(f.ctx, storage.Info{Path: p, Type: typeDirectory}, storage.Cond{Absent: true})
	if err != nil {
		return err
	}
	defer up.Close()
	_, err = up.Commit(f.ctx)
	return err
}

// MkdirAll makes a directory and all that it lies in, as far as they are
// missing.
func (f *FS) MkdirAll(name string, _ os.FileMode) error {
	p, err := f.resolve(name)
	if err == nil {
		err = f.mkdirAll(p)
	}
	return failure("mkdir", name, err)
}

func (f *FS) mkdirAll(p storage.Path) error {
	switch e, err := f.lookup(p); {
	case err == nil && e.IsDir():
		return nil
	case err == nil:
		return errNotDirectory
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := f.mkdirAll(parent(p)); err != nil {
		return err
	}
	if err := f.mkdir(p); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Remove removes a file, or a directory in which nothing is left.
func (f *FS) Remove(name string) error {
	p, err := f.resolve(name)
	if err != nil {
		return failure("remove", name, err)
	}
	e, err := f.lookup(p)
	switch {
	case err != nil:
	case e.IsDir():
		err = f.removeDir(p)
	default:
		err = f.removeFile(p)
	}
	return failure("remove", name, err)
}

// RemoveFile removes a file, and nothing but a file.
func (f *FS) RemoveFile(name string) error {
	p, err := f.resolve(name)
	if err != nil {
		return failure("remove", name, err)
	}
	e, err := f.lookup(p)
	switch {
	case err != nil:
	case e.IsDir():
		err = errIsDirectory
	default:
		err = f.removeFile(p)
	}
	return failure("remove", name, err)
}

// removeFile removes the object, and what the user has uploaded to take its
// place.
func (f *FS) removeFile(p storage.Path) error {
	removed := false
	for _, u := range f.uploadsBeneath(p) {
		u.remove()
		removed = true
	}
	err := f.store.Remove(f.ctx, p, storage.Cond{})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if key := f.key(p); key != "" {
		gone := f.store.Forget(f.ctx, key)
		if errors.Is(gone, fs.ErrExist) && f.store.TakeOver(key) == nil { // under way in another session
			gone = f.store.Forget(f.ctx, key)
		}
		removed = removed || gone == nil
	}
	if err != nil && !removed {
		return err
	}
	f.leave(parent(p))
	return nil
}

// leave sees to it that a directory stays when the last that was in it has gone.
// If that fails it does not stay, as everywhere else in an object store.
func (f *FS) leave(dir storage.Path) {
	if !dir.IsObject() {
		return
	}
	if within, err := f.anythingIn(dir); err != nil || within {
		return
	}
	if err := f.mark(dir); err != nil {
		return // most likely it has its marker
	}
}

// RemoveDir removes a directory, or a container, in which nothing is left.
func (f *FS) RemoveDir(name string) error {
	p, err := f.resolve(name)
	if err == nil {
		err = f.removeDir(p)
	}
	return failure("rmdir", name, err)
}

func (f *FS) removeDir(p storage.Path) error {
	if p.IsAccount() {
		return fs.ErrPermission
	}
	if err := f.isDirectory(p); err != nil {
		return err
	}
	if empty, err := f.empty(p); err != nil || !empty {
		if err == nil {
			err = syscall.ENOTEMPTY
		}
		return err
	}
	if p.IsContainer() {
		return f.store.Remove(f.ctx, p, storage.Cond{})
	}
	if err := f.unmark(p); err != nil {
		return err
	}
	f.leave(parent(p))
	return nil
}

// empty reports whether a directory has nothing in it, hidden or not.
func (f *FS) empty(dir storage.Path) (bool, error) {
	prefix := inside(dir)
	at := storage.Path{Account: dir.Account, Container: dir.Container}
	for in, err := range f.store.List(f.ctx, at, storage.Query{Prefix: prefix, Limit: 2}) {
		if err != nil {
			return false, err
		}
		if in.Path.Object != prefix {
			return false, nil
		}
	}
	unfinished, err := f.partialsIn(dir)
	if err != nil {
		return false, err
	}
	for _, s := range unfinished {
		if s.live != nil || s.part.shownOver(storage.Info{}, false) {
			return false, nil
		}
	}
	return true, nil
}

// unmark removes the markers of a directory, of both conventions.
func (f *FS) unmark(p storage.Path) error {
	slash := p
	slash.Object += "/"
	for _, marker := range []storage.Path{p, slash} {
		if err := f.store.Remove(f.ctx, marker, storage.Cond{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// RemoveAll removes a file or directory, and everything in it. What is not
// there is no error.
func (f *FS) RemoveAll(name string) error {
	p, err := f.resolve(name)
	if err == nil {
		err = f.removeAll(p)
	}
	return failure("remove", name, err)
}

func (f *FS) removeAll(p storage.Path) error {
	if p.IsAccount() {
		return fs.ErrPermission
	}
	e, err := f.lookup(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !e.IsDir() {
		return f.removeFile(p)
	}
	for _, u := range f.uploadsBeneath(p) {
		u.remove()
	}
	at := storage.Path{Account: p.Account, Container: p.Container}
	for more := true; more; {
		var found []storage.Path
		for in, err := range f.store.List(f.ctx, at, storage.Query{Prefix: inside(p), Limit: page}) {
			if err != nil {
				return err
			}
			found = append(found, in.Path)
		}
		for _, p := range found {
			if err := f.store.Remove(f.ctx, p, storage.Cond{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		more = len(found) == page
	}
	if err := f.forgetIn(p); err != nil {
		return err
	}
	if p.IsContainer() {
		return f.store.Remove(f.ctx, p, storage.Cond{})
	}
	if err := f.unmark(p); err != nil {
		return err
	}
	f.leave(parent(p))
	return nil
}

// forgetIn drops what the user's uploads to a directory have left.
func (f *FS) forgetIn(dir storage.Path) error {
	at := dir
	at.Object = inside(dir)
	prefix := f.key(at)
	if prefix == "" {
		return nil
	}
	var keys []string
	for k, err := range f.store.Staged(f.ctx, prefix) {
		if err != nil {
			return nobody(err)
		}
		keys = append(keys, k.Key)
	}
	for _, key := range keys {
		if err := f.store.Forget(f.ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
