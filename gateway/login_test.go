package gateway

import (
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage/memory"
)

// newRealm has a few users, all of whom have the password "sesame" but one.
func newRealm(t *testing.T, o auth.Options) *auth.Realm {
	t.Helper()
	r, err := auth.Open(t.Context(), filepath.Join(t.TempDir(), "control.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, u := range []auth.User{
		{Name: "ann:tester", Role: auth.RoleAdmin},
		{Name: "ann:j.smith"},
		{Name: "ann:ftp", Doors: []string{"ftp"}},
		{Name: "bob:tester", Role: auth.RoleAdmin},
		{Name: "op:root", Role: auth.RoleReseller},
	} {
		if err := r.AddUser(t.Context(), u, "sesame"); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// newLoginLab is a lab whose users log in for real.
func newLoginLab(t *testing.T, o auth.Options, change ...func(*Config)) (*lab, *auth.Realm) {
	r := newRealm(t, o)
	return newLabOver(t, memory.New(), append(change, func(c *Config) { c.Auth = r })...), r
}

func TestV1Login(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	const user, key = "X-Auth-User: ann:tester", "X-Auth-Key: sesame"
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
	}{
		{"TempAuth", "GET", "/auth/v1.0", []string{user, key}, 200},
		{"short version", "GET", "/auth/v1", []string{user, key}, 200},
		{"Ceph", "GET", "/auth", []string{user, key}, 200},
		{"Ceph with a version", "GET", "/auth/1.0", []string{user, key}, 200},
		{"Memset", "GET", "/v1.0", []string{user, key}, 200},
		{"twice auth", "GET", "/auth/auth", []string{user, key}, 200},
		{"storage headers", "GET", "/auth/v1.0", []string{"X-Storage-User: ann:tester", "X-Storage-Pass: sesame"}, 200},
		{"mixed headers", "GET", "/auth/v1.0", []string{"X-Storage-User: ann:tester", key}, 200},
		{"dot", "GET", "/auth/v1.0", []string{"X-Auth-User: ann.tester", key}, 200},
		{"slash", "GET", "/v1.0", []string{"X-Auth-User: ann/tester", key}, 200},
		{"query", "GET", "/auth/v1.0?x=y", []string{user, key}, 200},
		{"account in the path", "GET", "/auth/v1/ann/auth", []string{"X-Storage-User: tester", "X-Storage-Pass: sesame"}, 200},
		{"account in both", "GET", "/auth/v1/ann/auth", []string{user, key}, 200},
		{"other account in the path", "GET", "/auth/v1/bob/auth", []string{user, key}, 401},
		{"account that begins alike in the path", "GET", "/auth/v1/an/auth", []string{user, key}, 401},
		{"escaped nonsense in the path", "GET", "/auth/v1/an%2Fn/auth", []string{user, key}, 401},
		{"wrong key", "GET", "/auth/v1.0", []string{user, "X-Auth-Key: Sesame"}, 401},
		{"unknown user", "GET", "/auth/v1.0", []string{"X-Auth-User: ann:nobody", key}, 401},
		{"other door only", "GET", "/auth/v1.0", []string{"X-Auth-User: ann:ftp", key}, 401},
		{"no user", "GET", "/auth/v1.0", []string{key}, 401},
		{"no key", "GET", "/auth/v1.0", []string{user}, 401},
		{"empty key", "GET", "/auth/v1.0", []string{user, "X-Auth-Key:"}, 401},
		{"neither", "GET", "/v1.0", nil, 401},
		{"user alone", "GET", "/auth/v1.0", []string{"X-Auth-User: ann", key}, 401},
		{"key in place of token", "GET", "/auth/v1.0", []string{"X-Auth-Token: sesame"}, 401},
		{"POST", "POST", "/auth/v1.0", []string{user, key}, 405},
		{"HEAD", "HEAD", "/auth/v1.0", []string{user, key}, 405},
		{"other version", "GET", "/auth/v2.0", []string{user, key}, 400},
		{"POST of other version", "POST", "/auth/v2.0", []string{user, key}, 405},
		{"no version", "GET", "/auth/", []string{user, key}, 404},
	} {
		got := l.ask("", c.method, c.path, "", c.headers...)
		if got.status != c.status {
			t.Errorf("%s: %d %q, want %d", c.name, got.status, got.body, c.status)
		}
		token := got.header.Get("X-Auth-Token")
		if c.status != 200 {
			if token != "" || got.header.Get("X-Storage-Url") != "" {
				t.Errorf("%s: failed, and yet answered with %v", c.name, got.header)
			}
			if want := bare(c.status); c.method != "HEAD" && got.body != want {
				t.Errorf("%s: body %q, want %q", c.name, got.body, want)
			}
			if c.status == 401 && got.header.Get("Www-Authenticate") != `Swift realm="unknown"` {
				t.Errorf("%s: Www-Authenticate %q", c.name, got.header.Get("Www-Authenticate"))
			}
			continue
		}
		if !strings.HasPrefix(token, "AUTH_tk") || got.header.Get("X-Storage-Token") != token {
			t.Errorf("%s: tokens %q and %q", c.name, token, got.header.Get("X-Storage-Token"))
		}
		if life, err := strconv.Atoi(got.header.Get("X-Auth-Token-Expires")); err != nil || life < 86000 || life > 86400 {
			t.Errorf("%s: X-Auth-Token-Expires %q", c.name, got.header.Get("X-Auth-Token-Expires"))
		}
		if url := got.header.Get("X-Storage-Url"); url != "http://example.com/v1/AUTH_ann" {
			t.Errorf("%s: X-Storage-Url %q", c.name, url)
		}
		if got := l.ask("", "PUT", "/v1/AUTH_ann/c", "", "X-Auth-Token: "+token); got.status/100 != 2 {
			t.Errorf("%s: PUT of a container with the token: %d", c.name, got.status)
		}
		if got := l.ask("", "GET", "/v1/AUTH_bob", "", "X-Storage-Token: "+token); got.status != 403 {
			t.Errorf("%s: GET of another account with the token: %d", c.name, got.status)
		}
	}
	if log := l.log.String(); strings.Contains(log, "sesame") || strings.Contains(log, "AUTH_tk") {
		t.Errorf("the log holds a secret:\n%s", log)
	}
}

func TestStorageURLFollowsTheRequest(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	for target, want := range map[string]string{
		"http://store.test:8080/auth/v1.0":  "http://store.test:8080/v1/AUTH_ann",
		"https://store.test/auth/v1.0":      "https://store.test/v1/AUTH_ann",
		"http://[2001:db8::1]:80/auth/v1.0": "http://[2001:db8::1]:80/v1/AUTH_ann",
	} {
		got := l.ask("", "GET", target, "", "X-Auth-User: ann:tester", "X-Auth-Key: sesame")
		if url := got.header.Get("X-Storage-Url"); url != want {
			t.Errorf("X-Storage-Url at %s = %q, want %q", target, url, want)
		}
	}
	got := l.ask("", "GET", "http://store.test/auth/v1.0", "", "X-Auth-User: ann:tester", "X-Auth-Key: sesame", "X-Forwarded-Proto: https")
	if url := got.header.Get("X-Storage-Url"); url != "http://store.test/v1/AUTH_ann" {
		t.Errorf("X-Storage-Url = %q: it follows what anybody says", url)
	}
}

// TestLoginIsDefended guesses until the address is banned, which httptest's is
// not exempt from.
func TestLoginIsDefended(t *testing.T) {
	l, r := newLoginLab(t, auth.Options{Defender: auth.DefenderOptions{Limit: 3}})
	for range 3 {
		if got := l.ask("", "GET", "/auth/v1.0", "", "X-Auth-User: ann:tester", "X-Auth-Key: wrong"); got.status != 401 {
			t.Fatalf("wrong key: %d", got.status)
		}
	}
	for path, ask := range map[string]func() answer{
		"/auth/v1.0": func() answer {
			return l.ask("", "GET", "/auth/v1.0", "", "X-Auth-User: ann:tester", "X-Auth-Key: sesame")
		},
		"/v3/auth/tokens": func() answer {
			return l.ask("", "POST", "/v3/auth/tokens", passwordV3("tester", "sesame", "ann"))
		},
	} {
		if got := ask(); got.status != 403 || got.header.Get("X-Auth-Token")+got.header.Get("X-Subject-Token") != "" {
			t.Errorf("%s from a banned address: %d %s", path, got.status, got.body)
		}
	}
	bans := r.Defender().Bans()
	if len(bans) != 1 || bans[0].Source != netip.MustParsePrefix("192.0.2.1/32") {
		t.Errorf("Bans = %+v", bans)
	}
}

// TestTokensStayInTheirNetwork carries a token out of the network its user may
// come from, which httptest's address is in.
func TestTokensStayInTheirNetwork(t *testing.T) {
	l, r := newLoginLab(t, auth.Options{})
	u := auth.User{Name: "ann:lan", Role: auth.RoleAdmin, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	if err := r.AddUser(t.Context(), u, "sesame"); err != nil {
		t.Fatal(err)
	}
	token, _ := loginV3(t, l, "ann:lan")
	if got := l.ask("", "PUT", "/v1/AUTH_ann/c", "", "X-Auth-Token: "+token); got.status != 201 {
		t.Fatalf("PUT from within: %d", got.status)
	}
	for from, status := range map[string]int{"192.0.2.200:1": 204, "[::ffff:192.0.2.9]:1": 204, "192.0.3.1:1": 401, "[2001:db8::1]:1": 401, "@": 401} {
		for _, path := range []string{"/v1/AUTH_ann/c", "/v3/auth/catalog"} {
			req := httptest.NewRequest("GET", path, nil)
			req.RemoteAddr = from
			req.Header.Set("X-Auth-Token", token)
			w := httptest.NewRecorder()
			l.g.ServeHTTP(w, req)
			want := status
			if path == "/v3/auth/catalog" && status == 204 {
				want = 200
			}
			if w.Code != want {
				t.Errorf("GET %s from %s = %d, want %d", path, from, w.Code, want)
			}
		}
	}
}
