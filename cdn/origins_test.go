package cdn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A mirror is an origin without a network, which can fail in the known ways.
type mirror struct {
	name   string
	mode   atomic.Value // of string: "", "refuses", "hangs", or a status
	asked  atomic.Int64
	checks atomic.Int64
}

func (m *mirror) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/check" {
		m.checks.Add(1)
	} else {
		m.asked.Add(1)
	}
	w := httptest.NewRecorder()
	switch mode, _ := m.mode.Load().(string); mode {
	case "":
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, m.name)
	case "refuses":
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case "hangs":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "breaks":
		return nil, io.ErrUnexpectedEOF
	default:
		var status int
		fmt.Sscan(mode, &status)
		w.WriteHeader(status)
		io.WriteString(w, m.name)
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// newMirrors makes origins called a, b and so on, checked until the test ends.
func newMirrors(t *testing.T, n int) (*Origins, []*mirror) {
	t.Helper()
	o := &Origins{Check: "/check", Every: 8 * time.Second, Log: slog.New(slog.DiscardHandler)}
	var all []*mirror
	for i := range n {
		m := &mirror{name: string(rune('a' + i))}
		all = append(all, m)
		o.List = append(o.List, Mirror{Name: m.name, Transport: m})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { o.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return o, all
}

// give asks origins for a page, and returns what came: the body, the status if it
// is not 200, or "-".
func give(t *testing.T, o http.RoundTripper, method string) string {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("text")
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://any/page", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := o.RoundTrip(r)
	if err != nil {
		return "-"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	if resp.StatusCode != 200 {
		return fmt.Sprint(resp.StatusCode)
	}
	return string(text)
}

// Whatever ails the first, those who ask get an answer from the next; only what
// must not be repeated is not.
func TestOriginsFailOver(t *testing.T) {
	for mode, want := range map[string]struct{ get, post string }{
		"refuses": {"b", "-"}, "hangs": {"b", "a"}, "breaks": {"b", "-"},
		"502": {"b", "502"}, "503": {"b", "503"}, "504": {"b", "504"},
		"500": {"500", "500"}, "404": {"404", "404"}, // which are answers
	} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, m := newMirrors(t, 2)
				if got := give(t, o, "GET"); got != "a" {
					t.Errorf("while all are well %q answers, want the first", got)
				}
				m[0].mode.Store(mode)
				if mode != "hangs" {
					if got := give(t, o, "POST"); got != want.post || m[1].asked.Load() != 0 {
						t.Errorf("POST = %q, and the spare was asked %d times; want %q and none", got, m[1].asked.Load(), want.post)
					}
				}
				for range 5 {
					if got := give(t, o, "GET"); got != want.get {
						t.Errorf("GET = %q, want %q", got, want.get)
					}
				}
			})
		})
	}
}

// An origin that is down costs nobody anything: it is looked at ever more seldom,
// and used again once it is well.
func TestOriginsBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, m := newMirrors(t, 3)
		m[0].mode.Store("503")
		m[1].mode.Store("refuses")
		for range 100 {
			if got := give(t, o, "GET"); got != "c" {
				t.Fatalf("%q answers, want the third", got)
			}
		}
		if a, b := m[0].asked.Load(), m[1].asked.Load(); a != 3 || b != 1 {
			t.Errorf("of 100 requests the first was asked %d and the second %d, want 3 and 1", a, b)
		}
		time.Sleep(8 * time.Second)
		// After 0.25, 0.5, 1, 2 and 4 s, each less a quarter at most.
		if n := m[0].checks.Load(); n < 5 || n > 6 {
			t.Errorf("in 8 s it was checked %d times", n)
		}
		time.Sleep(10 * time.Minute)
		if n := m[0].checks.Load(); n > 6+10*60/6 {
			t.Errorf("in 10 minutes it was checked %d times", n)
		}
		if got := give(t, o, "GET"); got != "c" || m[0].asked.Load() != 3 {
			t.Errorf("%q answers, and the first was asked", got)
		}
		m[1].mode.Store("")
		time.Sleep(8 * time.Second)
		if got := give(t, o, "GET"); got != "b" {
			t.Errorf("once the second is well %q answers", got)
		}
		m[0].mode.Store("")
		time.Sleep(8 * time.Second)
		if got := give(t, o, "GET"); got != "a" {
			t.Errorf("once the first is well %q answers", got)
		}
		// A check finds out before anybody asks.
		m[0].mode.Store("hangs")
		time.Sleep(8*time.Second + o.Patience)
		begun, before := time.Now(), m[0].asked.Load()
		if got := give(t, o, "GET"); got != "b" || time.Since(begun) != 0 || m[0].asked.Load() != before {
			t.Errorf("%q answers after %v", got, time.Since(begun))
		}
	})
}

// Who goes away while he waits says nothing about the origin.
func TestOriginsLeaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, m := newMirrors(t, 2)
		m[0].mode.Store("hangs")
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			r, _ := http.NewRequestWithContext(ctx, "GET", "http://any/page", nil)
			if _, err := o.RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended with %v", err)
			}
			cancel()
		}
		m[0].mode.Store("")
		if got := give(t, o, "GET"); got != "a" || m[1].asked.Load() != 0 {
			t.Errorf("%q answers, want the first", got)
		}
	})
}

// When all are down the cache serves what it holds, and 504 for the rest.
func TestOriginsAllDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, m := newMirrors(t, 2)
		s, err := store.Open(store.Options{Memory: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cache{Origin: o, Store: s, Name: "edge", Log: slog.New(slog.DiscardHandler), Plain: Profile{StaleIfError: time.Hour}}
		defer s.Close()
		defer c.Close()
		wantAnswer(t, "at first", visit(c, "GET http://any/page"), 200, "a")
		for _, m := range m {
			m.mode.Store("refuses")
		}
		time.Sleep(2 * time.Minute)
		before := m[0].asked.Load() + m[1].asked.Load()
		wantAnswer(t, "what is held", visit(c, "GET http://any/page"), 200, "a")
		resp := visit(c, "GET http://any/other")
		wantAnswer(t, "what is not", resp, 504, "")
		if v := resp.Header.Get("Cache-Status"); !strings.Contains(v, "detail=origin-unreachable") {
			t.Errorf("Cache-Status is %q", v)
		}
		if now := m[0].asked.Load() + m[1].asked.Load(); now != before {
			t.Errorf("origins that are known to be down were asked %d times", now-before)
		}
		m[1].mode.Store("")
		time.Sleep(8 * time.Second)
		wantAnswer(t, "once one is back", visit(c, "GET http://any/other"), 200, "b")
	})
}

// A body that breaks off goes on at another origin that has the very same, byte
// for byte, and is broken where there is none.
func TestOriginsJoin(t *testing.T) {
	body := noise(300<<10, 7)
	other := noise(300<<10, 8)
	for name, c := range map[string]struct {
		first, tag string // "" leaves out the tag
		spare      http.HandlerFunc
		rng        string
		chunked    bool
		silent     bool // in the middle, rather than broken off
		whole      bool
	}{
		"the same":           {first: `"1"`, spare: content(body, `"1"`), whole: true},
		"the same, no size":  {first: `"1"`, spare: content(body, `"1"`), chunked: true, whole: true},
		"a part of the same": {first: `"1"`, spare: content(body, `"1"`), rng: "bytes=1000-250000", whole: true},
		"the end of it":      {first: `"1"`, spare: content(body, `"1"`), rng: "bytes=-200000", whole: true},
		"silence":            {first: `"1"`, spare: content(body, `"1"`), silent: true, whole: true},
		"another version":    {first: `"1"`, spare: content(other, `"2"`)},
		"a weak tag":         {first: `W/"1"`, spare: content(body, `W/"1"`)},
		"no tag":             {first: ``, spare: content(body, ``)},
		"less of it":         {first: `"1"`, spare: content(body[:200<<10], `"1"`)},
		"more of it":         {first: `"1"`, spare: content(append(bytes.Clone(body), 'x'), `"1"`)},
		"whatever is asked": {first: `"1"`, spare: func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			content(other, `"2"`)(w, r)
		}},
		"no ranges": {first: `"1"`, spare: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Write(body)
		}},
		"another range": {first: `"1"`, spare: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
			w.WriteHeader(206)
			w.Write(body)
		}},
		"encoded otherwise": {first: `"1"`, spare: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			content(body, `"1"`)(w, r)
		}},
		"an error": {first: `"1"`, spare: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }},
	} {
		t.Run(name, func(t *testing.T) {
			var spared atomic.Int64
			serve := func(h http.HandlerFunc) (*httptest.Server, *http.Transport) {
				s := httptest.NewServer(h)
				tr := &http.Transport{DisableCompression: true}
				t.Cleanup(func() {
					tr.CloseIdleConnections()
					s.Close()
				})
				return s, tr
			}
			// The first breaks off after some of it.
			first, t1 := serve(func(w http.ResponseWriter, r *http.Request) {
				limited := &cutWriter{ResponseWriter: w, left: 70_001}
				if c.silent {
					limited.hang = r.Context().Done()
				}
				if c.chunked {
					limited.Header().Set("Etag", c.first)
					limited.Write(body)
				}
				content(body, c.first)(limited, r)
			})
			spare, t2 := serve(func(w http.ResponseWriter, r *http.Request) {
				spared.Add(1)
				if r.Header.Get("If-Range") == "" || r.Header.Get("Range") == "" {
					t.Errorf("the spare was asked with %v", r.Header)
				}
				c.spare(w, r)
			})
			o := &Origins{Log: slog.New(slog.DiscardHandler)}
			if c.silent {
				o.Patience = 50 * time.Millisecond
			}
			for s, tr := range map[*httptest.Server]*http.Transport{first: t1, spare: t2} {
				m := Mirror{Name: s.URL, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					r = r.Clone(r.Context())
					r.URL.Host = strings.TrimPrefix(s.URL, "http://")
					return tr.RoundTrip(r)
				})}
				if s == first {
					o.List = append([]Mirror{m}, o.List...)
				} else {
					o.List = append(o.List, m)
				}
			}
			r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://any/x", nil)
			want := body
			switch c.rng {
			case "bytes=1000-250000":
				want = body[1000:250001]
			case "bytes=-200000":
				want = body[len(body)-200000:]
			}
			if c.rng != "" {
				r.Header.Set("Range", c.rng)
			}
			resp, err := o.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			switch {
			case c.whole && (err != nil || !bytes.Equal(got, want)):
				t.Errorf("got %d of %d bytes, right=%v, %v", len(got), len(want), bytes.HasPrefix(want, got), err)
			case c.whole && spared.Load() != 1:
				t.Errorf("the spare was asked %d times, want once", spared.Load())
			case !c.whole && (err == nil || !bytes.HasPrefix(want, got)):
				t.Errorf("got %d bytes, right=%v, %v; want the break", len(got), bytes.HasPrefix(want, got), err)
			}
		})
	}
}

// A cutWriter breaks the connection after so many bytes, once hang is over.
type cutWriter struct {
	http.ResponseWriter
	left int
	hang <-chan struct{} // nil is at once
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	w.ResponseWriter.Write(p[:n])
	if n < len(p) {
		http.NewResponseController(w.ResponseWriter).Flush()
		if w.hang != nil {
			<-w.hang
		}
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

// An edge that follows one of several Memstores asks again for what it holds when
// another comes into use, unless that has the same log.
func TestOriginsFollowed(t *testing.T) {
	const what = "GET http://localhost/AUTH_ann/pics/a"
	const other = "GET http://localhost/AUTH_ann/pics/b"
	for _, spare := range []string{"same", "copy", "mute"} {
		same := spare == "same"
		t.Run(spare, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				towns := []*town{someTown(), someTown()}
				logs := []*ledger{{}, {}}
				feeds, ways := []*Feed{}, []*pipes{}
				if same {
					towns[1], logs[1] = towns[0], logs[0]
				}
				o := &Origins{Together: true, Check: "/healthcheck", Log: slog.New(slog.DiscardHandler)}
				for i := range towns {
					if i == 0 || !same {
						logs[i].add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics"})
						time.Sleep(time.Second)
					}
					feed := &Feed{Log: logs[i], Directory: towns[i], Authorize: func(string) (string, bool) { return "far", i == 0 || spare != "mute" }, Logger: o.Log}
					way := &pipes{h: feed}
					feeds, ways = append(feeds, feed), append(ways, way)
					o.List = append(o.List, Mirror{Name: fmt.Sprint(i), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						way.mu.Lock()
						cut := way.cut
						way.mu.Unlock()
						switch {
						case cut:
							return nil, &net.OpError{Op: "dial", Err: errDown}
						case strings.HasPrefix(r.URL.Path, FeedPath):
							resp, err := way.RoundTrip(r)
							if err == nil { // a connection ends with its request, a pipe does not
								context.AfterFunc(r.Context(), func() { resp.Body.Close() })
							}
							return resp, err
						}
						return towns[i].RoundTrip(r)
					})})
				}
				kept, err := store.Open(store.Options{Memory: 1 << 20, Log: o.Log})
				if err != nil {
					t.Fatal(err)
				}
				f := &Follower{Origin: &url.URL{Scheme: "http", Host: "origin"}, Key: "key", Transport: o, Origins: o, Store: kept, Logger: o.Log}
				edge := NewEdge(&Cache{Store: kept, Name: "far", Log: o.Log}, o, f)
				edge.Live, f.Edge = f.Live, edge
				ctx, cancel := context.WithCancel(t.Context())
				var work sync.WaitGroup
				work.Go(func() { o.Run(ctx) })
				work.Go(func() { f.Run(ctx) })
				defer func() {
					cancel()
					for _, feed := range feeds {
						feed.Stop()
					}
					work.Wait()
					edge.Cache.Close()
					kept.Close()
				}()
				f.Await(ctx)
				wantAnswer(t, "at first", visit(edge, what), 200, "one")
				towns[0].objects["AUTH_ann/pics/b"] = "ours"
				if !same {
					towns[1].objects["AUTH_ann/pics/a"], towns[1].objects["AUTH_ann/pics/b"] = "theirs", "theirs"
				}
				cut := func(on bool) {
					ways[0].mu.Lock()
					defer ways[0].mu.Unlock()
					ways[0].cut = on
				}
				cut(true)
				wantAnswer(t, "not held", visit(edge, "GET http://localhost/AUTH_ann/pics/none"), 404, "")
				if f.Live() {
					t.Error("what is held is trusted, and the origin in use has not been heard")
				}
				if spare == "mute" {
					// What is fetched here is of a past that nobody told of: the first must
					// not be taken to vouch for it, neither later nor after a restart.
					wantAnswer(t, "of the spare", visit(edge, other), 200, "theirs")
					if note, err := kept.Note(cursorNote); err != nil || !strings.Contains(string(note), `"cursor":""`) {
						t.Errorf("what is kept of the way to the first is %s, %v; want none", note, err)
					}
					time.Sleep(3 * time.Second)
					if f.Live() {
						t.Error("who was never heard is trusted")
					}
					cut(false)
					time.Sleep(10 * time.Second)
					if !f.Live() {
						t.Error("the first is not followed again")
					}
					wantAnswer(t, "back at the first", visit(edge, other), 200, "ours")
					return
				}
				time.Sleep(3 * time.Second)
				if !f.Live() {
					t.Fatal("the spare is not followed")
				}
				want := "theirs"
				if same {
					want = "one"
				}
				towns[1].set(func() { towns[1].asked = nil })
				wantAnswer(t, "from the spare", visit(edge, what), 200, want)
				if again := len(towns[1].asked) > 0; again == same {
					t.Errorf("the spare was asked %q", towns[1].asked)
				}
				// What changes at the spare is heard, and so is the first once it is back.
				towns[1].set(func() { towns[1].objects["AUTH_ann/pics/a"] = "two" })
				logs[1].add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics", Object: "a"})
				feeds[1].Wake()
				synctest.Wait()
				wantAnswer(t, "changed at the spare", visit(edge, what), 200, "two")
				cut(false)
				time.Sleep(10 * time.Second)
				if !f.Live() {
					t.Fatal("the first is not followed again")
				}
				if want = "one"; same {
					want = "two"
				}
				wantAnswer(t, "back at the first", visit(edge, what), 200, want)
			})
		})
	}
}

// Two edges of which one asks the other: both say what they did, and the ages of
// both count.
func TestOriginShield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var loop string
		origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			loop = strings.Join(r.Header.Values("Cdn-Loop"), ", ")
			w.Header().Set("Cache-Control", "max-age=100")
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			io.WriteString(w, "page")
		})
		edge := func(name string, behind http.Handler) *Cache {
			s, err := store.Open(store.Options{Memory: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			c := &Cache{Store: s, Name: name, Log: slog.New(slog.DiscardHandler), Origin: roundTrip(func(r *http.Request) (*http.Response, error) {
				r = r.Clone(r.Context())
				w := httptest.NewRecorder()
				behind.ServeHTTP(w, r)
				return w.Result(), nil
			})}
			t.Cleanup(func() {
				c.Close()
				s.Close()
			})
			return c
		}
		shield := edge("shield", origin)
		near, far := edge("near", shield), edge("far", shield)
		check := func(c *Cache, age string, statuses ...string) {
			t.Helper()
			resp := visit(c, "GET http://any/page")
			wantAnswer(t, "the page", resp, 200, "page")
			all := strings.Join(resp.Header.Values("Cache-Status"), ", ")
			at := 0
			for _, s := range statuses {
				n := strings.Index(all[at:], s)
				if n < 0 {
					t.Errorf("Cache-Status is %q, want %q in this order", all, statuses)
					break
				}
				at += n + len(s)
			}
			if got := resp.Header.Get("Age"); got != age {
				t.Errorf("Age is %q, want %q", got, age)
			}
		}
		check(near, "", "shield; fwd=uri-miss", "near; fwd=uri-miss")
		if loop != "near, shield" {
			t.Errorf("CDN-Loop is %q, want both", loop)
		}
		time.Sleep(30 * time.Second)
		check(far, "30", "shield; hit", "far; fwd=uri-miss")
		time.Sleep(20 * time.Second)
		check(far, "50", "far; hit")
		check(near, "50", "near; hit")
		if asked != 1 {
			t.Errorf("the origin was asked %d times, want once", asked)
		}
		time.Sleep(60 * time.Second)
		check(far, "", "shield; fwd=stale", "far; fwd=stale")
	})
}
