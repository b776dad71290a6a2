package cdn

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A book is a Ledger that can fail, and lose what it answers.
type book struct {
	mu     sync.Mutex
	counts map[Ref]Counts
	seen   map[string]uint64 // by run
	parts  map[string]string // lines, by account and object
	fail   error             // of the next call, which takes nothing
	deaf   bool              // the next call takes all, but its answer is lost
	calls  int
}

func newBook() *book {
	return &book{counts: map[Ref]Counts{}, seen: map[string]uint64{}, parts: map[string]string{}}
}

var errLost = errors.New("the answer was lost")

func (b *book) answer() error {
	b.calls++
	if b.deaf {
		b.deaf = false
		return errLost
	}
	return nil
}

func (b *book) refuses() error {
	err := b.fail
	b.fail = nil
	return err
}

func (b *book) Count(_ context.Context, r Report) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refuses(); err != nil {
		return err
	}
	if r.Seq > b.seen[r.Run] {
		b.seen[r.Run] = r.Seq
		for _, s := range r.Sites {
			ref := Ref{Account: s.Account, Container: s.Container}
			c := b.counts[ref]
			c.Add(s.Counts)
			b.counts[ref] = c
		}
	}
	return b.answer()
}

func (b *book) Deliver(_ context.Context, p LogPart) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refuses(); err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(p.Lines))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	b.parts[p.Account+"/"+p.Object()] = string(text)
	return b.answer()
}

// lines is how many were delivered.
func (b *book) lines() (n int) {
	for _, text := range b.parts {
		n += strings.Count(text, "\n")
	}
	return n
}

var picsRef = Ref{Account: "AUTH_ann", Container: "pics"}

// Each request is counted once, as what it came to.
func TestCounts(t *testing.T) {
	o, e := newTown(t, func() bool { return false })
	o.objects["AUTH_ann/pics/b"] = "bb"
	o.headers["AUTH_ann/pics/b"] = http.Header{"Cache-Control": {"max-age=1000"}}
	o.headers["AUTH_ann/pics/a.jpg"] = http.Header{"Cache-Control": {"max-age=0"}}
	count := func(what string, want Counts, headers ...string) {
		t.Helper()
		var before Counts
		if all := e.Counts(); len(all) > 0 {
			before = all[0].Counts
		}
		resp := visit(e, what, headers...)
		io.Copy(io.Discard, resp.Body)
		all := e.Counts()
		if len(all) != 1 || all[0].Account != "AUTH_ann" || all[0].Container != "pics" {
			t.Fatalf("counted for %+v", all)
		}
		got := all[0].Counts
		got.Sub(before)
		want.Requests = 1
		want.Status[resp.StatusCode/100] = 1
		if got != want {
			t.Errorf("%s (%s) is counted as %+v, want %+v", what, resp.Header.Get("Cache-Status"), got, want)
		}
	}
	count("GET http://cdn.test/AUTH_ann/pics/b", Counts{Misses: 1, Bytes: 2, OriginBytes: 2, OriginRequests: 1})
	count("GET http://cdn.test/AUTH_ann/pics/b", Counts{Hits: 1, Bytes: 2})
	count("HEAD http://cdn.test/AUTH_ann/pics/b", Counts{Hits: 1})
	count("GET http://cdn.test/AUTH_ann/pics/b", Counts{Hits: 1, Bytes: 1}, "Range: bytes=1-1")
	count("PUT http://cdn.test/AUTH_ann/pics/b", Counts{Refused: 1, Bytes: uint64(len("This is to be read only.\n"))})
	count("GET http://cdn.test/AUTH_ann/pics/a.jpg", Counts{Misses: 1, Bytes: 9, OriginBytes: 9, OriginRequests: 1})
	o.set(func() { o.down = true })
	count("GET http://cdn.test/AUTH_ann/pics/a.jpg", Counts{Stale: 1, Bytes: 9})
	if resp := visit(e, "GET http://cdn.test/AUTH_ann/none/a"); resp.StatusCode == 200 || len(e.Counts()) != 1 {
		t.Errorf("a container that is not there is counted: %+v", e.Counts())
	}
}

// What the ledger has is what was done, however often it did not hear or was not
// heard.
func TestReportsCountOnce(t *testing.T) {
	_, e := newTown(t, nil)
	b := newBook()
	for round := range 12 {
		io.Copy(io.Discard, visit(e, "GET http://cdn.test/AUTH_ann/pics/a.jpg").Body)
		b.fail, b.deaf = nil, false
		switch round % 3 {
		case 0:
			b.fail = errors.New("full")
		case 1:
			b.deaf = true
		}
		if err := e.Tell(t.Context(), b); (err == nil) != (round%3 == 2) {
			t.Fatalf("Tell %d = %v", round, err)
		}
	}
	if got, want := b.counts[picsRef], e.Counts()[0].Counts; got != want || got.Requests != 12 {
		t.Errorf("the ledger has %+v, the edge %+v", got, want)
	}
	calls := b.calls
	if err := e.Tell(t.Context(), b); err != nil || b.calls != calls {
		t.Errorf("nothing was done, and it was told in %d calls, %v", b.calls-calls, err)
	}
}

func openLog(t *testing.T, dir string) *AccessLog {
	t.Helper()
	a := &AccessLog{Dir: dir}
	if err := a.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// Each line is delivered once: when its hour is over, when the ledger fails,
// when its answer is lost, and when the edge was killed and its last line torn.
func TestAccessLogDeliversOnce(t *testing.T) {
	dir := t.TempDir()
	o, e := newTown(t, nil)
	o.meta["AUTH_ann/pics"][headerLogs] = "True"
	e.Logs = openLog(t, dir)
	e.Logs.Every = 24 * 365 * time.Hour // which does not end while this runs
	b := newBook()
	ask := func(n int) {
		for range n {
			io.Copy(io.Discard, visit(e, "GET http://cdn.test/AUTH_ann/pics/a.jpg").Body)
		}
	}
	ask(3)
	if err := e.Logs.Deliver(t.Context(), b, time.Now()); err != nil || b.lines() != 0 {
		t.Fatalf("%d lines delivered before their time is over, %v", b.lines(), err)
	}
	later := time.Now().Add(2 * e.Logs.Every)
	b.fail = errors.New("full")
	if err := e.Logs.Deliver(t.Context(), b, later); err == nil || b.lines() != 0 {
		t.Fatalf("a ledger that is full took %d lines, %v", b.lines(), err)
	}
	ask(2)
	b.deaf = true
	if err := e.Logs.Deliver(t.Context(), b, later); err == nil {
		t.Fatal("an answer was lost, and it was called delivered")
	}
	if err := e.Logs.Deliver(t.Context(), b, later); err != nil || b.lines() != 5 {
		t.Fatalf("%d lines delivered, %v; want 5", b.lines(), err)
	}
	// The edge is killed: what is in its files is there, and half a line.
	ask(4)
	e.Logs.flush()
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Fatalf("the spool has %q", files)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, `192.0.2.1 - - [22/No`)
	f.Close()
	again := openLog(t, dir)
	if err := again.Deliver(t.Context(), b, time.Now()); err != nil || b.lines() != 9 {
		t.Fatalf("%d lines delivered after the kill, %v; want 9", b.lines(), err)
	}
	for name, text := range b.parts {
		if strings.Contains(text, "22/No\n") || !strings.HasPrefix(name, "AUTH_ann/pics/20") || !strings.HasSuffix(name, ".log.gz") {
			t.Errorf("part %s is %q", name, text)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 || again.size != 0 {
		t.Errorf("the spool has %q, of %d bytes", files, again.size)
	}
}

func TestAccessLogLimits(t *testing.T) {
	o, e := newTown(t, nil)
	o.meta["AUTH_ann/pics"][headerLogs] = "True"
	e.Logs = openLog(t, t.TempDir())
	e.Logs.Limit = 1000
	for range 100 {
		io.Copy(io.Discard, visit(e, "GET http://cdn.test/AUTH_ann/pics/a.jpg").Body)
	}
	if e.Logs.size > 1000 || e.Logs.size < 500 || e.Logs.lost == 0 {
		t.Errorf("%d bytes wait, %d lines are lost", e.Logs.size, e.Logs.lost)
	}
	b := newBook()
	b.fail = fs.ErrNotExist // there is no such account any more
	if err := e.Logs.Deliver(t.Context(), b, time.Now().Add(2*time.Hour)); err != nil || e.Logs.size != 0 {
		t.Errorf("logs of nobody: %v, %d bytes wait", err, e.Logs.size)
	}
}

// A line is one line, whatever clients send, and holds no secrets.
func TestLogLine(t *testing.T) {
	s := &serving{code: 200, n: 9, at: time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)}
	for _, tt := range []struct{ uri, referer, agent, want string }{
		{"/a%20b.jpg", "", "Mozilla/5.0", `"GET /cdn.test/a%20b.jpg HTTP/1.1" 200 9 "-" "Mozilla/5.0"`},
		{"/a?temp_url_sig=c0ffee&temp_url_expires=1&x=2", "https://e.test/?x=1&temp_url_sig=c0ffee#f", "",
			`"GET /cdn.test/a?temp_url_expires=1&x=2 HTTP/1.1" 200 9 "https://e.test/?x=1#f" "-"`},
		{"/a?temp%5furl_SIG=c0ffee", "", `a"b\` + "\r\n\x00é", `"GET /cdn.test/a HTTP/1.1" 200 9 "-" "a\"b\\\x0d\x0a\x00\xc3\xa9"`},
	} {
		r, err := http.NewRequest("GET", "http://cdn.test"+tt.uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "192.0.2.7:1234"
		r.Header.Set("Referer", tt.referer)
		r.Header["User-Agent"] = []string{tt.agent}
		s.r = r
		want := "192.0.2.7 - - [02/Nov/2026:03:04:05 +0000] " + tt.want + "\n"
		if got := string(appendLine(nil, s)); got != want {
			t.Errorf("line of %q = %q, want %q", tt.uri, got, want)
		}
	}
}

// To count costs a hit little.
func TestCountingAllocatesLittle(t *testing.T) {
	e, rec, w := &Edge{}, &record{tally: new(tally)}, &sink{make(http.Header)}
	r, err := http.NewRequest("GET", "http://cdn.test/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		s, out := e.watch(w, r, rec)
		out.WriteHeader(200)
		s.end()
	}); n > 1 {
		t.Errorf("a request takes %v allocations to be counted", n)
	}
}
