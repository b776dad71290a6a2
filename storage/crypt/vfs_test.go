package crypt

import (
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
	"memstore.dev/memstore/storage/vfs"
	"memstore.dev/memstore/storage/vfs/vfstest"
)

// TestFilesystem holds the promises of the doors' filesystem over it.
func TestFilesystem(t *testing.T) {
	for name, open := range map[string]func(*testing.T) storage.Backend{
		"memory": func(*testing.T) storage.Backend { return memory.New() },
		"disk":   openDisk,
		"faulty": func(*testing.T) storage.Backend { return &storagetest.Faulty{Backend: memory.New()} }, // readers that cannot seek
	} {
		t.Run(name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) afero.Fs {
				b := New(open(t), NewKeys(), true)
				return vfs.New(t.Context(), storage.New(b), "AUTH_ann", vfs.Options{Owner: "ann"})
			})
		})
	}
}
