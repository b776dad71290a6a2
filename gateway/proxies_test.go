package gateway

import (
	"net/http/httptest"
	"net/netip"
	"testing"

	"memstore.dev/memstore/auth"
)

func TestPeer(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct {
		name, remote string
		proxies      []netip.Prefix
		forwarded    []string
		want         string
		secure       bool
	}{
		{"nobody is trusted", "10.0.0.1:1", nil, []string{"203.0.113.5"}, "10.0.0.1", false},
		{"no proxy", "203.0.113.5:1", trusted, nil, "203.0.113.5", false},
		{"a stranger who says he is another", "203.0.113.5:1", trusted, []string{"198.51.100.7"}, "203.0.113.5", false},
		{"one proxy", "10.0.0.1:1", trusted, []string{"203.0.113.5"}, "203.0.113.5", true},
		{"one proxy, mapped", "[::ffff:10.0.0.1]:1", trusted, []string{"::ffff:203.0.113.5"}, "203.0.113.5", true},
		{"one proxy, with the port", "10.0.0.1:1", trusted, []string{"203.0.113.5:4711"}, "203.0.113.5", true},
		{"two proxies", "10.0.0.1:1", trusted, []string{"203.0.113.5, 10.9.9.9"}, "203.0.113.5", true},
		{"two lines", "10.0.0.1:1", trusted, []string{"203.0.113.5", "fd00::1"}, "203.0.113.5", true},
		{"what the client made up comes first", "10.0.0.1:1", trusted, []string{"198.51.100.7, 203.0.113.5"}, "203.0.113.5", true},
		{"a proxy asks by itself", "10.0.0.1:1", trusted, nil, "10.0.0.1", true},
		{"what is no address", "10.0.0.1:1", trusted, []string{"198.51.100.7, unknown"}, "10.0.0.1", true},
		{"a unix socket", "@", trusted, []string{"198.51.100.7"}, "invalid IP", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.remote
		r.Header["X-Forwarded-For"] = tt.forwarded
		r.Header.Set("X-Forwarded-Proto", "https")
		g := &gateway{Config: Config{Proxies: tt.proxies}}
		if got := g.peer(r).String(); got != tt.want {
			t.Errorf("%s: peer = %s, want %s", tt.name, got, tt.want)
		}
		if got := g.secure(r); got != tt.secure {
			t.Errorf("%s: secure = %v, want %v", tt.name, got, tt.secure)
		}
	}
}

// TestBansGoByTheClient bans one of two clients behind the same proxy, who is
// httptest.
func TestBansGoByTheClient(t *testing.T) {
	l, r := newLoginLab(t, auth.Options{Defender: auth.DefenderOptions{Limit: 2}}, func(c *Config) {
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	login := func(key, from string) int {
		return l.ask("", "GET", "/auth/v1.0", "", "X-Auth-User: ann:tester", "X-Auth-Key: "+key, "X-Forwarded-For: "+from).status
	}
	for range 2 {
		if got := login("wrong", "198.51.100.1, 203.0.113.5"); got != 401 {
			t.Fatalf("wrong key: %d", got)
		}
	}
	if got := login("sesame", "203.0.113.5"); got != 403 {
		t.Errorf("login of the banned client: %d, want 403", got)
	}
	if got := login("sesame", "203.0.113.6"); got != 200 {
		t.Errorf("login of his neighbour: %d, want 200", got)
	}
	if bans := r.Defender().Bans(); len(bans) != 1 || bans[0].Source != netip.MustParsePrefix("203.0.113.5/32") {
		t.Errorf("Bans = %+v", bans)
	}
}
