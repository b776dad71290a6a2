package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memstore.dev/memstore/auth"
)

const (
	testKeyLine = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq3vOAsuyILkcnUmZjnY5NLaD2EDhtZ1uAUjSB6YAcY ann@home"
	testHash    = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc" // of "password"
)

// What is exported from one data directory and imported into another is the
// same there, logs in there, and changes nothing when it comes again.
func TestUserText(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	must := func(stdin, says string, args ...string) string {
		t.Helper()
		code, stdout, stderr := runLine(t, stdin, args...)
		if code != 0 || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("memstore %s exits with %d and says\n%s%s\nwant %q", strings.Join(args, " "), code, stdout, stderr, says)
		}
		return stdout
	}
	must("sesame\n", "added", "user", "add", "--admin", "--password-stdin", "ann:tester", "--data", from)
	must("", "added", "user", "add", "--no-password", "--read-only", "--door", "ftp", "--door", "sftp", "--network", "10.0.0.0/8", "bob:reader", "--data", from)
	must(testKeyLine+"\n", "may log in with", "user", "key", "add", "ann:tester", "--data", from)
	text := must("", "", "user", "export", "--data", from)
	for _, want := range []string{
		"- name: ann:tester\n", "  role: admin\n", "  password: $argon2id$", "  - " + testKeyLine + "\n",
		"- name: bob:reader\n", "  read_only: true\n", "  doors: [ftp, sftp]\n", "  networks: [10.0.0.0/8]\n", "  password: none\n", "  keys: []\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("exported is\n%s\nwithout %q", text, want)
		}
	}
	file := write(t, "users.yaml", text)
	// Tried first, which makes no data directory either.
	if code, _, _ := runLine(t, "", "user", "import", "--check", file, "--data", to); code == 0 {
		t.Error("a check has found users where there are none")
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("a check has made a data directory")
	}
	must("", "2 added, 0 changed, 0 as they were", "user", "import", file, "--data", to)
	must(text, "0 added, 0 changed, 2 as they were", "user", "import", "--data", to)
	if again := must("", "", "user", "export", "--data", to); again != text {
		t.Errorf("exported again it is\n%s\nwas\n%s", again, text)
	}
	changed := strings.Replace(text, "role: admin", "role: user", 1)
	must(changed, "would be 0 added, 1 changed, 1 as they were", "user", "import", "--check", "-", "--data", to)
	must(changed, "0 added, 1 changed, 1 as they were", "user", "import", "-", "--data", to)
	if one := must("", "", "user", "export", "bob", "--data", to); strings.Contains(one, "ann") {
		t.Errorf("of one account is exported\n%s", one)
	}
	must("users:\n- {name: ann.third, password: '"+testHash+"'}\n", "1 added", "user", "import", "--data", to)

	n := testNode(t, func(c *Config) { c.Data = to })
	defer n.close()
	for user, password := range map[string]string{"ann:tester": "sesame", "ann:third": "password"} {
		if _, err := n.realm.Password(t.Context(), auth.Attempt{User: user, Door: "swift"}, password); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// A text that cannot be is refused with the lines of everything wrong in it,
// and nothing of it happens.
func TestUserTextRefuses(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, stderr := runLine(t, "sesame\n", "user", "add", "--password-stdin", "ann:tester", "--data", data); code != 0 {
		t.Fatal(stderr)
	}
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"no YAML":            {"users: [\n", []string{"users.yaml:1: "}},
		"empty":              {"", []string{"users.yaml: there is no list of users"}},
		"something else":     {"- 1\n", []string{"users.yaml:1: a text with users begins"}},
		"other settings":     {"users: []\ngroups: []\n", []string{`users.yaml:2: "groups" is not known`}},
		"no list":            {"users: ann\n", []string{"users.yaml:1: users: it is a list"}},
		"no user":            {"users:\n- ann\n", []string{"users.yaml:2: a user is written as"}},
		"no name":            {"users:\n- role: admin\n", []string{"users.yaml:2: a user without a name"}},
		"nothing at all":     {"users:\n- {}\n", []string{"users.yaml:2: a user without a name"}},
		"half a name":        {"users:\n- name: bob\n", []string{"users.yaml:2: name: "}},
		"twice":              {"users:\n- name: bob:x\n- name: bob.x\n", []string{"users.yaml:3: name: bob:x is on line 2 already"}},
		"unknown":            {"users:\n- name: bob:x\n  rolle: admin\n", []string{`users.yaml:3: "rolle" is nothing that a user has`}},
		"a role":             {"users:\n- name: bob:x\n  role: king\n", []string{`users.yaml:3: role: "king" is none of user, service, admin`}},
		"a door":             {"users:\n- name: bob:x\n  doors: [ftp, back]\n", []string{`users.yaml:3: doors: "back" is none of the doors`}},
		"doors without list": {"users:\n- name: bob:x\n  doors: ftp\n", []string{"users.yaml:3: doors: it is a list"}},
		"a network":          {"users:\n- name: bob:x\n  networks:\n  - 10.0.0.0/8\n  - here\n", []string{`users.yaml:5: networks: "here" is not a network`}},
		"a flag":             {"users:\n- name: bob:x\n  disabled: perhaps\n", []string{"users.yaml:3: disabled: it is true or false"}},
		"a password":         {"users:\n- name: bob:x\n  password: sesame\n", []string{"users.yaml:3: password: not an argon2id or bcrypt hash"}},
		"no password":        {"users:\n- name: bob:x\n  password:\n", []string{"users.yaml:3: password: it is a hash, or none"}},
		"a key":              {"users:\n- name: bob:x\n  keys: [secret]\n", []string{"users.yaml:3: keys: that is no public key"}},
		"a name like others": {"users:\n- name: new:x\n- name: ANN:tester\n", []string{"users.yaml:3: ", "ANN:tester"}},
		"all at once":        {"users:\n- name: bob:x\n  role: king\n- name: eve\n  keys: 1\n", []string{"users.yaml:3:", "users.yaml:4:", "users.yaml:5:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("users.yaml", []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := runLine(t, "", "user", "import", "users.yaml", "--data", data)
			if code != exitUsage {
				t.Errorf("exits with %d, want %d", code, exitUsage)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("says\n%s\nwithout %q", stderr, want)
				}
			}
			if strings.Contains(stderr, "sesame") || strings.Contains(stderr, "secret") {
				t.Errorf("repeats what may be secret:\n%s", stderr)
			}
			if _, list, _ := runLine(t, "", "user", "list", "--data", data); strings.Count(list, "\n") != 2 {
				t.Errorf("the users are\n%s", list)
			}
		})
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("users:\n- name: ann:tester\n  password: none\n  keys: []\n")
	f.Add("users:\n- {name: ann.tester, doors: [ftp], networks: [10.0.0.0/8], disabled: true}\n")
	f.Add("users: [*a, &a {}, !!x y]\n")
	f.Add("--- {}\n--- users: null\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, lines, err := parseUsers("text", []byte(text))
		if len(list) != len(lines) && err == nil {
			t.Errorf("%d users on %d lines", len(list), len(lines))
		}
		if err != nil {
			return
		}
		for i, rec := range list {
			if rec.Hash == nil { // which is written as none
				list[i].Hash = new(string)
			}
		}
		var b strings.Builder
		if err := writeUsers(&b, list); err != nil {
			t.Fatal(err)
		}
		again, _, err := parseUsers("again", []byte(b.String()))
		if err != nil || len(again) != len(list) {
			t.Errorf("written as\n%s\nit is read as %d users, %v; want %d", b.String(), len(again), err, len(list))
		}
	})
}

// A key that is rotated leaves the tokens it sealed, and one that is dropped
// ends them, in a running server too.
func TestTokenKeys(t *testing.T) {
	n := testNode(t, nil)
	defer n.close()
	id, err := n.realm.Password(t.Context(), auth.Attempt{User: n.user, Door: "swift"}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	good := func() bool { _, _, err := n.realm.Verify(t.Context(), token.Secret); return err == nil }
	said := func(want string, args ...string) {
		t.Helper()
		if code, stdout, stderr := runLine(t, "", append(args, "--data", n.conf.Data)...); code != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("memstore %s exits with %d and says\n%s%s\nwant %q", strings.Join(args, " "), code, stdout, stderr, want)
		}
	}
	said("seals new tokens\n", "key", "list")
	for range 3 {
		said("seals new tokens in a few seconds", "key", "rotate")
	}
	said("seals in a few seconds\n", "key", "list")
	waitFor(t, func() bool { return len(n.realm.TokenKeys()) == 4 })
	if !good() {
		t.Error("a token has ended with a rotation")
	}
	said("all tokens have ended", "key", "rotate", "--end-tokens")
	waitFor(t, func() bool { return !good() })
	fresh, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.realm.Verify(t.Context(), fresh.Secret); err != nil {
		t.Errorf("a new token is refused: %v", err)
	}
}
