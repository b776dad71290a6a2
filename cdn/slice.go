package cdn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"memstore.dev/memstore/cdn/store"
)

const (
	// sliceSize is the unit in which large objects are fetched and kept.
	sliceSize = 1 << 20

	// wholeMax is the largest body that is kept in one piece if it need not be.
	wholeMax = 4 << 20

	// window is how many slices the fetch of a whole object goes ahead of the
	// fastest of its readers, and how many behind it are held for the others.
	window = 16
)

// What aim says besides the number of a slice.
const (
	noRange = -1 // ask for the whole
	asItIs  = -2 // ask for the range of the client
)

// errVersion is a slice of something else than what is being answered with.
var errVersion = errors.New("cdn: the object has changed at the origin")

func newVersion(size int64) *version {
	v := &version{size: size}
	rand.Read(v.id[:])
	return v
}

func sliceRange(n int64) string {
	b := strconv.AppendInt([]byte("bytes="), n*sliceSize, 10)
	return string(strconv.AppendInt(append(b, '-'), (n+1)*sliceSize-1, 10))
}

// sliceSpan is where the n-th slice is in an object.
func sliceSpan(n, size int64) span {
	return span{n * sliceSize, min(sliceSize, size-n*sliceSize)}
}

// aim says what to ask the origin for a request with a Range: the slice that it
// begins in, if that can be told before anything is known of the object.
func (x *exchange) aim(f *found) int64 {
	v := x.r.Header["Range"]
	if len(v) == 0 || x.r.Method != http.MethodGet || f != nil && f.sliced == nil {
		return noRange
	}
	spans := parseRange(v[0])
	switch {
	case len(spans) == 0:
		return noRange
	case f == nil && x.c.unaided.has(x.resource, x.now):
		return asItIs
	case spans[0].off >= 0 && spans[0].off < 1<<50:
		return spans[0].off / sliceSize
	case f == nil && x.profile.Key == "":
		return asItIs
	}
	return 0
}

// pieceOf is what part of a body a response to a client's own range is, if it is
// worth keeping; nil if not. A piece that comes shorter than announced is what
// came of it.
func pieceOf(resp *http.Response) *piece206 {
	s, size, ok := contentRange(resp.Header.Get("Content-Range"))
	if !ok || size < 0 || resp.ContentLength <= 0 || resp.ContentLength > s.n || s.n > wholeMax {
		return nil
	}
	return &piece206{span{s.off, resp.ContentLength}, size}
}

// within says whether the request is for a part of a piece, which is then all
// there is to answer it.
func (x *exchange) within(p *piece206) bool {
	v := x.r.Header["Range"]
	if len(v) == 0 || x.r.Method != http.MethodGet || x.r.Header["If-Range"] != nil || isConditional(x.r.Header) {
		return false
	}
	spans, _ := fit(parseRange(v[0]), p.size)
	return len(spans) == 1 && spans[0].off >= p.off && spans[0].end() <= p.end()
}

// slices says whether the origin gives slices of r that are sure to be of one
// version.
func (x *exchange) slices(r *response) bool {
	return r.status == http.StatusOK && isStrong(r.etag) && headerHas(r.header["Accept-Ranges"], "bytes")
}

// part takes the slice that came in answer to a request for a range. It tells
// how large the object is, so the rest can be asked for.
func (x *exchange) part(fl *flight, n int64, resp *http.Response, began time.Time) (*found, *http.Response, error) {
	c := x.c
	piece, size, ok := contentRange(resp.Header.Get("Content-Range"))
	ok = ok && size >= 0 && piece == sliceSpan(n, size)
	h := resp.Header.Clone()
	delete(h, "Content-Range")
	h["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	resp.StatusCode = http.StatusOK
	whole := *resp
	whole.Header = h
	r := x.received(fl, &whole, began)
	ok = ok && r.storable(x.r.Header, x.profile)
	switch {
	case ok && piece.n == size:
		return x.keep(fl, r, &whole)
	case ok && isStrong(r.etag):
		r.sliced = newVersion(size)
		// The slice first, so that whoever finds the object finds it coming.
		key := sliceKey(r.sliced, n)
		s := c.begin(key, key)
		s.steady, s.waiters = true, 0
		sh := &c.flights[key[0]]
		sh.mu.Lock()
		sh.put(s)
		sh.mu.Unlock()
		fill := c.Store.Create(key, []byte{headSlice}, piece.n)
		s.entry = fill.Entry()
		s.land(outcome{kind: shared})
		got, _ := x.place(fl, r, 0, true)
		c.do(func() {
			defer c.end(fl)
			c.pour(s, fill, resp.Body)
		})
		if got != nil {
			x.status.stored = true
			return got, nil, nil
		}
		fl.land(outcome{kind: unshared})
		return &found{response: r, key: key, entry: s.entry, shared: true}, nil, nil
	}
	resp.Body.Close()
	c.unaided.add(x.resource, time.Now().Add(unaidedFor))
	fl.land(outcome{kind: again})
	c.end(fl)
	return nil, nil, nil
}

// headSlice is the head of a slice, whole.
const headSlice = 0x13

// A slicer gives the body of one answer from slices, those that are kept and
// those that it asks for.
type slicer struct {
	x    *exchange
	f    *found
	v    *version
	pump *pump
}

func (x *exchange) newSlicer(f *found) *slicer {
	s := &slicer{x: x, f: f, v: f.sliced}
	s.pump = x.c.pumps.join(s)
	return s
}

func (s *slicer) close() {
	if s.pump != nil {
		s.pump.leave(s)
	}
}

// try finds out whether the body can be had at off, before anything is said.
func (s *slicer) try(off int64) error {
	rd, err := s.open(span{off, 1})
	if err == nil {
		rd.Close()
	}
	return err
}

// write writes a span of the body. A slice that breaks off is asked for again
// from there.
func (s *slicer) write(w io.Writer, want span) error {
	if want.n < 0 {
		want.n = s.v.size - want.off
	}
	for failures := 0; want.n > 0; {
		n := want.off / sliceSize
		here := span{want.off, min(want.n, (n+1)*sliceSize-want.off)}
		rd, err := s.open(here)
		if err != nil {
			return err
		}
		if want.n > here.n {
			s.ahead(n + 1)
		}
		out := &outward{w: w}
		_, err = rd.copyTo(out)
		rd.Close()
		switch {
		case out.err != nil:
			return out.err
		case s.x.r.Context().Err() != nil:
			return s.x.r.Context().Err()
		case out.n < here.n:
			if failures++; failures > 3 {
				return fmt.Errorf("slice %d: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
			}
		}
		want.off, want.n = want.off+out.n, want.n-out.n
	}
	return nil
}

// An outward counts what goes to the client, and remembers that it was the
// client who failed. It passes on ReadFrom, which is the way to sendfile.
type outward struct {
	w   io.Writer
	n   int64
	err error
}

func (o *outward) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	if err != nil {
		o.err = err
	}
	return n, err
}

func (o *outward) ReadFrom(r io.Reader) (int64, error) {
	rf, ok := o.w.(io.ReaderFrom)
	if !ok {
		return copyBuffered(onlyWriter{o}, r)
	}
	n, err := rf.ReadFrom(r)
	o.n += n
	return n, err
}

// A piece reads a part of a slice.
type piece struct {
	io.ReadCloser
	done func()
}

func (p *piece) Close() error {
	err := p.ReadCloser.Close()
	if p.done != nil {
		p.done()
		p.done = nil
	}
	return err
}

func (p *piece) copyTo(w io.Writer) (int64, error) { return io.Copy(w, p.ReadCloser) }

// open returns the bytes of a span within one slice: from those who fetch the
// whole, from the store, or from the origin.
func (s *slicer) open(want span) (*piece, error) {
	c, ctx := s.x.c, s.x.r.Context()
	n := want.off / sliceSize
	off := want.off - n*sliceSize
	key := sliceKey(s.v, n)
	if s.pump != nil {
		rd, err := s.pump.open(ctx, s, n, off, want.n)
		if err != nil {
			return nil, err
		}
		if rd != nil {
			return &piece{ReadCloser: rd}, nil
		}
	}
	if e := c.Store.Get(key); e != nil {
		rd := e.Reader(ctx, off, want.n)
		e.Release()
		return &piece{ReadCloser: rd}, nil
	}
	fl := s.start(key, n)
	select {
	case <-ctx.Done():
		c.leave(fl)
		return nil, ctx.Err()
	case <-fl.landed:
	}
	if fl.kind != shared {
		c.leave(fl)
		return nil, fl.err
	}
	return &piece{fl.entry.Reader(ctx, off, want.n), func() { c.leave(fl) }}, nil
}

// ahead begins to fetch a slice that will be wanted next.
func (s *slicer) ahead(n int64) {
	c, key := s.x.c, sliceKey(s.v, n)
	if s.pump != nil && s.pump.brings(n) {
		return
	}
	if e := c.Store.Peek(key); e != nil {
		e.Release()
		return
	}
	c.leave(s.start(key, n))
}

// start joins the fetch of a slice, or begins it. A slice is fetched to its end
// even if nobody waits any more: it is small, and somebody wanted it.
func (s *slicer) start(key store.Key, n int64) *flight {
	c := s.x.c
	fl, leads := c.join(key, key, nil, nil)
	if leads {
		sh := &c.flights[key[0]]
		sh.mu.Lock()
		fl.steady = true
		sh.mu.Unlock()
		s.x.forwarded()
		c.do(func() { s.fetch(fl, n) })
	}
	return fl
}

// fetch asks the origin for a slice of this version and no other.
func (s *slicer) fetch(fl *flight, n int64) {
	x, c := s.x, s.x.c
	fail := func(err error) {
		fl.land(outcome{kind: broken, err: err})
		c.end(fl)
	}
	req := x.request(fl.ctx, http.MethodGet)
	req.Header["Range"] = []string{sliceRange(n)}
	req.Header["If-Range"] = []string{s.f.etag}
	resp, err := x.behind().roundTrip(req)
	if err != nil {
		fail(err)
		return
	}
	piece, size, ok := contentRange(resp.Header.Get("Content-Range"))
	switch {
	case resp.StatusCode >= 500:
		resp.Body.Close()
		fail(errStatus(resp.StatusCode))
		return
	case resp.StatusCode != http.StatusPartialContent || !ok || size != s.v.size || piece != sliceSpan(n, s.v.size) ||
		resp.Header["Etag"] != nil && resp.Header.Get("Etag") != s.f.etag:
		resp.Body.Close()
		c.drop(x.resource, s.f)
		if resp.StatusCode == http.StatusOK && resp.Header.Get("Etag") == s.f.etag {
			c.unaided.add(x.resource, time.Now().Add(unaidedFor)) // no change: it takes no ranges
		}
		fail(errVersion)
		return
	}
	fill := c.Store.Create(fl.key, []byte{headSlice}, piece.n)
	fl.entry = fill.Entry()
	fl.land(outcome{kind: shared})
	c.pour(fl, fill, resp.Body)
}

// behind is x for what is done while the client does not wait for it.
func (x *exchange) behind() *exchange {
	y := *x
	y.w = nil
	return &y
}

// pumps are the fetches of whole large objects under way, by version.
type pumps struct {
	mu sync.Mutex
	m  map[[16]byte]*pump
}

func (ps *pumps) join(s *slicer) *pump {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[s.v.id]
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	p.readers[s] = -1
	if p.first != nil {
		delete(p.readers, p.first)
		p.first = nil
	}
	return p
}

// settle says that whoever was expected first has come, or never will: an answer
// may turn out to need no body.
func (ps *pumps) settle(v *version) {
	ps.mu.Lock()
	p := ps.m[v.id]
	ps.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	first := p.first
	p.first = nil
	p.mu.Unlock()
	if first != nil {
		p.leave(first)
	}
}

// A pump fetches a whole large object, and cuts it into slices.
type pump struct {
	c  *Cache
	fl *flight
	v  *version

	mu      sync.Mutex // guards all below
	at      int64      // the slice that is being filled; -1 before the first
	held    map[int64]*store.Entry
	readers map[*slicer]int64 // to the slice that each has come to
	first   *slicer           // stands for the one who is about to join
	over    bool
	changed chan struct{}
}

func (c *Cache) newPump(fl *flight, v *version) *pump {
	p := &pump{c: c, fl: fl, v: v, at: -1, held: make(map[int64]*store.Entry), readers: make(map[*slicer]int64),
		first: new(slicer), changed: make(chan struct{})}
	p.readers[p.first] = -1
	c.pumps.mu.Lock()
	if c.pumps.m == nil {
		c.pumps.m = make(map[[16]byte]*pump)
	}
	c.pumps.m[v.id] = p
	c.pumps.mu.Unlock()
	return p
}

// wake tells all who wait to look again; mu is held.
func (p *pump) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// leave says that a reader needs no more. With the last the fetch ends.
func (p *pump) leave(s *slicer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.readers, s)
	if len(p.readers) == 0 && !p.over {
		p.fl.cancel(errDeserted)
	}
	p.wake()
}

// brings says whether the pump will soon have come to a slice, or has it.
func (p *pump) brings(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[n] != nil || !p.over && n > p.at && n <= p.at+window
}

// open returns bytes of a slice that the pump holds or will soon come to; nil if
// it has to be got elsewhere.
func (p *pump) open(ctx context.Context, s *slicer, n, off, size int64) (io.ReadCloser, error) {
	for {
		p.mu.Lock()
		if p.readers[s] < n {
			p.readers[s] = n
			p.wake()
		}
		if e := p.held[n]; e != nil {
			rd := e.Reader(ctx, off, size)
			p.mu.Unlock()
			return rd, nil
		}
		if p.over || n <= p.at || n > p.at+window {
			p.mu.Unlock()
			return nil, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run fills slice after slice from body.
func (p *pump) run(body io.ReadCloser) {
	c := p.c
	defer c.end(p.fl)
	defer body.Close()
	defer p.stop()
	for n := int64(0); n*sliceSize < p.v.size; n++ {
		if !p.wait(n) {
			return
		}
		want := sliceSpan(n, p.v.size).n
		fill := c.Store.Create(sliceKey(p.v, n), []byte{headSlice}, want)
		p.mu.Lock()
		p.at = n
		p.held[n] = fill.Entry()
		if old := p.held[n-window]; old != nil {
			old.Release()
			delete(p.held, n-window)
		}
		p.wake()
		p.mu.Unlock()
		got, err := copyBuffered(fill, io.LimitReader(body, want))
		if err == nil && got < want {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = fill.Commit()
		} else {
			fill.Abort(err)
		}
		if err != nil && !errors.Is(err, store.ErrNotKept) {
			p.mu.Lock()
			p.held[n].Release()
			delete(p.held, n)
			p.mu.Unlock()
			if !errors.Is(err, errDeserted) && !errors.Is(err, context.Canceled) {
				c.Log.Info("fetch of a large object broke off", "slice", n, "error", err)
			}
			return
		}
	}
}

// wait waits until somebody is near enough to slice n. It reports false if
// nobody is left.
func (p *pump) wait(n int64) bool {
	for {
		p.mu.Lock()
		fastest := int64(-1)
		for _, at := range p.readers {
			fastest = max(fastest, at)
		}
		readers, changed := len(p.readers), p.changed
		p.mu.Unlock()
		switch {
		case readers == 0:
			return false
		case n <= fastest+window:
			return true
		}
		select {
		case <-changed:
		case <-p.fl.ctx.Done():
			return false
		}
	}
}

// stop lets go of everything.
func (p *pump) stop() {
	p.c.pumps.mu.Lock()
	delete(p.c.pumps.m, p.v.id)
	p.c.pumps.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for n, e := range p.held {
		e.Release()
		delete(p.held, n)
	}
	p.wake()
}
