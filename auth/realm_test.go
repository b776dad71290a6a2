package auth

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// home is a loopback address, which the defender never bans; abroad is not.
var (
	home   = netip.MustParseAddr("127.0.0.1")
	abroad = netip.MustParseAddr("203.0.113.7")
)

func open(t testing.TB, path string, o Options) *Realm {
	t.Helper()
	r, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func dbPath(t testing.TB) string { return filepath.Join(t.TempDir(), "control.db") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addUser(t *testing.T, r *Realm, u User, password string) {
	t.Helper()
	must(t, r.AddUser(t.Context(), u, password))
}

func login(t *testing.T, r *Realm, user, password string) (Identity, error) {
	t.Helper()
	return r.Password(t.Context(), Attempt{User: user, From: home, Door: "swift"}, password)
}

// eventually runs changed once after each change that a realm notices, until it
// is true.
func eventually(t *testing.T, r *Realm, what string, changed func() bool) {
	t.Helper()
	signal := make(chan struct{}, 1)
	stop := r.OnChange(func() {
		select {
		case signal <- struct{}{}:
		default:
		}
	})
	defer stop()
	patience := time.After(20 * time.Second)
	for !changed() {
		select {
		case <-signal:
		case <-patience:
			t.Fatalf("%s: not seen", what)
		}
	}
}

func TestPasswordSpellings(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:j.smith", Role: RoleAdmin}, "sesame")
	for _, name := range []string{"ann:j.smith", "ann.j.smith", "ann/j.smith"} {
		id, err := login(t, r, name, "sesame")
		if err != nil || id.User != "ann:j.smith" || id.Account != "ann" || id.Role != RoleAdmin {
			t.Errorf("Password(%q) = %+v, %v", name, id, err)
		}
	}
	for _, c := range [][2]string{
		{"ann:j.smith", "Sesame"}, {"ann:j.smith", ""}, {"ann:j.smith", strings.Repeat("x", 5000)},
		{"ann:nobody", "sesame"}, {"ann:nobody", ""}, {"ann", "sesame"}, {"", ""}, {"ANN:j.smith", "sesame"},
	} {
		if id, err := login(t, r, c[0], c[1]); !errors.Is(err, fs.ErrPermission) || !id.Stranger() {
			t.Errorf("Password(%q, %.10q) = %+v, %v, want fs.ErrPermission", c[0], c[1], id, err)
		}
	}
}

func TestTokens(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester", Role: RoleAdmin}, "sesame")
	id, err := login(t, r, "ann:tester", "sesame")
	must(t, err)
	tok, err := r.Issue(t.Context(), id)
	must(t, err)
	if !strings.HasPrefix(tok.Secret, "AUTH_tk") || len(tok.Secret) > 255 {
		t.Errorf("token of %d bytes: %s", len(tok.Secret), tok.Secret)
	}
	if life := tok.Expires.Sub(tok.Issued); life != 24*time.Hour {
		t.Errorf("token lives %v, want 24h", life)
	}
	for range 2 { // opened, then remembered
		got, same, err := r.Verify(t.Context(), tok.Secret)
		if err != nil || got.User != "ann:tester" || got.Role != RoleAdmin || same != tok {
			t.Fatalf("Verify = %+v, %+v, %v", got, same, err)
		}
	}
	// No bit of it may be changed.
	for i := range tok.Secret {
		bad := []byte(tok.Secret)
		bad[i] ^= 4
		if _, _, err := r.Verify(t.Context(), string(bad)); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Verify with byte %d changed = %v, want fs.ErrPermission", i, err)
		}
	}
	for _, bad := range []string{"", "AUTH_tk", "AUTH_tk.", "AUTH_tkx.y", tok.Secret + "=", tok.Secret + ".x", strings.Repeat("AUTH_tk", 1000)} {
		if _, _, err := r.Verify(t.Context(), bad); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Verify(%.20q) = %v, want fs.ErrPermission", bad, err)
		}
	}
	if _, err := r.Issue(t.Context(), Identity{User: "ann:tester", Account: "ann"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Issue for an Identity made up = %v, want fs.ErrPermission", err)
	}
}

// TestTokensEnd changes a user from another process, in each way, and waits for
// his token to be refused here.
func TestTokensEnd(t *testing.T) {
	path := dbPath(t)
	server := open(t, path, Options{Poll: 5 * time.Millisecond})
	command := open(t, path, Options{Poll: time.Hour})
	u := User{Name: "ann:tester", Role: RoleAdmin}
	addUser(t, command, u, "sesame")
	ctx := t.Context()
	key := newKey(t)
	for _, c := range []struct {
		name   string
		change func() error
		undo   func() error
	}{
		{"password", func() error { return command.SetPassword(ctx, u.Name, "other") }, func() error { return command.SetPassword(ctx, u.Name, "sesame") }},
		{"disabled", func() error { return command.SetDisabled(ctx, u.Name, true) }, func() error { return command.SetDisabled(ctx, u.Name, false) }},
		{"account disabled", func() error { return command.SetAccountDisabled(ctx, "ann", true) }, func() error { return command.SetAccountDisabled(ctx, "ann", false) }},
		{"role", func() error { return command.SetUser(ctx, User{Name: u.Name}) }, func() error { return command.SetUser(ctx, u) }},
		{"read-only", func() error { return command.SetUser(ctx, User{Name: u.Name, Role: RoleAdmin, ReadOnly: true}) }, func() error { return command.SetUser(ctx, u) }},
		{"key removed", func() error { return command.RemoveKey(ctx, u.Name, ssh.FingerprintSHA256(key)) }, func() error { return nil }},
		{"removed", func() error { return command.RemoveUser(ctx, u.Name) }, func() error { return command.AddUser(ctx, u, "sesame") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "key removed" {
				must(t, command.AddKey(ctx, u.Name, key, ""))
			}
			var id Identity
			eventually(t, server, "the user", func() bool {
				var err error
				id, err = login(t, server, u.Name, "sesame")
				return err == nil && command.Current(id)
			})
			tok, err := server.Issue(ctx, id)
			must(t, err)
			if _, _, err := server.Verify(ctx, tok.Secret); err != nil {
				t.Fatalf("Verify = %v", err)
			}
			must(t, c.change())
			eventually(t, server, c.name, func() bool { return !server.Current(id) })
			if _, _, err := server.Verify(ctx, tok.Secret); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Verify after the change = %v, want fs.ErrPermission", err)
			}
			if _, err := server.Issue(ctx, id); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Issue after the change = %v, want fs.ErrPermission", err)
			}
			must(t, c.undo())
			eventually(t, server, "undo", func() bool { m := server.member(u.Name); return m != nil && m.live })
			if _, _, err := server.Verify(ctx, tok.Secret); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Verify after the change was undone = %v, want fs.ErrPermission", err)
			}
		})
	}
}

// TestSessionsEnd has the session of a user end who is disabled by another
// process, and that of his colleague go on.
func TestSessionsEnd(t *testing.T) {
	path := dbPath(t)
	server := open(t, path, Options{Poll: 5 * time.Millisecond})
	command := open(t, path, Options{Poll: time.Hour})
	addUser(t, server, User{Name: "ann:tester"}, "sesame")
	addUser(t, server, User{Name: "ann:other"}, "sesame")
	sessions := make(map[string]context.Context)
	ids := make(map[string]Identity)
	for _, name := range []string{"ann:tester", "ann:other"} {
		id, err := login(t, server, name, "sesame")
		must(t, err)
		ctx, cancel := server.While(t.Context(), id)
		defer cancel()
		if FromContext(ctx).User != name {
			t.Errorf("the session acts for %q, want %q", FromContext(ctx).User, name)
		}
		sessions[name], ids[name] = ctx, id
	}
	must(t, command.SetDisabled(t.Context(), "ann:tester", true))
	select {
	case <-sessions["ann:tester"].Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the session goes on")
	}
	if cause := context.Cause(sessions["ann:tester"]); !errors.Is(cause, fs.ErrPermission) {
		t.Errorf("the session ended with %v, want fs.ErrPermission", cause)
	}
	if err := sessions["ann:other"].Err(); err != nil {
		t.Errorf("the session of another user ended with %v", err)
	}
	late, cancel := server.While(t.Context(), ids["ann:tester"])
	if late.Err() == nil {
		t.Error("a session begins after its user was disabled")
	}
	cancel()
	if n := len(server.watches); n != 2 {
		t.Errorf("%d sessions are watched for, want the 2 that were not cancelled", n)
	}
}

func TestRevoke(t *testing.T) {
	path := dbPath(t)
	r := open(t, path, Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	id, err := login(t, r, "ann:tester", "sesame")
	must(t, err)
	one, err := r.Issue(t.Context(), id)
	must(t, err)
	two, err := r.Issue(t.Context(), id)
	must(t, err)
	must(t, r.Revoke(t.Context(), one.Secret))
	must(t, r.Revoke(t.Context(), one.Secret))
	again := open(t, path, Options{}) // as after a restart
	for _, r := range []*Realm{r, again} {
		if _, _, err := r.Verify(t.Context(), one.Secret); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Verify of a revoked token = %v, want fs.ErrPermission", err)
		}
		if _, _, err := r.Verify(t.Context(), two.Secret); err != nil {
			t.Errorf("Verify of the other token = %v", err)
		}
	}
	if err := r.Revoke(t.Context(), "AUTH_tknonsense"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Revoke of nonsense = %v, want fs.ErrPermission", err)
	}
}

// TestRevokingIsBounded has a user revoke one token after the other, each of
// which has to be remembered.
func TestRevokingIsBounded(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	revoked := func(name string, times int) (n int) {
		addUser(t, r, User{Name: name}, "")
		for range times {
			token, err := r.Issue(t.Context(), r.member(name).id)
			must(t, err)
			if err := r.Revoke(t.Context(), token.Secret); err == nil {
				n++
				must(t, r.Revoke(t.Context(), token.Secret)) // which takes nothing
			} else if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := revoked("ann:mallory", revokeBurst+20); n < revokeBurst || n > revokeBurst+5 {
		t.Errorf("%d tokens in a row were revoked, want about %d", n, revokeBurst)
	}
	if n := revoked("ann:tester", 3); n != 3 {
		t.Errorf("of another user %d tokens were revoked, want 3", n)
	}
}

func TestRotateKeys(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	id, err := login(t, r, "ann:tester", "sesame")
	must(t, err)
	tok, err := r.Issue(t.Context(), id)
	must(t, err)
	must(t, r.RotateKeys(t.Context()))
	if _, _, err := r.Verify(t.Context(), tok.Secret); err != nil {
		t.Errorf("Verify after one rotation = %v", err)
	}
	fresh, err := r.Issue(t.Context(), id)
	must(t, err)
	if before, now := tok.Secret[strings.Index(tok.Secret, "."):], fresh.Secret[strings.Index(fresh.Secret, "."):]; before != now {
		t.Error("a new key is used before other processes can know it")
	}
	for range 3 {
		must(t, r.RotateKeys(t.Context()))
	}
	if _, _, err := r.Verify(t.Context(), tok.Secret); err != nil {
		t.Errorf("Verify after four rotations = %v", err)
	}
	if keys := r.TokenKeys(); len(keys) != 5 || !keys[4].Seals || keys[0].Seals {
		t.Errorf("the keys are %+v", keys)
	}
	// A day later, what the first keys sealed is over.
	age := func(d time.Duration) {
		_, err := r.db.Exec(`UPDATE token_keys SET created = created - $1`, d.Microseconds())
		must(t, err)
	}
	age(r.o.TokenLife - time.Minute)
	must(t, r.RotateKeys(t.Context()))
	if keys := r.TokenKeys(); len(keys) != 6 || keys[0].Seals || !keys[1].Seals {
		t.Errorf("within their life the keys are %+v", keys)
	}
	age(2 * time.Minute)
	must(t, r.RotateKeys(t.Context()))
	if keys := r.TokenKeys(); len(keys) != 3 {
		t.Errorf("after their life the keys are %+v", keys)
	}
	if _, _, err := r.Verify(t.Context(), tok.Secret); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Verify after its key is gone = %v, want fs.ErrPermission", err)
	}
}

// TestReplaceKeys: with all keys all tokens end, and new ones are good at once.
func TestReplaceKeys(t *testing.T) {
	r := open(t, dbPath(t), Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	id, err := login(t, r, "ann:tester", "sesame")
	must(t, err)
	tok, err := r.Issue(t.Context(), id)
	must(t, err)
	must(t, r.ReplaceKeys(t.Context()))
	if _, _, err := r.Verify(t.Context(), tok.Secret); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Verify = %v, want fs.ErrPermission", err)
	}
	if tok, err = r.Issue(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Verify(t.Context(), tok.Secret); err != nil {
		t.Errorf("Verify of a new one = %v", err)
	}
	if keys := r.TokenKeys(); len(keys) != 1 || !keys[0].Seals {
		t.Errorf("the keys are %+v", keys)
	}
}

// TestBansOutliveTheProcess bans an address, opens the database anew, and lifts
// the ban from another process.
func TestBansOutliveTheProcess(t *testing.T) {
	path := dbPath(t)
	r := open(t, path, Options{Poll: 5 * time.Millisecond})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	a := Attempt{"ann:tester", abroad, "swift"}
	if _, err := r.Password(t.Context(), a, "sesame"); err != nil {
		t.Fatal(err)
	}
	r.Defender().Fail(abroad, FailCrash)
	if _, err := r.Password(t.Context(), a, "sesame"); !errors.Is(err, ErrBanned) {
		t.Fatalf("Password from a banned address = %v, want ErrBanned", err)
	}
	if _, err := r.PublicKey(t.Context(), a, newKey(t)); !errors.Is(err, ErrBanned) {
		t.Fatalf("PublicKey from a banned address = %v, want ErrBanned", err)
	}
	again := open(t, path, Options{Poll: time.Hour})
	if bans := again.Defender().Bans(); len(bans) != 1 || bans[0].Source != netip.MustParsePrefix("203.0.113.7/32") || bans[0].Times != 1 {
		t.Fatalf("Bans = %+v", bans)
	}
	if !again.Defender().Lift(abroad) {
		t.Error("Lift found no ban")
	}
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for r.Defender().Banned(abroad) {
		if err := wait(deadline, time.Millisecond); err != nil {
			t.Fatal("the ban that another process lifted is not seen to be")
		}
	}
	if _, err := r.Password(t.Context(), a, "sesame"); err != nil {
		t.Errorf("Password after the ban was lifted = %v", err)
	}
}

func TestGuessingIsCounted(t *testing.T) {
	r := open(t, dbPath(t), Options{Defender: DefenderOptions{Limit: 3}})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	for i, user := range []string{"ann:tester", "ann:nobody", "ann:tester"} { // all the same to the defender
		if _, err := r.Password(t.Context(), Attempt{user, abroad, "swift"}, "wrong"); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("guess %d = %v", i, err)
		}
	}
	if _, err := r.Password(t.Context(), Attempt{"ann:tester", abroad, "ftp"}, "sesame"); !errors.Is(err, ErrBanned) {
		t.Errorf("Password after three wrong ones = %v, want ErrBanned", err)
	}
	if _, err := login(t, r, "ann:tester", "sesame"); err != nil {
		t.Errorf("Password from elsewhere = %v", err)
	}
}

func TestDatabaseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a dir?&%20")
	must(t, os.Mkdir(path, 0o700))
	path = filepath.Join(path, "control#1.db")
	r := open(t, path, Options{})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	must(t, err)
	if !slices.Contains(files, path) || len(files) < 2 {
		t.Errorf("files are %q, want the database and its log", files)
	}
	for _, f := range files {
		if in, err := os.Stat(f); err != nil || in.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", f, in.Mode(), err)
		}
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if strings.Contains(string(text), "sesame") {
			t.Errorf("%s holds the password", f)
		}
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := dbPath(t)
	r, err := Open(t.Context(), path, Options{})
	must(t, err)
	_, err = r.db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`)
	must(t, err)
	must(t, r.Close())
	if r, err := Open(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), "newer") {
		if err == nil {
			r.Close()
		}
		t.Errorf("Open = %v, want a refusal that names the reason", err)
	}
}

// TestOpenTogether has several processes make the database at the same time.
func TestOpenTogether(t *testing.T) {
	path := dbPath(t)
	type opened struct {
		r   *Realm
		err error
	}
	c := make(chan opened)
	const n = 4
	for range n {
		go func() {
			r, err := Open(t.Context(), path, Options{})
			c <- opened{r, err}
		}()
	}
	var realms []*Realm
	for range n {
		o := <-c
		if o.err != nil {
			t.Error(o.err)
			continue
		}
		defer o.r.Close()
		realms = append(realms, o.r)
	}
	var keys int
	must(t, realms[0].db.QueryRow(`SELECT COUNT(*) FROM token_keys`).Scan(&keys))
	if keys != 1 {
		t.Errorf("there are %d token keys, want one", keys)
	}
}

// TestTwoRevoke has two processes revoke by turns, neither of which looks for
// what the other did but when it makes a change itself.
func TestTwoRevoke(t *testing.T) {
	path := dbPath(t)
	setup := open(t, path, Options{})
	addUser(t, setup, User{Name: "ann:tester"}, "sesame")
	id, err := login(t, setup, "ann:tester", "sesame")
	must(t, err)
	realms := []*Realm{open(t, path, Options{Poll: time.Hour}), open(t, path, Options{Poll: time.Hour})}
	var revoked []string
	for i := range 6 {
		tok, err := setup.Issue(t.Context(), id)
		must(t, err)
		revoked = append(revoked, tok.Secret)
		r := realms[i/2%2] // twice each, so that both ways of seeing are taken
		must(t, r.Revoke(t.Context(), tok.Secret))
		for j, secret := range revoked {
			if _, _, err := r.Verify(t.Context(), secret); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("after revoking %d tokens, Verify of token %d = %v, want fs.ErrPermission", len(revoked), j, err)
			}
		}
	}
	must(t, realms[0].tend(t.Context())) // forgets none whose time is not over
	for _, secret := range revoked {
		if _, _, err := realms[0].Verify(t.Context(), secret); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Verify after tend = %v, want fs.ErrPermission", err)
		}
	}
}
