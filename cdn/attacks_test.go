package cdn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Attacks on the edge, each of which must fail. Those on what responses say are
// among the scripts.

type originFunc func(*http.Request) (*http.Response, error)

func (f originFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is asked for in a form that is no path must not be kept as the answer for
// one, nor be sent to the origin to mean what it likes.
func TestTargetsThatAreNoPath(t *testing.T) {
	var asked atomic.Int32
	c := &Cache{Origin: originFunc(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		w := httptest.NewRecorder()
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "page of ", r.URL.RequestURI())
		return w.Result(), nil
	})}
	defer c.Close()
	ask := func(line string) (int, string) {
		t.Helper()
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: a.test\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c.Serve(w, r, Profile{})
		return w.Code, w.Body.String()
	}
	for _, line := range []string{"GET x:http://a.test/other", "GET http:other", "GET *"} {
		if status, body := ask(line); status != http.StatusBadRequest || asked.Load() != 0 {
			t.Errorf("%s = %d %q, and %d requests to the origin", line, status, body, asked.Load())
		}
	}
	if status, body := ask("GET http://a.test"); status != 200 || body != "page of /" {
		t.Errorf("the page itself is %d %q", status, body)
	}
	if status, body := ask("GET /"); status != 200 || body != "page of /" || asked.Load() != 1 {
		t.Errorf("the page by its path is %d %q", status, body)
	}
	if status, _ := ask("OPTIONS *"); status != 200 {
		t.Errorf("OPTIONS * = %d", status)
	}
}

// No other protocol than WebSocket is let past.
func TestUpgrades(t *testing.T) {
	for protocol, want := range map[string]bool{"websocket": true, "h2c": false, "h2c, HTTP/2.0": false, "TLS/1.0": false} {
		var passed string
		c := &Cache{Origin: originFunc(func(r *http.Request) (*http.Response, error) {
			passed = r.Header.Get("Upgrade")
			return httptest.NewRecorder().Result(), nil
		})}
		r := httptest.NewRequest("GET", "http://a.test/", nil)
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", protocol)
		c.Serve(httptest.NewRecorder(), r, Profile{})
		c.Close()
		if (passed != "") != want {
			t.Errorf("Upgrade: %s reaches the origin as %q", protocol, passed)
		}
	}
}

func TestRedirectsStayWithinTheSite(t *testing.T) {
	for location, want := range map[string]string{
		"http://memstore/v1/A/c//evil.test/": "/.//evil.test/",
		"/v1/A/c//evil.test":                 "/.//evil.test",
		"http://memstore/v1/A/c/a/?x":        "/a/?x",
		"http://memstore/v1/A/c%2f/evil":     "/.//evil",
	} {
		got := withinSite(location, "/v1/A/c/x")
		u, err := url.Parse(got)
		if err != nil || got != want || u.Host != "" {
			t.Errorf("%s becomes %s, want %s", location, got, want)
		}
	}
}

// A container that closes takes along what large objects of others are made of.
func TestClosedPartsOfLargeObjects(t *testing.T) {
	o, e := newTown(t, nil)
	large := http.Header{"X-Static-Large-Object": {"True"}}
	o.headers["AUTH_ann/pics/film"] = large
	o.objects["AUTH_ann/pics/film"] = "reels"
	for _, name := range []string{"film", "a.jpg"} {
		visit(e, "GET http://cdn.test/AUTH_ann/pics/"+name)
	}
	asked := func(name string) bool {
		o.set(func() { o.asked = nil })
		visit(e, "GET http://cdn.test/AUTH_ann/pics/"+name)
		return len(o.asked) > 0
	}
	if asked("film") || asked("a.jpg") {
		t.Fatal("they are not kept")
	}
	e.Apply(Event{Op: OpUpdate, Account: "AUTH_bob", Container: "reels"})
	if asked("film") {
		t.Error("what happens in another account ends a large object")
	}
	e.Apply(Event{Op: OpUpdate, Account: "AUTH_ann", Container: "reels"})
	if !asked("film") || o.header.Get("If-None-Match") != "" {
		t.Error("a large object outlives the closing of its parts")
	}
	if asked("a.jpg") {
		t.Error("an object of its own bytes does not")
	}
}

// A silentZone answers when it is told to.
type silentZone struct {
	asked atomic.Int32
	speak chan struct{}
}

func (z *silentZone) LookupCNAME(ctx context.Context, _ string) (string, error) {
	z.asked.Add(1)
	select {
	case <-z.speak:
	case <-ctx.Done():
	}
	return "", io.EOF
}

func (z *silentZone) LookupTXT(context.Context, string) ([]string, error) { return nil, io.EOF }

// Names that strangers make up cost the DNS only so much.
func TestMadeUpDomains(t *testing.T) {
	_, e := newTown(t, nil)
	z := &silentZone{speak: make(chan struct{})}
	e.Resolver = z
	done := make(chan int)
	const many = 3 * maxLookups
	for i := range many {
		go func() { done <- visit(e, fmt.Sprintf("GET http://%d.example.com/", i)).StatusCode }()
	}
	for range many - maxLookups { // which are refused at once
		select {
		case status := <-done:
			if status != http.StatusNotFound {
				t.Errorf("status %d", status)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("all wait for the DNS, which is asked %d questions", z.asked.Load())
		}
	}
	close(z.speak)
	for range maxLookups {
		<-done
	}
	if n := z.asked.Load(); n != maxLookups {
		t.Errorf("the DNS was asked %d questions, want %d", n, maxLookups)
	}
	visit(e, "GET http://192.0.2.1/")
	visit(e, "GET http://[2001:db8::1]/")
	if n := z.asked.Load(); n != maxLookups {
		t.Error("the DNS was asked for an address")
	}
}

// An edge learns of a container that is not open that it is not.
func TestFeedTellsNothingOfPrivateSites(t *testing.T) {
	o, _ := newTown(t, nil)
	o.meta["AUTH_ann/diary"] = map[string]string{headerIndex: "secret.html", headerDomains: "secret.example.com"}
	f := &Feed{Directory: o, Authorize: func(key string) (string, bool) { return "edge", key == "k" }}
	ask := func(container string) string {
		r := httptest.NewRequest("GET", FeedPath+"site?account=AUTH_ann&container="+container, nil)
		r.Header.Set("Authorization", "Bearer k")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Body.String()
	}
	if got := ask("diary"); strings.Contains(got, "secret") || !strings.Contains(got, `"diary"`) {
		t.Errorf("of a private container edges are told %s", got)
	}
	if got := ask("pics"); !strings.Contains(got, `"readers"`) {
		t.Errorf("of a public one %s", got)
	}
}
