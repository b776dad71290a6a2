package cdn

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// relay gives the client the response as it comes.
func (x *exchange) relay(resp *http.Response) {
	defer resp.Body.Close()
	if x.w == nil {
		return
	}
	h := x.w.Header()
	maps.Copy(h, endToEnd(resp.Header))
	if resp.Header["Content-Type"] == nil {
		h["Content-Type"] = nil // or net/http would guess one
	}
	if len(h["Date"]) == 0 {
		h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	if resp.ContentLength >= 0 && h["Content-Length"] == nil && x.r.Method != http.MethodHead && resp.StatusCode != http.StatusNotModified && resp.StatusCode != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	h["Cache-Status"] = x.status.field(x.c.via, resp.Header["Cache-Status"])
	if x.profile.Edit != nil {
		x.profile.Edit(h)
	}
	for name := range resp.Trailer {
		h["Trailer"] = append(h["Trailer"], name)
	}
	x.w.WriteHeader(resp.StatusCode)
	if x.r.Method == http.MethodHead {
		return
	}
	if err := copyBody(x.w, resp); err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.Trailer {
		h[name] = values
	}
}

// copyBody copies a body. One of unknown length may be events that somebody waits
// for, so what there is of it goes out at once.
func copyBody(w http.ResponseWriter, resp *http.Response) error {
	if resp.ContentLength >= 0 {
		_, err := copyBuffered(w, resp.Body)
		return err
	}
	b := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(b)
	flush := http.NewResponseController(w)
	for {
		n, err := resp.Body.Read(b[:])
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			flush.Flush()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stale answers with what is kept although its time has passed, because the
// origin fails.
func (x *exchange) stale(f *found, err error) bool {
	x.status.hit, x.status.collapsed, x.status.stale = false, false, true
	x.status.detail = detail(err)
	return x.serve(f)
}

// broken answers that the origin did not.
func (x *exchange) broken(err error, status string) {
	if x.r.Context().Err() != nil {
		return // there is nobody to tell
	}
	code := http.StatusBadGateway
	if unreachable(err) {
		code = http.StatusGatewayTimeout
	}
	x.c.Log.Warn("origin failed", "url", x.r.URL.Redacted(), "error", err)
	x.refuse(code, status+"; detail="+detail(err))
}

// unreachable says whether the origin gave no answer, rather than a wrong one.
func unreachable(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	return errors.Is(err, errSlow) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, context.Canceled) || errors.Is(err, errDeserted) ||
		errors.Is(err, errNoOrigin)
}

// detail is a word for Cache-Status; the error itself is for the log.
func detail(err error) string {
	var code errStatus
	switch {
	case errors.As(err, &code):
		return "origin-error"
	case errors.Is(err, errSlow), errors.Is(err, os.ErrDeadlineExceeded):
		return "origin-slow"
	case unreachable(err):
		return "origin-unreachable"
	}
	return "origin-broken"
}

// head answers HEAD from the origin, and takes over what it says of a response
// that is kept (RFC 9111, section 4.3.5).
func (x *exchange) head(f *found, staleOnError bool) bool {
	c := x.c
	fl := c.solo(x.resource, x.flightKey())
	fl.land(outcome{})
	defer c.leave(fl)
	defer c.end(fl)
	stop := context.AfterFunc(x.r.Context(), func() { fl.cancel(errDeserted) })
	defer stop()
	req := x.request(fl.ctx, http.MethodHead)
	if f == nil && x.profile.Key == "" {
		for _, name := range conditional {
			if v := x.r.Header[name]; v != nil {
				req.Header[name] = v
			}
		}
	}
	began := time.Now()
	resp, err := x.roundTrip(req)
	if err == nil && staleOnError && resp.StatusCode >= 500 {
		resp.Body.Close()
		err = errStatus(resp.StatusCode)
	}
	switch {
	case err != nil && staleOnError:
		return x.stale(f, err)
	case err != nil:
		x.broken(err, "fwd="+x.status.forward)
		return true
	}
	if f != nil && resp.StatusCode < 500 && x.r.Header["Authorization"] == nil {
		x.headTells(fl, f, resp, began)
	}
	x.relay(resp)
	return true
}

// headTells updates f if the response to a HEAD is about the same content, and
// has it validated before it is used again if not.
func (x *exchange) headTells(fl *flight, f *found, resp *http.Response, began time.Time) {
	same := resp.StatusCode == f.status
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length"} {
		if v := resp.Header[name]; v != nil && f.header[name] != nil && !slices.Equal(v, f.header[name]) {
			same = false
		}
	}
	if same {
		if r := x.update(fl, f, resp.Header, began); r.storable(x.r.Header, x.profile) {
			x.replaceHead(fl, f, r)
			return
		}
	}
	r := f.response.copy()
	r.softened = true
	x.replaceHead(fl, f, r)
}

// ParseOrigin reads the URL of an origin: a scheme and a host, and perhaps a
// path before all that is asked for.
func ParseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("an origin is http://… or https://…")
	case u.Host == "":
		return nil, errors.New("an origin has a host")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, errors.New("an origin has a scheme, a host and perhaps a path, and nothing else")
	}
	return u, nil
}
