package auth

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

func mustRealm(t *testing.T, path string) *Realm {
	t.Helper()
	r, err := Open(t.Context(), path, Options{Poll: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestEdgeKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.db")
	here, there := mustRealm(t, path), mustRealm(t, path)
	key, err := here.AddEdge(t.Context(), "london")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.AddEdge(t.Context(), "london"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key of the same name: %v", err)
	}
	if _, err := here.AddEdge(t.Context(), "Not a name"); !errors.As(err, new(*storage.Refusal)) {
		t.Errorf("a bad name: %v", err)
	}
	if err := there.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Realm{here, there} {
		if name, ok := r.EdgeOf(key); !ok || name != "london" {
			t.Errorf("EdgeOf = %q, %v", name, ok)
		}
		if name, ok := r.EdgeOf(key + "x"); ok {
			t.Errorf("a key that is none is of %q", name)
		}
	}
	var kept string
	if err := here.db.QueryRow(`SELECT hash FROM edge_keys`).Scan(&kept); err != nil || kept == key || len(kept) != 64 {
		t.Errorf("kept is %q, %v", kept, err)
	}
	if err := here.RemoveEdge(t.Context(), "london"); err != nil {
		t.Fatal(err)
	}
	if _, ok := here.EdgeOf(key); ok {
		t.Error("a key that was removed is good")
	}
	if err := here.RemoveEdge(t.Context(), "london"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestCDNID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.db")
	here, there := mustRealm(t, path), mustRealm(t, path)
	id, err := here.CDNID(t.Context(), "AUTH_ann")
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(id) {
		t.Fatalf("CDNID = %q, %v", id, err)
	}
	if again, err := there.CDNID(t.Context(), "AUTH_ann"); err != nil || again != id {
		t.Errorf("another process says %q, %v", again, err)
	}
	for _, r := range []*Realm{here, there} {
		if account, ok := r.CDNAccount(id); !ok || account != "AUTH_ann" {
			t.Errorf("CDNAccount = %q, %v", account, ok)
		}
	}
	// Another account whose name would be the same gets the next.
	if _, err := here.db.Exec(`INSERT INTO cdn_accounts (id, account, created) VALUES ($1, 'AUTH_other', 0)`, shortName("AUTH_bob", 0)); err != nil {
		t.Fatal(err)
	}
	if id, err = here.CDNID(t.Context(), "AUTH_bob"); err != nil || id != shortName("AUTH_bob", 1) {
		t.Errorf("CDNID of one whose name is taken = %q, %v", id, err)
	}
	if account, _ := here.CDNAccount(shortName("AUTH_bob", 0)); account != "AUTH_other" {
		t.Errorf("the name that was taken is of %q", account)
	}
}
