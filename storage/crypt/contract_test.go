package crypt

import (
	"log/slog"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

func openDisk(t *testing.T) storage.Backend {
	b, err := disk.Open(t.TempDir(), disk.Options{Log: slog.New(slog.DiscardHandler), Reserve: 1 << 20, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestContract holds the promises of a Backend with encryption on, and with it
// switched off again.
func TestContract(t *testing.T) {
	keys := NewKeys()
	t.Run("memory", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Backend { return New(memory.New(), keys, true) })
	})
	t.Run("disk", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Backend { return New(openDisk(t), keys, true) })
	})
	t.Run("off", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Backend { return New(memory.New(), keys, false) })
	})
}
