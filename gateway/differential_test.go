package gateway_test

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/internal/peer"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/crypt"
	"memstore.dev/memstore/storage/memory"
)

// The scripts under testdata/differential are put to a real OpenStack Swift
// and to the gateway, and what they answer is compared field by field. What
// Swift answered is recorded beside the scripts, so that the gateway is held
// against it also where no Swift can run:
//
//	go test ./gateway -run Differential -record

var record = flag.Bool("record", false, "record what Swift answers to the differential scripts")

// TestRecorded holds the gateway against what Swift answered when that was
// recorded, also when what it keeps is encrypted.
func TestRecorded(t *testing.T) {
	for name, b := range map[string]storage.Backend{
		"plain": memory.New(), "encrypted": crypt.New(memory.New(), crypt.NewKeys(), true),
	} {
		t.Run(name, func(t *testing.T) {
			recordings := &side{name: "recorded"}
			putScripts(t, startOurs(t, b), recordings, func(t *testing.T, s *script) func(*testCase, time.Time) *answer {
				answers := readRecording(t, s)
				return func(c *testCase, _ time.Time) *answer {
					a := answers[0]
					answers = answers[1:]
					return a
				}
			})
		})
	}
}

// TestDifferential holds the gateway, and the recordings, against a Swift.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Swift")
	}
	swift := startSwift(t)
	putScripts(t, startOurs(t, memory.New()), swift, func(t *testing.T, s *script) func(*testCase, time.Time) *answer {
		var text strings.Builder
		t.Cleanup(func() {
			name := recording(s)
			if *record {
				if err := os.WriteFile(name, []byte(text.String()), 0o666); err != nil {
					t.Error(err)
				}
			} else if old, err := os.ReadFile(name); err != nil || string(old) != text.String() {
				t.Errorf("%s is not what Swift answers (any more); record it again", name)
			}
		})
		return func(c *testCase, now time.Time) *answer {
			a, err := swift.ask(c, now)
			if err != nil {
				t.Fatalf("%s: Swift: %v", place(s, c), err)
			}
			fmt.Fprintf(&text, "%s\n%s\n", c.name(), a.text())
			return a
		}
	})
}

// putScripts puts every script to our side, and compares with what the other
// one says.
func putScripts(t *testing.T, ours, theirs *side, open func(*testing.T, *script) func(*testCase, time.Time) *answer) {
	all, err := scripts()
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := readAccepted("testdata/differential/accepted.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, c := range s.cases {
			if c.differs != "" && !slices.ContainsFunc(accepted, func(r *rule) bool { return r.label == c.differs }) {
				t.Errorf("%s: accepted.txt has no label %s", place(s, c), c.differs)
			}
		}
	}
	whole := true
	for _, s := range all {
		whole = t.Run(s.name, func(t *testing.T) {
			other := open(t, s)
			for _, c := range s.cases {
				now := time.Now()
				theirs := other(c, now)
				got, err := ours.ask(c, now)
				if err != nil {
					t.Fatalf("%s: %v", place(s, c), err)
				}
				for _, d := range compare(got, theirs) {
					if !accepted.covers(s, c, d) {
						t.Errorf("%s: %s\n%s: %s\n\tours  %s\n\tSwift %s", place(s, c), c.name(), d.field, c.comment, d.ours, d.theirs)
					}
				}
			}
		}) && whole
	}
	// A part of the scripts can say nothing about the whole list.
	if f := flag.Lookup("test.run"); whole && (f == nil || !strings.Contains(f.Value.String(), "/")) {
		for _, rule := range accepted {
			for _, where := range rule.idle(all) {
				t.Errorf("accepted.txt:%d: the difference of %s does not occur (any more) in %s", rule.line, rule.field+rule.label, where)
			}
		}
	}
}

// startOurs starts the gateway, as it stands in the product, over a backend.
func startOurs(t *testing.T, b storage.Backend) *side {
	realm, err := auth.Open(t.Context(), filepath.Join(t.TempDir(), "control.db"), auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { realm.Close() })
	guard := auth.NewGuard(b)
	store := storage.New(guard)
	ours := &side{name: "ours", vars: map[string]string{}}
	roles := map[peer.User]auth.Role{
		peer.Tester: auth.RoleAdmin, peer.Tester2: auth.RoleAdmin, peer.Tester3: auth.RoleUser,
		peer.Other: auth.RoleAdmin, peer.Admin: auth.RoleReseller,
		peer.Service: auth.RoleService,
	}
	for name, user := range users {
		if err := realm.AddUser(t.Context(), auth.User{Name: user.Name, Role: roles[user]}, user.Password); err != nil {
			t.Fatal(err)
		}
		id, err := realm.Password(t.Context(), auth.Attempt{User: user.Name, Door: "swift"}, user.Password)
		if err != nil {
			t.Fatal(err)
		}
		token, err := realm.Issue(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		ours.vars[name] = token.Secret
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = gateway.Server(gateway.New(gateway.Config{
		Store: store, Auth: realm, Owner: guard.Owner,
		Digests:     []string{"sha1", "sha256", "sha512"},
		Hosts:       &gateway.Hosts{Domains: []string{"swift.example.com"}},
		SyncHosts:   []string{"127.0.0.1"},
		CrossDomain: `<allow-access-from domain="*" secure="false" />`,
	}), nil)
	server.Start()
	t.Cleanup(server.Close)
	ours.host = server.Listener.Addr().String()
	return ours
}

// users are those whom scripts name.
var users = map[string]peer.User{
	"tester": peer.Tester, "tester2": peer.Tester2, "tester3": peer.Tester3, "other": peer.Other, "admin": peer.Admin,
	"service": peer.Service,
}

// startSwift starts a Swift.
func startSwift(t *testing.T) *side {
	s := peer.SwiftFor(t, peer.SwiftOptions{})
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	swift := &side{name: "Swift", host: at.Host, vars: map[string]string{}, update: s.Update}
	for name, user := range users {
		login := &testCase{
			method: "GET", target: "/auth/v1.0", user: "nobody",
			header: []string{"X-Auth-User: " + user.Name, "X-Auth-Key: " + user.Password},
			set:    map[string]string{name: "X-Auth-Token"},
		}
		if _, err := swift.ask(login, time.Now()); err != nil || swift.vars[name] == "" {
			t.Fatalf("the login of %s at Swift: token %q, %v", user.Name, swift.vars[name], err)
		}
	}
	return swift
}

// recording is the file with what Swift answered to a script.
func recording(s *script) string { return "testdata/differential/" + s.name + ".recorded" }

func readRecording(t *testing.T, s *script) (answers []*answer) {
	text, err := os.ReadFile(recording(s))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitAfter(string(text), "\n\n")
	parts = parts[:len(parts)-1]
	for i, part := range parts {
		name, rest, _ := strings.Cut(part, "\n")
		a, err := parseAnswer(strings.TrimSuffix(rest, "\n"))
		if err != nil {
			t.Fatalf("%s: %s: %v", recording(s), name, err)
		}
		if i >= len(s.cases) || name != s.cases[i].name() {
			t.Fatalf("%s is of another script, record it again: %s", recording(s), name)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(s.cases) {
		t.Fatalf("%s has %d answers, the script %d cases; record it again", recording(s), len(answers), len(s.cases))
	}
	return answers
}
