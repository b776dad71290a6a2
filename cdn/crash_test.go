package cdn

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"memstore.dev/memstore/cdn/store"
)

// TestPurgeOutlivesCrash opens what a store has on its disk at the very moment
// after a purge, as it is after a SIGKILL.
func TestPurgeOutlivesCrash(t *testing.T) {
	body := noise(300<<10, 7)
	silent := slog.New(slog.DiscardHandler)
	up := roundTrip(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		content(body, `"x"`)(rec, r)
		return rec.Result(), nil
	})
	down := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
	ask := func(c *Cache) (int, string) {
		rec := httptest.NewRecorder()
		c.Serve(rec, httptest.NewRequest(http.MethodGet, "http://a.test/x", nil), Profile{Key: "A/c/x", Scopes: []string{"A", "A/c"}, StaleIfError: maxHeuristic})
		return rec.Code, rec.Header().Get("Cache-Status")
	}
	for name, tt := range map[string]struct {
		purge  func(*Cache)
		code   int
		status string
	}{
		"none":        {func(*Cache) {}, 200, "; hit"},
		"soft":        {func(c *Cache) { c.Purge("A/c/x", false) }, 200, "fwd=stale"},
		"hard":        {func(c *Cache) { c.Purge("A/c/x", true) }, 502, "fwd=uri-miss"},
		"soft scope":  {func(c *Cache) { c.PurgeScope("A/c", false) }, 200, "fwd=stale"},
		"hard scope":  {func(c *Cache) { c.PurgeScope("A", true) }, 502, "fwd=uri-miss"},
		"hard prefix": {func(c *Cache) { c.PurgePrefix("A", "A/c/", true) }, 502, "fwd=uri-miss"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := t.TempDir(), t.TempDir()
			s, err := store.Open(store.Options{Dir: dir, Disk: 256 << 20, Log: silent})
			if err != nil {
				t.Fatal(err)
			}
			c := &Cache{Store: s, Origin: up, Log: silent}
			ask(c)
			c.work.Wait() // for the fill
			if code, status := ask(c); code != 200 || !strings.Contains(status, "; hit") {
				t.Fatalf("before the purge: %d, %s", code, status)
			}
			tt.purge(c)
			err = os.CopyFS(copied, os.DirFS(dir))
			c.Close()
			s.Close()
			if err != nil {
				t.Fatal(err)
			}
			if s, err = store.Open(store.Options{Dir: copied, Disk: 256 << 20, Log: silent}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c = &Cache{Store: s, Origin: down, Log: silent}
			defer c.Close()
			if code, status := ask(c); code != tt.code || !strings.Contains(status, tt.status) {
				t.Errorf("after the crash: %d, %s; want %d, %s", code, status, tt.code, tt.status)
			}
		})
	}
}
