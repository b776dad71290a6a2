package cdn

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"memstore.dev/memstore/cdn/store"
)

// A town is a Memstore as an edge sees it: containers with objects, asked as a
// stranger would, and a record of what was asked for.
type town struct {
	mu      sync.Mutex
	meta    map[string]map[string]string // by "account/container"
	objects map[string]string            // by "account/container/object"
	headers map[string]http.Header       // of objects
	asked   []string
	header  http.Header // of the last request
	down    bool
}

var errDown = errors.New("nobody is there")

func (o *town) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, errDown
	}
	key := strings.TrimPrefix(r.URL.Path, "/v1/")
	o.asked, o.header = append(o.asked, r.Method+" "+r.URL.RequestURI()), r.Header.Clone()
	w := httptest.NewRecorder()
	h := w.Header()
	h.Set("X-Trans-Id", "tx1")
	for name, values := range o.headers[key] {
		h[name] = values
	}
	body, ok := o.objects[key]
	switch {
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case h.Get("Location") != "":
		w.WriteHeader(http.StatusMovedPermanently)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "none")
	default:
		h.Set("Etag", "0123456789abcdef")
		h.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		io.WriteString(w, body)
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (o *town) Site(_ context.Context, ref Ref) (Site, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return Site{}, errDown
	}
	if ref.ID == "0d9303a4" {
		ref.Account = "AUTH_ann"
	}
	meta, ok := o.meta[ref.Account+"/"+ref.Container]
	if !ok {
		return Site{}, fs.ErrNotExist
	}
	return ReadSite(Site{Account: ref.Account, Container: ref.Container, TTL: 1000}, meta), nil
}

func (o *town) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func newTown(t *testing.T, live func() bool) (*town, *Edge) {
	t.Helper()
	o := &town{
		meta:    map[string]map[string]string{"AUTH_ann/pics": {headerRead: ".r:*"}},
		objects: map[string]string{"AUTH_ann/pics/a.jpg": "a picture"},
		headers: map[string]http.Header{},
	}
	s, err := store.Open(store.Options{Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	e := NewEdge(&Cache{Store: s, Name: "edge"}, o, o)
	e.Domain, e.Live = "cdn.test", live
	t.Cleanup(func() {
		if err := errors.Join(e.Cache.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return o, e
}

// visit asks for "METHOD http://host/path".
func visit(e http.Handler, what string, headers ...string) *http.Response {
	method, url, _ := strings.Cut(what, " ")
	r := httptest.NewRequest(method, url, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w.Result()
}

func wantAnswer(t *testing.T, what string, resp *http.Response, status int, body string) {
	t.Helper()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status || body != "" && string(text) != body {
		t.Errorf("%s = %d %q (%s), want %d %q", what, resp.StatusCode, text, resp.Header.Get("Cache-Status"), status, body)
	}
}

func TestEdgeFindsSites(t *testing.T) {
	o, e := newTown(t, nil)
	e.Resolver = &zone{cname: map[string]string{
		"www.example.com": "pics-0d9303a4.cdn.test.", "stolen.example.com": "pics-0d9303a4.cdn.test.",
	}}
	o.meta["AUTH_ann/pics"][headerDomains] = "www.example.com"
	o.meta["AUTH_ann/private"] = nil
	o.objects["AUTH_ann/private/a.jpg"] = "a secret"
	o.objects["AUTH_ann/pics/a//b c/../%2F?"] = "odd"
	for what, want := range map[string]struct {
		status int
		body   string
	}{
		"GET http://pics.0d9303a4.cdn.test/a.jpg":                {200, "a picture"},
		"GET http://PICS-0d9303a4.cdn.test:8080/a.jpg":           {200, "a picture"},
		"GET http://www.example.com/a.jpg":                       {200, "a picture"},
		"GET http://stolen.example.com/a.jpg":                    {404, ""},
		"GET http://other.example.com/a.jpg":                     {404, ""},
		"GET http://localhost:1/AUTH_ann/pics/a.jpg":             {200, "a picture"},
		"GET http://[::1]:1/0d9303a4/pics/a.jpg":                 {200, "a picture"},
		"GET http://cdn.test/AUTH_ann/pics/a.jpg":                {200, "a picture"},
		"GET http://example.org/AUTH_ann/pics/a.jpg":             {404, ""},
		"GET http://pics.0d9303a5.cdn.test/a.jpg":                {404, ""},
		"GET http://private.0d9303a4.cdn.test/a.jpg":             {404, ""},
		"GET http://none.0d9303a4.cdn.test/a.jpg":                {404, ""},
		"GET http://pics.0d9303a4.cdn.test/none":                 {404, "none"},
		"GET http://pics.0d9303a4.cdn.test/":                     {404, ""},
		"PUT http://pics.0d9303a4.cdn.test/a.jpg":                {405, ""},
		"GET http://pics.0d9303a4.cdn.test/a.jpg?v=1":            {200, "a picture"},
		"GET http://pics.0d9303a4.cdn.test/a//b%20c/../%252F%3F": {200, "odd"},
	} {
		wantAnswer(t, what, visit(e, what), want.status, want.body)
	}
	pictures := 0
	for _, asked := range o.asked {
		if strings.Contains(asked, "private") {
			t.Errorf("a private container was asked for: %s", asked)
		}
		if asked == "GET /v1/AUTH_ann/pics/a.jpg" {
			pictures++
		}
	}
	if pictures != 1 {
		t.Errorf("the picture was fetched %d times by its seven names: %q", pictures, o.asked)
	}
}

// What reaches the origin is only what makes no other answer.
func TestEdgeForwardsLittle(t *testing.T) {
	o, e := newTown(t, nil)
	o.meta["AUTH_ann/pics"][headerRead] = ".r:example.com"
	resp := visit(e, "GET http://pics.0d9303a4.cdn.test/a.jpg?temp_url_sig=x", "Referer: http://example.com/", "Cookie: a=b",
		"X-Auth-Token: t", "Authorization: x", "X-Forwarded-Host: evil", "Origin: http://evil", "Range: bytes=0-1")
	if resp.StatusCode != 206 && resp.StatusCode != 200 {
		t.Fatalf("answered %s", resp.Status)
	}
	for name := range o.header {
		switch name {
		case "Referer", "Accept-Encoding", "Via", "Cdn-Loop", "Range", "If-Range", "If-None-Match", "User-Agent":
		default:
			t.Errorf("the origin was sent %s: %q", name, o.header[name])
		}
	}
	if h := resp.Header; h.Get("X-Trans-Id") != "" || h.Get("Etag") != `"0123456789abcdef"` {
		t.Errorf("the answer has %v", h)
	}
	for page, status := range map[string]int{"http://example.com/x": 200, "http://evil.org/": 403, "": 403} {
		resp := visit(e, "GET http://pics.0d9303a4.cdn.test/a.jpg", "Referer: "+page)
		wantAnswer(t, "from "+page, resp, status, "")
	}
}

func TestEdgeLifetimes(t *testing.T) {
	o, e := newTown(t, func() bool { return false })
	o.meta["AUTH_ann/pics"][headerRules] = "*.live no-store; *.css browser=5; *.asked ttl=0"
	for name, want := range map[string]string{
		"a.jpg": "public, max-age=1000", "a.css": "public, max-age=5", "a.live": "no-store", "own": "max-age=7",
		"a.asked": "public, max-age=0, must-revalidate",
	} {
		o.objects["AUTH_ann/pics/"+name] = name
		if name == "own" {
			o.headers["AUTH_ann/pics/own"] = http.Header{"Cache-Control": {"max-age=7"}}
		}
		for range 2 {
			resp := visit(e, "GET http://pics.0d9303a4.cdn.test/"+name)
			wantAnswer(t, name, resp, 200, name)
			if got := resp.Header.Get("Cache-Control"); got != want {
				t.Errorf("%s: browsers are told %q, want %q", name, got, want)
			}
		}
		fetched := 0
		for _, asked := range o.asked {
			if strings.HasSuffix(asked, "/"+name) {
				fetched++
			}
		}
		if again := name == "a.live" || name == "a.asked"; (fetched == 2) != again {
			t.Errorf("%s was fetched %d times", name, fetched)
		}
	}
}

func TestEdgeRedirects(t *testing.T) {
	o, e := newTown(t, nil)
	o.meta["AUTH_ann/pics"][headerIndex] = "index.html"
	o.headers["AUTH_ann/pics/dir"] = http.Header{"Location": {"http://store.test:8080/v1/AUTH_ann/pics/dir/?a=b"}}
	o.headers["AUTH_ann/pics/away"] = http.Header{"Location": {"http://example.com/x"}}
	for what, want := range map[string]string{
		"GET http://pics.0d9303a4.cdn.test/dir":   "/dir/?a=b",
		"GET http://cdn.test/AUTH_ann/pics/dir":   "/AUTH_ann/pics/dir/?a=b",
		"GET http://pics.0d9303a4.cdn.test/away":  "http://example.com/x",
		"GET http://localhost/AUTH_ann/pics/away": "http://example.com/x",
		"HEAD http://localhost/0d9303a4/pics/dir": "/0d9303a4/pics/dir/?a=b",
	} {
		resp := visit(e, what)
		if got := resp.Header.Get("Location"); resp.StatusCode != 301 || got != want {
			t.Errorf("%s leads to %q with %d, want %q", what, got, resp.StatusCode, want)
		}
	}
}

func TestEdgeCORS(t *testing.T) {
	o, e := newTown(t, nil)
	const url = "http://pics.0d9303a4.cdn.test/a.jpg"
	resp := visit(e, "GET "+url, "Origin: http://a")
	if v := resp.Header.Get("Access-Control-Allow-Origin"); v != "" {
		t.Errorf("a page of another site may see it: %q", v)
	}
	o.set(func() {
		o.meta["AUTH_ann/pics"][headerOrigins] = "http://a http://b"
		o.meta["AUTH_ann/pics"][headerExpose] = "X-Mine"
		o.meta["AUTH_ann/pics"][headerMaxAge] = "60"
	})
	e.Apply(Event{Op: OpUpdate, Account: "AUTH_ann", Container: "pics"})
	for origin, want := range map[string]string{"http://a": "http://a", "http://b": "http://b", "http://c": ""} {
		for _, method := range []string{"GET", "HEAD"} {
			resp := visit(e, method+" "+url, "Origin: "+origin)
			if v := resp.Header.Get("Access-Control-Allow-Origin"); v != want || !strings.Contains(strings.Join(resp.Header["Vary"], ","), "Origin") {
				t.Errorf("%s for %s: %v", method, origin, resp.Header)
			}
			if want != "" && !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "x-mine") {
				t.Errorf("%s for %s exposes %q", method, origin, resp.Header.Get("Access-Control-Expose-Headers"))
			}
		}
		resp := visit(e, "OPTIONS "+url, "Origin: "+origin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: range")
		if v := resp.Header.Get("Access-Control-Allow-Origin"); v != want || (resp.StatusCode == 204) != (want != "") ||
			want != "" && (resp.Header.Get("Access-Control-Max-Age") != "60" || resp.Header.Get("Access-Control-Allow-Headers") != "range") {
			t.Errorf("preflight for %s: %d %v", origin, resp.StatusCode, resp.Header)
		}
	}
	if resp := visit(e, "OPTIONS "+url, "Origin: http://a", "Access-Control-Request-Method: PUT"); resp.StatusCode != 403 {
		t.Errorf("a preflight for PUT is answered %d", resp.StatusCode)
	}
}

// What an event is about is asked for again, and nothing else.
func TestEdgeApplies(t *testing.T) {
	at := func(op, object string, tree bool) Event {
		return Event{Op: op, Account: "AUTH_ann", Container: "pics", Object: object, Tree: tree}
	}
	names := []string{"", "dir/", "dir/a", "dir/b", "dir/sub/", "other/", "z"}
	for name, c := range map[string]struct {
		e     Event
		fresh string // of names, those that are still held
	}{
		"put":               {at(OpPut, "dir/a", false), "dir/b dir/sub/ other/ z"},
		"remove":            {at(OpRemove, "dir/sub/x", false), "dir/a dir/b other/ z"},
		"update at the top": {at(OpUpdate, "z", false), "dir/ dir/a dir/b dir/sub/ other/"},
		"a tree":            {at(OpRemove, "dir/", true), "other/ z"},
		"stale":             {at(OpStale, "z", false), "dir/ dir/a dir/b dir/sub/ other/"},
		"drop by prefix":    {at(OpDrop, "dir/s", true), "dir/a dir/b other/ z"},
		"container":         {at(OpUpdate, "", false), ""},
		"container purged":  {at(OpStale, "", false), ""},
		"error page":        {at(OpPut, "404error.html", false), ""},
		"no error page":     {at(OpPut, "4041.jpg", false), "dir/ dir/a dir/b dir/sub/ other/ z"},
		"account removed":   {Event{Op: OpRemove, Account: "AUTH_ann"}, ""},
		"another container": {Event{Op: OpRemove, Account: "AUTH_ann", Container: "x"}, " dir/ dir/a dir/b dir/sub/ other/ z"},
		"another account":   {Event{Op: OpRemove, Account: "AUTH_bob"}, " dir/ dir/a dir/b dir/sub/ other/ z"},
		"a new container":   {Event{Op: OpPut, Account: "AUTH_ann", Container: "x"}, " dir/ dir/a dir/b dir/sub/ other/ z"},
	} {
		t.Run(name, func(t *testing.T) {
			o, e := newTown(t, nil)
			o.meta["AUTH_ann/pics"][headerIndex] = "index.html"
			for _, n := range names {
				o.objects["AUTH_ann/pics/"+n] = "page " + n
				wantAnswer(t, n, visit(e, "GET http://cdn.test/AUTH_ann/pics/"+n), 200, "page "+n)
			}
			e.Apply(c.e)
			var fresh []string
			for _, n := range names {
				o.set(func() { o.asked = nil })
				wantAnswer(t, n, visit(e, "GET http://cdn.test/AUTH_ann/pics/"+n), 200, "page "+n)
				if len(o.asked) == 0 {
					fresh = append(fresh, n)
				}
			}
			if got := strings.Join(fresh, " "); got != c.fresh {
				t.Errorf("held are %q, want %q", got, c.fresh)
			}
		})
	}
}

// An edge goes on while nobody can be asked, and what is purged softly is served
// for as long.
func TestEdgeWithoutItsOrigin(t *testing.T) {
	o, e := newTown(t, func() bool { return false })
	const what = "GET http://pics.0d9303a4.cdn.test/a.jpg"
	wantAnswer(t, what, visit(e, what), 200, "a picture")
	o.set(func() { o.down = true })
	wantAnswer(t, what, visit(e, what), 200, "a picture")
	e.Apply(Event{Op: OpStale, Account: "AUTH_ann", Container: "pics", Object: "a.jpg"})
	wantAnswer(t, "purged softly", visit(e, what), 200, "a picture")
	resp := visit(e, "GET http://other.0d9303a4.cdn.test/a.jpg")
	wantAnswer(t, "a site never heard of", resp, 502, "")
	e.Apply(Event{Op: OpDrop, Account: "AUTH_ann", Container: "pics", Object: "a.jpg"})
	if resp := visit(e, what); resp.StatusCode < 500 {
		t.Errorf("what was dropped is answered %d", resp.StatusCode)
	}
}

// A record that was asked for before a change, and came after it, is not kept.
func TestEdgeKeepsNoOldRecord(t *testing.T) {
	o, e := newTown(t, nil)
	slow := &slowDirectory{town: o, asked: make(chan struct{}), go_: make(chan struct{})}
	e.Directory = slow
	const what = "GET http://pics.0d9303a4.cdn.test/a.jpg"
	var first sync.WaitGroup
	first.Go(func() { visit(e, what) })
	<-slow.asked // and has read the record
	o.set(func() { o.meta["AUTH_ann/pics"] = nil })
	e.Apply(Event{Op: OpUpdate, Account: "AUTH_ann", Container: "pics"})
	wantAnswer(t, "while the old record is on its way", visit(e, what), 404, "")
	close(slow.go_)
	first.Wait()
	wantAnswer(t, "after it has come", visit(e, what), 404, "")
}

// A slowDirectory keeps its first answer back.
type slowDirectory struct {
	*town
	calls      atomic.Int64
	asked, go_ chan struct{}
}

func (d *slowDirectory) Site(ctx context.Context, ref Ref) (Site, error) {
	s, err := d.town.Site(ctx, ref)
	if d.calls.Add(1) == 1 {
		close(d.asked)
		<-d.go_
	}
	return s, err
}

func TestEdgePurges(t *testing.T) {
	o, e := newTown(t, nil)
	resp := visit(e, "PURGE http://pics.0d9303a4.cdn.test/a/b.jpg?hard=1", "X-Auth-Token: secret", "Cookie: a")
	wantAnswer(t, "PURGE", resp, 204, "")
	if got := strings.Join(o.asked, ", "); got != "DELETE /cdn/v1/AUTH_ann/pics/a/b.jpg?hard=1" || o.header.Get("X-Auth-Token") != "secret" || o.header.Get("Cookie") != "" {
		t.Errorf("the origin was asked %q with %v", got, o.header)
	}
}

func BenchmarkEdgeHit(b *testing.B) {
	o := &town{
		meta:    map[string]map[string]string{"AUTH_ann/pics": {headerRead: ".r:*"}},
		objects: map[string]string{"AUTH_ann/pics/a.jpg": strings.Repeat("x", 1024)},
	}
	c := &Cache{}
	defer c.Close()
	e := NewEdge(c, o, o)
	e.Domain = "cdn.test"
	r := httptest.NewRequest("GET", "http://pics.0d9303a4.cdn.test/a.jpg", nil)
	w := &nowhere{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		e.ServeHTTP(w, r)
	}
}

// nowhere takes answers.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(int)             {}
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
