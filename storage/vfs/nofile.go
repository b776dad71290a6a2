package vfs

import (
	"io/fs"
	"os"
	"syscall"
)

var (
	errIsDirectory  error = syscall.EISDIR
	errNotDirectory error = syscall.ENOTDIR
)

// noWrite is what a file that was opened for reading answers to writing.
type noWrite struct{ name string }

func (n noWrite) Name() string { return n.name }

func (n noWrite) refuse(op string, err error) error { return failure(op, n.name, err) }

func (n noWrite) Write([]byte) (int, error)          { return 0, n.refuse("write", fs.ErrPermission) }
func (n noWrite) WriteAt([]byte, int64) (int, error) { return 0, n.refuse("write", fs.ErrPermission) }
func (n noWrite) WriteString(string) (int, error)    { return 0, n.refuse("write", fs.ErrPermission) }
func (n noWrite) Truncate(int64) error               { return n.refuse("truncate", fs.ErrPermission) }
func (n noWrite) Sync() error                        { return nil }

// TransferError tells that a transfer failed, which changes nothing for what
// is read.
func (n noWrite) TransferError(error) {}

func (n noWrite) Readdir(int) ([]os.FileInfo, error) {
	return nil, n.refuse("readdir", errNotDirectory)
}

func (n noWrite) Readdirnames(int) ([]string, error) {
	return nil, n.refuse("readdir", errNotDirectory)
}

// noFile is what a directory answers to what can be done with files only.
type noFile struct{ noWrite }

func (n noFile) Read([]byte) (int, error)           { return 0, n.refuse("read", errIsDirectory) }
func (n noFile) ReadAt([]byte, int64) (int, error)  { return 0, n.refuse("read", errIsDirectory) }
func (n noFile) Write([]byte) (int, error)          { return 0, n.refuse("write", errIsDirectory) }
func (n noFile) WriteAt([]byte, int64) (int, error) { return 0, n.refuse("write", errIsDirectory) }
func (n noFile) WriteString(string) (int, error)    { return 0, n.refuse("write", errIsDirectory) }
func (n noFile) Truncate(int64) error               { return n.refuse("truncate", errIsDirectory) }
