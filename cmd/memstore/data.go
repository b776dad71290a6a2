package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Files of a data directory by which it can be told, and what else may lie in
// one that is about to become one: what a start that came to nothing leaves
// behind, and what mkfs makes.
const (
	formatFile     = "FORMAT"
	incompleteFile = "INCOMPLETE" // while a backup or restore is under way
)

var harmless = []string{"LOCK", controlName, "lost+found"}

// makeData makes the data directory, for its owner only, and reports whether
// nothing was ever kept in it. A directory in which somebody keeps other things
// is refused: it is more likely a slip than meant.
func makeData(dir string) (created bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, fmt.Errorf("data directory: %w", err)
		}
		return true, nil
	case errors.Is(err, syscall.ENOTDIR):
		return false, fmt.Errorf("data directory: %s is a file, not a directory", dir)
	case err != nil:
		return false, fmt.Errorf("data directory: %w", err)
	}
	var format, control, index bool
	other := ""
	for _, e := range entries {
		switch name := e.Name(); {
		case name == formatFile:
			format = true
		case name == controlDatabase:
			control = true
		case name == "meta":
			index = true
		case !slices.Contains(harmless, name):
			other = name
		}
	}
	switch {
	case format || control && !index:
	case index:
		return false, fmt.Errorf("%s has lost its %s file, which says what the others are; bring it back from a backup of this store", dir, formatFile)
	case other != "":
		return false, fmt.Errorf("%s is not empty and no data directory: it holds %s; name another one with --data", dir, other)
	}
	// On a volume that belongs to another, whoever mounted it has seen to this.
	if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("data directory: %w", err)
	}
	return !format && !control, nil
}

// checkReserve refuses to keep free more than there is: every upload would be
// turned away. That they are so for now it says in the log.
func checkReserve(l *Loaded, log *slog.Logger) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(l.Data, &fs); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if size := Size(fs.Blocks) * Size(fs.Bsize); l.Disk.Reserve >= size {
		return usage(l.complain("disk.reserve", fmt.Sprintf("%v is not less than the whole file system of %s, %v", l.Disk.Reserve, l.Data, size)))
	}
	if free := Size(fs.Bavail) * Size(fs.Bsize); free < l.Disk.Reserve {
		log.Warn("uploads are refused, because less than disk.reserve is free", "free", free.Round(), "reserve", l.Disk.Reserve.Round())
	}
	return nil
}

// isData reports a directory that no objects were ever kept in.
func isData(dir string) error {
	_, err := os.Stat(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return notData(dir)
	}
	return err
}

// foreign reports whether a directory holds something, and none of it is of
// Memstore's making.
func foreign(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !slices.Contains(harmless, e.Name()) }) &&
		!slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == formatFile || e.Name() == incompleteFile })
}

// hasUsers reports whether there is a control database in a directory.
func hasUsers(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, controlDatabase))
	return err == nil
}

// notData is the error of looking for a store where none is.
func notData(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not a data directory: it does not exist; name the right one with --data", dir)
	}
	return fmt.Errorf("%s is not a data directory; name the right one with --data", dir)
}

// within reports whether dir is parent or lies beneath it, by whatever names
// they go. dir need not exist.
func within(parent, dir string) bool {
	parent, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return false
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false
	}
	top, err := os.Stat(parent)
	if err != nil {
		return false
	}
	for {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		if at, err := os.Stat(dir); err == nil && os.SameFile(at, top) {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}

// handOver gives the control database to whom the data directory belongs, where
// root has written to it on his behalf: his server must be able to open it.
func handOver(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	for _, rest := range []string{"", "-wal", "-shm"} {
		err := os.Lchown(filepath.Join(dir, controlDatabase)+rest, int(owner.Uid), int(owner.Gid))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
