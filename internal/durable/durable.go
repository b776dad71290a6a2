// Package durable changes a file system so that the change outlives a power
// cut. When one of its functions has returned without an error, what it did is
// on the disk: contents and names, and the directories that hold the names.
//
// POSIX promises less than most programs assume. A file's fsync says nothing
// about the name it was reached by, which is content of its directory; a
// rename is atomic but not durable; a directory just made is itself a name in
// a directory that nobody has synced yet. Each function's comment shows the
// system calls it makes, so that a trace of the program can be held against
// them.
//
// An fsync that failed must never be tried again: the kernel has thrown the
// dirty pages away and would report success for what is lost. Callers treat
// any error as the end of what they know about the file.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncDir makes the names in a directory durable.
//
//	open(dir, O_RDONLY) fsync close
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Mkdir makes a directory whose parent exists. That it exists already is
// fs.ErrExist.
//
//	mkdir(dir) fsync(parent)
func Mkdir(dir string, perm fs.FileMode) error {
	if err := os.Mkdir(dir, perm); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

// MkdirAll makes a directory and what is missing of those above it. An
// existing one is no error, but neither is it synced.
//
//	mkdir(…) fsync(parent), once for each that is missing, from the top
func MkdirAll(dir string, perm fs.FileMode) error {
	in, err := os.Stat(dir)
	switch {
	case err == nil && in.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a directory")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// WriteFile puts a file in place of what is under that name, if anything. At
// every moment the name leads to the old content or to the new, whole.
//
//	open(dir/.name.*, O_CREAT|O_EXCL) write… fsync close rename fsync(dir)
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	f, err := Create(name, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// Rename gives a file or directory another name, in place of what is there.
//
//	rename fsync(dir of newName) fsync(dir of oldName, if it is another)
func Rename(oldName, newName string) error {
	if err := os.Rename(oldName, newName); err != nil {
		return err
	}
	from, to := filepath.Dir(oldName), filepath.Dir(newName)
	// The new name first: a cut between the two then leaves both names, never none.
	if err := SyncDir(to); err != nil {
		return err
	}
	if from == to {
		return nil
	}
	return SyncDir(from)
}

// Remove removes a file or an empty directory.
//
//	unlink or rmdir, fsync(parent)
func Remove(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// CopyFile copies a file's bytes under a name whose content it replaces.
//
//	open(src) open(dir/.name.*, O_CREAT|O_EXCL) copy_file_range… fsync close rename fsync(dir)
func CopyFile(dst, src string, perm fs.FileMode) (int64, error) {
	in, err := os.Open(src)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := Create(dst, perm)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	n, err := io.Copy(out.File, in)
	if err != nil {
		return n, fmt.Errorf("copy %s: %w", src, err)
	}
	return n, out.Commit()
}

// A File is on its way to a name. Until Commit the name leads where it led
// before; Close without Commit leaves nothing behind, and after a crash there
// may be a file whose name begins with a dot, which means nothing to anyone.
type File struct {
	*os.File
	name string
	done bool
}

// Create starts a file that is to be known as name.
//
//	open(dir/.name.*, O_RDWR|O_CREAT|O_EXCL)
func Create(name string, perm fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return &File{File: f, name: name}, nil
}

// Commit makes the file durable and puts it under its name.
//
//	fsync close rename fsync(dir)
func (f *File) Commit() error {
	if f.done {
		return fs.ErrClosed
	}
	if err := f.File.Sync(); err != nil {
		return err
	}
	if err := f.File.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.File.Name(), f.name); err != nil {
		return err
	}
	f.done = true
	return SyncDir(filepath.Dir(f.name))
}

// Close gives the file up, if it is not committed.
func (f *File) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.File.Close()
	if errors.Is(err, fs.ErrClosed) { // by a Commit that failed later
		err = nil
	}
	return errors.Join(err, os.Remove(f.File.Name()))
}
