package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// An edge asks another edge, and a spare beside it. The other one is killed in the
// middle of a body: whoever was reading gets it whole, and who comes later gets
// all there is.
func TestEdgeAsksSpares(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	var gate atomic.Bool
	var spared atomic.Int64
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/big" {
			io.WriteString(w, "from the first, by "+strings.Join(r.Header.Values("Cdn-Loop"), ", "))
			return
		}
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		gate.Store(true) // before what it says can be seen
		w.Write(body[:1<<20])
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer first.Close()
	spare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spared.Add(1)
		switch r.URL.Path {
		case "/big":
			serve(w, r)
		case "/host":
			io.WriteString(w, r.Host)
		default:
			io.WriteString(w, "from the spare")
		}
	}))
	defer spare.Close()

	t.Setenv("MEMSTORE_CDN_NAME", "shield")
	shield := startKillable(t, first.URL, t.TempDir())
	killed := false
	defer func() {
		if !killed {
			shield.end(t, syscall.SIGKILL)
		}
	}()
	t.Setenv("MEMSTORE_CDN_NAME", "near")
	near := startKillable(t, shield.url, t.TempDir(), "--origin", spare.URL, "--check-every", "10m")
	defer near.end(t, syscall.SIGTERM)

	if status, text := ask(t, "GET", near.url+"/page", ""); status != 200 || text != "from the first, by near, shield" {
		t.Errorf("GET /page = %d %q", status, text)
	}
	resp, err := http.Get(near.url + "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, start); err != nil {
		t.Fatal(err)
	}
	if !gate.Load() || spared.Load() != 0 {
		t.Fatalf("the body does not come from the first; the spare was asked %d times", spared.Load())
	}
	shield.end(t, syscall.SIGKILL)
	killed = true
	rest, err := io.ReadAll(resp.Body)
	if got := append(start, rest...); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the body came as %d of %d bytes, %v", len(got), len(body), err)
	}
	if status, text := ask(t, "GET", near.url+"/other", ""); status != 200 || text != "from the spare" {
		t.Errorf("GET /other = %d %q", status, text)
	}
	if _, text := ask(t, "GET", near.url+"/host", ""); "http://"+text != spare.URL {
		t.Errorf("the spare is asked as %q, want its own name %s", text, spare.URL)
	}
}

// An edge that reaches its Memstore by two ways loses nothing with one of them:
// it hears of changes by the other, and still trusts what it holds.
func TestRemoteEdgeSpareWay(t *testing.T) {
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
	ways := []*wire{newWire(t, n.gatewayListener.Addr().String()), newWire(t, n.gatewayListener.Addr().String())}
	opts := originOptions{every: 100 * time.Millisecond}
	for _, w := range ways {
		opts.urls = append(opts.urls, "http://"+w.l.Addr().String())
	}
	urls, err := opts.parse(true)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Open(store.Options{Memory: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	transport := originTransport()
	defer transport.CloseIdleConnections()
	several, stop := opts.open(t.Context(), urls, transport, true, false, slog.New(slog.DiscardHandler))
	defer stop()
	e := openRemote(t.Context(), remoteOptions{Origin: urls[0], Key: key, Name: "far", Store: kept, Origins: several, Log: slog.New(slog.DiscardHandler)})
	defer func() {
		if err := errors.Join(e.Close(), kept.Close()); err != nil {
			t.Error(err)
		}
	}()
	front := httptest.NewServer(e)
	defer front.Close()
	must := func(status int, method, path, body string, headers ...string) {
		t.Helper()
		if got, text := as(t, n, method, path, body, headers...); got != status {
			t.Fatalf("%s %s = %d %q, want %d", method, path, got, text, status)
		}
	}
	live := func() {
		t.Helper()
		for begun := time.Now(); !e.follower.Live(); runtime.Gosched() {
			if time.Since(begun) > 5*time.Second {
				t.Fatal("the edge does not follow")
			}
		}
	}
	live()
	must(201, "PUT", "/v1/AUTH_demo/site/a", "one")
	must(201, "PUT", "/v1/AUTH_demo/site/b", "stays")
	last, err := n.cdn.log.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); e.follower.Heard() < last.Seq; runtime.Gosched() { // or what it fetches is ended by that
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("the edge has heard up to %d of %d", e.follower.Heard(), last.Seq)
		}
	}
	soon(t, time.Second, front.URL+"/AUTH_demo/site/a", 200, "one")
	for range 3 { // what is used once only need not be kept
		soon(t, time.Second, front.URL+"/AUTH_demo/site/b", 200, "stays")
	}

	ways[0].set(true)
	soon(t, 5*time.Second, front.URL+"/AUTH_demo/site/none", 404, "")
	live()
	resp, err := http.Get(front.URL + "/AUTH_demo/site/b")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if v := resp.Header.Get("Cache-Status"); !strings.Contains(v, "; hit") {
		t.Errorf("by the other way to the same store it asks again for what it holds: %s", v)
	}
	must(201, "PUT", "/v1/AUTH_demo/site/a", "two")
	soon(t, time.Second, front.URL+"/AUTH_demo/site/a", 200, "two")

	// The other way is cut as well, and the first is mended.
	ways[0].set(false)
	ways[1].set(true)
	soon(t, 5*time.Second, front.URL+"/AUTH_demo/site/none", 404, "")
	must(201, "PUT", "/v1/AUTH_demo/site/a", "three")
	soon(t, 5*time.Second, front.URL+"/AUTH_demo/site/a", 200, "three")

	// A body of this store can be joined: its tag is bare, and holds in If-Range.
	must(206, "GET", "/v1/AUTH_demo/site/b", "", "Range: bytes=1-2", `If-Range: "`+tagOf(t, n, "b")+`"`)
}

// tagOf is the bare tag of an object in the site.
func tagOf(t *testing.T, n *node, object string) string {
	t.Helper()
	resp, err := http.Head(n.gatewayURL + "/v1/AUTH_demo/site/" + object)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	tag := resp.Header.Get("Etag")
	if tag == "" || strings.Contains(tag, `"`) {
		t.Fatalf("the tag of %s is %q, want a bare one", object, tag)
	}
	return tag
}

func TestOriginOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o        originOptions
		memstore bool
		ok       bool
	}{
		"none":            {o: originOptions{every: 1}},
		"one":             {o: originOptions{urls: []string{"http://a"}, every: 1}, ok: true},
		"two":             {o: originOptions{urls: []string{"http://a", "https://b/c"}, every: 1, check: "/up?x=1"}, ok: true},
		"two of a store":  {o: originOptions{urls: []string{"http://a/s", "https://b/s/"}, every: 1}, memstore: true, ok: true},
		"other paths":     {o: originOptions{urls: []string{"http://a", "http://b/c"}, every: 1}, memstore: true},
		"no URL":          {o: originOptions{urls: []string{"http://a", "b"}, every: 1}},
		"never checked":   {o: originOptions{urls: []string{"http://a"}}},
		"check elsewhere": {o: originOptions{urls: []string{"http://a"}, every: 1, check: "http://b/up"}},
		"check a host":    {o: originOptions{urls: []string{"http://a"}, every: 1, check: "//b/up"}},
	} {
		if all, err := c.o.parse(c.memstore); (err == nil) != c.ok || c.ok && len(all) != len(c.o.urls) {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
}
