package vfs_test

import (
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
	"memstore.dev/memstore/storage/vfs"
	"memstore.dev/memstore/storage/vfs/vfstest"
)

const account = "AUTH_ann"

// plain hides the extra powers of a Backend.
type plain struct{ storage.Backend }

func TestFilesystem(t *testing.T) {
	backends := map[string]func() storage.Backend{
		"memory": func() storage.Backend { return memory.New() },
		"plain":  func() storage.Backend { return plain{memory.New()} },
		"faulty": func() storage.Backend { return &storagetest.Faulty{Backend: memory.New()} }, // readers that cannot seek
	}
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) afero.Fs {
				return vfs.New(t.Context(), storage.New(backend()), account, vfs.Options{Owner: "ann"})
			})
		})
	}
}
