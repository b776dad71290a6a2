package vfs

import (
	"errors"
	"io/fs"

	"memstore.dev/memstore/storage"
)

// Copy makes a copy of a file, in place of what was there, without moving its
// bytes if the store can do that.
func (f *FS) Copy(from, to string) error {
	p, err := f.resolve(from)
	if err != nil {
		return failure("copy", from, err)
	}
	q, err := f.resolve(to)
	if err != nil {
		return failure("copy", to, err)
	}
	source, err := f.lookup(p)
	switch {
	case err != nil:
		return failure("copy", from, err)
	case source.IsDir():
		return failure("copy", from, errIsDirectory)
	case source.object.Version == 0 || source.partial != nil:
		return failure("copy", from, errUnfinished)
	}
	if err := f.mayPut(q); err != nil {
		return failure("copy", to, err)
	}
	target := source.object
	target.Path, target.Meta = q, target.Meta.Clone()
	target.Type = storage.TypeAfter(source.object.Type, p, q)
	delete(target.Meta, metaMtime) // the copy is made now
	if target.Large != nil {
		delete(target.Meta, storage.MetaManifest) // and has the bytes itself
	}
	_, err = f.store.Copy(f.ctx, source.object, target, storage.Cond{})
	return failure("copy", to, err)
}

// mayPut says why no file can be at p, or nil.
func (f *FS) mayPut(p storage.Path) error {
	if !p.IsObject() {
		if _, err := f.lookup(p); err == nil {
			return errIsDirectory
		}
		return errRootFile
	}
	switch e, err := f.lookup(p); {
	case err == nil && e.IsDir():
		return errIsDirectory
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return f.isDirectory(parent(p))
}

// Hash returns the hash of a stored file in lower-case hex. Only "md5" is kept;
// what is not kept is errors.ErrUnsupported.
func (f *FS) Hash(name, algorithm string) (string, error) {
	p, err := f.resolve(name)
	if err != nil {
		return "", failure("hash", name, err)
	}
	e, err := f.lookup(p)
	switch {
	case err != nil:
	case e.IsDir():
		err = errIsDirectory
	case algorithm != "md5" || len(e.ETag()) != 32:
		err = errors.ErrUnsupported
	}
	if err != nil {
		return "", failure("hash", name, err)
	}
	return e.ETag(), nil
}
