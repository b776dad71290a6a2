package disk

import (
	"log/slog"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/storagetest"
)

// small are Options for tests: little memory, and no room kept free.
func small(t testing.TB) Options {
	return Options{
		Log:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		CacheSize: 4 << 20, MemTable: 2 << 20, Ballast: -1, Reserve: 1, ReserveInodes: 1, ScrubRate: -1,
		Fatal: func(err error) { t.Errorf("Fatal: %v", err) },
	}
}

func open(t testing.TB, dir string, o Options) *Backend {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func TestContract(t *testing.T) {
	modes := map[string]func(*Options){
		"inline":  func(*Options) {},
		"files":   func(o *Options) { o.InlineLimit = -1 },
		"verify":  func(o *Options) { o.InlineLimit = 100; o.Verify = VerifyAlways },
		"trusted": func(o *Options) { o.InlineLimit = -1; o.Sync = SyncNone },
	}
	for name, set := range modes {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "files" {
				t.Skip("one of four in short")
			}
			storagetest.Run(t, func(t *testing.T) storage.Backend {
				o := small(t)
				set(&o)
				return open(t, t.TempDir(), o)
			})
		})
	}
}
