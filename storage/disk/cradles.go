package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// cradles are directories far apart on the disk, in which files without a name
// are made by turns.
//
// ext4 puts a file's inode near its directory's, and does not reuse one within
// minutes of its end: it steps over each, at every file it makes. In a store
// where as much is deleted as is put, all of it in one place, that was 0.3 ms
// of processor per file, and up to 3 are possible; in many places it is next to
// nothing, as each has a share of the deletions.
//
// They hold no names, so nothing about them needs to be durable. Where the file
// system has no way to spread directories there are none, and files are made
// where the blobs are.
type cradles struct {
	blobs string   // a directory for when there is none of these
	dirs  []string // may be empty
	made  atomic.Uint64
}

const (
	cradleCount = 64
	cradleStay  = 64 // files made in one before it is the next one's turn, and so close together
)

func newCradles(dir string) *cradles {
	c := &cradles{blobs: filepath.Join(dir, dirBlobs)}
	parent := filepath.Join(dir, dirCradles)
	switch err := os.Mkdir(parent, 0o700); {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		return c
	default:
		if spreadChildren(parent) != nil {
			os.Remove(parent)
			return c
		}
	}
	for i := range cradleCount {
		child := filepath.Join(parent, strconv.Itoa(i))
		if err := os.Mkdir(child, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			c.dirs = append(c.dirs, child)
		}
	}
	return c
}

// open opens a file without a name.
func (c *cradles) open() (*os.File, error) {
	if n := uint64(len(c.dirs)); n > 0 {
		turn := c.made.Add(1) / cradleStay
		if f, err := openUnnamed(c.dirs[turn%n]); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return openUnnamed(c.blobs)
}
