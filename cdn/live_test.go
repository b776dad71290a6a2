package cdn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"memstore.dev/memstore/cdn/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A live cache has sockets on both sides.
type live struct {
	cache  *Cache
	store  *store.Store
	server *httptest.Server
	client *http.Client
	asked  atomic.Int64 // requests that reached the origin
}

// newLive serves origin through a cache.
func newLive(t testing.TB, origin http.HandlerFunc, o store.Options) *live {
	t.Helper()
	l := &live{}
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		origin(w, r)
	}))
	o.Log = slog.New(slog.DiscardHandler)
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(behind.URL)
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	l.store = s
	l.cache = &Cache{Store: s, Log: o.Log, Origin: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Host = u.Host
		return transport.RoundTrip(r)
	})}
	l.server = httptest.NewUnstartedServer(l.cache)
	l.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	l.server.Start()
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2000, DisableCompression: true}}
	t.Cleanup(func() {
		l.client.CloseIdleConnections()
		l.server.Close()
		if err := l.cache.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		behind.CloseClientConnections()
		behind.Close()
		s.Close()
	})
	return l
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// get asks the cache; err is what came while reading.
func (l *live) get(t testing.TB, path string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, l.server.URL+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// noise is n bytes that are the same each time, and nowhere alike.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	src.Read(b)
	return b
}

// content serves b as a web server does, ranges and conditions included.
func content(b []byte, tag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", tag)
		w.Header().Set("Cache-Control", "max-age=1000")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// TestThousandClients has as many ask for a large object at once that nobody has
// asked for before. With THOUSAND_CLIENTS=full it has 100 MiB, and takes minutes.
func TestThousandClients(t *testing.T) {
	size, clients := 8<<20, 1000
	switch {
	case os.Getenv("THOUSAND_CLIENTS") == "full":
		size = 100 << 20
	case testing.Short():
		clients = 100
	}
	body := noise(size, 1)
	l := newLive(t, content(body, `"big"`), store.Options{Dir: t.TempDir(), Memory: 16 << 20, Disk: 512 << 20})

	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	var group sync.WaitGroup
	var wrong atomic.Int64
	begin := make(chan struct{})
	for range clients {
		group.Go(func() {
			<-begin
			resp, err := l.client.Get(l.server.URL + "/big")
			if err != nil {
				wrong.Add(1)
				t.Log(err)
				return
			}
			defer resp.Body.Close()
			buf, rest := make([]byte, 32<<10), body
			for err == nil {
				var n int
				n, err = resp.Body.Read(buf)
				if n > len(rest) || !bytes.Equal(buf[:n], rest[:n]) {
					break
				}
				rest = rest[n:]
			}
			if err != io.EOF || len(rest) > 0 {
				wrong.Add(1)
				t.Log("wrong bytes", len(rest), err)
			}
			var m runtime.MemStats
			if rand.IntN(50) == 0 {
				runtime.ReadMemStats(&m)
				for old := peak.Load(); m.HeapInuse > old && !peak.CompareAndSwap(old, m.HeapInuse); old = peak.Load() {
				}
			}
		})
	}
	start := time.Now()
	close(begin)
	group.Wait()
	runtime.ReadMemStats(&after)
	t.Logf("%d clients, %d MiB each, in %v; %d requests to the origin; heap %d MiB before, %d MiB at most",
		clients, size>>20, time.Since(start).Round(time.Millisecond), l.asked.Load(), before.HeapInuse>>20, peak.Load()>>20)
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d clients did not get the bytes", n, clients)
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
	// Each client has some 100 KiB of its own here, with both ends of its connection.
	if limit := before.HeapInuse + 128<<20 + uint64(clients)*150<<10; peak.Load() > limit {
		t.Errorf("the heap grew to %d MiB, want at most %d", peak.Load()>>20, limit>>20)
	}
}

func TestSlices(t *testing.T) {
	body := noise(9<<20+12345, 2)
	var ranges sync.Map
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Range"); v != "" {
			if _, twice := ranges.LoadOrStore(v, true); twice {
				t.Errorf("the origin was asked for %s twice", v)
			}
		}
		content(body, `"s"`)(w, r)
	}, store.Options{Dir: t.TempDir(), Memory: 16 << 20, Disk: 256 << 20})
	for _, s := range []span{{3 << 20, 10}, {0, 10}, {1<<20 - 5, 10}, {5<<20 + 7, 2 << 20}, {int64(len(body)) - 5, 5}, {4 << 20, 1}} {
		resp, b, err := l.get(t, "/s", "Range", fmt.Sprintf("bytes=%d-%d", s.off, s.end()-1))
		if err != nil || resp.StatusCode != 206 || !bytes.Equal(b, body[s.off:s.end()]) {
			t.Fatalf("range %v: %v, %d bytes, %v", s, resp.Status, len(b), err)
		}
		if want := string(appendContentRange(nil, s, int64(len(body)))); resp.Header.Get("Content-Range") != want {
			t.Errorf("range %v has Content-Range %q, want %q", s, resp.Header.Get("Content-Range"), want)
		}
	}
	if n := l.asked.Load(); n != 8 { // slices 3, 0, 1, 5, 6, 7, 9, 4
		t.Errorf("the origin was asked %d times, want 8", n)
	}
	resp, b, err := l.get(t, "/s", "Range", fmt.Sprintf("bytes=5-6,%d-%d", 2<<20, 2<<20+3))
	if err != nil || resp.StatusCode != 206 || int64(len(b)) != resp.ContentLength || !bytes.Contains(b, body[2<<20:2<<20+4]) {
		t.Errorf("two ranges: %v, %d bytes of %d, %v", resp.Status, len(b), resp.ContentLength, err)
	}
	if resp, b, err := l.get(t, "/s"); err != nil || !bytes.Equal(b, body) {
		t.Errorf("the whole: %v, %d bytes, %v", resp.Status, len(b), err)
	}
	if n := l.asked.Load(); n != 10 { // 2 and 8
		t.Errorf("the origin was asked %d times, want 10", n)
	}
}

// TestVersionChange has an object change while it is being sent in slices.
func TestVersionChange(t *testing.T) {
	first, second := noise(8<<20, 3), noise(8<<20, 4)
	var changed atomic.Bool
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		if changed.Load() {
			content(second, `"second"`)(w, r)
		} else {
			content(first, `"first"`)(w, r)
		}
	}, store.Options{Dir: t.TempDir(), Memory: 16 << 20, Disk: 256 << 20})
	if _, b, err := l.get(t, "/v", "Range", "bytes=0-9"); err != nil || !bytes.Equal(b, first[:10]) {
		t.Fatal(err)
	}
	changed.Store(true)
	resp, err := l.client.Get(l.server.URL + "/v") // the first slice is there
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil {
		t.Errorf("%d bytes came whole, though the version that they began with is gone", len(b))
	}
	if !bytes.HasPrefix(first, b) {
		t.Error("what came before the cut is not of the first version")
	}
	if _, b, err := l.get(t, "/v"); err != nil || !bytes.Equal(b, second) {
		t.Errorf("afterwards: %d bytes, %v; want the second version", len(b), err)
	}
}

// TestBadOrigins has origins lie, break off and send garbage.
func TestBadOrigins(t *testing.T) {
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, answer)
			conn.Close()
		}
	}
	head := "HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\nDate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n"
	for _, tt := range []struct {
		name, answer string
		status       int  // 0: the connection is cut
		kept         bool // nothing broken is
	}{
		{"whole", head + "Content-Length: 5\r\n\r\nhello", 200, true},
		{"cut off", head + "Content-Length: 500\r\n\r\nhello", 0, false},
		{"cut off in chunks", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0, false},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, true},
		{"until it closes", head + "\r\nhello", 200, false},
		{"more than it said", head + "Content-Length: 5\r\n\r\nhello and more", 200, true},
		{"two lengths", head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502, false},
		{"garbage", "SSH-2.0-OpenSSH\r\n", 502, false},
		{"nothing", "", 502, false},
		{"both length and chunks", head + "Transfer-Encoding: gzip, chunked\r\n\r\n", 502, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLive(t, raw(tt.answer), store.Options{})
			for i := range 2 {
				resp, b, err := l.get(t, "/x")
				l.cache.work.Wait() // or the next may still join what fails
				switch {
				case tt.status == 0 && err == nil:
					t.Errorf("request %d got %s with %d bytes, want a cut connection", i, resp.Status, len(b))
				case tt.status != 0 && (err != nil || resp.StatusCode != tt.status):
					t.Errorf("request %d got %v, %v, want %d", i, resp, err, tt.status)
				case tt.status == 200 && string(b) != "hello":
					t.Errorf("request %d got %q", i, b)
				}
			}
			if kept := l.asked.Load() == 1; kept != tt.kept {
				t.Errorf("the origin was asked %d times, kept should be %v", l.asked.Load(), tt.kept)
			}
		})
	}
}

func TestOriginGone(t *testing.T) {
	l := newLive(t, content([]byte("x"), `"x"`), store.Options{})
	l.cache.Origin = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}}
	resp, _, err := l.get(t, "/x")
	if err != nil || resp.StatusCode != http.StatusGatewayTimeout || !strings.Contains(resp.Header.Get("Cache-Status"), "detail=origin-unreachable") {
		t.Errorf("got %v, %v, want 504 with Cache-Status", resp, err)
	}
}

// TestPurgeDuringFill has a purge come while a response is on its way.
func TestPurgeDuringFill(t *testing.T) {
	for _, hard := range []bool{false, true} {
		for _, when := range []string{"header", "body"} {
			t.Run(fmt.Sprintf("%s hard=%v", when, hard), func(t *testing.T) {
				asked, proceed := make(chan struct{}, 1), make(chan struct{})
				var version atomic.Int64
				l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
					v := version.Load()
					w.Header().Set("Cache-Control", "max-age=1000")
					w.Header().Set("Content-Length", "2")
					if v == 0 && when == "header" {
						asked <- struct{}{}
						<-proceed
					}
					fmt.Fprint(w, v)
					if v == 0 && when == "body" {
						http.NewResponseController(w).Flush()
						asked <- struct{}{}
						<-proceed
					}
					fmt.Fprint(w, v)
				}, store.Options{})
				first := make(chan string)
				go func() {
					_, b, _ := l.get(t, "/x")
					first <- string(b)
				}()
				<-asked
				version.Store(1)
				l.cache.Purge(l.server.URL+"/x", hard)
				if _, b, err := l.get(t, "/x"); err != nil || string(b) != "11" {
					t.Errorf("after the purge came %q, %v, want the new", b, err)
				}
				close(proceed)
				if got := <-first; got != "00" {
					t.Errorf("he who waited got %q, want what he asked for", got)
				}
				if _, b, err := l.get(t, "/x"); err != nil || string(b) != "11" {
					t.Errorf("at last came %q, %v: what was purged was kept", b, err)
				}
			})
		}
	}
}

// TestUncacheable has nobody queue for a response that is for one alone.
func TestUncacheable(t *testing.T) {
	var at sync.WaitGroup
	at.Add(20)
	var first atomic.Bool
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !first.Swap(true) {
			return // the one that shows what kind it is
		}
		at.Done()
		at.Wait() // all of them must be here at once
		fmt.Fprint(w, "x")
	}, store.Options{})
	l.get(t, "/x")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, b, err := l.get(t, "/x"); err != nil || string(b) != "x" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
	group.Wait()
}

// TestLeaver has the one who began a fetch leave; those who joined get it all.
func TestLeaver(t *testing.T) {
	asked, proceed := make(chan struct{}), make(chan struct{})
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1000")
		w.Header().Set("Content-Length", "10")
		w.Write([]byte("hello"))
		http.NewResponseController(w).Flush()
		asked <- struct{}{}
		<-proceed
		w.Write([]byte("world"))
	}, store.Options{})
	ctx, leave := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.server.URL+"/x", nil)
	resp, err := l.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	second, err := l.client.Get(l.server.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	close(proceed)
	b, err := io.ReadAll(second.Body)
	second.Body.Close()
	if string(b) != "helloworld" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
}

// TestInterim has early hints pass, and not stay.
func TestInterim(t *testing.T) {
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Cache-Control", "max-age=1000")
		fmt.Fprint(w, "x")
	}, store.Options{})
	conn, err := net.Dial("tcp", l.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK")) || bytes.Count(b, []byte("Link:")) != 1 {
		t.Errorf("got %q", b)
	}
}

// TestOldClients has clients of HTTP/1.0, and requests in absolute form.
func TestOldClients(t *testing.T) {
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1000")
		w.(http.Flusher).Flush() // of unknown length, so in chunks
		fmt.Fprint(w, "for "+r.Host)
	}, store.Options{})
	ask := func(request string) string {
		conn, err := net.Dial("tcp", l.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, request)
		b, _ := io.ReadAll(conn)
		return string(b)
	}
	for range 2 {
		if got := ask("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 200 OK") || strings.Contains(got, "chunked") || !strings.HasSuffix(got, "\r\n\r\nfor a.test") {
			t.Errorf("HTTP/1.0 got %q", got)
		}
	}
	if got := ask("GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "for b.test") {
		t.Errorf("the absolute form got %q", got)
	}
	if got := ask("GET /x HTTP/1.1\r\nHost: a.test/evil?\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("an odd host got %q", got)
	}
}

// TestNoBodyWanted has the fetch of a large object end when the answer turns out
// to need none of it.
func TestNoBodyWanted(t *testing.T) {
	body, ended := noise(64<<20, 5), make(chan struct{})
	l := newLive(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		content(body, `"big"`)(w, r)
	}, store.Options{Memory: 16 << 20})
	l.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.cache.Serve(w, r, Profile{Key: "big"})
	})
	resp, _, err := l.get(t, "/x", "If-None-Match", `"big"`)
	if err != nil || resp.StatusCode != http.StatusNotModified {
		t.Fatalf("got %v, %v, want 304", resp, err)
	}
	<-ended
}
