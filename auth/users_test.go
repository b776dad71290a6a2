package auth

import (
	"crypto/ed25519"
	"database/sql"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/storage"
)

func TestNoPasswordFitsAUserWithoutOne(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:keys"}, "")
	for _, password := range []string{"", "x", "$argon2id$"} {
		if _, err := login(t, r, "ann:keys", password); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Password(%q) = %v, want fs.ErrPermission", password, err)
		}
	}
}

func TestImportedHashes(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	old, err := bcrypt.GenerateFromPassword([]byte("sesame"), bcrypt.MinCost)
	must(t, err)
	must(t, r.ImportUser(t.Context(), User{Name: "ann:old"}, string(old)))
	// Made by the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1
	must(t, r.ImportUser(t.Context(), User{Name: "ann:ref"},
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"))
	for user, password := range map[string]string{"ann:old": "sesame", "ann:ref": "password"} {
		if _, err := login(t, r, user, password); err != nil {
			t.Errorf("Password(%s) = %v", user, err)
		}
		if _, err := login(t, r, user, password+"x"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Password(%s, wrong) = %v, want fs.ErrPermission", user, err)
		}
	}
	for _, hash := range []string{
		"", "sesame", "$1$abc$def", "$2a$10$short", "$2a$31$" + strings.Repeat("a", 53),
		"$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$",
	} {
		if err := r.ImportUser(t.Context(), User{Name: "ann:bad"}, hash); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ImportUser(%q) = %v, want a Refusal", hash, err)
		}
	}
}

func TestDoorsAndNetworks(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:ftp", Doors: []string{"ftp", "sftp"}}, "sesame")
	addUser(t, r, User{Name: "ann:lan", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}, "sesame")
	for _, c := range []struct {
		user, door, from string
		ok               bool
	}{
		{"ann:ftp", "ftp", "127.0.0.1", true},
		{"ann:ftp", "swift", "127.0.0.1", false},
		{"ann:ftp", "", "127.0.0.1", false},
		{"ann:lan", "swift", "192.0.2.9", true},
		{"ann:lan", "swift", "::ffff:192.0.2.9", true},
		{"ann:lan", "swift", "2001:db8::1", true},
		{"ann:lan", "swift", "192.0.3.9", false},
		{"ann:lan", "swift", "", false},
	} {
		var from netip.Addr
		if c.from != "" {
			from = netip.MustParseAddr(c.from)
		}
		for range 2 { // once remembered the answer must be the same
			_, err := r.Password(t.Context(), Attempt{c.user, from, c.door}, "sesame")
			if c.ok && err != nil || !c.ok && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Password(%+v) = %v", c, err)
			}
		}
	}
}

func newKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	return key
}

func TestKeys(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	ctx := t.Context()
	addUser(t, r, User{Name: "ann:tester"}, "")
	addUser(t, r, User{Name: "ann:other"}, "")
	key, other := newKey(t), newKey(t)
	must(t, r.AddKey(ctx, "ann:tester", key, "ann@\x1b[31mlaptop"))
	if err := r.AddKey(ctx, "ann:tester", key, ""); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddKey again = %v, want fs.ErrExist", err)
	}
	if err := r.AddKey(ctx, "ann:nobody", key, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("AddKey of nobody = %v, want fs.ErrNotExist", err)
	}
	keys, err := r.Keys(ctx, "ann:tester")
	if err != nil || len(keys) != 1 || keys[0].Comment != "ann@[31mlaptop" || keys[0].Fingerprint != ssh.FingerprintSHA256(key) {
		t.Errorf("Keys = %+v, %v", keys, err)
	}
	at := func(user string, key ssh.PublicKey) error {
		_, err := r.PublicKey(ctx, Attempt{user, home, "sftp"}, key)
		return err
	}
	if err := at("ann.tester", key); err != nil {
		t.Errorf("PublicKey = %v", err)
	}
	for user, key := range map[string]ssh.PublicKey{"ann.tester": other, "ann.other": key, "ann.nobody": key} {
		if err := at(user, key); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("PublicKey(%s) = %v, want fs.ErrPermission", user, err)
		}
	}
	must(t, r.RemoveKey(ctx, "ann:tester", keys[0].Fingerprint))
	if err := at("ann.tester", key); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("PublicKey after RemoveKey = %v, want fs.ErrPermission", err)
	}
	if err := r.RemoveKey(ctx, "ann:tester", keys[0].Fingerprint); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("RemoveKey again = %v, want fs.ErrNotExist", err)
	}
}

func TestNames(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	ctx := t.Context()
	addUser(t, r, User{Name: "ann:tester"}, "")
	for name, want := range map[string]error{
		"ann:tester":                     fs.ErrExist,
		"ann:Tester":                     fs.ErrExist, // would be mistaken for the other
		"Ann:someone":                    fs.ErrExist, // so would the account
		"ann":                            fs.ErrInvalid,
		"ann:":                           fs.ErrInvalid,
		":tester":                        fs.ErrInvalid,
		"a.b:tester":                     fs.ErrInvalid, // "a.b.tester" could be either
		"ann:a:b":                        fs.ErrInvalid,
		"ann:a/b":                        fs.ErrInvalid,
		"ann:a,b":                        fs.ErrInvalid,
		"ann:*":                          fs.ErrInvalid,
		"ann:a b":                        fs.ErrInvalid,
		"ann:a\nb":                       fs.ErrInvalid,
		"ann:\u00e9":                     fs.ErrInvalid,
		".r:x":                           fs.ErrInvalid,
		"AUTH_ann:x":                     fs.ErrInvalid,
		"auth_ann:x":                     fs.ErrInvalid,
		"..:x":                           fs.ErrInvalid,
		"ann:" + strings.Repeat("x", 65): fs.ErrInvalid,
		strings.Repeat("x", 65) + ":x":   fs.ErrInvalid,
		"ann:" + strings.Repeat("x", 64): nil,
		strings.Repeat("x", 64) + ":x":   nil,
		"bob:jim@example.com":            nil,
	} {
		if err := r.AddUser(ctx, User{Name: name}, ""); !errors.Is(err, want) {
			t.Errorf("AddUser(%q) = %v, want %v", name, err, want)
		} else if want == fs.ErrInvalid && !errors.As(err, new(*storage.Refusal)) {
			t.Errorf("AddUser(%q) = %v, which is not a Refusal", name, err)
		}
	}
	if err := r.AddUser(ctx, User{Name: "bob:x", Role: "king"}, ""); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("AddUser with a strange role = %v, want fs.ErrInvalid", err)
	}
}

func TestAccounts(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	ctx := t.Context()
	must(t, r.AddAccount(ctx, "bob"))
	if err := r.AddAccount(ctx, "BOB"); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "as bob") {
		t.Errorf("AddAccount(BOB) = %v, want fs.ErrExist as bob", err)
	}
	addUser(t, r, User{Name: "ann:tester", Role: RoleAdmin, Doors: []string{"swift"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}, "x")
	accounts, err := r.Accounts(ctx)
	must(t, err)
	var names []string
	for _, a := range accounts {
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"ann", "bob"}) {
		t.Errorf("Accounts = %q", names)
	}
	users, err := r.Users(ctx, "ann")
	if err != nil || len(users) != 1 || users[0].Name != "ann:tester" || !users[0].HasPassword || users[0].Networks[0].String() != "192.0.2.0/24" {
		t.Errorf("Users = %+v, %v", users, err)
	}
	if err := r.RemoveAccount(ctx, "ann"); !errors.Is(err, storage.ErrNotEmpty) {
		t.Errorf("RemoveAccount with a user = %v, want ErrNotEmpty", err)
	}
	must(t, r.RemoveUser(ctx, "ann:tester"))
	must(t, r.RemoveAccount(ctx, "ann"))
	for what, err := range map[string]error{
		"RemoveAccount":      r.RemoveAccount(ctx, "ann"),
		"SetAccountDisabled": r.SetAccountDisabled(ctx, "ann", true),
		"RemoveUser":         r.RemoveUser(ctx, "ann:tester"),
		"SetPassword":        r.SetPassword(ctx, "ann:tester", "x"),
		"SetDisabled":        r.SetDisabled(ctx, "ann:tester", true),
		"SetUser":            r.SetUser(ctx, User{Name: "ann:tester"}),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of what is not there = %v, want fs.ErrNotExist", what, err)
		}
	}
}

func TestUnreadableNetworksShutOut(t *testing.T) {
	path := dbPath(t)
	r := open(t, path, Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	must(t, r.change(t.Context(), partUsers, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE users SET networks = 'everywhere'`)
		return err
	}, nil))
	if _, err := login(t, r, "ann:tester", "sesame"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Password = %v, want fs.ErrPermission", err)
	}
}
