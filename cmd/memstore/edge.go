package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/store"
)

// edgeOptions are what "memstore edge" is told on the command line.
type edgeOptions struct {
	listen   string
	secure   string
	origins  originOptions
	keyFile  string
	passHost bool
	stale    time.Duration
}

func edgeCommand() *cobra.Command {
	var o edgeOptions
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Cache what a web server gives, near those who ask for it",
		Long: `Edge is a shared HTTP cache in front of an origin, which may be any web server.

With --key-file it is an edge of a Memstore, which the key is from ("memstore edge
key add"): it serves the public containers there by their host names (cdn.domain),
as their owners have set, and hears of each change at once.

Several origins have the same to give: the first that is well is asked, the rest are
spares.

What it keeps is below edge/ in the data directory, and good again after a
restart or a crash. cdn.memory, cdn.disk and cdn.name of the configuration hold
for it; two edges of which one asks the other need different names.

SIGTERM and interrupt let running requests finish; a second one ends at once.`,
		Example: "  memstore edge --origin http://10.0.0.7:8080 --listen :80 --data /var/cache/memstore\n" +
			"  memstore edge --origin https://store.example.com --key-file london.key --listen :80",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			return serveEdge(cmd.Context(), l, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8081", "`address` to answer browsers on; port 0 picks a free one and prints it")
	f.StringVar(&o.secure, "tls", "", "`address` to answer browsers on by HTTPS, HTTP/3 included; cdn.certificate or cdn.acme prove it")
	f.StringArrayVar(&o.origins.urls, "origin", nil, "`URL` of the web server to ask; once more for each spare")
	f.StringVar(&o.origins.check, "check", "", "`path` that spares are checked by, and the first; / if empty, or /healthcheck with --key-file")
	f.DurationVar(&o.origins.every, "check-every", 5*time.Second, "how often they are checked, if there are spares")
	f.StringVar(&o.keyFile, "key-file", "", "`file` with the key that the origin, a Memstore, has made for this edge")
	f.BoolVar(&o.passHost, "pass-host", false, "ask the origin by the host that the browser asked for, not by its own name")
	f.DurationVar(&o.stale, "stale-if-error", 24*time.Hour, "how long after its lifetime a response is served while the origin fails, if it does not forbid it")
	settingFlag(cmd, "log-level", "least `level` to log: debug, info, warn or error", "debug", "info", "warn", "error")
	cmd.MarkFlagFilename("key-file")
	exclusive(cmd, "key-file", "pass-host")
	exclusive(cmd, "key-file", "stale-if-error")
	cmd.AddCommand(edgeKeyCommand())
	return cmd
}

// serveEdge runs an edge until ctx ends.
func serveEdge(ctx context.Context, l *Loaded, o edgeOptions, stdout, stderr io.Writer) (err error) {
	defer calmCollector()()
	origins, err := o.origins.parse(o.keyFile != "")
	if err != nil {
		return usage(err)
	}
	origin := origins[0]
	key := ""
	if o.keyFile != "" {
		if key, err = readEdgeKey(o.keyFile); err != nil {
			return usage(err)
		}
	}
	level := new(slog.LevelVar)
	if err := setLevel(level, l.Log.Level); err != nil {
		return err
	}
	log := newLogger(stderr, l.Log.Format, level)
	listener, err := listen("listen", o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	var secure net.Listener
	if o.secure != "" {
		if secure, err = listen("tls", o.secure); err != nil {
			return err
		}
		defer secure.Close()
	}
	if err := os.MkdirAll(l.Data, 0o700); err != nil {
		return err
	}
	kept, err := store.Open(store.Options{Dir: filepath.Join(l.Data, "edge"), Memory: int64(l.CDN.Memory), Disk: int64(l.CDN.Disk), Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	transport := originTransport()
	defer transport.CloseIdleConnections()
	var way http.RoundTripper = toOrigin{url: origin, transport: transport}
	var several *cdn.Origins
	if len(origins) > 1 {
		var stop func()
		several, stop = o.origins.open(ctx, origins, transport, key != "", o.passHost, log)
		defer stop()
		way = several
	}
	name := edgeName(l.CDN.Name)
	door := frontOptions{Conf: &l.CDN, Data: l.Data, Domain: cmp.Or(hostOnly(l.CDN.Domain), "cdn.localhost"), Plain: listener, Secure: secure, Log: log}
	if door.Crowd, err = crowdOf(l, log); err != nil {
		return err
	}
	var remote *remoteEdge
	if key != "" {
		logs := &cdn.AccessLog{Dir: filepath.Join(l.Data, "edge-logs"), Every: l.CDN.LogEvery, Logger: log}
		if err := logs.Open(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, logs.Close()) }()
		remote = openRemote(ctx, remoteOptions{
			Origin: origin, Key: key, Domain: l.CDN.Domain, Name: name, Transport: transport, Origins: several, Logs: logs, Store: kept, Log: log,
		})
		defer func() { err = errors.Join(err, remote.Close()) }()
		door.Handler, door.Allow, door.Body = remote, knownTo(remote.Edge), time.Minute
	} else {
		cache := &cdn.Cache{
			Origin: way, Store: kept, Name: name, Log: log,
			Plain: cdn.Profile{StaleIfError: o.stale, Encode: true},
		}
		defer cache.Close()
		door.Handler, door.Allow = cache, only(door.Domain)
		if !o.passHost {
			door.Handler = askedFor(origin.Host, cache)
		}
	}
	server, err := openFront(door)
	if err != nil {
		return err
	}
	defer server.free()
	if remote != nil {
		remote.SecurePort = server.port()
	}
	failed := make(chan error, 3)
	var work sync.WaitGroup
	server.serve(&work, failed)
	fmt.Fprintf(stdout, "edge: http://%s in front of %s\n", dialable(listener.Addr()), redacted(origins))
	if secure != nil {
		fmt.Fprintf(stdout, "edge: https://%s\n", dialable(secure.Addr()))
	}
	notifySystemd("READY=1")
	log.Info("serving", "version", version(), "edge", listener.Addr().String(), "origin", redacted(origins), "name", name)
	var ended error
	select {
	case ended = <-failed:
	case <-ctx.Done():
	}
	notifySystemd("STOPPING=1")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Drain)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		log.Warn("requests cut off", "error", err)
	}
	work.Wait()
	log.Info("ended")
	return ended
}

// only allows a certificate for one name.
func only(domain string) func(context.Context, string) error {
	return func(_ context.Context, name string) error {
		if name != domain {
			return fs.ErrNotExist
		}
		return nil
	}
}

// edgeName is what an edge calls itself: so that two on different machines can
// stand behind one another, it has the machine's name in it.
func edgeName(name string) string {
	if name != "" {
		return name
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "Memstore"
	}
	host, _, _ = strings.Cut(host, ".")
	return "Memstore-" + host
}

// originTransport is how an edge speaks to origins.
func originTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // what comes is kept as it is
	t.MaxIdleConns = 0          // no limit over all
	t.MaxIdleConnsPerHost = 256
	t.MaxResponseHeaderBytes = 256 << 10
	t.ReadBufferSize = 64 << 10
	return t
}

// toOrigin sends requests to an origin, whatever host they are for.
type toOrigin struct {
	url       *url.URL
	host      string // that it is asked by; empty for that of the request
	transport http.RoundTripper
}

func (o toOrigin) RoundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.Scheme, u.Host = o.url.Scheme, o.url.Host
	if prefix := strings.TrimSuffix(o.url.EscapedPath(), "/"); prefix != "" {
		if climbs(r.URL.Path) {
			return &http.Response{
				Status: "400 Bad Request", StatusCode: http.StatusBadRequest, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Cache-Control": {"no-store"}}, Body: http.NoBody, Request: r,
			}, nil
		}
		path := prefix + r.URL.EscapedPath()
		u.RawPath = path
		u.Path, _ = url.PathUnescape(path)
	}
	r = r.WithContext(r.Context()) // a RoundTripper must not change what it is given
	r.URL, r.Host = &u, cmp.Or(o.host, r.Host)
	return o.transport.RoundTrip(r)
}

// climbs reports whether a path, as most web servers read it, leads out of where it
// begins, or may.
func climbs(path string) bool {
	return slices.Contains(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), "..")
}

// askedFor has every request be for one host.
func askedFor(host string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := *r
		asked.Host = host
		h.ServeHTTP(w, &asked)
	})
}
