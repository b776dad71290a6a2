package gateway

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"memstore.dev/memstore/storage/memory"
)

func TestInfo(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.MaxObjectSize = 12345 })
	a := l.ask("", "GET", "/info", "")
	var info map[string]map[string]any
	if err := json.Unmarshal([]byte(a.body), &info); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if got := slices.Sorted(maps.Keys(info)); !slices.Equal(got, []string{"account_quotas", "bulk_delete", "bulk_upload", "container_quotas", "container_sync", "etag_quoter", "formpost", "object_versioning", "ratelimit", "slo", "staticweb", "swift", "symlink", "tempauth", "tempurl", "versioned_writes"}) {
		t.Errorf("features %q", got)
	}
	for key, want := range map[string]float64{"max_file_size": 12345, "max_meta_name_length": 128, "max_meta_value_length": 256, "max_meta_count": 90,
		"max_meta_overall_size": 4096, "max_header_size": 8192, "max_object_name_length": 1024, "container_listing_limit": 10000,
		"account_listing_limit": 10000, "max_account_name_length": 256, "max_container_name_length": 256, "extra_header_count": 0} {
		if info["swift"][key] != want {
			t.Errorf("%s is %v, want %v", key, info["swift"][key], want)
		}
	}
	l.play([]step{
		{who: "-", method: "HEAD", target: "/info", status: 200, text: "-"},
		{who: "-", method: "GET", target: "/info", headers: []string{"Origin: http://a"}, status: 200, want: []string{"Access-Control-Allow-Origin: http://a", "Content-Type: application/json; charset=UTF-8"}},
		{who: "-", method: "OPTIONS", target: "/info", status: 200, want: []string{"Allow: HEAD, GET, OPTIONS"}},
		{who: "-", method: "POST", target: "/info", status: 405, want: []string{"Allow: HEAD, GET, OPTIONS"}},
	})
}

func TestHealthcheck(t *testing.T) {
	off := false
	l := newLabOver(t, memory.New(), func(c *Config) { c.Disabled = func() bool { return off } })
	l.play([]step{
		{who: "-", method: "GET", target: "/healthcheck", status: 200, text: "OK", want: []string{"Content-Type: text/plain"}},
		{who: "-", method: "HEAD", target: "/healthcheck", status: 200, text: "-", want: []string{"Content-Length: 2"}},
		{who: "-", method: "POST", target: "/healthcheck", status: 200, text: "OK"},
	})
	off = true
	l.play([]step{{who: "-", method: "GET", target: "/healthcheck", status: 503, text: "DISABLED BY FILE"}})
}
