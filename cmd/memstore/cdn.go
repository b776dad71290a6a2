package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/store"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
)

// A cdnDoor is what a node has of the CDN: the edge in this process, and what
// edges on other machines ask for. The gateway is the origin of both.
type cdnDoor struct {
	listener, secure net.Listener // of HTTP and of HTTPS; both nil for no edge in this process

	sites *sites
	log   cdn.Log // nil where no journal is kept
	feed  *cdn.Feed
	edge  *cdn.Edge // nil until there is a gateway to ask, and where there is no listener

	url, secureURL string // of the edge, "" for none

	ledger *cdnLedger // what all edges have told; nil without a CDN
}

// on reports whether containers can be had by a CDN: of this process, or of
// others under a domain that is known.
func (c *CDNConfig) on() bool { return c.Listen != "" || c.Secure != "" || c.Domain != "" }

// prepareCDN makes what the gateway needs of the CDN; nil if there is none.
func (n *node) prepareCDN() (*gateway.CDN, http.Handler, error) {
	if !n.conf.CDN.on() {
		return nil, nil, nil
	}
	d := &n.cdn
	var err error
	if d.ledger, err = openLedger(n.conf.Data, n.store, n.log); err != nil {
		return nil, nil, fmt.Errorf("usage of the CDN: %w", err)
	}
	d.sites = &sites{
		store: n.store, realm: n.realm,
		ttl: int64(n.conf.CDN.TTL / time.Second), domain: n.cdnDomain(d.listener, "80"), secure: n.conf.CDN.HTTPS,
	}
	d.sites.secureDomain = d.sites.domain
	if d.secure != nil {
		d.sites.secure, d.sites.secureDomain = true, n.cdnDomain(d.secure, "443")
	}
	if n.engine != nil {
		d.log = journalLog{n.engine}
	}
	d.feed = &cdn.Feed{Log: d.log, Directory: d.sites, Authorize: n.realm.EdgeOf, Ledger: d.ledger, Logger: n.log}
	n.store.Watch(func(storage.Change) { d.feed.Wake() })
	return &gateway.CDN{URLs: d.sites.urls, TTL: n.conf.CDN.TTL}, d.feed, nil
}

// cdnDomain is what the host names of sites end with, and the port if browsers
// must be told one.
func (n *node) cdnDomain(l net.Listener, usual string) string {
	if n.conf.CDN.Domain != "" {
		return n.conf.CDN.Domain
	}
	if l == nil {
		l = n.cdn.secure
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if port == usual {
		return "cdn.localhost"
	}
	return "cdn.localhost:" + port
}

// openCDN serves browsers, in front of the gateway that is h.
func (n *node) openCDN(ctx context.Context, h http.Handler, crowd *crowd) error {
	d := &n.cdn
	if d.listener == nil && d.secure == nil {
		return nil
	}
	dir := n.conf.CDN.Dir
	if dir == "" {
		dir = filepath.Join(n.conf.Data, "cdn")
	}
	kept, err := store.Open(store.Options{Dir: dir, Memory: int64(n.conf.CDN.Memory), Disk: int64(n.conf.CDN.Disk), Log: n.log})
	if err != nil {
		return fmt.Errorf("cdn: %w", err)
	}
	n.closers = append(n.closers, kept.Close)
	cache := &cdn.Cache{Store: kept, Name: n.conf.CDN.Name, Log: n.log}
	origin := &inProcess{handler: h}
	n.closers = append(n.closers, origin.Close, cache.Close)
	e := cdn.NewEdge(cache, origin, d.sites)
	e.Domain = hostOnly(d.sites.domain)
	e.Resolver = net.DefaultResolver
	e.Judge = judgeSignature
	// First told, then trusted: nothing happens in between that is not heard.
	n.store.Watch(func(c storage.Change) { e.Apply(event(c)) })
	if err := e.Resume(ctx, d.log, kept); err != nil {
		return err
	}
	n.closers = append(n.closers, func() error { return e.Suspend(context.Background(), d.log, kept) })
	d.edge = e
	e.Logs = &cdn.AccessLog{Dir: filepath.Join(dir, "logs"), Every: n.conf.CDN.LogEvery, Logger: n.log}
	if err := e.Logs.Open(); err != nil {
		return fmt.Errorf("access logs of the CDN: %w", err)
	}
	n.closers = append(n.closers, e.Logs.Close, inBackground(ctx, func(ctx context.Context) { e.Report(ctx, localLedger{d.ledger}) }))
	door, err := openFront(frontOptions{
		Handler: e, Conf: &n.conf.CDN, Data: n.conf.Data, Domain: e.Domain, Allow: knownTo(e),
		Plain: d.listener, Secure: d.secure, Crowd: crowd, Log: n.log,
		Body: time.Minute, // of requests that have a body, which nobody wants
	})
	if err != nil {
		return err
	}
	n.closers = append(n.closers, door.free)
	n.doors = append(n.doors, door)
	if d.listener != nil {
		d.url = "http://" + dialable(d.listener.Addr())
	}
	if d.secure != nil {
		d.secureURL = "https://" + dialable(d.secure.Addr())
		e.SecurePort = door.port()
	}
	door.serve(&n.work, n.failed)
	return nil
}

// hostOnly is a domain without its port.
func hostOnly(domain string) string {
	host, _, _ := strings.Cut(domain, ":")
	return host
}

// event is a change as edges hear of it.
func event(c storage.Change) cdn.Event {
	return cdn.Event{
		Seq: c.Version, At: c.Time.UnixMicro(), Op: c.Op.String(),
		Account: c.Path.Account, Container: c.Path.Container, Object: c.Path.Object, Tree: c.Tree,
	}
}

// A journalLog is the journal of the engine as edges follow it.
type journalLog struct{ engine *disk.Backend }

var _ cdn.Log = journalLog{}

// Latest is the last event there is.
func (l journalLog) Latest(ctx context.Context) (cdn.Event, error) {
	c, err := l.engine.Latest(ctx)
	if err != nil || c.Version == 0 {
		return cdn.Event{}, err
	}
	return event(c), nil
}

// After yields the events behind seq.
func (l journalLog) After(ctx context.Context, seq uint64) iter.Seq2[cdn.Event, error] {
	return func(yield func(cdn.Event, error) bool) {
		for c, err := range l.engine.Changes(ctx, seq) {
			if errors.Is(err, storage.ErrGap) {
				err = fmt.Errorf("%w: %w", cdn.ErrGap, err)
			}
			if !yield(event(c), err) || err != nil {
				return
			}
		}
	}
}

// own is who the CDN looks at containers as. What it sees goes to edges only.
func own(ctx context.Context) context.Context {
	return auth.NewContext(ctx, auth.Identity{User: ".cdn", Role: auth.RoleResellerReader})
}
