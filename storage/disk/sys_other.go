//go:build unix && !linux

package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Here is what systems other than Linux do instead of what is in sys_linux.go;
// see there for what each function is for.

func openUnnamed(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func spreadChildren(string) error { return errors.ErrUnsupported }

func linkUnnamed(*os.File, *os.File, string) error { return errors.ErrUnsupported }

func writeBack(*os.File, int64, int64) {}

func inMemory(*os.File, int64) bool { return false }

func lockFile(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func preallocate(*os.File, int64) error { return errors.ErrUnsupported }

func freeSpace(dir string) (free, size, inodes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	inodes = int64(st.Ffree)
	if st.Files == 0 {
		inodes = -1
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), inodes, nil
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func syncFileSystem(string) error {
	unix.Sync() // which on some systems returns before it is done
	return nil
}
