package cdn

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A ledger is a Log in memory.
type ledger struct {
	mu     sync.Mutex
	first  uint64 // that is forgotten
	events []Event
}

func (l *ledger) Latest(context.Context) (Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return Event{}, nil
	}
	return l.events[len(l.events)-1], nil
}

func (l *ledger) After(_ context.Context, seq uint64) iter.Seq2[Event, error] {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.events
	return func(yield func(Event, error) bool) {
		if seq < l.first || seq > l.first+uint64(len(events)) {
			yield(Event{}, ErrGap)
			return
		}
		for _, e := range events[seq-l.first:] {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (l *ledger) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.At = l.first+uint64(len(l.events))+1, time.Now().UnixMicro()
	l.events = append(l.events, e)
}

// pipes carries requests to a handler without a network, which a bubble of
// synctest could not wait for.
type pipes struct {
	h   http.Handler
	mu  sync.Mutex
	cut bool
}

func (p *pipes) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	cut := p.cut
	p.mu.Unlock()
	if cut {
		return nil, errDown
	}
	in, out := io.Pipe()
	w := &pipeAnswer{header: make(http.Header), out: out, began: make(chan struct{})}
	go func() {
		p.h.ServeHTTP(w, r)
		w.WriteHeader(200)
		out.Close()
	}()
	<-w.began
	return &http.Response{StatusCode: w.status, Status: fmt.Sprint(w.status), Header: w.header, Body: in, Request: r}, nil
}

type pipeAnswer struct {
	header http.Header
	status int
	out    *io.PipeWriter
	once   sync.Once
	began  chan struct{}
}

func (w *pipeAnswer) Header() http.Header { return w.header }
func (w *pipeAnswer) Flush()              {}
func (w *pipeAnswer) WriteHeader(status int) {
	w.once.Do(func() { w.status = status; close(w.began) })
}
func (w *pipeAnswer) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	return w.out.Write(p)
}

// A pair is a feed and an edge that follows it.
type pair struct {
	*town
	log   *ledger
	feed  *Feed
	edge  *Edge
	pipes *pipes
	f     *Follower
	kept  *store.Store
	stop  func()
}

func newPair(t *testing.T, dir string, o *town, log *ledger) *pair {
	t.Helper()
	p := &pair{town: o, log: log}
	p.feed = &Feed{Log: log, Directory: o, Authorize: func(key string) (string, bool) { return "far", key == "key" }, Logger: slog.New(slog.DiscardHandler)}
	p.pipes = &pipes{h: p.feed}
	var err error
	if p.kept, err = store.Open(store.Options{Dir: dir, Memory: 1 << 20, Disk: 64 << 20, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	p.f = &Follower{Origin: &url.URL{Scheme: "http", Host: "origin"}, Key: "key", Transport: p.pipes, Store: p.kept, Logger: slog.New(slog.DiscardHandler)}
	p.edge = NewEdge(&Cache{Store: p.kept, Name: "far"}, o, p.f)
	p.edge.Live, p.f.Edge = p.f.Live, p.edge
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { p.f.Run(ctx) })
	p.stop = func() {
		cancel()
		p.feed.Stop()
		work.Wait()
		p.edge.Cache.Close()
		p.kept.Close()
	}
	return p
}

func someTown() *town {
	return &town{
		meta:    map[string]map[string]string{"AUTH_ann/pics": {headerRead: ".r:*"}},
		objects: map[string]string{"AUTH_ann/pics/a": "one"}, headers: map[string]http.Header{},
	}
}

// write changes the object, and tells of it.
func (p *pair) write(text string) {
	p.set(func() { p.objects["AUTH_ann/pics/a"] = text })
	p.log.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics", Object: "a"})
	p.feed.Wake()
}

// An edge trusts what it holds for as long as it hears from its origin, and ten
// seconds more.
func TestFollowerIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const what = "GET http://localhost/AUTH_ann/pics/a"
		p := newPair(t, "", someTown(), &ledger{})
		defer p.stop()
		synctest.Wait()
		if !p.f.Live() {
			t.Fatal("it does not follow")
		}
		wantAnswer(t, what, visit(p.edge, what), 200, "one")
		time.Sleep(25 * time.Hour) // of the bubble
		wantAnswer(t, "after a day", visit(p.edge, what), 200, "one")
		if n := len(p.asked); n != 1 || !p.f.Live() {
			t.Errorf("in a day that nothing changed the origin was asked %d times: %q", n, p.asked)
		}
		p.write("two")
		synctest.Wait()
		wantAnswer(t, "after a change", visit(p.edge, what), 200, "two")

		p.pipes.mu.Lock()
		p.pipes.cut = true
		p.pipes.mu.Unlock()
		p.feed.Stop()
		synctest.Wait()
		time.Sleep(9 * time.Second)
		if !p.f.Live() {
			t.Error("nine seconds after the last heartbeat it is not live")
		}
		time.Sleep(2 * time.Second)
		if p.f.Live() {
			t.Error("eleven seconds after the last heartbeat it is live")
		}
		time.Sleep(time.Hour) // its lifetime is 1000 seconds
		wantAnswer(t, "an hour later", visit(p.edge, what), 200, "two")
		if n := len(p.asked); n != 3 {
			t.Errorf("the origin was asked %d times: %q", n, p.asked)
		}
	})
}

// An edge that was away hears what it missed, or that it cannot.
func TestFollowerComesBack(t *testing.T) {
	const what = "GET http://localhost/AUTH_ann/pics/a"
	for name, c := range map[string]struct {
		meanwhile func(*pair, *ledger)
		want      string
		asked     bool // again, after it is back
	}{
		"nothing":      {func(*pair, *ledger) {}, "one", false},
		"a change":     {func(p *pair, _ *ledger) { p.write("two") }, "two", true},
		"of another":   {func(_ *pair, l *ledger) { l.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics", Object: "b"}) }, "one", false},
		"too much":     {func(p *pair, l *ledger) { p.write("two"); l.first += 10 }, "two", true},
		"another past": {func(p *pair, l *ledger) { p.write("two"); l.events[0].At++ }, "two", true},
		"less of it":   {func(p *pair, l *ledger) { p.write("two"); l.events = nil }, "two", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o, log := t.TempDir(), someTown(), &ledger{}
			log.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics"})
			p := newPair(t, dir, o, log)
			p.f.Await(t.Context())
			for range 4 {
				wantAnswer(t, what, visit(p.edge, what), 200, "one")
			}
			p.stop()
			c.meanwhile(p, log)
			p = newPair(t, dir, o, log)
			defer p.stop()
			p.f.Await(t.Context())
			o.set(func() { o.asked = nil })
			wantAnswer(t, "when it is back", visit(p.edge, what), 200, c.want)
			if (len(o.asked) > 0) != c.asked {
				t.Errorf("the origin was asked %q", o.asked)
			}
		})
	}
}

// What is in containers that are not public is not told.
func TestFeedTellsLittle(t *testing.T) {
	o, log := someTown(), &ledger{}
	o.meta["AUTH_ann/private"] = nil
	log.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "private", Object: "secret-name"})
	log.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "gone", Object: "lost-name"})
	log.add(Event{Op: OpUpdate, Account: "AUTH_ann", Container: "private"})
	log.add(Event{Op: OpPut, Account: "AUTH_ann", Container: "pics", Object: "public-name"})
	f := &Feed{Log: log, Directory: o, Authorize: func(key string) (string, bool) { return "far", key == "key" }, Logger: slog.New(slog.DiscardHandler)}
	ask := func(target, key string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // so that a stream ends when it has told what there is
		r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		f.ServeHTTP(w, r)
		return w
	}
	told := ask("/edge/v1/events?after=0-0", "key").Body.String()
	if strings.Contains(told, "secret-name") || strings.Contains(told, "lost-name") {
		t.Errorf("told of what is private: %s", told)
	}
	if !strings.Contains(told, "public-name") || !strings.Contains(told, `"container":"private"`) || !strings.Contains(told, `"head":"4-`) {
		t.Errorf("told too little: %s", told)
	}
	for _, after := range []string{"", "x", "9-9", "1-1"} {
		if told := ask("/edge/v1/events?after="+after, "key").Body.String(); !strings.HasPrefix(told, `{"head":"4-`) || !strings.Contains(told, `"gap":true`) {
			t.Errorf("after %q told %s", after, told)
		}
	}
	for _, target := range []string{"/edge/v1/events", "/edge/v1/site?account=AUTH_ann&container=pics", "/edge/v1/none"} {
		for _, key := range []string{"", "guess"} {
			if w := ask(target, key); w.Code != 401 {
				t.Errorf("%s with key %q = %d", target, key, w.Code)
			}
		}
	}
	for target, status := range map[string]int{
		"/edge/v1/site?account=AUTH_ann&container=pics": 200, "/edge/v1/site?id=0d9303a4&container=pics": 200,
		"/edge/v1/site?account=AUTH_ann&container=none": 404, "/edge/v1/none": 404,
	} {
		if w := ask(target, "key"); w.Code != status {
			t.Errorf("%s = %d, want %d", target, w.Code, status)
		}
	}
}
