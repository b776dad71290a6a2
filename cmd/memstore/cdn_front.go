package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/front"
)

// certificatesDirectory is where, below keysDirectory, what an authority signs
// is kept.
const certificatesDirectory = "certificates"

// frontOptions say how browsers reach an edge.
type frontOptions struct {
	Handler       http.Handler
	Conf          *CDNConfig
	Data          string                                       // the data directory
	Domain        string                                       // whose names share a certificate
	Allow         func(ctx context.Context, name string) error // may a name have a certificate of its own
	Plain, Secure net.Listener                                 // nil for a closed one
	Crowd         *crowd
	Body          time.Duration // how long a request may take to come; 0 is no limit
	Log           *slog.Logger
}

// A frontDoor is how browsers reach an edge.
type frontDoor struct {
	*front.Server
	options frontOptions
	demand  *front.Demand  // nil where no authority is named
	udp     net.PacketConn // nil where no HTTP/3 is spoken
}

// openFront makes what serves browsers, and finds the certificates.
func openFront(o frontOptions) (*frontDoor, error) {
	d := &frontDoor{options: o, Server: &front.Server{
		Handler: o.Handler, Domain: o.Domain, Log: o.Log, Exempt: o.Crowd.exempt,
		Limits: front.Limits{
			Connections: o.Crowd.each, Requests: o.Conf.Requests, Slowest: int(o.Conf.Slowest), Body: o.Body,
		},
	}}
	if o.Secure == nil {
		return d, nil
	}
	keys := filepath.Join(o.Data, keysDirectory)
	var err error
	var files *front.Files
	if o.Conf.Certificate != "" {
		if files, err = front.LoadFiles(o.Conf.Certificate, o.Conf.Key, o.Log); err == nil {
			d.Certificate = files.Certificate
		}
	} else {
		d.Certificate, err = front.SelfSigned(keys, o.Domain)
	}
	if err != nil {
		return nil, fmt.Errorf("cdn: %w", err)
	}
	if o.Conf.ACME != "" {
		demand := front.DemandOptions{
			Directory: o.Conf.ACME, Email: o.Conf.ACMEEmail, Roots: o.Conf.ACMERoots, Dir: filepath.Join(keys, certificatesDirectory),
			Allow: o.Allow, Fallback: d.Certificate, Secure: o.Secure.Addr(), Log: o.Log,
		}
		if o.Plain != nil {
			demand.Plain = o.Plain.Addr()
		}
		if d.demand, err = front.NewDemand(demand); err != nil {
			return nil, fmt.Errorf("cdn: %w", err)
		}
		d.Handler, d.Protocols = d.demand.Handler(d.Handler), d.demand.Protocols()
		d.Certificate = d.demand.Certificate
		if files != nil {
			d.Certificate = preferring(files, d.demand)
		}
	}
	if o.Conf.HTTP3 {
		if d.udp, err = net.ListenPacket("udp", o.Secure.Addr().String()); err != nil {
			o.Log.Warn("no HTTP/3, since its port is taken", "error", err)
			d.udp = nil
		}
	}
	return d, nil
}

// preferring is the certificate of files for the names that it is for, and one
// that is demanded for others.
func preferring(files *front.Files, demand *front.Demand) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if pair, err := files.Certificate(hello); err == nil && pair.Leaf.VerifyHostname(hello.ServerName) == nil {
			return pair, nil
		}
		return demand.Certificate(hello)
	}
}

// port is where HTTPS is spoken, "" for nowhere.
func (d *frontDoor) port() string {
	if d.options.Secure == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(d.options.Secure.Addr().String())
	return port
}

// serve answers until Shutdown. What ends by itself is told to failed.
func (d *frontDoor) serve(work *sync.WaitGroup, failed chan<- error) {
	run := func(name string, serve func() error) {
		work.Go(func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	if l := d.options.Plain; l != nil {
		run("cdn", func() error { return d.Serve(d.options.Crowd.listener(l)) })
	}
	if l := d.options.Secure; l != nil {
		run("cdn-tls", func() error { return d.ServeTLS(d.options.Crowd.listener(l)) })
	}
	if d.udp != nil {
		run("cdn-tls by UDP", func() error { return d.ServeQUIC(d.udp) })
	}
}

// free ends what works behind the doors.
func (d *frontDoor) free() error {
	if d.demand != nil {
		return d.demand.Close()
	}
	return nil
}

// knownTo allows a certificate for the names that sites are had by, and for the
// CDN's own.
func knownTo(e *cdn.Edge) func(ctx context.Context, name string) error {
	return func(ctx context.Context, name string) error {
		if name == cmp.Or(e.Domain, "cdn.localhost") || e.Knows((&http.Request{Host: name, URL: &url.URL{Path: "/"}}).WithContext(ctx)) {
			return nil
		}
		return fs.ErrNotExist
	}
}

// crowdOf is a crowd for a process that has no other doors than this one.
func crowdOf(conf *Loaded, log *slog.Logger) (*crowd, error) {
	files, err := openFiles()
	if err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	proxies, err := conf.Gateway.Proxies.Prefixes()
	if err != nil {
		return nil, err
	}
	shares := conf.Connections.shareOut(files)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return newCrowd(shares.connections, shares.eachSource, append(loopback, proxies...), log), nil
}
