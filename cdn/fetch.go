package cdn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"sync"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// How long it is remembered that a response was for one alone, and that an
// origin does not give slices.
const (
	aloneFor        = 10 * time.Second
	aloneAfterError = time.Second
	unaidedFor      = 10 * time.Second
)

// flightKey is what requests have in common that may share one fetch, as far as
// can be known before there is a response.
func (x *exchange) flightKey() store.Key {
	switch {
	case x.index != nil && len(x.index.specs) > 0:
		return x.variant(x.index, x.index.specs[0])
	case x.query != "":
		return derivedKey('q', x.resource[:], x.query)
	}
	return x.resource
}

// private says whether the request cannot share a fetch with others.
func (x *exchange) private(f *found) bool {
	switch {
	case x.asked, x.noStore, x.r.Header["Authorization"] != nil:
		return true
	case f == nil && x.profile.Key == "" && isConditional(x.r.Header):
		return true // the answer may be 304, for this client only
	}
	return x.aim(f) == asItIs
}

// fetch asks the origin, together with others who want the same. It reports
// whether the request is answered.
func (x *exchange) fetch(f *found, staleOnError bool) bool {
	c, key := x.c, x.flightKey()
	if x.private(f) || c.alone.has(key, x.now) {
		return x.alone(f, staleOnError)
	}
	fl, leads := c.join(x.resource, key, nil, x.profile)
	if leads {
		return x.lead(fl, f, staleOnError)
	}
	return x.follow(fl, key, f, staleOnError)
}

// follow waits for others' fetch. If it takes too long one of those who wait
// asks again, and the rest wait for either: a slow origin is asked once a
// second, not once by each.
func (x *exchange) follow(fl *flight, key store.Key, f *found, staleOnError bool) bool {
	var older *flight
	leave := func(fl *flight) {
		if fl != nil {
			x.c.leave(fl)
		}
	}
	timer := time.NewTimer(collapseWait)
	defer timer.Stop()
	for {
		var landed chan struct{}
		if older != nil {
			landed = older.landed
		}
		select {
		case <-fl.landed:
			leave(older)
			return x.take(fl, f, staleOnError)
		case <-landed:
			leave(fl)
			return x.take(older, f, staleOnError)
		case <-x.r.Context().Done():
			leave(older)
			leave(fl)
			return true
		case <-timer.C:
			timer.Reset(collapseWait)
			next, leads := x.c.join(x.resource, key, fl, x.profile)
			leave(older)
			if leads {
				leave(fl)
				return x.lead(next, f, staleOnError)
			}
			older, fl = fl, next
		}
	}
}

// take answers with what others' fetch has brought, if it is for this request
// too, and leaves it.
func (x *exchange) take(fl *flight, f *found, staleOnError bool) bool {
	defer x.c.leave(fl)
	x.now = time.Now()
	switch fl.kind {
	case again:
		return false
	case broken:
		if staleOnError {
			return x.stale(f, fl.err)
		}
		x.broken(fl.err, "fwd="+x.status.forward+"; collapsed")
		return true
	case shared:
		for _, name := range varySpec(fl.found.header["Vary"]) {
			if normal(fl.fields, name) != normal(x.forwarded(), name) {
				return false
			}
		}
		if use, _ := x.judge(fl.found.response, false); use >= useRefresh {
			x.status.collapsed = true
			return x.serve(fl.found)
		}
	}
	return x.alone(f, staleOnError)
}

// alone asks the origin for this request only.
func (x *exchange) alone(f *found, staleOnError bool) bool {
	return x.lead(x.c.solo(x.resource, x.flightKey()), f, staleOnError)
}

// lead asks the origin and answers with what it says.
func (x *exchange) lead(fl *flight, f *found, staleOnError bool) bool {
	stop := context.AfterFunc(x.r.Context(), func() { x.c.leave(fl) })
	defer func() {
		if stop() {
			x.c.leave(fl)
		}
	}()
	got, resp, err := x.ask(fl, f, staleOnError)
	if got != nil && got.sliced != nil {
		defer x.c.pumps.settle(got.sliced)
	}
	switch {
	case got != nil:
		return x.serve(got)
	case resp != nil:
		x.relay(resp)
		return true
	case err == nil:
		return false
	case staleOnError:
		return x.stale(f, err)
	}
	x.broken(err, "fwd="+x.status.forward)
	return true
}

// refresh fetches what is to come after f, behind the answer.
func (x *exchange) refresh(f *found) {
	c := x.c
	fl, leads := c.join(x.resource, x.flightKey(), nil, x.profile)
	if !leads {
		c.leave(fl)
		return
	}
	header := x.r.Header.Clone()
	y := &exchange{c: c, r: x.r.WithContext(c.ctx), profile: x.profile, now: x.now, resource: x.resource, query: x.query, index: x.index}
	y.r.Header = header
	y.directives = noDirectives()
	y.forwarded()
	e := c.Store.Peek(f.key) // a hold of its own: this one is the caller's
	var held *found
	if e != nil {
		if d := c.heads.decode(f.key, e); d != nil && d.response != nil {
			held = &found{response: d.response, key: f.key, entry: e}
		}
	}
	c.do(func() {
		defer c.leave(fl)
		if e != nil {
			defer e.Release()
		}
		got, resp, _ := y.ask(fl, held, false)
		switch {
		case resp != nil:
			resp.Body.Close()
		case got != nil && got.sliced != nil:
			c.pumps.settle(got.sliced)
		}
	})
}

// errStatus is an origin that answers, but that it cannot.
type errStatus int

func (e errStatus) Error() string { return "origin answered " + strconv.Itoa(int(e)) }

// ask makes the one request of a flight, and tells those who wait. What comes
// back is one of: a response that is being kept, or was found to hold still; a
// response for this request only; an error; or nothing, to look again.
func (x *exchange) ask(fl *flight, f *found, staleOnError bool) (*found, *http.Response, error) {
	c := x.c
	fl.fields = x.forwarded()
	req := x.request(fl.ctx, http.MethodGet)
	validates := f != nil && f.validates()
	if validates {
		if f.etag != "" {
			req.Header["If-None-Match"] = []string{f.etag}
		}
		if v := f.header["Last-Modified"]; len(v) > 0 {
			req.Header["If-Modified-Since"] = v[:1]
		}
	} else if f == nil && fl.private && x.profile.Key == "" {
		for _, name := range conditional {
			if v := x.r.Header[name]; v != nil {
				req.Header[name] = v
			}
		}
	}
	aim := x.aim(f)
	switch {
	case aim == asItIs:
		for _, name := range []string{"Range", "If-Range"} {
			if v := x.r.Header[name]; v != nil {
				req.Header[name] = v
			}
		}
	case aim >= 0:
		req.Header["Range"] = []string{sliceRange(aim)}
	}
	began := time.Now()
	resp, err := x.roundTrip(req)
	if err == nil && staleOnError && resp.StatusCode >= 500 {
		resp.Body.Close()
		err = errStatus(resp.StatusCode)
	}
	if err != nil {
		fl.land(outcome{kind: broken, err: err})
		c.end(fl)
		return nil, nil, err
	}
	x.status.code = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusNotModified && validates:
		return x.freshen(fl, f, resp, began)
	case resp.StatusCode == http.StatusPartialContent && aim >= 0:
		return x.part(fl, aim, resp, began)
	}
	r := x.received(fl, resp, began)
	if resp.StatusCode == http.StatusPartialContent {
		r.piece = pieceOf(resp)
	}
	if !r.storable(x.r.Header, x.profile) || endless(resp) {
		return x.unkept(fl, f, resp)
	}
	return x.keep(fl, r, resp)
}

// received is what came, as it may be kept.
func (x *exchange) received(fl *flight, resp *http.Response, began time.Time) *response {
	r := newResponse(resp.StatusCode, resp.Header, began, time.Now(), fl.born)
	if x.profile.Expires != nil {
		r.expires = x.profile.Expires(r.header)
	}
	return r
}

// endless says whether a body ends where the connection does, and so may have
// been cut off anywhere.
func endless(resp *http.Response) bool {
	return resp.Close && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
}

// unkept gives a response to the one who asked.
func (x *exchange) unkept(fl *flight, f *found, resp *http.Response) (*found, *http.Response, error) {
	c, now := x.c, time.Now()
	switch code := resp.StatusCode; {
	case code >= 500:
		c.alone.add(fl.key, now.Add(aloneAfterError))
	case !fl.private:
		c.alone.add(fl.key, now.Add(aloneFor))
	}
	if f != nil && resp.StatusCode < 500 && x.r.Header["Authorization"] == nil {
		c.drop(x.resource, f) // it is not what there is any more
	}
	fl.land(outcome{kind: unshared})
	resp.Body = &ended{resp.Body, func() { c.end(fl) }}
	return nil, resp, nil
}

// ended calls a function once, when a body is closed.
type ended struct {
	io.ReadCloser
	then func()
}

func (e *ended) Close() error {
	err := e.ReadCloser.Close()
	if e.then != nil {
		e.then()
		e.then = nil
	}
	return err
}

// drop removes f, if it is still what is kept, and has nobody else join the
// fetch that brought it.
func (c *Cache) drop(resource store.Key, f *found) {
	sh := &c.flights[resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, fl := range slices.Clone(sh.resources[resource]) {
		select {
		case <-fl.landed:
			if fl.kind == shared && fl.found != nil && fl.found.same(f.response) {
				sh.drop(fl)
			}
		default:
		}
	}
	e := c.Store.Peek(f.key)
	if e == nil {
		return
	}
	defer e.Release()
	if d := c.heads.decode(f.key, e); d == nil || d.response != nil && d.response.same(f.response) {
		c.Store.Remove(f.key)
	}
}

// same says whether two are of one and the same answer of the origin, or of one
// version of a large object.
func (r *response) same(o *response) bool {
	if r.sliced != nil && o.sliced != nil {
		return r.sliced.id == o.sliced.id
	}
	return r == o || r.received.Equal(o.received) && r.etag == o.etag
}

// notUpdated are fields of a 304 that speak of the body, which is the stored
// one (RFC 9111, section 3.2).
var notUpdated = map[string]bool{"Content-Length": true, "Content-Encoding": true, "Content-Range": true,
	"Content-Md5": true, "Etag": true, "Age": true}

// freshen takes over what a 304 says.
func (x *exchange) freshen(fl *flight, f *found, resp *http.Response, began time.Time) (*found, *http.Response, error) {
	c := x.c
	resp.Body.Close()
	defer c.end(fl)
	// A tag other than the one that was asked about does not matter: there was
	// but one, so it is clear what has not been modified. Some servers tell
	// encodings apart by tags, and forget to in a 304.
	r := x.update(fl, f, resp.Header, began)
	if !r.storable(x.r.Header, x.profile) {
		c.drop(x.resource, f)
	} else if !x.replaceHead(fl, f, r) {
		fl.land(outcome{kind: again})
		return &found{response: r, key: f.key, entry: f.entry, shared: true}, nil, nil
	}
	fl.land(outcome{kind: again})
	return &found{response: r, key: f.key, entry: f.entry, shared: true}, nil, nil
}

// update is f with the header fields of a later response to the same.
func (x *exchange) update(fl *flight, f *found, h http.Header, began time.Time) *response {
	header := make(http.Header, len(f.header)+4)
	for name, values := range f.header {
		header[name] = values
	}
	delete(header, "Date")
	for name, values := range endToEnd(h) {
		if !notUpdated[name] {
			header[name] = values
		}
	}
	if v := h["Age"]; v != nil {
		header["Age"] = v
	}
	r := newResponse(f.status, header, began, time.Now(), fl.born)
	r.sliced, r.epoch, r.body = f.sliced, f.epoch, f.body
	if x.index != nil {
		r.epoch = x.index.epoch
	}
	if x.profile.Expires != nil {
		r.expires = x.profile.Expires(r.header)
	}
	return r
}

// replaceHead keeps r in place of f, unless it was purged meanwhile.
func (x *exchange) replaceHead(fl *flight, f *found, r *response) bool {
	sh := &x.c.flights[x.resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return !fl.purged && x.c.Store.SetHead(f.key, f.entry, r.encode())
}

// keep has the body poured into the store, and answered from there.
func (x *exchange) keep(fl *flight, r *response, resp *http.Response) (*found, *http.Response, error) {
	c := x.c
	size := resp.ContentLength
	if r.length >= 0 {
		size = r.length
	}
	if r.status == http.StatusNoContent {
		size = 0
	}
	var p *pump
	if size > wholeMax && x.slices(r) {
		r.sliced = newVersion(size)
		p = c.newPump(fl, r.sliced)
	}
	got, fill := x.place(fl, r, size, p != nil)
	if got == nil {
		return x.unkept(fl, nil, resp)
	}
	c.alone.forget(fl.key)
	x.status.stored = true
	if p != nil {
		c.do(func() { p.run(resp.Body) })
	} else {
		c.do(func() { c.pour(fl, fill, resp.Body) })
	}
	return got, nil, nil
}

// place finds where r is to be kept, and begins to fill it there; a response
// whose body is in slices is kept at once. Nothing is returned if it must not be
// kept. It lands the flight otherwise.
func (x *exchange) place(fl *flight, r *response, size int64, sliced bool) (*found, *store.Fill) {
	c := x.c
	sh := &c.flights[x.resource[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if fl.purged || x.older(r) {
		return nil, nil
	}
	key := x.home(r)
	for _, o := range sh.resources[x.resource] {
		if o != fl && o.fill != nil && *o.fill == key {
			c.Store.Remove(key) // what began to come earlier does not replace this
			break
		}
	}
	if sliced {
		size = 0
	}
	fill := c.Store.Create(key, r.encode(), size)
	fl.key, fl.fill, fl.entry = key, &key, fill.Entry()
	fl.steady = size >= 0 && size <= wholeMax
	got := &found{response: r, key: key, entry: fl.entry, shared: true}
	if sliced {
		if err := fill.Commit(); err != nil && !errors.Is(err, store.ErrNotKept) {
			c.Log.Warn("response not kept", "error", err)
		}
	}
	fl.land(outcome{kind: shared, found: got})
	return got, fill
}

// older says whether what is kept is newer than r: of two responses that were
// under way at once, or of any two that say when their content is from.
func (x *exchange) older(r *response) bool {
	e := x.c.Store.Peek(x.resource)
	if e == nil {
		return false
	}
	defer e.Release()
	d := x.c.heads.decode(x.resource, e)
	if d == nil || d.response == nil || d.response.status != r.status {
		return false
	}
	old := d.response
	if a, b := timestamp(old.header), timestamp(r.header); a != 0 && b != 0 {
		return b < a
	}
	return old.received.After(x.now) && !r.modified.IsZero() && r.modified.Before(old.modified)
}

// timestamp is when an object of Swift is from, or 0.
func timestamp(h http.Header) float64 {
	if v := h["X-Timestamp"]; len(v) > 0 {
		t, _ := strconv.ParseFloat(v[0], 64)
		return t
	}
	return 0
}

// home is the key of a response: that of the resource if it is the only one, or
// one below the index, which is made or extended. The flights' mutex is held.
func (x *exchange) home(r *response) store.Key {
	c := x.c
	spec := varySpec(r.header["Vary"])
	e := c.Store.Peek(x.resource)
	var i *index
	if e != nil {
		defer e.Release()
		if d := c.heads.decode(x.resource, e); d != nil {
			i = d.index
		}
	}
	if i == nil {
		if len(spec) == 0 && x.query == "" {
			return x.resource
		}
		i = &index{nonce: newVersion(0).id, specs: [][]string{spec}}
		fill := c.Store.Create(x.resource, i.encode(), 0)
		if err := fill.Commit(); err != nil && !errors.Is(err, store.ErrNotKept) {
			c.Log.Warn("index not kept", "error", err)
		}
	} else if at := slices.IndexFunc(i.specs, func(s []string) bool { return slices.Equal(s, spec) }); at != 0 {
		next := &index{nonce: i.nonce, epoch: i.epoch, specs: [][]string{spec}}
		for n, s := range i.specs {
			if n != at && len(next.specs) < maxSpecs {
				next.specs = append(next.specs, s)
			}
		}
		c.Store.SetHead(x.resource, e, next.encode())
		i = next
	}
	r.epoch = i.epoch
	return x.variant(i, spec)
}

// pour fills an entry, and ends its flight.
func (c *Cache) pour(fl *flight, fill *store.Fill, body io.ReadCloser) {
	defer c.end(fl)
	defer body.Close()
	_, err := copyBuffered(fill, body)
	if err == nil {
		err = fill.Commit()
	} else {
		fill.Abort(err)
	}
	if err != nil && !errors.Is(err, store.ErrNotKept) && !errors.Is(err, errDeserted) && !errors.Is(err, context.Canceled) {
		c.Log.Info("response not kept", "error", err)
	}
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func copyBuffered(w io.Writer, r io.Reader) (int64, error) {
	b := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(b)
	return io.CopyBuffer(onlyWriter{w}, onlyReader{r}, b[:])
}

type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// errSlow is an origin that takes too long.
var errSlow = errors.New("origin takes too long")

// roundTrip asks the origin, with limits on how long it may take. The body ends
// with an error, never early. Interim responses go to the client.
func (x *exchange) roundTrip(req *http.Request) (*http.Response, error) {
	c := x.c
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(c.HeaderTimeout, func() { cancel(errSlow) })
	interim := x.interim()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: interim.got})
	resp, err := c.Origin.RoundTrip(req.WithContext(ctx))
	interim.stop()
	if !timer.Stop() && err == nil {
		resp.Body.Close()
		err = errSlow
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(err)
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 999 {
		resp.Body.Close()
		err = fmt.Errorf("origin answered %d", resp.StatusCode)
		cancel(err)
		return nil, err
	}
	resp.Body = &timedBody{body: resp.Body, timer: time.AfterFunc(c.BodyTimeout, func() { cancel(errSlow) }),
		limit: c.BodyTimeout, ctx: ctx, cancel: cancel, left: length(resp, req), tally: x.profile.tally}
	if t := x.profile.tally; t != nil {
		t.originRequests.Add(1)
	}
	return resp, nil
}

// length is how many bytes a body must have, or -1.
func length(resp *http.Response, req *http.Request) int64 {
	if req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		return -1
	}
	if v := resp.Header["Content-Length"]; len(v) > 0 {
		return digits(v[0])
	}
	return resp.ContentLength
}

// A timedBody gives up when nothing comes, and takes no body for whole that is
// shorter than it was said to be.
type timedBody struct {
	body   io.ReadCloser
	timer  *time.Timer
	limit  time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	left   int64 // -1: unknown
	tally  *tally
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if b.tally != nil && n > 0 {
		b.tally.originBytes.Add(uint64(n))
	}
	if b.left >= 0 {
		b.left -= int64(n)
		switch {
		case b.left < 0:
			return n, errors.New("origin sent more than it said")
		case err == io.EOF && b.left > 0:
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (b *timedBody) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}

// An interim passes on informational responses while the final one has not
// come: the transport tells of them from a goroutine of its own.
type interim struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (x *exchange) interim() *interim {
	i := new(interim)
	if x.w != nil && x.r.ProtoAtLeast(1, 1) {
		i.w = x.w
	}
	return i
}

func (i *interim) got(code int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w == nil || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	h := i.w.Header()
	before := maps.Clone(h)
	maps.Copy(h, endToEnd(http.Header(header)))
	i.w.WriteHeader(code)
	clear(h)
	maps.Copy(h, before)
	return nil
}

func (i *interim) stop() {
	i.mu.Lock()
	i.w = nil
	i.mu.Unlock()
}
