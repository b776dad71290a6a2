package vfs

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"memstore.dev/memstore/storage"
)

// Rename moves a file, in place of one that is there, or a directory with all
// that is in it, or a container. No bytes are moved if the store can do
// without. The content type of a file goes by its name, as that of an upload
// does, unless somebody has said another. A directory takes the place of an empty one only.
func (f *FS) Rename(from, to string) error {
	p, err := f.resolve(from)
	if err != nil {
		return failure("rename", from, err)
	}
	q, err := f.resolve(to)
	if err != nil {
		return failure("rename", to, err)
	}
	return failure("rename", from, f.rename(p, q))
}

func (f *FS) rename(p, q storage.Path) error {
	source, err := f.lookup(p)
	if err != nil {
		return err
	}
	switch {
	case p == q:
		return nil
	case p.IsAccount() || q.IsAccount():
		return fs.ErrPermission
	case source.IsDir() && beneath(q, p):
		return &storage.Refusal{Text: "a directory cannot be moved into itself"}
	case !source.IsDir():
		return f.renameFile(p, q, source)
	case p.IsContainer() != q.IsContainer():
		return &storage.Refusal{Text: "a container cannot become a directory, nor a directory a container"}
	}
	return f.renameDir(p, q)
}

func (f *FS) renameFile(p, q storage.Path, source *entry) error {
	if err := f.mayPut(q); err != nil {
		return err
	}
	// What the session is writing, and what was cut off, go along. An object
	// that they are to replace goes with them, if there is one.
	live := f.uploadsBeneath(p)
	for _, u := range live {
		if err := u.rename(q); err != nil {
			return err
		}
	}
	_, err := f.store.Move(f.ctx, p, q, storage.Cond{Retype: true})
	if errors.Is(err, fs.ErrNotExist) && (len(live) > 0 || source.partial != nil) {
		err = nil
	}
	if err != nil {
		return err
	}
	if len(live) == 0 {
		if err := f.replacePartial(p, q); err != nil {
			return err
		}
	}
	f.leave(parent(p))
	return nil
}

// replacePartial puts what is kept of p, if anything, in the place of what is
// kept of q.
func (f *FS) replacePartial(p, q storage.Path) error {
	if key := f.key(q); key != "" {
		f.store.Forget(f.ctx, key)
	}
	part, err := f.findPartial(p)
	if err != nil || part == nil || part.Open {
		return err
	}
	return f.movePartial(p, q)
}

func (f *FS) renameDir(p, q storage.Path) error {
	switch target, err := f.lookup(q); {
	case err == nil && !target.IsDir():
		return errNotDirectory
	case err == nil && q.IsContainer():
		return fs.ErrExist
	case err == nil:
		if empty, err := f.empty(q); err != nil {
			return err
		} else if !empty {
			return syscall.ENOTEMPTY
		}
		if err := f.unmark(q); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case q.IsObject():
		if err := f.isDirectory(parent(q)); err != nil {
			return err
		}
	}
	if p.IsContainer() {
		if _, err := f.store.MoveTree(f.ctx, p, q); err != nil {
			return err
		}
		f.enter(q.Container)
	} else if err := f.moveBeneath(p, q); err != nil {
		return err
	}
	for _, u := range f.uploadsBeneath(p) {
		at := u.where()
		at.Container, at.Object = q.Container, q.Object+strings.TrimPrefix(at.Object, p.Object)
		if err := u.rename(at); err != nil {
			return err
		}
	}
	if err := f.movePartials(p, q); err != nil {
		return err
	}
	f.leave(parent(p))
	return nil
}

// moveBeneath moves what is in a directory, and its marker. A directory that
// has one has it first at the new place and last at the old, so that it is
// never nowhere.
func (f *FS) moveBeneath(p, q storage.Path) error {
	marker, err := f.stat(p)
	marked := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	from, to := p, q
	from.Object += "/"
	to.Object += "/"
	_, err = f.store.MoveTree(f.ctx, from, to)
	if err != nil && !(marked && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if !marked {
		return nil
	}
	if _, err := f.store.Move(f.ctx, marker.Path, q, storage.Cond{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
