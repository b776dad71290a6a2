package storage_test

import (
	"io/fs"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

func TestAnnounce(t *testing.T) {
	s := newStore(t, memory.New())
	var heard []storage.Change
	s.Watch(func(c storage.Change) { heard = append(heard, c) })
	for _, c := range []storage.Change{
		{Op: storage.OpPut, Path: object},
		{Op: storage.OpDrop, Path: storage.Path{Account: "AUTH_ann"}},
	} {
		want(t, s.Announce(t.Context(), c), fs.ErrInvalid)
	}
	c := storage.Change{Op: storage.OpStale, Path: object, Tree: true}
	if err := s.Announce(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 1 || heard[0].Op != c.Op || heard[0].Path != c.Path || !heard[0].Tree {
		t.Errorf("heard %+v", heard)
	}
}
