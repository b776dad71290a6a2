package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// testRemote opens an edge with a directory, that reaches its origin by way.
func testRemote(t *testing.T, dir, key, way string) (e *remoteEdge, front *httptest.Server, stop func()) {
	t.Helper()
	kept, err := store.Open(store.Options{Dir: dir, Memory: 1 << 20, Disk: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	origin, err := url.Parse(way)
	if err != nil {
		t.Fatal(err)
	}
	transport := originTransport()
	e = openRemote(t.Context(), remoteOptions{
		Origin: origin, Key: key, Name: "far", Store: kept, Transport: transport, Log: slog.New(slog.DiscardHandler),
	})
	front = httptest.NewServer(e)
	return e, front, func() {
		front.Close()
		if err := errors.Join(e.Close(), kept.Close()); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	}
}

// A wire is a way to a server that can be cut.
type wire struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to, conns: make(map[net.Conn]bool)}
	w.work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			w.work.Go(func() { w.carry(in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.set(true)
		w.work.Wait()
	})
	return w
}

func (w *wire) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer out.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.conns[in], w.conns[out] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			in.Close()
			out.Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, in)
	delete(w.conns, out)
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			c.Close()
		}
	}
}

// soon asks until the answer is as wanted, at most for so long.
func soon(t *testing.T, limit time.Duration, url string, status int, body string) {
	t.Helper()
	for begun := time.Now(); ; {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == status && (body == "" || string(text) == body) {
			t.Logf("%s after %v", body, time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("%s is %d %.40q (%s) after %v, want %d %q", url, resp.StatusCode, text, resp.Header.Get("Cache-Status"), limit, status, body)
		}
	}
}

// An edge on another machine hears of everything: at once, after a cut, and
// after it was away.
func TestRemoteEdge(t *testing.T) {
	n := testCDN(t, nil)
	defer func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	key, err := n.realm.AddEdge(t.Context(), "far")
	if err != nil {
		t.Fatal(err)
	}
	way := newWire(t, n.gatewayListener.Addr().String())
	dir := t.TempDir()
	e, front, stop := testRemote(t, dir, key, "http://"+way.l.Addr().String())
	defer func() { stop() }()
	must := func(status int, method, path, body string, headers ...string) {
		t.Helper()
		if got, text := as(t, n, method, path, body, headers...); got != status {
			t.Fatalf("%s %s = %d %q, want %d", method, path, got, text, status)
		}
	}
	// hear waits until the edge has heard of all that was done.
	hear := func() {
		t.Helper()
		last, err := n.cdn.log.Latest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); e.follower.Heard() < last.Seq; {
			if time.Since(begun) > 5*time.Second {
				t.Fatalf("the edge has heard up to %d of %d", e.follower.Heard(), last.Seq)
			}
			runtime.Gosched()
		}
	}
	const object = "/v1/AUTH_demo/site/a"
	page := func() string { return front.URL + "/AUTH_demo/site/a" }
	if !e.follower.Live() {
		t.Fatal("the edge does not follow")
	}
	must(201, "PUT", object, "one")
	soon(t, time.Second, page(), 200, "one")
	must(201, "PUT", object, "two")
	soon(t, time.Second, page(), 200, "two")
	must(204, "DELETE", "/cdn/v1/AUTH_demo/site/a", "", "X-Purge-Hard: 1")
	soon(t, time.Second, page(), 200, "two")
	must(204, "POST", "/v1/AUTH_demo/site", "", "X-Remove-Container-Read: x")
	soon(t, time.Second, page(), 404, "")
	must(204, "POST", "/v1/AUTH_demo/site", "", "X-Container-Read: .r:*")
	hear()
	soon(t, 0, page(), 200, "two")

	// While it is cut off it goes on with what it holds, and knows no better.
	way.set(true)
	must(201, "PUT", object, "three")
	soon(t, 0, page(), 200, "two")
	way.set(false)
	soon(t, 5*time.Second, page(), 200, "three")

	// It was away, and comes back with all it held: what changed is known before
	// the first request is answered, what did not is still there.
	must(201, "PUT", "/v1/AUTH_demo/site/b", "stays")
	hear()
	for range 3 { // what is used once only need not be kept
		soon(t, time.Second, front.URL+"/AUTH_demo/site/b", 200, "stays")
	}
	stop()
	must(201, "PUT", object, "four")
	e, front, stop = testRemote(t, dir, key, "http://"+way.l.Addr().String())
	soon(t, 0, page(), 200, "four")
	resp, err := http.Get(front.URL + "/AUTH_demo/site/b")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s := resp.Header.Get("Cache-Status"); resp.StatusCode != 200 || s == "" || s[:len("far; hit")] != "far; hit" {
		t.Errorf("what did not change is answered by %q", s)
	}

	// Without its key it hears nothing more.
	if err := n.realm.RemoveEdge(t.Context(), "far"); err != nil {
		t.Fatal(err)
	}
	status, _ := ask(t, "GET", n.gatewayURL+"/edge/v1/events", "", "Authorization: Bearer "+key)
	want(t, "status for a key that was taken away", status, 401)
}
