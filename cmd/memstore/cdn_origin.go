package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// inProcess asks a handler of this process as if there were a network between:
// the edge's way to the gateway, which sees a stranger.
type inProcess struct {
	handler http.Handler
	work    sync.WaitGroup
}

// Close waits for all answers that are under way.
func (o *inProcess) Close() error {
	o.work.Wait()
	return nil
}

// RoundTrip has the handler answer a request. Its body goes from hand to hand,
// no faster than it is read; who closes it early has broken off.
func (o *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	in.RemoteAddr = "cdn" // none of the internet's, so it is never banned
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, sink := io.Pipe()
	a := &inAnswer{header: make(http.Header), sink: sink, began: make(chan struct{})}
	o.work.Go(func() {
		defer cancel()
		a.err = io.ErrUnexpectedEOF // unless it ends well
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				a.err = fmt.Errorf("the origin has crashed: %v", p)
			}
			a.begin()
			sink.CloseWithError(a.err)
		}()
		o.handler.ServeHTTP(a, in)
		a.WriteHeader(http.StatusOK) // if nothing was said
		a.err = nil
	})
	select {
	case <-a.began:
	case <-ctx.Done():
		sink.CloseWithError(ctx.Err())
		<-a.began // so that nothing of it goes on
		cancel()
		return nil, context.Cause(ctx)
	}
	if a.status == 0 {
		cancel()
		return nil, a.err
	}
	resp := &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, ContentLength: -1, Body: &inBody{body, cancel}, Request: r,
	}
	if _, err := fmt.Sscan(a.sent.Get("Content-Length"), &resp.ContentLength); err != nil {
		resp.ContentLength = -1
	}
	if r.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		resp.Body.Close()
		resp.Body = http.NoBody
		resp.ContentLength = max(resp.ContentLength, 0)
	}
	return resp, nil
}

// An inAnswer is what the handler writes to.
type inAnswer struct {
	header http.Header // the handler's
	sent   http.Header // as it was when the answer began
	status int
	sink   *io.PipeWriter
	err    error // that the body ends with, once the handler has returned

	once  sync.Once
	began chan struct{}
}

func (a *inAnswer) begin() { a.once.Do(func() { close(a.began) }) }

func (a *inAnswer) Header() http.Header { return a.header }

func (a *inAnswer) WriteHeader(status int) {
	if status < 200 || a.status != 0 {
		return
	}
	a.status, a.sent = status, a.header.Clone()
	a.begin()
}

func (a *inAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.sink.Write(p)
}

// An inBody ends the handler's work when nobody reads on.
type inBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *inBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
