package auth

import (
	"errors"
	"io/fs"
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
)

// prints are the fingerprints of keys.
func prints(keys []Key) (list []string) {
	for _, k := range keys {
		list = append(list, ssh.FingerprintSHA256(k.Public)+" "+k.Comment)
	}
	return list
}

// TestExportImport: what one realm exports makes another the same, and once
// more changes nothing, so that nobody's tokens end.
func TestExportImport(t *testing.T) {
	from, to := open(t, dbPath(t), Options{}), open(t, dbPath(t), Options{})
	addUser(t, from, User{Name: "ann:tester", Role: RoleAdmin}, "sesame")
	addUser(t, from, User{Name: "bob:reader", ReadOnly: true, Disabled: true, Doors: []string{"ftp", "sftp"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "")
	must(t, from.AddKey(t.Context(), "bob:reader", newKey(t), "bob@home"))
	list, err := from.Export(t.Context(), "")
	must(t, err)
	if done, err := to.Import(t.Context(), list, true); err != nil || done != (Imported{Added: 2}) {
		t.Fatalf("Import, as a try = %+v, %v", done, err)
	}
	if users, _ := to.Users(t.Context(), ""); len(users) != 0 {
		t.Fatalf("a try has made %+v", users)
	}
	if done, err := to.Import(t.Context(), list, false); err != nil || done != (Imported{Added: 2}) {
		t.Fatalf("Import = %+v, %v", done, err)
	}
	id, err := login(t, to, "ann:tester", "sesame")
	must(t, err)
	tok, err := to.Issue(t.Context(), id)
	must(t, err)
	if done, err := to.Import(t.Context(), list, false); err != nil || done != (Imported{Same: 2}) {
		t.Errorf("Import once more = %+v, %v", done, err)
	}
	if _, _, err := to.Verify(t.Context(), tok.Secret); err != nil {
		t.Errorf("Import of what is there has ended a token: %v", err)
	}
	again, err := to.Export(t.Context(), "")
	must(t, err)
	for i := range again {
		a, b := again[i], list[i]
		a.User.Created = b.User.Created
		if !reflect.DeepEqual(a.User, b.User) || *a.Hash != *b.Hash || !reflect.DeepEqual(prints(a.Keys), prints(b.Keys)) {
			t.Errorf("exported again it is %+v, was %+v", a, b)
		}
	}
	if one, err := to.Export(t.Context(), "bob"); err != nil || len(one) != 1 || one[0].User.Name != "bob:reader" {
		t.Errorf("Export of an account = %+v, %v", one, err)
	}
}

// TestImportChanges: who is not as his record says becomes so, and his tokens
// end if he loses anything.
func TestImportChanges(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester", Role: RoleAdmin}, "sesame")
	key, other := newKey(t), newKey(t)
	hash, err := HashPassword("open up")
	must(t, err)
	for _, tt := range []struct {
		name string
		rec  Record
		done Imported
		ends bool
	}{
		{"nothing but the name", Record{User: User{Name: "ann:tester", Role: RoleAdmin}}, Imported{Same: 1}, false},
		{"a key", Record{User: User{Name: "ann:tester", Role: RoleAdmin}, Keys: []Key{{Public: key}}}, Imported{Changed: 1}, false},
		{"another remark", Record{User: User{Name: "ann:tester", Role: RoleAdmin}, Keys: []Key{{Public: key, Comment: "ann"}}}, Imported{Changed: 1}, false},
		{"another key", Record{User: User{Name: "ann:tester", Role: RoleAdmin}, Keys: []Key{{Public: other}}}, Imported{Changed: 1}, true},
		{"no word of keys", Record{User: User{Name: "ann:tester", Role: RoleAdmin}}, Imported{Same: 1}, false},
		{"no key", Record{User: User{Name: "ann:tester", Role: RoleAdmin}, Keys: []Key{}}, Imported{Changed: 1}, true},
		{"a role", Record{User: User{Name: "ann:tester"}}, Imported{Changed: 1}, true},
		{"a password", Record{User: User{Name: "ann:tester"}, Hash: &hash}, Imported{Changed: 1}, true},
		{"disabled", Record{User: User{Name: "ann:tester", Disabled: true}, Hash: &hash}, Imported{Changed: 1}, true},
	} {
		before := (*r.users.Load())["ann:tester"].id
		done, err := r.Import(t.Context(), []Record{tt.rec}, false)
		if err != nil || done != tt.done {
			t.Errorf("%s: Import = %+v, %v; want %+v", tt.name, done, err, tt.done)
		}
		if ends := !r.Current(before); ends != tt.ends {
			t.Errorf("%s: tokens end: %v, want %v", tt.name, ends, tt.ends)
		}
	}
}

// TestImportOfAnOldHash: a hash that a login has replaced by a better one is
// still the one that was imported, until the password is another.
func TestImportOfAnOldHash(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	b, err := bcrypt.GenerateFromPassword([]byte("sesame"), bcrypt.MinCost)
	must(t, err)
	hash := string(b)
	list := []Record{{User: User{Name: "ann:old"}, Hash: &hash}}
	imports := func(want Imported) {
		t.Helper()
		if done, err := r.Import(t.Context(), list, false); err != nil || done != want {
			t.Errorf("Import = %+v, %v; want %+v", done, err, want)
		}
	}
	imports(Imported{Added: 1})
	_, err = login(t, r, "ann:old", "sesame")
	must(t, err)
	imports(Imported{Same: 1})
	must(t, r.SetPassword(t.Context(), "ann:old", "another"))
	imports(Imported{Changed: 1})
	_, err = login(t, r, "ann:old", "sesame")
	must(t, err)
}

// TestImportRefuses: one record that cannot be, and nothing happens.
func TestImportRefuses(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "Ann:tester"}, "sesame")
	nonsense, key := "plain", newKey(t)
	good := Record{User: User{Name: "eve:new"}}
	for name, bad := range map[string]Record{
		"no name":            {},
		"a role":             {User: User{Name: "bob:x", Role: "king"}},
		"a hash":             {User: User{Name: "bob:x"}, Hash: &nonsense},
		"a door":             {User: User{Name: "bob:x", Doors: []string{"Back Door"}}},
		"a key twice":        {User: User{Name: "bob:x"}, Keys: []Key{{Public: key}, {Public: key}}},
		"a name like others": {User: User{Name: "ann:TESTER"}},
		"the one before":     {User: User{Name: "EVE:new"}},
	} {
		done, err := r.Import(t.Context(), []Record{good, bad}, false)
		at, ok := errors.AsType[*ImportError](err)
		if !ok || at.Index != 1 || done != (Imported{}) {
			t.Errorf("%s: Import = %+v, %v; want an error of the second", name, done, err)
		}
		if _, err := r.User(t.Context(), "eve:new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the first was imported all the same: %v", name, err)
		}
	}
}
