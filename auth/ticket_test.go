package auth

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// TestTicket is what the holder of a ticket reaches: what it says, and nothing
// else, although whoever he is besides could reach all of it.
func TestTicket(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	for _, p := range []storage.Path{annAccount, annC, {Account: "AUTH_ann", Container: "d"}, {Account: "AUTH_bob"}, {Account: "AUTH_bob", Container: "c"}} {
		if _, err := b.Make(ctx, p, storage.Meta{MetaContainerRead: ".r:*,.rlistings", MetaContainerWrite: "ann:boss"}); err != nil {
			t.Fatal(err)
		}
	}
	g := NewGuard(b)
	for _, p := range []storage.Path{{Account: "AUTH_ann", Container: "c", Object: "o"}, {Account: "AUTH_ann", Container: "c", Object: "op"},
		{Account: "AUTH_ann", Container: "d", Object: "o"}, {Account: "AUTH_bob", Container: "c", Object: "o"}} {
		admin := Identity{User: "root:root", Account: "root", Role: RoleReseller}
		if err := put(NewContext(ctx, admin), g, p); err != nil {
			t.Fatal(err)
		}
	}
	object := func(a, c, o string) storage.Path { return storage.Path{Account: a, Container: c, Object: o} }
	type may struct{ read, write bool }
	for name, tt := range map[string]struct {
		ticket Ticket
		want   map[storage.Path]may
	}{
		"read, by the account's key": {Ticket{Path: object("AUTH_ann", "c", "o"), Within: annAccount}, map[storage.Path]may{
			object("AUTH_ann", "c", "o"): {true, false}, object("AUTH_ann", "c", "op"): {true, false},
			object("AUTH_ann", "d", "o"): {true, false}, object("AUTH_bob", "c", "o"): {}}},
		"read, by the container's key": {Ticket{Path: object("AUTH_ann", "c", "o"), Within: annC}, map[storage.Path]may{
			object("AUTH_ann", "c", "o"): {true, false}, object("AUTH_ann", "c", "op"): {true, false},
			object("AUTH_ann", "d", "o"): {}, object("AUTH_bob", "c", "o"): {}}},
		"write": {Ticket{Path: object("AUTH_ann", "c", "o"), Write: true}, map[storage.Path]may{
			object("AUTH_ann", "c", "o"): {true, true}, object("AUTH_ann", "c", "op"): {},
			object("AUTH_ann", "d", "o"): {}, object("AUTH_bob", "c", "o"): {}}},
		"write, by prefix": {Ticket{Path: object("AUTH_ann", "c", "o"), Prefix: true, Write: true}, map[storage.Path]may{
			object("AUTH_ann", "c", "o"): {true, true}, object("AUTH_ann", "c", "op"): {true, true},
			object("AUTH_ann", "d", "o"): {}, object("AUTH_bob", "c", "o"): {}}},
		"a path that is no object": {Ticket{Path: annC, Write: true}, map[storage.Path]may{
			object("AUTH_ann", "c", "o"): {}, annC: {}, annAccount: {}}},
	} {
		t.Run(name, func(t *testing.T) {
			// The ticket also takes away what he might do without it.
			id := Identity{User: "ann:boss", Account: "ann", Role: RoleReseller, Ticket: &tt.ticket}
			ctx := NewContext(ctx, id)
			if g.Owner(ctx, "AUTH_ann") {
				t.Error("he is an owner")
			}
			for p, want := range tt.want {
				_, err := g.Stat(ctx, p)
				if got := !errors.Is(err, fs.ErrPermission); got != want.read {
					t.Errorf("stat %s: %v, want allowed %t", p, err, want.read)
				}
				if p.IsObject() {
					if err := put(ctx, g, p); errors.Is(err, fs.ErrPermission) == want.write {
						t.Errorf("put %s: %v, want allowed %t", p, err, want.write)
					}
				}
			}
			for what, err := range map[string]error{
				"list of the account":      drain(g.List(ctx, annAccount, storage.Query{})),
				"making of a container":    second(g.Make(ctx, storage.Path{Account: "AUTH_ann", Container: "new"}, nil)),
				"change of a container":    second(g.Update(ctx, storage.Info{Path: annC}, storage.Cond{})),
				"removal of a container":   g.Remove(ctx, annC, storage.Cond{}),
				"removal of the account":   g.Remove(ctx, annAccount, storage.Cond{}),
				"sweeping of all accounts": second(g.Expire(ctx, time.Now(), 1)),
			} {
				if !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: %v, want that it is refused", what, err)
				}
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }
