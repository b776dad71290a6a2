package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// TestMatrix is who may do what, written down. A row is an actor under one set
// of access control lists; a column is a verb. The account is AUTH_ann, and
// the container in it is "c".
func TestMatrix(t *testing.T) {
	verbs := []struct {
		name string
		do   func(ctx context.Context, g *Guard) error
	}{
		{"account stat", func(ctx context.Context, g *Guard) error { _, err := g.Stat(ctx, annAccount); return err }},
		{"account list", func(ctx context.Context, g *Guard) error { return drain(g.List(ctx, annAccount, storage.Query{})) }},
		{"account post", func(ctx context.Context, g *Guard) error {
			return post(ctx, g, annAccount, storage.Meta{"X-Account-Meta-A": "b"})
		}},
		{"account quota", func(ctx context.Context, g *Guard) error {
			return post(ctx, g, annAccount, storage.Meta{storage.MetaAccountQuotaBytes: "1000000"})
		}},
		{"account make", func(ctx context.Context, g *Guard) error { _, err := g.Make(ctx, annAccount, nil); return err }},
		{"account remove", func(ctx context.Context, g *Guard) error {
			return but(storage.ErrNotEmpty, g.Remove(ctx, annAccount, storage.Cond{}))
		}},
		{"container stat", func(ctx context.Context, g *Guard) error { _, err := g.Stat(ctx, annC); return err }},
		{"container list", func(ctx context.Context, g *Guard) error { return drain(g.List(ctx, annC, storage.Query{})) }},
		{"container post", func(ctx context.Context, g *Guard) error {
			return post(ctx, g, annC, storage.Meta{"X-Container-Meta-A": "b"})
		}},
		{"container make", func(ctx context.Context, g *Guard) error {
			_, err := g.Make(ctx, storage.Path{Account: "AUTH_ann", Container: "new"}, nil)
			return err
		}},
		{"container remove", func(ctx context.Context, g *Guard) error {
			return but(storage.ErrNotEmpty, g.Remove(ctx, annC, storage.Cond{}))
		}},
		{"object stat", func(ctx context.Context, g *Guard) error { _, err := g.Stat(ctx, annO); return err }},
		{"object open", func(ctx context.Context, g *Guard) error {
			r, _, err := g.Open(ctx, annO, storage.All)
			if err == nil {
				err = r.Close()
			}
			return err
		}},
		{"object create", func(ctx context.Context, g *Guard) error { return put(ctx, g, annO) }},
		{"object update", func(ctx context.Context, g *Guard) error {
			_, err := g.Update(ctx, storage.Info{Path: annO}, storage.Cond{})
			return err
		}},
		{"object remove", func(ctx context.Context, g *Guard) error { return g.Remove(ctx, annO, storage.Cond{}) }},
		{"object copy from", func(ctx context.Context, g *Guard) error {
			_, err := g.Copy(ctx, storage.Info{Path: annO}, storage.Info{Path: annO2}, storage.Cond{})
			return err
		}},
		{"object move", func(ctx context.Context, g *Guard) error {
			_, err := g.Move(ctx, annO, annO2, storage.Cond{})
			return err
		}},
	}
	user := func(name string, role Role) Identity {
		account, _, _ := strings.Cut(name, ":")
		return Identity{User: name, Account: account, Role: role}
	}
	readOnly := func(id Identity) Identity { id.ReadOnly = true; return id }
	from := func(page string) Identity { return Identity{Referrer: page} }
	bob := user("bob:joe", RoleUser)
	type lists struct{ read, write, account string }
	// The columns, in the order of verbs:
	//
	//	account:   stat list post quota make remove
	//	container: stat list post make remove
	//	object:    stat open create update remove copy move
	const (
		nothing     = "------ ----- -------"
		everything  = "yyyyyy yyyyy yyyyyyy"
		owner       = "yyy--- yyyyy yyyyyyy"
		reading     = "yy---- yy--- yy-----"
		objectsRead = "------ ----- yy-----"
		listsToo    = "------ yy--- yy-----"
		objectWrite = "------ ----- --yyy--" // to copy and to move one needs to read, too
		both        = "------ yy--- yyyyyyy"
		readWrite   = "yy---- yyyyy yyyyyyy"
	)
	for _, row := range []struct {
		name string
		id   Identity
		acl  lists
		want string
	}{
		{"reseller admin", user("op:root", RoleReseller), lists{}, everything},
		{"read-only reseller admin", readOnly(user("op:root", RoleReseller)), lists{}, reading},
		{"reseller reader", user("op:eye", RoleResellerReader), lists{}, reading},
		{"admin", user("ann:boss", RoleAdmin), lists{}, owner},
		{"read-only admin", readOnly(user("ann:boss", RoleAdmin)), lists{}, reading},
		{"read-only admin with write list", readOnly(user("ann:boss", RoleAdmin)), lists{write: "ann:boss", account: `{"admin":["ann:boss"]}`}, reading},
		{"admin of another account", user("bob:boss", RoleAdmin), lists{}, nothing},
		{"admin of an account whose name begins alike", user("an:boss", RoleAdmin), lists{}, nothing},
		{"admin of an account whose name goes on", user("anna:boss", RoleAdmin), lists{}, nothing},
		{"admin of no account", Identity{User: "x", Role: RoleAdmin}, lists{}, nothing},
		{"plain user of the account", user("ann:joe", RoleUser), lists{}, nothing},
		{"plain user of the account, named", user("ann:joe", RoleUser), lists{read: "ann"}, listsToo},
		{"stranger", Identity{}, lists{}, nothing},
		{"stranger with admin's role", Identity{Role: RoleAdmin}, lists{}, nothing},

		{"read list, user", bob, lists{read: "bob:joe"}, listsToo},
		{"read list, account", bob, lists{read: "bob"}, listsToo},
		{"read list, anybody of the account", bob, lists{read: "bob:*"}, listsToo},
		{"read list, everybody", bob, lists{read: "*:*"}, listsToo},
		{"read list, everybody, stranger", Identity{}, lists{read: "*:*,*,*:joe"}, nothing},
		{"read list, somebody else", bob, lists{read: "bob:jim,jim"}, nothing},
		{"write list", bob, lists{write: "bob:joe"}, objectWrite},
		{"write list, stranger", Identity{}, lists{write: "*:*"}, nothing},
		{"both lists", bob, lists{read: "bob", write: "bob"}, both},
		{"both lists, read-only", readOnly(bob), lists{read: "bob", write: "bob"}, listsToo},

		{"public, stranger", Identity{}, lists{read: ".r:*"}, objectsRead},
		{"public, user", bob, lists{read: ".r:*"}, objectsRead},
		{"public with listings, stranger", Identity{}, lists{read: ".r:*,.rlistings"}, listsToo},
		{"listings alone", Identity{}, lists{read: ".rlistings"}, nothing},
		{"listings and a user's name, stranger", Identity{}, lists{read: "bob,.rlistings"}, nothing},
		{"page, from there", from("http://a.example.com/"), lists{read: ".r:.example.com"}, objectsRead},
		{"page, from elsewhere", from("http://example.org/"), lists{read: ".r:.example.com"}, nothing},
		{"page, from nowhere", Identity{}, lists{read: ".r:.example.com"}, nothing},
		{"page denied", from("http://thief.com/"), lists{read: ".r:*,.r:-thief.com,.rlistings"}, nothing},
		{"page in a write list", from("http://a.com/"), lists{write: ".r:*"}, nothing},

		{"account list, read-only", bob, lists{account: `{"read-only":["bob:joe"]}`}, reading},
		{"account list, read-write", bob, lists{account: `{"read-write":["bob"]}`}, readWrite},
		{"account list, read-write, read-only user", readOnly(bob), lists{account: `{"read-write":["bob"]}`}, reading},
		{"account list, admin", bob, lists{account: `{"admin":["bob"]}`}, owner},
		{"account list, admin, stranger", Identity{}, lists{account: `{"admin":["", "*", "*:*"]}`}, nothing},
		{"account list, no patterns", bob, lists{account: `{"admin":["*:*"]}`}, nothing},
		{"account list, damaged", bob, lists{account: `{"admin":"bob"}`}, nothing},
	} {
		for i, v := range verbs {
			want := strings.ReplaceAll(row.want, " ", "")[i] == 'y'
			g := NewGuard(annsStore(t, row.acl.read, row.acl.write, row.acl.account))
			err := v.do(NewContext(t.Context(), row.id), g)
			if want && err != nil || !want && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %s = %v, want allowed: %v", row.name, v.name, err, want)
			}
		}
		g := NewGuard(annsStore(t, row.acl.read, row.acl.write, row.acl.account))
		owns := (row.want == owner || row.want == everything) && !row.id.ReadOnly
		if got := g.Owner(NewContext(t.Context(), row.id), "AUTH_ann"); got != owns {
			t.Errorf("%s: Owner = %v, want %v", row.name, got, owns)
		}
	}
}

var (
	annAccount = storage.Path{Account: "AUTH_ann"}
	annC       = storage.Path{Account: "AUTH_ann", Container: "c"}
	annO       = storage.Path{Account: "AUTH_ann", Container: "c", Object: "o"}
	annO2      = storage.Path{Account: "AUTH_ann", Container: "c", Object: "o2"}
)

// annsStore has ann's account with one container and one object in it.
func annsStore(t *testing.T, read, write, account string) storage.Backend {
	t.Helper()
	b := memory.New()
	_, err := b.Make(t.Context(), annAccount, storage.Meta{MetaAccountACL: account})
	must(t, err)
	_, err = b.Make(t.Context(), annC, storage.Meta{MetaContainerRead: read, MetaContainerWrite: write})
	must(t, err)
	must(t, put(t.Context(), b, annO))
	return b
}

func put(ctx context.Context, b storage.Backend, p storage.Path) error {
	w, err := b.Create(ctx, storage.Info{Path: p})
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Commit(ctx, storage.Info{}, storage.Cond{})
	return err
}

func post(ctx context.Context, b storage.Backend, p storage.Path, m storage.Meta) error {
	_, err := b.Update(ctx, storage.Info{Path: p, Meta: m}, storage.Cond{})
	return err
}

// but is err, unless it is one that only comes once a verb is allowed.
func but(allowed, err error) error {
	if errors.Is(err, allowed) {
		return nil
	}
	return err
}

func drain[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestCopyBetweenAccounts reads by one list and writes by another.
func TestCopyBetweenAccounts(t *testing.T) {
	bob := NewContext(t.Context(), Identity{User: "bob:boss", Account: "bob", Role: RoleAdmin})
	for _, c := range []struct {
		read, write string
		from, to    bool
	}{
		{"bob", "", true, false},
		{"", "bob", false, true},
		{"", "", false, false},
	} {
		b := annsStore(t, c.read, c.write, "")
		bobs := storage.Path{Account: "AUTH_bob", Container: "c", Object: "o"}
		for _, p := range []storage.Path{{Account: "AUTH_bob"}, bobs.Parent()} {
			_, err := b.Make(t.Context(), p, nil)
			must(t, err)
		}
		g := NewGuard(b)
		must(t, put(bob, g, bobs))
		allowed := func(what string, err error, want bool) {
			if want && err != nil || !want && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s with %+v = %v", what, c, err)
			}
		}
		_, err := g.Copy(bob, storage.Info{Path: annO}, storage.Info{Path: bobs}, storage.Cond{})
		allowed("copy from", err, c.from)
		_, err = g.Copy(bob, storage.Info{Path: bobs}, storage.Info{Path: annO2}, storage.Cond{})
		allowed("copy to", err, c.to)
	}
}

func TestUnreachableAccounts(t *testing.T) {
	g := NewGuard(memory.New())
	for _, id := range []Identity{
		{User: "op:root", Account: "op", Role: RoleReseller},
		{User: "x:y", Account: "", Role: RoleAdmin},
		{User: "x:y", Account: ".internal", Role: RoleAdmin},
		{},
	} {
		for _, account := range []string{"AUTH_", "AUTH_.internal", "OTHER_ann", "auth_ann", "ann", ".expiring"} {
			ctx := NewContext(t.Context(), id)
			if _, err := g.Stat(ctx, storage.Path{Account: account}); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: Stat(%s) = %v, want fs.ErrPermission", id.User, account, err)
			}
			if _, err := g.Make(ctx, storage.Path{Account: account, Container: "c"}, nil); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: Make(%s/c) = %v, want fs.ErrPermission", id.User, account, err)
			}
		}
	}
}

// TestNothingIsTold asks for what is there and for what is not: who may not
// know must not be able to tell them apart.
func TestNothingIsTold(t *testing.T) {
	g := NewGuard(annsStore(t, "bob", "", ""))
	eve := NewContext(t.Context(), Identity{User: "eve:x", Account: "eve", Role: RoleAdmin})
	for _, p := range []storage.Path{annC, annO, {Account: "AUTH_ann", Container: "none"}, {Account: "AUTH_none"}, {Account: "AUTH_none", Container: "c", Object: "o"}} {
		_, err := g.Stat(eve, p)
		if want := fmt.Sprintf("stat %s: permission denied", p); err == nil || err.Error() != want {
			t.Errorf("Stat(%s) = %v, want %s", p, err, want)
		}
	}
}

// TestStoreLooksWithItsOwnEyes writes through a Store where a quota has to be
// read first, as one who may write and not read.
func TestStoreLooksWithItsOwnEyes(t *testing.T) {
	b := annsStore(t, "", "bob", "")
	must(t, post(t.Context(), b, annC, storage.Meta{MetaContainerWrite: "bob", storage.MetaContainerQuotaBytes: "5"}))
	s := storage.New(NewGuard(b))
	bob := NewContext(t.Context(), Identity{User: "bob:joe", Account: "bob"})
	up, err := s.Create(bob, storage.Info{Path: annO2, Size: 3}, storage.Cond{})
	must(t, err)
	defer up.Close()
	_, err = up.Write([]byte("abc"))
	must(t, err)
	_, err = up.Commit(bob)
	must(t, err)
	if _, err := s.Create(bob, storage.Info{Path: annO, Size: 30}, storage.Cond{}); !errors.Is(err, storage.ErrQuota) {
		t.Errorf("Create beyond the quota = %v, want ErrQuota", err)
	}
	if _, err := s.Stat(bob, annO2); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Stat of what he wrote = %v, want fs.ErrPermission", err)
	}
}

// TestQuotaIsTheOperators has an admin change all but the quota of his account.
func TestQuotaIsTheOperators(t *testing.T) {
	b := memory.New()
	s := storage.New(NewGuard(b))
	boss := NewContext(t.Context(), Identity{User: "ann:boss", Account: "ann", Role: RoleAdmin})
	root := NewContext(t.Context(), Identity{User: "op:root", Account: "op", Role: RoleReseller})
	const quota = storage.MetaAccountQuotaBytes
	if err := s.Merge(boss, annAccount, storage.Meta{quota: "5"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("admin sets the quota: %v, want fs.ErrPermission", err)
	}
	must(t, s.Merge(root, annAccount, storage.Meta{quota: "5"}))
	must(t, s.Merge(boss, annAccount, storage.Meta{"X-Account-Meta-A": "b"}))
	for _, value := range []string{"6", ""} {
		if err := s.Merge(boss, annAccount, storage.Meta{quota: value}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("admin sets the quota to %q: %v, want fs.ErrPermission", value, err)
		}
	}
	in, err := s.Stat(boss, annAccount)
	if err != nil || in.Meta[quota] != "5" || in.Meta["X-Account-Meta-A"] != "b" {
		t.Errorf("Stat = %v, %v", in.Meta, err)
	}
}

// TestWidePowers are those that concern more than one account.
func TestWidePowers(t *testing.T) {
	g := NewGuard(annsStore(t, "", "", ""))
	for _, c := range []struct {
		id              Identity
		expire, changes bool
	}{
		{Identity{User: "op:root", Account: "op", Role: RoleReseller}, true, true},
		{Identity{User: "op:root", Account: "op", Role: RoleReseller, ReadOnly: true}, false, true},
		{Identity{User: "op:eye", Account: "op", Role: RoleResellerReader}, false, true},
		{Identity{User: "ann:boss", Account: "ann", Role: RoleAdmin}, false, false},
		{Identity{}, false, false},
	} {
		ctx := NewContext(t.Context(), c.id)
		_, expire := g.Expire(ctx, time.Now(), 1)
		for what, got := range map[string]struct {
			err  error
			want bool
		}{"Expire": {expire, c.expire}, "Changes": {drain(g.Changes(ctx, 0)), c.changes}} {
			if got.want && got.err != nil || !got.want && !errors.Is(got.err, fs.ErrPermission) {
				t.Errorf("%s by %+v = %v", what, c.id, got.err)
			}
		}
	}
	// The Store sweeps on its own account.
	if _, err := storage.New(g).Sweep(t.Context(), time.Now()); err != nil {
		t.Errorf("Sweep = %v", err)
	}
}

// plain hides the extra powers of a Backend.
type plain struct{ storage.Backend }

func TestPowersThatAreLacking(t *testing.T) {
	g := NewGuard(plain{memory.New()})
	ctx := NewContext(t.Context(), Identity{User: "op:root", Account: "op", Role: RoleReseller})
	_, copied := g.Copy(ctx, storage.Info{Path: annO}, storage.Info{Path: annO2}, storage.Cond{})
	_, moved := g.Move(ctx, annO, annO2, storage.Cond{})
	_, tree := g.MoveTree(ctx, annC, annC)
	_, staged := g.Stage(ctx, annO, "key")
	_, expired := g.Expire(ctx, time.Now(), 1)
	for what, err := range map[string]error{
		"Copy": copied, "Move": moved, "MoveTree": tree, "Expire": expired, "Changes": drain(g.Changes(ctx, 0)),
		"Stage": staged, "Staged": drain(g.Staged(ctx, "")), "Forget": g.Forget(ctx, "key"),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s = %v, want errors.ErrUnsupported", what, err)
		}
	}
}

// stages tells which keys it was asked for.
type stages struct {
	storage.Backend
	asked []string
}

func (s *stages) Stage(_ context.Context, _ storage.Path, key string) (storage.Stage, error) {
	s.asked = append(s.asked, key)
	return nil, nil
}

func (s *stages) Staged(_ context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	s.asked = append(s.asked, prefix)
	return func(yield func(storage.Kept, error) bool) { yield(storage.Kept{Key: prefix + "1"}, nil) }
}

func (s *stages) Forget(_ context.Context, key string) error {
	s.asked = append(s.asked, key)
	return nil
}

// TestStagesArePrivate has two users keep something under the same key.
func TestStagesArePrivate(t *testing.T) {
	s := &stages{Backend: annsStore(t, "", "ann", "")}
	g := NewGuard(s)
	for _, name := range []string{"ann:a", "ann:a/b"} {
		ctx := NewContext(t.Context(), Identity{User: name, Account: "ann"})
		_, err := g.Stage(ctx, annO, "b/k")
		must(t, err)
		for k, err := range g.Staged(ctx, "b/") {
			if must(t, err); k.Key != "b/1" {
				t.Errorf("Staged yields the key %q, want b/1", k.Key)
			}
		}
		must(t, g.Forget(ctx, "b/k"))
		_, err = g.Stage(ctx, annO, "")
		must(t, err)
	}
	want := "ann:a/b/k ann:a/b/ ann:a/b/k  ann:a%2Fb/b/k ann:a%2Fb/b/ ann:a%2Fb/b/k "
	if got := strings.Join(s.asked, " "); got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	for what, err := range map[string]error{
		"Staged": drain(g.Staged(t.Context(), "")), "Forget": g.Forget(t.Context(), "k"),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s by a stranger = %v, want fs.ErrPermission", what, err)
		}
	}
	eve := NewContext(t.Context(), Identity{User: "eve:x", Account: "eve", Role: RoleAdmin})
	if _, err := g.Stage(eve, annO, ""); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Stage in another's account = %v, want fs.ErrPermission", err)
	}
}

func BenchmarkGuard(b *testing.B) {
	m := memory.New()
	g := NewGuard(m)
	ctx := NewContext(b.Context(), Identity{User: "ann:boss", Account: "ann", Role: RoleAdmin})
	b.ReportAllocs()
	for b.Loop() {
		if !g.may(ctx, write, annO) {
			b.Fatal("owner refused")
		}
	}
}

// Writable says beforehand what Make of a container and Create would.
func TestWritable(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	if _, err := b.Make(ctx, annAccount, nil); err != nil {
		t.Fatal(err)
	}
	g := NewGuard(b)
	boss := Identity{User: "ann:boss", Account: "ann", Role: RoleAdmin}
	if _, err := g.Make(NewContext(ctx, boss), annC, storage.Meta{MetaContainerWrite: "bob:writer", MetaContainerRead: "bob:reader"}); err != nil {
		t.Fatal(err)
	}
	reader := boss
	reader.ReadOnly = true
	for _, tt := range []struct {
		id                                 Identity
		account, container, object, absent bool
	}{
		{boss, true, true, true, true},
		{reader, false, false, false, false},
		{Identity{User: "bob:writer", Account: "bob", Role: RoleAdmin}, false, true, true, false},
		{Identity{User: "bob:reader", Account: "bob", Role: RoleAdmin}, false, false, false, false},
		{Identity{}, false, false, false, false},
	} {
		for p, want := range map[storage.Path]bool{
			annAccount: tt.account, annC: tt.container, annO: tt.object, {Account: "AUTH_ann", Container: "none"}: tt.absent,
		} {
			if got := g.Writable(NewContext(ctx, tt.id), p); got != want {
				t.Errorf("Writable(%s) for %q = %v, want %v", p, tt.id.User, got, want)
			}
		}
	}
}

// Nobody has a right to what is in an account that was removed, by any door.
func TestGuardOfRemovedAccount(t *testing.T) {
	b := memory.New()
	g := NewGuard(b)
	in := storage.Path{Account: "AUTH_ann", Container: "c"}
	if _, err := b.Make(t.Context(), in.Parent(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Make(t.Context(), in, storage.Meta{MetaContainerRead: ".r:*,bob:boss", MetaContainerWrite: "bob:boss"}); err != nil {
		t.Fatal(err)
	}
	object := in
	object.Object = "o"
	gone := false
	g.Gone = func(account string) bool { return gone && account == "AUTH_ann" }
	for name, id := range map[string]Identity{
		"owner":    {User: "ann:boss", Account: "ann", Role: RoleAdmin},
		"friend":   {User: "bob:boss", Account: "bob", Role: RoleAdmin},
		"reseller": {User: "root:root", Account: "root", Role: RoleReseller},
		"ticket":   {Ticket: &Ticket{By: "tempurl", Path: object, Write: true, Within: in}},
	} {
		ctx := NewContext(t.Context(), id)
		gone = false
		w, err := g.Create(ctx, storage.Info{Path: object})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		gone = true
		if _, err := w.Commit(ctx, storage.Info{Path: object}, storage.Cond{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s commits: %v", name, err)
		}
		w.Close()
		if _, err := g.Create(ctx, storage.Info{Path: object}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s writes: %v", name, err)
		}
		if _, err := g.Stat(ctx, in); errors.Is(err, fs.ErrPermission) != (name != "reseller") {
			t.Errorf("%s looks: %v", name, err)
		}
	}
}
