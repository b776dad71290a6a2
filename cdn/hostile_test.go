package cdn

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// An origin that takes too long, before it answers or in the middle of it, costs
// its clients no more than the limits, and leaves nothing that is not whole.
func TestSlowOrigins(t *testing.T) {
	body := noise(300<<10, 3)
	for _, where := range []string{"header", "body"} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s held=%v", where, held), func(t *testing.T) {
				var hangs atomic.Bool
				end := make(chan struct{})
				l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=0, stale-if-error=1000")
					if !hangs.Load() {
						w.Header().Set("Etag", `"1"`)
						w.Write(body)
						return
					}
					if where == "body" {
						w.Header().Set("Content-Length", fmt.Sprint(len(body)))
						w.Write(body[:len(body)/2])
						http.NewResponseController(w).Flush()
					}
					select {
					case <-end:
					case <-r.Context().Done():
					}
				}, store.Options{})
				t.Cleanup(func() { close(end) }) // before the origin is closed, which waits for it
				l.cache.HeaderTimeout, l.cache.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond
				if held {
					if _, b, err := l.get(t, "/x"); err != nil || !bytes.Equal(b, body) {
						t.Fatalf("at first: %d bytes, %v", len(b), err)
					}
				}
				hangs.Store(true)
				for i := range 2 {
					resp, b, err := l.get(t, "/x")
					switch {
					case where == "body" && err == nil:
						t.Errorf("request %d: half a body came as %d bytes called whole", i, len(b))
					case where == "header" && held && (err != nil || resp.StatusCode != 200 || !bytes.Equal(b, body)):
						t.Errorf("request %d: got %v with %d bytes, %v, want what is held", i, resp, len(b), err)
					case where == "header" && !held && (err != nil || resp.StatusCode != http.StatusGatewayTimeout):
						t.Errorf("request %d: got %v, %v, want 504", i, resp, err)
					case where == "header" && !strings.Contains(resp.Header.Get("Cache-Status"), "detail=origin-slow"):
						t.Errorf("request %d: Cache-Status is %q", i, resp.Header.Get("Cache-Status"))
					}
				}
				hangs.Store(false)
				if _, b, err := l.get(t, "/x"); err != nil || !bytes.Equal(b, body) {
					t.Errorf("once it answers again: %d bytes, %v", len(b), err)
				}
			})
		}
	}
}

// An origin that lies about the slices of a large object has none of its lies
// kept: once it is honest, every byte is right, and whatever was called whole
// before was.
func TestLyingSlices(t *testing.T) {
	body := noise(6<<20, 5)
	honest := content(body, `"1"`)
	for name, lie := range map[string]http.HandlerFunc{
		"another range": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 7-1048582/%d", len(body)))
			w.WriteHeader(206)
			w.Write(body[7 : 7+1<<20])
		},
		"another length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Range", "bytes 0-1048575/1048577")
			w.WriteHeader(206)
			w.Write(body[:1<<20])
		},
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<20))
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-1048575/%d", len(body)))
			w.WriteHeader(206)
			w.Write(body[:1<<19])
			panic(http.ErrAbortHandler)
		},
		"no range at all": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Range", "garbage")
			w.WriteHeader(206)
			w.Write(body[:100])
		},
		"not satisfiable": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(416) },
		"an error":        func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
	} {
		t.Run(name, func(t *testing.T) {
			var lies atomic.Bool
			l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=1000")
				if lies.Load() {
					lie(w, r)
					return
				}
				honest(w, r)
			}, store.Options{Dir: t.TempDir()})
			// The version is known, and one slice of it; the rest are asked for.
			if resp, b, err := l.get(t, "/v", "Range", "bytes=5242880-5242979"); err != nil || resp.StatusCode != 206 || !bytes.Equal(b, body[5<<20:5<<20+100]) {
				t.Fatalf("at first: %v with %d bytes, %v", resp, len(b), err)
			}
			lies.Store(true)
			for _, at := range []int{0, 2 << 20} {
				resp, b, err := l.get(t, "/v", "Range", fmt.Sprintf("bytes=%d-%d", at, at+99))
				if err == nil && resp.StatusCode == 206 && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", at, at+99, len(body)) &&
					!bytes.Equal(b, body[at:at+100]) {
					t.Errorf("at %d other bytes came under the right name", at)
				}
			}
			lies.Store(false)
			// A lie that could be the truth, another version, ends with the first
			// slice that belies it, and with it the answer that it is found in.
			for i := range 3 {
				_, b, err := l.get(t, "/v")
				if err == nil && !bytes.Equal(b, body) || err != nil && (i > 0 || name != "another length") {
					t.Errorf("request %d once it is honest: %d bytes, %v", i, len(b), err)
				}
			}
		})
	}
}
