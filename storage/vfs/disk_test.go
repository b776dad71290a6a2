package vfs_test

import (
	"log/slog"
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
	"memstore.dev/memstore/storage/vfs"
	"memstore.dev/memstore/storage/vfs/vfstest"
)

func openDisk(t testing.TB) *disk.Backend {
	t.Helper()
	b, err := disk.Open(t.TempDir(), disk.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestFilesystemOnDisk(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) afero.Fs {
		return vfs.New(t.Context(), storage.New(openDisk(t)), account, vfs.Options{Owner: "ann"})
	})
}
