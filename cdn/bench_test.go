package cdn

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"memstore.dev/memstore/cdn/store"
)

// BenchmarkHit is what a hit from memory costs beside the least that a handler
// can do: the cost of net/http itself comes on top of both.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		body := noise(size, 9)
		b.Run("bare/"+strconv.Itoa(size), func(b *testing.B) {
			run(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("Content-Type", "text/plain")
				h.Set("Content-Length", strconv.Itoa(len(body)))
				h.Set("Cache-Control", "max-age=1000")
				h.Set("Etag", `"x"`)
				w.Write(body)
			}))
		})
		b.Run("cache/"+strconv.Itoa(size), func(b *testing.B) {
			s, err := store.Open(store.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			c := &Cache{Store: s, Origin: roundTrip(func(r *http.Request) (*http.Response, error) {
				rec := httptest.NewRecorder()
				rec.Header().Set("Content-Type", "text/plain")
				content(body, `"x"`)(rec, r)
				return rec.Result(), nil
			})}
			defer s.Close()
			defer c.Close()
			run(b, c)
		})
	}
}

// A sink is a ResponseWriter that keeps its header, as a connection does.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func run(b *testing.B, h http.Handler) {
	r := httptest.NewRequest(http.MethodGet, "http://a.test/some/path/to/an/object.js", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept-Encoding", "gzip, br")
	h.ServeHTTP(httptest.NewRecorder(), r)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s := &sink{make(http.Header)}
		for pb.Next() {
			clear(s.h)
			h.ServeHTTP(s, r)
		}
	})
}
