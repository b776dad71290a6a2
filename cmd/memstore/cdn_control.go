package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/store"
	"memstore.dev/memstore/storage"
)

// What the commands of the CDN ask a running server for, over the control
// socket. Whoever reaches that owns the server.

// cdnStatus is what GET /cdn answers.
type cdnStatus struct {
	Edge   string       `json:"edge"` // its URL, "" if there is none in the process
	Domain string       `json:"domain"`
	Held   *store.Stats `json:"held,omitempty"`
	Today  cdn.Counts   `json:"today"` // of UTC, by all edges: of the site, if one was asked for

	// Site is told if one was asked for.
	Site *cdnSite `json:"site,omitempty"`
}

// A cdnSite is a container at the edge.
type cdnSite struct {
	Account   string   `json:"account"`
	Container string   `json:"container"`
	Public    bool     `json:"public"`
	Readers   []string `json:"readers"`
	TTL       int64    `json:"ttl"`
	URL       string   `json:"url"`
	SingleURL string   `json:"single_url"`
	Domains   []string `json:"domains,omitempty"`
}

// cdnCount is what a warming or a purge comes to.
type cdnCount struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Failed  int64 `json:"failed,omitempty"`
}

// controlCDN adds the CDN's questions to the control socket.
func (n *node) controlCDN(mux *http.ServeMux) {
	answer := func(f func(r *http.Request) (any, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !n.conf.CDN.on() {
				http.Error(w, "this server has no CDN: neither cdn.listen nor cdn.domain is set", http.StatusConflict)
				return
			}
			v, err := f(r)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				http.Error(w, "there is no such container", http.StatusNotFound)
			case err != nil:
				http.Error(w, err.Error(), http.StatusConflict)
			default:
				json.NewEncoder(w).Encode(v)
			}
		}
	}
	mux.HandleFunc("GET /cdn", answer(n.cdnStatus))
	mux.HandleFunc("POST /cdn/purge", answer(n.cdnPurge))
	mux.HandleFunc("POST /cdn/warm", answer(n.cdnWarm))
}

// pathOf reads which path a question is about.
func pathOf(q url.Values) storage.Path {
	return storage.Path{Account: q.Get("account"), Container: q.Get("container"), Object: q.Get("object")}
}

func (n *node) cdnStatus(r *http.Request) (any, error) {
	s := cdnStatus{Edge: n.cdn.url, Domain: n.cdn.sites.domain}
	if e := n.cdn.edge; e != nil {
		held := e.Cache.Store.Stats()
		s.Held = &held
	}
	p := pathOf(r.URL.Query())
	if e := n.cdn.edge; e != nil {
		if err := e.Tell(r.Context(), localLedger{n.cdn.ledger}); err != nil {
			return nil, err
		}
	}
	s.Today = n.cdn.ledger.today(refOf(p))
	if p.Container == "" {
		return s, nil
	}
	site, err := n.cdn.sites.Site(r.Context(), refOf(p))
	if err != nil {
		return nil, err
	}
	s.Site = &cdnSite{
		Account: site.Account, Container: site.Container, Public: site.Open(), Readers: site.Readers, TTL: site.TTL, Domains: site.Domains,
	}
	s.Site.URL, s.Site.SingleURL, err = n.cdn.sites.urls(r.Context(), p.Account, p.Container)
	return s, err
}

// operator is who the commands act for.
func operator(ctx context.Context) context.Context {
	return auth.NewContext(ctx, auth.Identity{User: ".operator", Role: auth.RoleReseller})
}

func (n *node) cdnPurge(r *http.Request) (any, error) {
	q := r.URL.Query()
	c := storage.Change{Op: storage.OpStale, Path: pathOf(q), Tree: q.Get("tree") != ""}
	if q.Get("hard") != "" {
		c.Op = storage.OpDrop
	}
	ctx := operator(r.Context())
	if _, err := n.store.Stat(ctx, storage.Path{Account: c.Path.Account, Container: c.Path.Container}); err != nil {
		return nil, err
	}
	return cdnCount{}, n.store.Announce(ctx, c)
}

// warmAtOnce is how many objects are fetched side by side.
const warmAtOnce = 8

// cdnWarm has the edge fetch objects before anybody asks for them.
func (n *node) cdnWarm(r *http.Request) (any, error) {
	if n.cdn.edge == nil {
		return nil, errors.New("there is no edge in this process to be warmed: cdn.listen is not set")
	}
	p := pathOf(r.URL.Query())
	site, err := n.cdn.sites.Site(r.Context(), refOf(p))
	if err != nil {
		return nil, err
	}
	if !site.Open() {
		return nil, errors.New("the container is not public, so that no edge may hold it")
	}
	referrer := ""
	if !site.Everybody() {
		i := slices.IndexFunc(site.Readers, func(s string) bool { return !strings.HasPrefix(s, "-") && s != "*" })
		if i >= 0 {
			referrer = "http://" + strings.TrimPrefix(site.Readers[i], ".") + "/"
		}
	}
	var count cdnCount
	var objects, bytes, failed atomic.Int64
	names := make(chan string)
	var work sync.WaitGroup
	for range warmAtOnce {
		work.Go(func() {
			for name := range names {
				w := &blackHole{header: make(http.Header)}
				u := &url.URL{Path: "/" + p.Account + "/" + p.Container + "/" + name}
				req := (&http.Request{
					Method: http.MethodGet, URL: u, Host: "localhost", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
					Header: http.Header{}, Body: http.NoBody, RequestURI: u.RequestURI(),
				}).WithContext(r.Context())
				if referrer != "" {
					req.Header.Set("Referer", referrer)
				}
				if !w.serve(n.cdn.edge, req) || w.status != http.StatusOK {
					failed.Add(1)
					continue
				}
				objects.Add(1)
				bytes.Add(w.n)
			}
		})
	}
	ctx := own(r.Context())
	for in, lerr := range n.store.List(ctx, storage.Path{Account: p.Account, Container: p.Container}, storage.Query{Prefix: p.Object}) {
		if err = lerr; err != nil {
			break
		}
		select {
		case names <- in.Path.Object:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		}
		break
	}
	close(names)
	work.Wait()
	count.Objects, count.Bytes, count.Failed = objects.Load(), bytes.Load(), failed.Load()
	return count, err
}

// A blackHole is a browser that looks at nothing.
type blackHole struct {
	header http.Header
	status int
	n      int64
}

// serve reports whether an answer came to its end.
func (w *blackHole) serve(h http.Handler, r *http.Request) (whole bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

func (w *blackHole) Header() http.Header { return w.header }

func (w *blackHole) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *blackHole) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.n += int64(len(p))
	return len(p), nil
}

// askCDN asks the running server something of the CDN.
func askCDN(ctx context.Context, method, data, what string, q url.Values, answer any) error {
	resp, err := tellControl(ctx, method, data, what+"?"+q.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("the server that holds %s: %w", data, err)
	}
	return nil
}
