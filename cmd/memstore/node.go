package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
	"memstore.dev/memstore/storage/memory"
)

// A node is a running Memstore: everything that serve makes lives in it, so two
// of them fit into one process.
type node struct {
	conf *Loaded
	log  *slog.Logger

	engine *disk.Backend // nil with the memory backend
	realm  *auth.Realm
	store  *storage.Store
	tls    *serverTLS

	gatewayURL, adminURL string
	created              bool   // nothing was ever kept in the data directory
	user, password       string // of the welcome; see firstUser

	gatewayListener, adminListener net.Listener   // nil for a closed door
	listeners                      []net.Listener // all of them, and the control socket's
	doors                          []webDoor      // in the order in which they are closed
	files                          fileDoors
	cdn                            cdnDoor

	draining atomic.Bool
	failed   chan error // a door that ended by itself
	stop     context.CancelFunc
	work     sync.WaitGroup // doors and sweeper
	closers  []func() error // of what lies beneath, to be called backwards
}

// A webDoor is a door that can be closed, as *http.Server is.
type webDoor interface {
	Shutdown(ctx context.Context) error
	Close() error
}

// start opens everything from the cellar up. The node works until close,
// whatever becomes of ctx.
func start(ctx context.Context, l *Loaded, log *slog.Logger) (n *node, err error) {
	n = &node{conf: l, log: log, failed: make(chan error, 9)}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.tls, err = l.serverTLS(); err != nil {
		return n, usage(err)
	}
	if n.files.tls, err = l.ftpTLS(); err != nil {
		return n, usage(err)
	}
	if answers(l.Data) {
		return n, inUse(l.Data)
	}
	if err := n.listenAll(); err != nil {
		return n, err
	}
	if n.created, err = makeData(l.Data); err != nil {
		return n, err
	}
	if err := checkReserve(l, log); err != nil {
		return n, err
	}
	cellar, err := n.openCellar()
	if err != nil {
		return n, err
	}
	if cellar, err = n.encrypted(ctx, cellar); err != nil {
		return n, err
	}
	control, err := listenControl(l.Data)
	if err != nil {
		return n, err
	}
	n.listeners = append(n.listeners, control)
	if err := n.makeKeys(); err != nil {
		return n, err
	}
	// What can fail comes before this, which makes up a password that is told
	// but once.
	if err := n.openRealm(ctx); err != nil {
		return n, err
	}
	guard := auth.NewGuard(cellar)
	guard.Current = func(id auth.Identity) bool { return id.User == clerk || n.realm.Current(id) }
	n.store = storage.New(guard)
	guard.Gone = n.store.Gone
	if err := n.store.Condemned(ctx); err != nil {
		return n, err
	}
	n.work.Go(func() { n.sweep(work) })
	return n, n.openDoors(work, guard, control)
}

// openCellar opens what keeps the bytes, and with it takes the data directory
// for this process alone.
func (n *node) openCellar() (storage.Backend, error) {
	if n.conf.Backend == "memory" {
		unlock, err := lockData(n.conf.Data)
		if err != nil {
			return nil, err
		}
		n.closers = append(n.closers, unlock)
		return memory.New(), nil
	}
	o := n.conf.diskOptions(n.log)
	o.Fatal = func(err error) {
		n.log.Error("the disk failed; ending, so that nothing is acknowledged that is not kept", "error", err)
		os.Exit(exitFault)
	}
	engine, err := disk.Open(n.conf.Data, o)
	if errors.Is(err, disk.ErrLocked) {
		return nil, inUse(n.conf.Data)
	}
	if err != nil {
		return nil, err
	}
	n.engine = engine
	n.closers = append(n.closers, engine.Close)
	return engine, nil
}

func (n *node) openRealm(ctx context.Context) (err error) {
	n.realm, err = openRealm(ctx, n.conf, n.log)
	if err != nil {
		return err
	}
	n.closers = append(n.closers, n.realm.Close)
	n.user, n.password, err = firstUser(ctx, n.realm, n.conf.FirstUser)
	return err
}

// openRealm opens the users of a data directory.
func openRealm(ctx context.Context, l *Loaded, log *slog.Logger) (*auth.Realm, error) {
	allow, err := l.Bans.Allow.Prefixes()
	if err != nil {
		return nil, err
	}
	return auth.Open(ctx, filepath.Join(l.Data, controlDatabase), auth.Options{
		TokenLife: l.Tokens.Life, Log: log,
		Defender: auth.DefenderOptions{Limit: l.Bans.Limit, Window: l.Bans.Window, Ban: l.Bans.Length, Allow: allow},
	})
}

// openDoors serves at every address that is open. A snapshot is held no longer
// than work lasts.
func (n *node) openDoors(work context.Context, guard *auth.Guard, control net.Listener) error {
	proxies, err := n.conf.Gateway.Proxies.Prefixes()
	if err != nil {
		return err
	}
	files, err := openFiles()
	if err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	shares := n.conf.Connections.shareOut(files)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	ftpProxies, err := n.conf.FTP.Proxies.Prefixes()
	if err != nil {
		return err
	}
	sftpProxies, err := n.conf.SFTP.Proxies.Prefixes()
	if err != nil {
		return err
	}
	crowd := newCrowd(shares.connections, shares.eachSource, slices.Concat(loopback, proxies, ftpProxies, sftpProxies), n.log)
	reg := newMetrics()
	requests := newRequestMetrics(reg)
	var swift http.Handler // also asked by the edge in this process
	if n.gatewayListener != nil || n.conf.CDN.on() {
		uploadRate := int64(n.conf.Gateway.SlowestUpload)
		if uploadRate == 0 {
			uploadRate = -1 // which is the gateway's word for any
		}
		cdn, edges, err := n.prepareCDN()
		if err != nil {
			return err
		}
		if n.cdn.ledger != nil {
			reg.MustRegister(cdnMetrics{n.cdn.ledger})
		}
		config := gateway.Config{
			Store:         n.store,
			Auth:          n.realm,
			Owner:         guard.Owner,
			URL:           strings.TrimSuffix(n.conf.Gateway.URL, "/"),
			Log:           n.log,
			Metrics:       requests,
			MaxObjectSize: int64(n.conf.Gateway.MaxObject),
			Disabled:      n.draining.Load,
			Proxies:       proxies,
			UploadRate:    uploadRate,
			MaxRequests:   int64(shares.requests),
			CDN:           cdn,
			Edges:         edges,
		}
		n.conf.fillSwift(&config, func(string, string, ...any) {}) // which was judged when it was loaded
		swift = gateway.New(config)
	}
	if l := n.gatewayListener; l != nil {
		s := gateway.Server(swift, n.log)
		if n.cdn.feed != nil {
			s.RegisterOnShutdown(n.cdn.feed.Stop)
		}
		scheme := "http"
		if n.tls != nil {
			s.TLSConfig, scheme = n.tls.config, "https"
		}
		n.gatewayURL = scheme + "://" + dialable(l.Addr())
		n.open("gateway", s, crowd.listener(l))
	}
	if err := n.openCDN(work, swift, crowd); err != nil {
		return err
	}
	if err := n.openFileDoors(guard, requests, crowd); err != nil {
		return err
	}
	if l := n.adminListener; l != nil {
		n.adminURL = "http://" + dialable(l.Addr())
		n.open("admin", adminServer(reg, n.ready), l)
	}
	s := controlServer(n.engine, n.ready, n.log, n.controlCDN)
	s.BaseContext = func(net.Listener) context.Context { return work }
	n.open("control", s, control)
	return nil
}

// sweep removes what has expired, and what is left of uploads that nobody has
// resumed, until ctx ends.
func (n *node) sweep(ctx context.Context) {
	tick := time.NewTicker(n.conf.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			gone, err := n.store.Sweep(ctx, now)
			if err != nil && ctx.Err() == nil {
				n.log.Error("expired objects not removed", "error", err)
			}
			if gone > 0 {
				n.log.Info("expired objects removed", "objects", gone)
			}
			gone, err = n.store.Reap(ctx)
			if err != nil && ctx.Err() == nil {
				n.log.Error("removed accounts not emptied", "error", err)
			}
			if gone > 0 {
				n.log.Info("removed accounts emptied", "accounts", gone)
			}
			gone, err = n.store.SweepStaged(ctx, now.Add(-n.conf.Partial))
			if err != nil && ctx.Err() == nil {
				n.log.Error("uploads that were cut off not removed", "error", err)
			}
			if gone > 0 {
				n.log.Info("uploads that were cut off removed", "uploads", gone)
			}
		}
	}
}

// ready says why no requests should be sent here, or nil.
func (n *node) ready(ctx context.Context) error {
	if n.draining.Load() {
		return errors.New("draining")
	}
	// Nobody can have this account, so the answer is quick, and only an engine that
	// has stopped says anything but that it is not there.
	_, err := n.store.Stat(auth.NewContext(ctx, auth.Identity{User: ".ready", Role: auth.RoleReseller}), storage.Path{Account: auth.StorageAccount("-ready")})
	if errors.Is(err, storage.ErrUnavailable) {
		return storage.ErrUnavailable
	}
	return nil
}

// close ends the doors, giving what runs in them the time that drain allows,
// and then what lies beneath, in the order that loses nothing.
func (n *node) close() error {
	n.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), n.conf.Drain)
	defer cancel()
	var files sync.WaitGroup
	files.Go(func() { n.shutFileDoors(ctx) })
	for i, s := range n.doors {
		if i == len(n.doors)-1 {
			n.stop() // lets go the snapshots that the last, the control socket, holds
		}
		if err := s.Shutdown(ctx); err != nil {
			n.log.Warn("requests cut off", "error", err)
			s.Close()
		}
	}
	files.Wait()
	n.stop()
	n.work.Wait()
	for _, l := range n.listeners {
		l.Close() // those whose doors never opened; the others are closed already
	}
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	return errors.Join(errs...)
}

// welcome is what to say about the node now that it is up.
func (n *node) welcome(examples bool) welcome {
	sftpURL, ftpURL, ftpsURL := n.files.addresses()
	return welcome{
		Version: version(), Data: n.conf.Data, Created: n.created, Examples: n.created || examples,
		Gateway: cmp.Or(strings.TrimSuffix(n.conf.Gateway.URL, "/"), n.gatewayURL), Admin: n.adminURL,
		CDN: cmp.Or(n.cdn.url, n.cdn.secureURL), SFTP: sftpURL, HostKey: n.files.fingerprint(), FTP: ftpURL, FTPS: ftpsURL,
		User: n.user, Password: n.password,
	}
}
