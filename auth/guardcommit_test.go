package auth

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"memstore.dev/memstore/storage"
)

// TestRightsAtTheCommit has the right to write end between the beginning of
// an object and its commit, in each way it can, by writer and by stage.
func TestRightsAtTheCommit(t *testing.T) {
	type world struct {
		b       storage.Backend
		current bool
	}
	bob := Identity{User: "bob:joe", Account: "bob", Role: RoleUser}
	boss := Identity{User: "ann:boss", Account: "ann", Role: RoleAdmin}
	for _, c := range []struct {
		name   string
		id     Identity
		happen func(w *world)
		want   error
	}{
		{"nothing", bob, func(*world) {}, nil},
		{"nothing to the admin", boss, func(*world) {}, nil},
		{"list withdrawn", bob, func(w *world) { must(t, post(t.Context(), w.b, annC, nil)) }, fs.ErrPermission},
		{"user disabled", bob, func(w *world) { w.current = false }, fs.ErrPermission},
		{"admin disabled", boss, func(w *world) { w.current = false }, fs.ErrPermission},
		{"container replaced", bob, func(w *world) {
			must(t, w.b.Remove(t.Context(), annO, storage.Cond{}))
			must(t, w.b.Remove(t.Context(), annC, storage.Cond{}))
			_, err := w.b.Make(t.Context(), annC, nil)
			must(t, err)
		}, fs.ErrPermission},
	} {
		for _, staged := range []bool{false, true} {
			w := &world{b: annsStore(t, "", "bob", ""), current: true}
			g := NewGuard(w.b)
			g.Current = func(id Identity) bool { return w.current && id.User == c.id.User }
			ctx := NewContext(t.Context(), c.id)
			var commit func(context.Context, storage.Info, storage.Cond) (storage.Info, error)
			if staged {
				s, err := g.Stage(ctx, annO2, "")
				must(t, err)
				defer s.Close()
				commit = s.Commit
			} else {
				up, err := g.Create(ctx, storage.Info{Path: annO2})
				must(t, err)
				defer up.Close()
				commit = up.Commit
			}
			c.happen(w)
			// Who commits is who began, whatever the context says.
			_, err := commit(NewContext(t.Context(), Identity{User: "op:root", Account: "op", Role: RoleReseller}), storage.Info{}, storage.Cond{})
			if !errors.Is(err, c.want) {
				t.Errorf("%s, staged %v: Commit = %v, want %v", c.name, staged, err, c.want)
			}
			if _, err := w.b.Stat(t.Context(), annO2); c.want != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, staged %v: what was refused is there: %v", c.name, staged, err)
			}
		}
	}
}

func BenchmarkCommitment(b *testing.B) {
	r := open(b, dbPath(b), Options{})
	g := NewGuard(nil)
	g.Current = r.Current
	must(b, r.AddUser(b.Context(), User{Name: "ann:boss", Role: RoleAdmin}, ""))
	ctx := NewContext(b.Context(), r.member("ann:boss").id)
	b.ReportAllocs()
	for b.Loop() {
		by := g.commitment(ctx, annO)
		if err := by.still(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
