package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// A sink is a ResponseWriter that keeps nothing, so that a benchmark measures
// the gateway alone.
type sink struct {
	header http.Header
	status int
	n      int64
}

func (w *sink) Header() http.Header         { return w.header }
func (w *sink) WriteHeader(status int)      { w.status = status }
func (w *sink) Write(p []byte) (int, error) { w.n += int64(len(p)); return len(p), nil }

// benchGateway is a gateway as it runs, its log included.
func benchGateway(b *testing.B) http.Handler {
	guard := auth.NewGuard(memory.New())
	g := New(Config{Store: storage.New(guard), Auth: people{}, Owner: guard.Owner, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	answerOf(b, g, "PUT", "/v1/AUTH_ann/c", nil, 201)
	return g
}

func benchRequest(b *testing.B, method, target string, body []byte) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://127.0.0.1"+target, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI = target
	r.Header = http.Header{"X-Auth-Token": {"AUTH_tkann"}, "User-Agent": {"bench"}, "Accept-Encoding": {"identity"}}
	if method == "PUT" {
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("X-Object-Meta-Mtime", "1795300426.74307")
	}
	return r
}

func answerOf(b *testing.B, g http.Handler, method, target string, body []byte, status int) {
	w := &sink{header: http.Header{}}
	g.ServeHTTP(w, benchRequest(b, method, target, body))
	if w.status != status {
		b.Fatalf("%s %s = %d, want %d", method, target, w.status, status)
	}
}

// BenchmarkGateway is what the gateway and a store in memory take for a
// request, without net/http.
func BenchmarkGateway(b *testing.B) {
	g := benchGateway(b)
	body := make([]byte, 1024)
	answerOf(b, g, "PUT", "/v1/AUTH_ann/c/o", body, 201)
	for _, c := range []struct {
		method string
		status int
	}{{"GET", 200}, {"HEAD", 200}, {"PUT", 201}} {
		b.Run(c.method, func(b *testing.B) {
			r := benchRequest(b, c.method, "/v1/AUTH_ann/c/o", body)
			b.ReportAllocs()
			for b.Loop() {
				if c.method == "PUT" {
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				w := sink{header: make(http.Header, 16)}
				g.ServeHTTP(&w, r)
				if w.status != c.status {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkWire is GET of 1 KiB over a connection, beside a handler of
// net/http that sends the same bytes.
func BenchmarkWire(b *testing.B) {
	body := make([]byte, 1024)
	g := benchGateway(b)
	answerOf(b, g, "PUT", "/v1/AUTH_ann/c/o", body, 201)
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(body)
	})
	for name, h := range map[string]http.Handler{"gateway": g, "bare": bare} {
		b.Run(name, func(b *testing.B) {
			l := &lab{t: b, g: h}
			addr := l.serve()
			const get = "GET /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n\r\n"
			res, conn, r := l.wire(addr, get)
			io.Copy(io.Discard, res.Body)
			for b.Loop() {
				io.WriteString(conn, get)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != 1024 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkListing is a full page of 10,000 names in each format.
func BenchmarkListing(b *testing.B) {
	g := benchGateway(b)
	for i := range maxListing {
		answerOf(b, g, "PUT", fmt.Sprintf("/v1/AUTH_ann/c/directory/file-%06d.txt", i), nil, 201)
	}
	for _, format := range []string{"plain", "json", "xml"} {
		b.Run(format, func(b *testing.B) {
			r := benchRequest(b, "GET", "/v1/AUTH_ann/c?format="+format, nil)
			b.ReportAllocs()
			for b.Loop() {
				w := sink{header: make(http.Header, 16)}
				g.ServeHTTP(&w, r)
				b.SetBytes(w.n)
			}
		})
	}
}

// BenchmarkEncoders is the writing alone.
func BenchmarkEncoders(b *testing.B) {
	in := &storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: "c", Object: "directory/file-000001.txt"},
		Size: 12345, ETag: helloTag, Type: "text/plain", ModTime: time.Unix(1795300426, 743070000)}
	for name, e := range map[string]encoder{"text": newTextEncoder(in.Path.Parent()), "json": newJSONEncoder(in.Path.Parent()), "xml": newXMLEncoder(in.Path.Parent())} {
		b.Run(name, func(b *testing.B) {
			room := e.begin(make([]byte, 0, 1024))
			b.ReportAllocs()
			for b.Loop() {
				room = e.row(room[:0], in)
			}
		})
	}
}
