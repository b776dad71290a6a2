package vfs_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"sync"
	"syscall"
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/ftp"
	"memstore.dev/memstore/sftp"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/vfs"
)

// What clients log in with.
const (
	user     = "ann"
	password = "correct horse"
)

// A door is what serves a filesystem.
type door interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// open serves by a door until the test ends, and returns where.
func open(t *testing.T, d door) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		d.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ftp.ErrServerClosed) && !errors.Is(err, sftp.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// logins are those of one user to a new store: each gets a session of its own.
func logins() func(ctx context.Context, pw string) (afero.Fs, error) {
	store := storage.New(memory.New())
	return func(ctx context.Context, pw string) (afero.Fs, error) {
		if pw != password {
			return nil, fs.ErrPermission
		}
		return vfs.New(ctx, store, account, vfs.Options{Owner: user}), nil
	}
}

// A dir is a directory that a client has open.
type dir struct {
	afero.File // nil: of a directory nothing else may be asked
	name       string
	info       fs.FileInfo
	list       func() ([]fs.FileInfo, error)

	mu   sync.Mutex
	read bool
	left []fs.FileInfo
}

func (d *dir) Name() string               { return d.name }
func (d *dir) Stat() (os.FileInfo, error) { return d.info, nil }
func (d *dir) Close() error               { return nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: syscall.EISDIR}
}

func (d *dir) Readdir(n int) (page []os.FileInfo, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.read {
		if d.left, err = d.list(); err != nil {
			return nil, err
		}
		d.read = true
	}
	if n <= 0 {
		n = len(d.left)
	} else if len(d.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.left))
	page, d.left = d.left[:n:n], d.left[n:]
	return page, nil
}

func (d *dir) Readdirnames(n int) (names []string, err error) {
	page, err := d.Readdir(n)
	for _, in := range page {
		names = append(names, in.Name())
	}
	return names, err
}

// mkdirAll makes a directory and those above, as clients do.
func mkdirAll(f afero.Fs, name string, mode os.FileMode) error {
	in, err := f.Stat(name)
	if err == nil && !in.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	if err == nil {
		return nil
	}
	if above := path.Dir(name); above != name {
		if err := mkdirAll(f, above, mode); err != nil {
			return err
		}
	}
	return f.Mkdir(name, mode)
}

// removeAll removes a file, or a directory and everything in it.
func removeAll(f afero.Fs, name string) error {
	in, err := f.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.IsDir() {
		within, err := afero.ReadDir(f, name)
		if err != nil {
			return err
		}
		for _, in := range within {
			if err := removeAll(f, path.Join(name, in.Name())); err != nil {
				return err
			}
		}
	}
	return f.Remove(name)
}
