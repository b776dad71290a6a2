package cdn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Origins are several origins that have the same to give: the first that is well
// is asked, the rest are spares. It is an http.RoundTripper, to be a Cache's
// Origin. Its fields must not change once it is used, and Run must run.
//
// An origin that cannot be connected to, or fails its check, is not asked again
// until it has passed one; one that answers 502, 503, 504, or nothing, three times
// in a row neither. Requests that may be repeated, which are GET, HEAD and OPTIONS
// without a body, are repeated at the next; others never are.
type Origins struct {
	// List has the first first.
	List []Mirror

	// Check is the path and query that Run asks each origin for; an answer below
	// 500 is that of one that is well. Empty is "/".
	Check string

	// Every is how often a check is made, and the longest that an origin which
	// fails is left alone: it is looked at after a quarter of a second, then after
	// twice as long each time. 0 is 5 s.
	Every time.Duration

	// Patience is how long an origin may take for a check; until its answer begins,
	// if there is a spare to ask instead; and for more of a body that can be had
	// elsewhere. 0 is 10 s.
	Patience time.Duration

	// Together has all requests go to one origin at a time, as an edge needs that
	// holds what it has for good until it hears otherwise: a Follower hears from
	// that one. A single failure is then passed on, and only an origin that is
	// not well is left, for all requests at once.
	Together bool

	// Log takes which origins come and go; nil is slog.Default.
	Log *slog.Logger

	once sync.Once
	turn atomic.Uint64 // counts changes of who is in use

	mu       sync.Mutex // guards what follows
	health   []health
	inUse    int
	turned   chan struct{} // closed when another comes into use
	switched func()        // is told before another is asked; may be nil
}

// A Mirror is one of several origins.
type Mirror struct {
	// Name is for the log.
	Name string

	// Transport asks this origin, whatever host a request is for.
	Transport http.RoundTripper
}

// health is how an origin does.
type health struct {
	sick  bool
	fails int           // in a row
	wait  time.Duration // until it is looked at again, if it is sick
	fell  chan struct{} // has one in it when it fell sick
}

const (
	failuresInRow = 3
	firstLook     = 250 * time.Millisecond
)

// errNoOrigin is that there is none to ask.
var errNoOrigin = errors.New("no origin is well")

var _ http.RoundTripper = (*Origins)(nil)

func (o *Origins) init() {
	o.once.Do(func() {
		if o.Every <= 0 {
			o.Every = 5 * time.Second
		}
		if o.Patience <= 0 {
			o.Patience = 10 * time.Second
		}
		if o.Log == nil {
			o.Log = slog.Default()
		}
		if !strings.HasPrefix(o.Check, "/") {
			o.Check = "/" + o.Check
		}
		o.health = make([]health, len(o.List))
		for i := range o.health {
			o.health[i].fell = make(chan struct{}, 1)
		}
		o.turned = make(chan struct{})
	})
}

// RoundTrip asks the first origin that is well. The body of its answer, if that
// has a strong ETag, goes on at another where it breaks off, if that has the same.
func (o *Origins) RoundTrip(r *http.Request) (*http.Response, error) {
	o.init()
	if repeatable(r) {
		resp, from, err := o.ask(r, nil)
		if err != nil {
			return nil, err
		}
		return o.joined(r, resp, from), nil
	}
	i := o.pick(nil)
	if i < 0 {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errNoOrigin
	}
	resp, err := o.List[i].Transport.RoundTrip(r)
	o.judge(r.Context(), i, resp, err)
	return resp, err
}

// repeatable says whether a request may be made twice.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return (r.Body == nil || r.Body == http.NoBody) && r.Header["Upgrade"] == nil
	}
	return false
}

// ask makes a request that may be repeated at one origin after another, until one
// answers as it should. If none does, an answer that was given all the same is
// better than an error. Those in avoid are asked last.
func (o *Origins) ask(r *http.Request, avoid []int) (resp *http.Response, from int, err error) {
	tried := slices.Clone(avoid)
	err = errNoOrigin
	for {
		i := o.pick(tried)
		if i < 0 && len(avoid) > 0 {
			tried = slices.DeleteFunc(tried, func(n int) bool { return slices.Contains(avoid, n) })
			avoid = nil
			continue
		}
		if i < 0 || r.Context().Err() != nil {
			break
		}
		tried = append(tried, i)
		limit := time.Duration(0)
		if !o.Together && o.pick(tried) >= 0 {
			limit = o.Patience
		}
		next, failure := o.attempt(r, i, limit)
		well := o.judge(r.Context(), i, next, failure)
		if failure != nil {
			err = failure
			continue
		}
		if resp != nil {
			resp.Body.Close()
		}
		resp, from = next, i
		if well {
			break
		}
	}
	if resp != nil {
		return resp, from, nil
	}
	return nil, -1, err
}

// pick returns the origin to ask, if it is not one of those that were tried, or -1.
func (o *Origins) pick(tried []int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.health {
		if (!o.Together || i == o.inUse) && !o.health[i].sick && !slices.Contains(tried, i) {
			return i
		}
	}
	return -1
}

// attempt asks one origin, which has so long until its answer begins; 0 is as
// long as the request itself has.
func (o *Origins) attempt(r *http.Request, i int, limit time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { cancel(errSlow) })
		defer timer.Stop()
	}
	resp, err := o.List[i].Transport.RoundTrip(r.WithContext(ctx))
	if cause := context.Cause(ctx); cause != nil {
		if err == nil {
			resp.Body.Close()
		}
		err = cause
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	resp.Body = &attemptBody{resp.Body, cancel}
	return resp, nil
}

// An attemptBody frees what its request holds when it is closed.
type attemptBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *attemptBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// judge takes note of how an origin did, and reports whether it did well. That
// the one who asked went away is nobody's fault.
func (o *Origins) judge(ctx context.Context, i int, resp *http.Response, err error) bool {
	if err != nil && ctx.Err() != nil && context.Cause(ctx) != errSlow {
		return false
	}
	if err == nil {
		switch resp.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			err = errStatus(resp.StatusCode)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := &o.health[i]
	if err == nil {
		if !h.sick {
			h.fails = 0
		}
		return true
	}
	var op *net.OpError
	if h.fails++; h.fails >= failuresInRow || errors.As(err, &op) && op.Op == "dial" {
		o.fall(i, err)
	}
	return false
}

// fall has an origin left alone. The mutex is held.
func (o *Origins) fall(i int, why error) {
	h := &o.health[i]
	if h.sick {
		return
	}
	h.sick, h.wait = true, min(firstLook, o.Every)
	select {
	case h.fell <- struct{}{}:
	default: // nobody has heard of the last time yet
	}
	o.Log.Warn("origin is left alone until it is well again", "origin", o.List[i].Name, "error", why)
	o.choose()
}

// choose puts the first that is well into use; if none is all stays as it is.
// The mutex is held.
func (o *Origins) choose() {
	i := slices.IndexFunc(o.health, func(h health) bool { return !h.sick })
	if i < 0 || i == o.inUse {
		return
	}
	o.inUse = i
	o.turn.Add(1)
	if o.switched != nil {
		o.switched()
	}
	close(o.turned)
	o.turned = make(chan struct{})
	o.Log.Info("origin in use", "origin", o.List[i].Name)
}

// onSwitch has f called when another origin comes into use, before it is asked
// for anything. It must not call o.
func (o *Origins) onSwitch(f func()) {
	o.init()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.switched = f
}

// current returns the number of the turn, of which each has another origin in use
// than the one before, and what is closed at its end.
func (o *Origins) current() (turn uint64, over <-chan struct{}) {
	o.init()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turn.Load(), o.turned
}

// Run checks the origins until ctx ends.
func (o *Origins) Run(ctx context.Context) {
	o.init()
	var work sync.WaitGroup
	for i := range o.List {
		work.Go(func() { o.watch(ctx, i) })
	}
	work.Wait()
}

// watch checks one origin: now and then while it is well, sooner and ever later
// once it is not.
func (o *Origins) watch(ctx context.Context, i int) {
	for {
		o.mu.Lock()
		h := &o.health[i]
		wait := o.Every
		if h.sick {
			wait = h.wait
		}
		o.mu.Unlock()
		// Many edges do not look at the same moment.
		timer := time.NewTimer(wait*3/4 + rand.N(wait/4+1))
		select {
		case <-timer.C:
		case <-h.fell:
			timer.Stop()
			continue // it is to be looked at sooner
		case <-ctx.Done():
			timer.Stop()
			return
		}
		o.settle(ctx, i, o.look(ctx, i))
	}
}

// look makes one check.
func (o *Origins) look(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	u, err := url.ParseRequestURI(o.Check)
	if err != nil {
		return fmt.Errorf("the path of the check: %w", err)
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"User-Agent": {"Memstore"}},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	resp, err := o.List[i].Transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 4<<10) // most are so short, and the connection is kept
	if resp.StatusCode >= 500 {
		return errStatus(resp.StatusCode)
	}
	return nil
}

// settle takes what a check has found.
func (o *Origins) settle(ctx context.Context, i int, err error) {
	if ctx.Err() != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := &o.health[i]
	switch {
	case err == nil && h.sick:
		h.sick, h.fails = false, 0
		o.Log.Info("origin is well again", "origin", o.List[i].Name)
		o.choose()
	case err == nil:
	case h.sick:
		h.wait = min(2*h.wait, o.Every)
	default:
		o.fall(i, fmt.Errorf("check failed: %w", err))
	}
}
