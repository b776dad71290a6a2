package disk

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file that has no name, and vanishes with the process
// unless it is given one.
func openUnnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
}

// spreadChildren asks that directories made in this one be put far apart, as
// chattr +T does.
func spreadChildren(dir string) error {
	const topDir = 0x20000 // FS_TOPDIR_FL
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDir))
	}
	if err != nil {
		return &fs.PathError{Op: "ioctl", Path: dir, Err: err}
	}
	return nil
}

// linkUnnamed gives an unnamed file its name in a directory.
func linkUnnamed(f *os.File, dir *os.File, name string) error {
	err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), int(dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.ENOENT) { // no /proc; newer kernels need none
		err = unix.Linkat(int(f.Fd()), "", int(dir.Fd()), name, unix.AT_EMPTY_PATH)
	}
	if err != nil {
		return &fs.PathError{Op: "link", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// writeBack asks the kernel to begin writing a stretch, without waiting, so
// that the fsync at the end of a long upload finds little left to do.
func writeBack(f *os.File, offset, n int64) {
	unix.SyncFileRange(int(f.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE)
}

// inMemory reports whether all of the first bytes of a file are in the page
// cache. Kernels before 6.5 do not tell, and neither does one that was forbidden
// to: then it is not known.
func inMemory(f *os.File, n int64) bool {
	page := int64(os.Getpagesize())
	var is unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(n)}, &is, 0)
	return err == nil && is.Cache >= uint64((n+page-1)/page)
}

// lockFile takes the lock that one process has on a data directory.
func lockFile(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// preallocate takes room on the disk for a file.
func preallocate(f *os.File, n int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}

// freeSpace tells what a file system has left: bytes for us, bytes in all, and
// inodes (negative if it does not count them).
func freeSpace(dir string) (free, size, inodes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	inodes = int64(st.Ffree)
	if st.Files == 0 {
		inodes = -1
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, inodes, nil
}

// isFull reports whether err says that there is no room: on the disk, for
// inodes, or within the owner's quota of the file system.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// syncFileSystem makes everything durable that was written to the file system
// that a directory is on.
func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
