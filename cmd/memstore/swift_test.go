package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// The edge in this process asks by a name that the DNS does not know.
func TestHostsLetTheEdgeIn(t *testing.T) {
	c := Defaults()
	c.Swift.Domains, c.Swift.Aliases = "store.example.com", true
	var g gateway.Config
	c.fillSwift(&g, func(name, text string, _ ...any) { t.Error(name, text) })
	g.Store = storage.New(memory.New())
	g.Hosts.Resolve = func(_ context.Context, host string) (string, error) {
		t.Errorf("the DNS is asked for %s", host)
		return "", nil
	}
	w := httptest.NewRecorder()
	gateway.New(g).ServeHTTP(w, httptest.NewRequest("GET", "http://memstore/info", nil))
	if w.Code != http.StatusOK {
		t.Errorf("the edge is told %d %s", w.Code, w.Body)
	}
}

func TestFillSwift(t *testing.T) {
	for _, tt := range []struct {
		set  func(*SwiftConfig)
		want string // the setting that is complained of
	}{
		{func(*SwiftConfig) {}, ""},
		{func(s *SwiftConfig) { s.Digests = "sha1, md5" }, "swift.digests"},
		{func(s *SwiftConfig) { s.Policies = "gold, two words" }, "swift.policies"},
		{func(s *SwiftConfig) { s.Policies = "gold, Gold" }, "swift.policies"},
		{func(s *SwiftConfig) { s.Policies = "gold, silver" }, ""},
		{func(s *SwiftConfig) { s.Aliases = true }, "swift.aliases"},
		{func(s *SwiftConfig) { s.Domains, s.Aliases = "store.example.com", true }, ""},
		{func(s *SwiftConfig) { s.ObjectRates = "100=10, 50=20" }, "swift.object_rates"},
		{func(s *SwiftConfig) { s.ListingRates = "100" }, "swift.listing_rates"},
		{func(s *SwiftConfig) { s.ListingRates = "100=1.5" }, ""},
		{func(s *SwiftConfig) { s.ContainerRate = -1 }, "swift.container_rate"},
		{func(s *SwiftConfig) { s.ForbiddenPattern = "(" }, "swift.forbidden_pattern"},
	} {
		c := Defaults()
		tt.set(&c.Swift)
		var g gateway.Config
		got := ""
		c.fillSwift(&g, func(name, _ string, _ ...any) { got = name })
		if got != tt.want {
			t.Errorf("%+v: complains of %q, want %q", c.Swift, got, tt.want)
		}
		if tt.want == "" && !slices.Contains(g.Digests, "sha256") {
			t.Errorf("%+v: digests %q", c.Swift, g.Digests)
		}
	}
}
