package cdn

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// reportEvery is how often an edge tells what it has done.
const reportEvery = time.Minute

// Report tells a ledger what the edge has done, once a minute and when it is
// asked to by Tell, and has its access logs delivered, until ctx ends, and then
// once more. What a killed edge had not told is not counted.
func (e *Edge) Report(ctx context.Context, l Ledger) {
	e.Cache.init()
	logs := make(chan struct{})
	go func() {
		defer close(logs)
		if e.Logs != nil {
			e.Logs.Run(ctx, l)
		}
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	said := ""
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		text := ""
		if err := e.Tell(ctx, l); err != nil && ctx.Err() == nil {
			if text = err.Error(); text != said {
				e.Cache.Log.Warn("what was served is not told yet", "error", err)
			}
		}
		said = text
	}
	<-logs
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := e.Tell(last, l); err != nil {
		e.Cache.Log.Warn("what was served last is not told", "error", err)
	}
}

// Tell tells a ledger now. An Edge has one ledger all its life.
func (e *Edge) Tell(ctx context.Context, l Ledger) error {
	e.naming.Do(func() { e.run = rand.Text() })
	return e.report(ctx, l, e.run)
}

var _ Ledger = (*Follower)(nil)

// Count tells the origin.
func (f *Follower) Count(ctx context.Context, r Report) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return f.tell(ctx, "report", nil, body)
}

// Deliver has the origin keep a part of an access log.
func (f *Follower) Deliver(ctx context.Context, p LogPart) error {
	return f.tell(ctx, "log", url.Values{"account": {p.Account}, "container": {p.Container}, "at": {p.At.UTC().Format(time.RFC3339)}, "id": {p.ID}}, p.Lines)
}

// tell posts something to the origin.
func (f *Follower) tell(ctx context.Context, what string, query url.Values, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := f.request(ctx, what, query)
	if err != nil {
		return err
	}
	req.Method, req.Body, req.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp, err := f.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		return fs.ErrNotExist
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return fmt.Errorf("the origin answers %s: %s", resp.Status, strings.TrimSpace(string(text)))
}

// Limits of what an edge may tell at once.
const (
	maxReport   = 32 << 20
	maxLogParts = 64 << 20
)

// told takes what an edge posts:
//
//	POST /edge/v1/report    what it has done
//	POST /edge/v1/log?account=…&container=…&at=…&id=…    a part of an access log
func (f *Feed) told(w http.ResponseWriter, r *http.Request, edge string) {
	if f.Ledger == nil {
		refuse(w, r, http.StatusNotImplemented, "This server keeps no accounts of edges.")
		return
	}
	var err error
	if r.URL.Path == FeedPath+"report" {
		var report Report
		if err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport)).Decode(&report); err != nil || report.Run == "" || report.Seq == 0 {
			refuse(w, r, http.StatusBadRequest, "That is not a report.")
			return
		}
		report.Edge = edge
		err = f.Ledger.Count(r.Context(), report)
	} else {
		q := r.URL.Query()
		p := LogPart{Account: q.Get("account"), Container: q.Get("container"), ID: q.Get("id")}
		p.At, _ = time.Parse(time.RFC3339, q.Get("at"))
		if !p.sound() {
			refuse(w, r, http.StatusBadRequest, "That is not a part of a log.")
			return
		}
		if p.Lines, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogParts)); err != nil {
			refuse(w, r, http.StatusBadRequest, "The part of the log did not come whole.")
			return
		}
		err = f.Ledger.Deliver(r.Context(), p)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, r, http.StatusNotFound, "There is nobody who could want it.")
	case err != nil:
		f.logger().Error("what an edge told is not kept", "edge", edge, "error", err)
		refuse(w, r, http.StatusServiceUnavailable, "It cannot be kept.")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
