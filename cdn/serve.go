package cdn

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// state is what a Cache has that nobody else sees.
type state struct {
	via     string // Name as a token
	gens    generations
	heads   heads
	flights flights
	alone   memory // of keys whose responses are for one alone
	unaided memory // of keys whose origin does not give slices
	pumps   pumps
	own     bool // the store is ours to close

	ctx  context.Context // ends with the cache
	stop context.CancelFunc
	work sync.WaitGroup // fills and refreshes

	closing sync.RWMutex // held to begin work
}

func (c *Cache) init() {
	c.once.Do(func() {
		if c.Log == nil {
			c.Log = slog.Default()
		}
		if c.Name == "" {
			c.Name = "Memstore"
		}
		if c.HeaderTimeout <= 0 {
			c.HeaderTimeout = 30 * time.Second
		}
		if c.BodyTimeout <= 0 {
			c.BodyTimeout = time.Minute
		}
		c.via = strings.Map(func(r rune) rune {
			if r > 0x7e || !isToken(string(r)) {
				return '-'
			}
			return r
		}, c.Name)
		if c.via[0] < 'A' { // a token of Structured Fields begins with a letter
			c.via = "x" + c.via
		}
		if c.Store == nil {
			c.Store, _ = store.Open(store.Options{Log: c.Log}) // no error without a directory
			c.own = true
		}
		if b, err := c.Store.Note(gensNote); err == nil && !c.gens.decode(b) {
			// What was purged is not known any more, so everything is.
			last := uint64(time.Now().UnixNano())
			c.gens.last.Store(last)
			c.gens.floor.Store(last)
			c.Log.Error("purges cannot be read, so nothing that was kept is used any more")
		}
		c.ctx, c.stop = context.WithCancel(context.Background())
	})
}

// Close ends the fetches under way and waits for them. The store, if it was
// given, stays open.
func (c *Cache) Close() error {
	c.init()
	c.closing.Lock()
	c.stop()
	c.closing.Unlock()
	c.work.Wait()
	if c.own {
		return c.Store.Close()
	}
	return nil
}

// do runs f in a goroutine of its own, which Close waits for.
func (c *Cache) do(f func()) {
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.ctx.Err() != nil {
		f() // which ends at once, for what it needs has ended
		return
	}
	c.work.Go(f)
}

// memory remembers keys for a while, one to a slot: forgetting one early does no
// harm.
type memory [4096]atomic.Pointer[note]

func (m *memory) slot(k store.Key) *atomic.Pointer[note] {
	return &m[(int(k[1])<<8|int(k[2]))%len(m)]
}

func (m *memory) has(k store.Key, now time.Time) bool {
	n := m.slot(k).Load()
	return n != nil && n.key == k && now.Before(n.until)
}

func (m *memory) add(k store.Key, until time.Time) { m.slot(k).Store(&note{k, until}) }

func (m *memory) forget(k store.Key) {
	if n := m.slot(k).Load(); n != nil && n.key == k {
		m.slot(k).CompareAndSwap(n, nil)
	}
}

// An exchange is one request and what becomes of it.
type exchange struct {
	c       *Cache
	w       http.ResponseWriter // nil: nobody waits for the answer
	r       *http.Request
	profile *Profile
	now     time.Time

	resource   store.Key
	query      string
	fields     http.Header // see forwarded
	directives             // of the request
	index      *index      // of the resource, as lookup found it

	// What judge found out of the response it saw last.
	age, life time.Duration
	live      bool // fresh only because changes are told
	asked     bool // it was the request that wanted it validated

	status status
}

// Serve answers r as p says.
func (c *Cache) Serve(w http.ResponseWriter, r *http.Request, p Profile) {
	c.init()
	x := &exchange{c: c, w: w, r: r, profile: &p, now: time.Now()}
	if p.seen != nil {
		defer func() { *p.seen = x.status }() // also if it ends in a panic
	}
	switch {
	case r.Method == http.MethodTrace, r.Method == http.MethodConnect:
		w.Header()["Allow"] = []string{"GET, HEAD, OPTIONS, PUT, POST, PATCH, DELETE"}
		x.refuse(http.StatusMethodNotAllowed, "fwd=method; detail=refused")
	case r.Host == "" && r.ProtoAtLeast(1, 1), r.Host != "" && !soundHost(r.Host):
		x.refuse(http.StatusBadRequest, "detail=host")
	case !soundTarget(r):
		x.refuse(http.StatusBadRequest, "detail=target")
	case c.loops(r):
		x.refuse(http.StatusLoopDetected, "detail=loop")
	case p.Forward == nil && r.Header["Upgrade"] != nil && upgrades(r):
		x.upgrade()
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		x.identify()
		x.read()
	default:
		x.identify()
		x.write()
	}
}

// soundTarget reports whether a request is for a path. What is none, such as the
// rest of "x:http://other/page", would be sent to the origin in the place of one
// and mean another page there, or another host, than the key does here.
func soundTarget(r *http.Request) bool {
	u := r.URL
	return u.Opaque == "" && (u.Path == "" || u.Path[0] == '/' || u.Path == "*" && r.Method == http.MethodOptions)
}

// upgrades reports whether a request is to make a connection one of WebSocket.
func upgrades(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ProtoMajor == 1 &&
		headerHas(r.Header["Connection"], "upgrade") && headerHas(r.Header["Upgrade"], "websocket")
}

func headerHas(values []string, member string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), member) {
				return true
			}
		}
		return false
	})
}

// read answers GET and HEAD.
func (x *exchange) read() {
	if v := x.r.Header["Cache-Control"]; len(v) > 0 {
		x.directives = parseDirectives(v)
	} else {
		x.directives = noDirectives()
		x.noCache = headerHas(x.r.Header["Pragma"], "no-cache") // RFC 9111, section 5.4
	}
	for range 8 {
		if x.try() {
			return
		}
		x.now = time.Now()
	}
	x.alone(nil, false) // the store does not keep what others find in it
}

// try answers with what is kept, or with what the origin says. If it reports
// false there is something new to be found.
func (x *exchange) try() bool {
	f := x.lookup()
	use, staleOnError := useNot, false
	if f != nil {
		defer f.release()
		use, staleOnError = x.judge(f.response, f.softened)
		if f.piece != nil && (use == useValidate || use == useRefresh || !x.within(f.piece)) {
			use = useNot
		}
	}
	x.status = status{}
	switch use {
	case useFresh, useStale:
		x.status.hit, x.status.stale = true, use == useStale
		return x.serve(f)
	case useRefresh:
		x.refresh(f)
		x.status.hit, x.status.stale = true, true
		return x.serve(f)
	case useNot:
		f = nil
	}
	x.status.forward = x.reason(f)
	switch {
	case x.onlyIfCached:
		x.refuse(http.StatusGatewayTimeout, "fwd="+x.status.forward+"; detail=only-if-cached")
		return true
	case x.r.Method == http.MethodHead:
		return x.head(f, staleOnError)
	}
	return x.fetch(f, staleOnError)
}

// A found is a response and where its body is.
type found struct {
	*response
	key      store.Key
	entry    *store.Entry
	softened bool // by its index
	shared   bool // the entry is a flight's to release
}

func (f *found) release() {
	if !f.shared {
		f.entry.Release()
	}
}

// lookup finds what is kept that may answer the request, or nil.
func (x *exchange) lookup() *found {
	c := x.c
	x.index = nil
	e := c.Store.Get(x.resource)
	if e == nil {
		return nil
	}
	d := c.heads.decode(x.resource, e)
	switch {
	case d == nil:
		e.Release()
		return nil
	case d.response != nil:
		if x.query != "" {
			e.Release()
			return nil
		}
		return &found{response: d.response, key: x.resource, entry: e, softened: d.response.softened}
	}
	e.Release()
	x.index = d.index
	var best *found
	for _, spec := range d.index.specs {
		k := x.variant(d.index, spec)
		e := c.Store.Get(k)
		if e == nil {
			continue
		}
		v := c.heads.decode(k, e)
		if v == nil || v.response == nil || best != nil && !v.response.received.After(best.received) {
			e.Release()
			continue
		}
		if best != nil {
			best.release()
		}
		best = &found{response: v.response, key: k, entry: e, softened: v.response.softened || v.response.epoch != d.index.epoch}
	}
	return best
}

// refuse answers with a status of the cache's own.
func (x *exchange) refuse(code int, detail string) {
	if x.w == nil {
		return
	}
	h := x.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["Cache-Status"] = []string{x.c.via + "; " + detail}
	if x.profile.Edit != nil {
		x.profile.Edit(h)
	}
	x.w.WriteHeader(code)
	if x.r.Method != http.MethodHead {
		io.WriteString(x.w, http.StatusText(code)+"\n")
	}
}

// upgrade hands a connection that is to speak WebSocket to the origin. Other
// protocols are not spoken here: by HTTP/2 in the clear, requests that nobody
// has judged would go past.
func (x *exchange) upgrade() {
	h := x.request(x.r.Context(), x.r.Method)
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			upgrade := p.Out.Header["Upgrade"]
			p.Out.URL, p.Out.Host = h.URL, h.Host
			p.Out.Header = h.Header
			p.Out.Header["Connection"], p.Out.Header["Upgrade"] = []string{"Upgrade"}, upgrade
		},
		Transport: x.c.Origin,
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			x.broken(err, "fwd=bypass")
		},
	}
	proxy.ServeHTTP(x.w, x.r)
}

// write passes on a request with another method than GET and HEAD, and ends
// what it makes invalid (RFC 9111, section 4.4).
func (x *exchange) write() {
	x.status.forward = "method"
	req := x.request(x.r.Context(), x.r.Method)
	for _, name := range slices.Concat(conditional, []string{"If-Range", "Range", "Content-Length"}) {
		if v := x.r.Header[name]; v != nil {
			req.Header[name] = v
		}
	}
	if x.r.ContentLength != 0 {
		req.Body, req.ContentLength = io.NopCloser(x.r.Body), x.r.ContentLength
	}
	began := time.Now()
	resp, err := x.roundTrip(req)
	if err != nil {
		x.broken(err, "fwd=method")
		return
	}
	if !safe[x.r.Method] && resp.StatusCode >= 200 && resp.StatusCode < 400 {
		x.c.purge(x.resource, true)
		if x.profile.Key == "" {
			x.invalidate(resp.Header["Location"], resp.Header["Content-Location"])
		}
	}
	if x.r.Method == http.MethodPost && x.keepPosted(resp, began) {
		return
	}
	x.relay(resp)
}

// keepPosted keeps the response to a POST which says that it is what a GET would
// be answered with, and for how long (RFC 9110, section 9.3.3), and answers from
// there.
func (x *exchange) keepPosted(resp *http.Response, began time.Time) bool {
	location := resp.Header["Content-Location"]
	if resp.StatusCode != http.StatusOK || len(location) != 1 || x.profile.Key != "" {
		return false
	}
	base := &url.URL{Scheme: scheme(x.r), Host: x.r.Host, Path: x.r.URL.Path, RawPath: x.r.URL.RawPath, RawQuery: x.r.URL.RawQuery}
	if u, err := base.Parse(location[0]); err != nil || resourceKey(URLKey(u)) != x.resource {
		return false
	}
	fl := x.c.solo(x.resource, x.resource)
	defer x.c.leave(fl)
	fl.fields = x.forwarded()
	r := x.received(fl, resp, began)
	if r.explicit <= 0 || !r.storable(x.r.Header, x.profile) || endless(resp) {
		fl.land(outcome{kind: unshared})
		x.c.end(fl)
		return false
	}
	got, resp, _ := x.keep(fl, r, resp)
	if got != nil {
		if got.sliced != nil {
			defer x.c.pumps.settle(got.sliced)
		}
		return x.answer(got)
	}
	x.relay(resp)
	return true
}

var safe = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true, http.MethodTrace: true,
	"PROPFIND": true, "REPORT": true, "SEARCH": true, "QUERY": true}

// invalidate ends what is kept for URLs that a response names, of this origin.
func (x *exchange) invalidate(fields ...[]string) {
	base := &url.URL{Scheme: scheme(x.r), Host: x.r.Host, Path: x.r.URL.Path}
	for _, values := range fields {
		for _, v := range values {
			u, err := base.Parse(v)
			if err != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) {
				continue
			}
			u.Fragment, u.RawFragment = "", ""
			x.c.purge(resourceKey(URLKey(u)), true)
		}
	}
}
