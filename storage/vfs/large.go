package vfs

import (
	"errors"
	"io/fs"

	"memstore.dev/memstore/storage"
)

// stat describes the object at p, or what it is a link to. One whose content
// cannot be told, since it lies in other objects that are gone or not for the
// user to see, is described as it is stored: it is listed, so that it must be
// possible to remove it, to rename it and to put something in its place.
func (f *FS) stat(p storage.Path) (storage.Info, error) {
	in, err := f.store.Stat(f.ctx, p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		if stored, err := f.store.Stat(storage.Unfollowed(storage.AsStored(f.ctx)), p); err == nil {
			return stored, nil
		}
	}
	return in, err
}

// whole is an object of a listing with the size that it has when it is read. Of
// a dynamic large object the store lists that of the manifest only, and of a
// link its own, which is nothing.
func (f *FS) whole(in storage.Info) storage.Info {
	if in.Link == nil && (in.Meta[storage.MetaManifest] == "" || in.Large != nil) {
		return in
	}
	if now, err := f.stat(in.Path); err == nil {
		return now
	}
	return in // it is gone, or shows its fault to whoever opens it
}
