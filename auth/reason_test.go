package auth

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

// The log tells the operator why a login failed, which nobody else is told.
func TestReasons(t *testing.T) {
	var log bytes.Buffer
	r := open(t, dbPath(t), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	addUser(t, r, User{Name: "ann:tester"}, "sesame")
	addUser(t, r, User{Name: "ann:off", Disabled: true}, "sesame")
	addUser(t, r, User{Name: "ann:keys"}, "")
	addUser(t, r, User{Name: "ann:ftp", Doors: []string{"ftp"}}, "sesame")
	addUser(t, r, User{Name: "ann:lan", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "sesame")
	addUser(t, r, User{Name: "bob:boss"}, "sesame")
	must(t, r.SetAccountDisabled(t.Context(), "bob", true))
	for _, tt := range []struct{ user, password, reason string }{
		{"ann:tester", "sikrit", "wrong password"},
		{"ann:nobody", "sesame", "no such user"},
		{"ann:off", "sesame", "he or his account is disabled"},
		{"ann:off", "sikrit", "wrong password"},
		{"bob:boss", "sesame", "he or his account is disabled"},
		{"ann:keys", "sesame", "he has no password"},
		{"ann:ftp", "sesame", "not by this door"},
		{"ann:lan", "sesame", "not from this network"},
	} {
		log.Reset()
		if _, err := r.Password(context.Background(), Attempt{User: tt.user, From: netip.MustParseAddr("127.0.0.1"), Door: "swift"}, tt.password); err == nil {
			t.Fatalf("%s was let in", tt.user)
		}
		if !strings.Contains(log.String(), tt.reason) || strings.Contains(log.String(), "sikrit") {
			t.Errorf("%s with %s is logged as %s, want the reason %q and no password", tt.user, tt.password, &log, tt.reason)
		}
	}
}
