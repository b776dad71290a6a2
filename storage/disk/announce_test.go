package disk

import (
	"slices"
	"testing"

	"memstore.dev/memstore/storage"
)

// An announcement is in the journal in its turn, through a restart too, and
// changes nothing.
func TestAnnounce(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	if c, err := b.Latest(t.Context()); err != nil || c != (storage.Change{}) {
		t.Errorf("Latest of an empty store = %+v, %v", c, err)
	}
	account := storage.Path{Account: "a"}
	if _, err := b.Make(t.Context(), account, nil); err != nil {
		t.Fatal(err)
	}
	said := storage.Change{Op: storage.OpDrop, Path: storage.Path{Account: "a", Container: "c", Object: "img/"}, Tree: true}
	kept, err := b.Announce(t.Context(), said)
	if err != nil || kept.Version == 0 || kept.Time.IsZero() {
		t.Fatalf("Announce = %+v, %v", kept, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, Options{})
	defer b.Close()
	var all []storage.Change
	for c, err := range b.Changes(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if len(all) != 2 || all[0].Path != account || !all[1].Time.Equal(kept.Time) || all[1].Op != said.Op || all[1].Path != said.Path || !all[1].Tree {
		t.Errorf("the journal has %+v", all)
	}
	if c, err := b.Latest(t.Context()); err != nil || !slices.Equal([]storage.Change{c}, all[1:]) {
		t.Errorf("Latest = %+v, %v", c, err)
	}
}
