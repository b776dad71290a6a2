package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A backup may have been in other hands. What is read of one is opened so that
// it is what it seems: no link to something else, and no pipe that would keep
// us waiting for who never writes.
const readPlain = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK

var errNotPlain = errors.New("not a regular file")

// openPlain opens a regular file to read.
func openPlain(name string) (*os.File, error) {
	return plain(os.OpenFile(name, readPlain, 0))
}

// openPlainIn opens a regular file below a directory that no link leads out of.
func openPlainIn(dir *os.Root, name string) (*os.File, error) {
	return plain(dir.OpenFile(name, readPlain, 0))
}

func plain(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	in, err := f.Stat()
	if err == nil && !in.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: errNotPlain}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// plainFiles returns the names in a directory, which must be of regular files.
func plainFiles(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s: %w", e.Name(), errNotPlain)
		}
		names = append(names, e.Name())
	}
	return names, err
}
