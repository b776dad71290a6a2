package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage/memory"
)

// A drip is a body of which a little comes now and then, until the deadline.
type drip struct {
	every time.Duration
	size  int
	left  int
	end   *deadlines
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	if at := d.end.read; !at.IsZero() && time.Until(at) < d.every {
		time.Sleep(time.Until(at))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(d.every)
	d.left--
	return copy(p, strings.Repeat(" ", d.size)), nil
}

func (*drip) Close() error { return nil }

// deadlines is a ResponseWriter that knows when the body must have come.
type deadlines struct {
	http.ResponseWriter
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t; return nil }

// dripping is a call whose body comes in drips.
func dripping(every time.Duration, size, times int) *call {
	end := &deadlines{ResponseWriter: httptest.NewRecorder()}
	c := newCall(end)
	c.g.BodyIdle, c.g.UploadRate = defaultBodyIdle, defaultUploadRate
	c.body = body{ReadCloser: &drip{every, size, times, end}, call: c, left: -1}
	return c
}

func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		size  int
		slow  bool
	}{
		{50 * time.Second, 1, true},
		{time.Second, 99, true},
		{time.Second, 101, false},
		{50 * time.Second, 6000, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			call := dripping(c.every, c.size, int(10*time.Minute/c.every))
			began := time.Now()
			_, err := io.Copy(io.Discard, &call.body)
			took := time.Since(began)
			if c.slow != errors.Is(err, os.ErrDeadlineExceeded) || c.slow && took > 2*paceSpan {
				t.Errorf("%d bytes every %v: ended after %v with %v", c.size, c.every, took, err)
			}
			if r := (*refusal)(nil); c.slow && (!errors.As(call.body.err, &r) || r.status != http.StatusRequestTimeout) {
				t.Errorf("answered with %v, want 408", call.body.err)
			}
		})
	}
}

// A request for a token has ten seconds, however steadily it comes.
func TestSlowLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dripping(time.Second, 200, 60)
		began := time.Now()
		var v any
		if err := c.readJSON(&v); err == nil || time.Since(began) > authPatience {
			t.Errorf("readJSON = %v after %v", err, time.Since(began))
		}
		if c.w.Header().Get("Connection") != "close" {
			t.Error("the connection stays open")
		}
		c.body.leave()
		if at := c.w.ResponseWriter.(*deadlines).read; at.Sub(began) > authPatience {
			t.Errorf("the rest may come until %v after the beginning", at.Sub(began))
		}
	})
}

// fickle are people whose rights can end.
type fickle struct {
	people
	gone atomic.Bool
}

func (f *fickle) Current(auth.Identity) bool { return !f.gone.Load() }

func TestRevokedWhileReading(t *testing.T) {
	f := new(fickle)
	l := newLabOver(t, &openHook{Backend: memory.New(), forward: true}, func(c *Config) { c.Auth = f }) // whose readers do not write all at once
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	const size = 40 << 20
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat("x", size))
	res, _, _ := l.wire(l.serve(), "GET /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n\r\n")
	if _, err := io.CopyN(io.Discard, res.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	f.gone.Store(true)
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d bytes more came after the rights of the reader had ended", n)
	}
}

func TestRevokedWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dripping(10*time.Second, 8000, 10)
		f := new(fickle)
		c.g.Auth, c.id = f, known["ann"]
		time.AfterFunc(35*time.Second, func() { f.gone.Store(true) })
		n, err := io.Copy(io.Discard, &c.body)
		if err == nil || n != 32_000 || c.answerTo(c.body.err).status != http.StatusUnauthorized {
			t.Errorf("%d bytes came, then %v", n, err)
		}
		c.id = auth.Identity{}
		if !c.current() {
			t.Error("a stranger is no stranger any more")
		}
	})
}

// Requests that are under way can be so many; the next is refused, and there is
// room again when one is over.
func TestMaxRequests(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	hook := &openHook{Backend: memory.New()}
	l := newLabOver(t, hook, func(c *Config) { c.MaxRequests = 1 })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello")
	hook.opened = func() { close(held); <-hold }
	done := make(chan answer)
	go func() { done <- l.ask("ann", "GET", "/v1/AUTH_ann/c/o", "") }()
	<-held
	if a := l.ask("ann", "HEAD", "/v1/AUTH_ann/c/o", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("a second request at once = %d, want 503", a.status)
	}
	if a := l.ask("", "GET", "/healthcheck", ""); a.status != 200 {
		t.Errorf("healthcheck meanwhile = %d", a.status)
	}
	close(hold)
	if a := <-done; a.body != "hello" {
		t.Errorf("the first = %d %q", a.status, a.body)
	}
	l.must(200, "HEAD", "/v1/AUTH_ann/c/o", "")
}

// Who overruns a limit where logins are, or has a handler crash, is banned in
// the end, or at once.
func TestStrikes(t *testing.T) {
	hook := &openHook{Backend: memory.New()}
	l, realm := newLoginLab(t, auth.Options{Defender: auth.DefenderOptions{Limit: 15, Allow: []netip.Prefix{}}})
	from := netip.MustParseAddr("192.0.2.1") // httptest's client
	for i := range 5 {
		if realm.Defender().Banned(from) {
			t.Fatalf("banned after %d requests that were too large", i)
		}
		l.ask("", "POST", "/v3/auth/tokens", strings.Repeat(" ", maxAuthBody+1))
	}
	if !realm.Defender().Banned(from) {
		t.Error("not banned after 5 requests that were too large")
	}
	realm.Defender().Lift(from)
	crashing := newLabOver(t, hook, func(c *Config) { c.Auth = crasher{realm} })
	crashing.ask("ann", "GET", "/v1/AUTH_ann/c/o", "")
	if !realm.Defender().Banned(from) {
		t.Error("not banned after a crash")
	}
}

// A crasher is an Authenticator with a fault.
type crasher struct{ *auth.Realm }

func (crasher) Verify(context.Context, string) (auth.Identity, auth.Token, error) {
	panic("a fault")
}
