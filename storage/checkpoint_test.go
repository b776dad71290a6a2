package storage_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// A safeHouse is a Backend whose stages note what is to be made safe.
type safeHouse struct {
	*memory.Backend
	mu    sync.Mutex // guards what follows
	sizes []int64
	notes []string
	err   error
}

type safeStage struct {
	storage.Stage
	h *safeHouse
}

func (h *safeHouse) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	g, err := h.Backend.Stage(ctx, p, key)
	if err != nil {
		return nil, err
	}
	return &safeStage{g, h}, nil
}

func (g *safeStage) Checkpoint(size int64, note []byte) error {
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.h.sizes, g.h.notes = append(g.h.sizes, size), append(g.h.notes, string(note))
	return g.h.err
}

func (h *safeHouse) safe() []int64 {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sizes)
}

// hasState reports whether a note has the state of a hash, over how many bytes.
func hasState(t *testing.T, note string) (int64, bool) {
	t.Helper()
	var k struct {
		Hashed int64
		MD5    []byte
	}
	if err := json.Unmarshal([]byte(note), &k); err != nil {
		t.Fatal(err)
	}
	return k.Hashed, len(k.MD5) > 0
}

// An upload is made safe when time has passed, or much has come, as far as it
// is hashed, and with the state of the hash.
func TestUploadsAreMadeSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &safeHouse{Backend: memory.New()}
		u := stage(t, newStore(t, h), "key")
		defer u.Close()
		b := random(1 << 20)
		writeAt(t, u, b, 0)
		writeAt(t, u, b, 1<<20)
		if got := h.safe(); len(got) != 0 {
			t.Errorf("made safe at once: %v", got)
		}
		time.Sleep(3 * time.Second)
		writeAt(t, u, b, 2<<20)
		got := h.safe()
		if len(got) != 1 || got[0] <= 2<<20 || got[0] > 3<<20 {
			t.Fatalf("after 3 s and 3 MiB made safe: %v", got)
		}
		if n, ok := hasState(t, h.notes[0]); !ok || n != got[0] {
			t.Errorf("the note of %d bytes has the state of %d, %v", got[0], n, ok)
		}
		for off := int64(3 << 20); off < 80<<20; off += 1 << 20 {
			writeAt(t, u, b, off)
		}
		if got := h.safe(); len(got) != 2 || got[1] < 66<<20 {
			t.Errorf("after 80 MiB more made safe: %v", got)
		}
		// One that cannot be made safe goes on.
		h.mu.Lock()
		h.err = storage.ErrNoSpace
		h.mu.Unlock()
		time.Sleep(3 * time.Second)
		writeAt(t, u, b, 80<<20)
		writeAt(t, u, b, 81<<20)
		if got := h.safe(); len(got) != 3 {
			t.Errorf("made safe: %v", got)
		}
	})
}

// Where bytes were written twice nobody can tell which of them the hash has
// seen, so its state is not kept; and where they are behind it, nothing is.
func TestRewrittenUploadsAreMadeSafeWithoutTheHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &safeHouse{Backend: memory.New()}
		u := stage(t, newStore(t, h), "key")
		defer u.Close()
		b := random(1 << 20)
		writeAt(t, u, b[:1000], 0)
		writeAt(t, u, b[:1000], 0)
		writeAt(t, u, b[1000:], 1000)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		writeAt(t, u, b, 1<<20)
		if got := h.safe(); len(got) != 1 {
			t.Fatalf("made safe: %v", got)
		}
		if _, ok := hasState(t, h.notes[0]); ok {
			t.Error("the state of the hash is kept")
		}
		writeAt(t, u, b[:10], 5) // behind the hash
		time.Sleep(3 * time.Second)
		writeAt(t, u, b, 2<<20)
		if got := h.safe(); len(got) != 1 {
			t.Errorf("made safe though it was changed: %v", got)
		}
	})
}

// What has no key is nobody's to resume.
func TestUploadsWithoutAKeyAreNotMadeSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &safeHouse{Backend: memory.New()}
		u := stage(t, newStore(t, h), "")
		defer u.Close()
		writeAt(t, u, random(1<<20), 0)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		writeAt(t, u, random(1<<20), 1<<20)
		if got := h.safe(); len(got) != 0 {
			t.Errorf("made safe: %v", got)
		}
	})
}
