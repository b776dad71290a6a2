package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"memstore.dev/memstore/cdn"
)

// originOptions say which origins an edge asks, and how it tells which are well.
type originOptions struct {
	urls  []string
	check string
	every time.Duration
}

// parse reads the URLs of the origins, of which there is one at least.
func (o *originOptions) parse(memstore bool) ([]*url.URL, error) {
	if len(o.urls) == 0 {
		return nil, errors.New("edge needs --origin, the URL of the web server to ask")
	}
	var all []*url.URL
	for _, s := range o.urls {
		u, err := cdn.ParseOrigin(s)
		if err != nil {
			return nil, fmt.Errorf("--origin %s: %w", s, err)
		}
		if memstore && len(all) > 0 && strings.TrimSuffix(u.Path, "/") != strings.TrimSuffix(all[0].Path, "/") {
			return nil, fmt.Errorf("--origin %s: the origins of an edge with --key-file have the same path", s)
		}
		all = append(all, u)
	}
	if o.every <= 0 {
		return nil, errors.New("--check-every is to be above 0")
	}
	if o.check != "" {
		if u, err := url.Parse(o.check); err != nil || !strings.HasPrefix(o.check, "/") || u.Host != "" {
			return nil, fmt.Errorf("--check %s: it is to be a path, as in /healthcheck", o.check)
		}
	}
	return all, nil
}

// open makes the way to origins that are several, and checks them until it is
// stopped.
func (o *originOptions) open(ctx context.Context, all []*url.URL, transport http.RoundTripper, memstore, passHost bool, log *slog.Logger) (way *cdn.Origins, stop func()) {
	way = &cdn.Origins{Check: o.check, Every: o.every, Together: memstore, Log: log}
	if memstore {
		way.Check = cmp.Or(o.check, strings.TrimSuffix(all[0].Path, "/")+"/healthcheck")
	}
	for _, u := range all {
		to := toOrigin{url: u, host: u.Host, transport: transport}
		if memstore {
			to.url = &url.URL{Scheme: u.Scheme, Host: u.Host} // what is asked for has the path
		} else if passHost {
			to.host = ""
		}
		way.List = append(way.List, cdn.Mirror{Name: u.Redacted(), Transport: to})
	}
	// Requests that run while the edge ends still find out who is well.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		way.Run(ctx)
	}()
	return way, func() {
		cancel()
		<-ended
	}
}

// redacted are the URLs of origins as they may be seen.
func redacted(all []*url.URL) string {
	var names []string
	for _, u := range all {
		names = append(names, u.Redacted())
	}
	return strings.Join(names, ", ")
}
