package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/cdn/store"
)

// A remoteEdge is the edge of a Memstore on another machine.
type remoteEdge struct {
	*cdn.Edge
	follower *cdn.Follower

	stop context.CancelFunc
	work sync.WaitGroup
}

// remoteOptions say what a remoteEdge is.
type remoteOptions struct {
	Origin *url.URL // of the Memstore
	Key    string   // that "memstore edge key add" told there
	Domain string   // what host names of sites end with; a port is passed over
	Name   string
	Logs   *cdn.AccessLog // nil for none
	Store  *store.Store
	Log    *slog.Logger

	Transport http.RoundTripper
	Origins   *cdn.Origins // if they are several: they take the place of Transport
}

// firstSync is how long a new edge may wait until it has heard what it missed,
// before it serves what it holds by lifetimes.
const firstSync = 2 * time.Second

// openRemote makes an edge that follows its origin until Close. It returns when
// that has told all that was missed, or does not answer.
func openRemote(ctx context.Context, o remoteOptions) *remoteEdge {
	if o.Origins != nil {
		o.Transport = o.Origins
	}
	r := &remoteEdge{
		follower: &cdn.Follower{Origin: o.Origin, Key: o.Key, Transport: o.Transport, Origins: o.Origins, Store: o.Store, Logger: o.Log},
	}
	r.Edge = cdn.NewEdge(&cdn.Cache{Store: o.Store, Name: o.Name, Log: o.Log}, o.Transport, r.follower)
	r.Edge.Origin, r.Edge.Domain, r.Edge.Live = o.Origin, hostOnly(o.Domain), r.follower.Live
	r.Edge.Resolver = net.DefaultResolver
	r.Edge.Judge = judgeSignature
	r.Edge.Logs = o.Logs
	r.follower.Edge = r.Edge
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.work.Go(func() { r.follower.Run(ctx) })
	r.work.Go(func() { r.Edge.Report(ctx, r.follower) })
	wait, cancel := context.WithTimeout(ctx, firstSync)
	defer cancel()
	r.follower.Await(wait)
	return r
}

// Close ends the edge. What it has kept its bytes in stays open.
func (r *remoteEdge) Close() error {
	r.stop()
	r.work.Wait()
	return r.Cache.Close()
}

// readEdgeKey reads the key of an edge from a file.
func readEdgeKey(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("key of the edge: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if key == "" || strings.ContainsAny(key, " \n\t") {
		return "", fmt.Errorf("key of the edge: %s does not hold one line, as \"memstore edge key add\" prints it", name)
	}
	return key, nil
}
