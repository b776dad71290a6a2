// Package cdn is a shared HTTP cache, RFC 9111 whole, in front of an origin.
//
// A Cache answers from its store what it may, and asks the origin for the rest:
// once for each response, however many clients wait for it. It knows HTTP and
// nothing else of Memstore, so the origin may be a handler in the same process,
// a Memstore on another machine, or any web server.
//
//	c := &cdn.Cache{Origin: http.DefaultTransport, Store: s, Name: "edge-1"}
//	defer c.Close()
//	http.Serve(l, c)
package cdn

import (
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A Cache is a shared HTTP cache in front of an origin. It is an http.Handler.
// Its fields must not change once it has served.
type Cache struct {
	// Origin answers what the cache cannot. It must neither follow redirects nor
	// undo content codings: an http.Transport wants DisableCompression. Required.
	Origin http.RoundTripper

	// Store keeps the responses. Nil keeps them in memory, in a store of the
	// cache's own. A store belongs to one cache at a time.
	Store *store.Store

	// Name of this cache in Cache-Status, Via and CDN-Loop; no two caches that
	// ask one another may have the same. Empty is "Memstore".
	Name string

	// Plain is what ServeHTTP serves by. Its Key, Scopes and Upstream must be empty.
	Plain Profile

	// Log takes what an operator should know; nil is slog.Default.
	Log *slog.Logger

	// HeaderTimeout is how long the origin may take until its response begins.
	// 0 is 30 s.
	HeaderTimeout time.Duration

	// BodyTimeout is how long the origin may say nothing in the middle of a body.
	// 0 is a minute.
	BodyTimeout time.Duration

	once sync.Once
	state
}

// A Profile says how one request is served: what it is about, what the origin
// is asked, and what holds where the response itself says nothing.
type Profile struct {
	// Key names the resource, whatever the query: it is what Purge takes. Two
	// requests with the same Key and the same query (that of Upstream, or of the
	// request if there is none) are for the same resource. Empty is the absolute
	// URL of the request.
	Key string

	// Scopes are what the resource is part of, as in "AUTH_a" and "AUTH_a/pics":
	// PurgeScope and PurgePrefix take them. The slice is not kept.
	Scopes []string

	// Composed is one more scope of the resource, if its response says that it is
	// a static large object (X-Static-Large-Object): one that is purged when
	// something changes about what such objects may be made of.
	Composed string

	// Upstream is what to ask the origin for; its Host becomes the request's. Nil
	// asks for what was requested.
	Upstream *url.URL

	// Secret makes what is added to the query that the origin is asked with, and
	// is no part of what tells one response from another. It is called whenever the
	// origin is asked. May be nil.
	Secret func() string

	// Forward lists the header fields of requests that reach the origin, besides
	// those that the cache makes itself (conditions, ranges, Accept-Encoding,
	// Via, CDN-Loop). Nil forwards all that are end to end. What reaches the
	// origin and is not named by Vary can be used to poison the cache, so list
	// what the origin needs and no more.
	Forward []string

	// Live says whether every change at the origin is told by Purge at this
	// moment. While it is true what is kept stays fresh until purged, whatever
	// its age; only no-store, private, no-cache and a lifetime of 0 count. Nil is
	// never. It is called for each request, and so must be fast.
	Live func() bool

	// TTL is how long a response may be reused that says nothing of it. 0 leaves
	// it to RFC 9111, section 4.2.2: a tenth of the time since Last-Modified, at
	// most a day.
	TTL time.Duration

	// Browser is the max-age that clients are told where the response has neither
	// Cache-Control nor Expires. 0 tells them nothing. Of an error they are told
	// no more than Negative.
	Browser time.Duration

	// Negative is how long 404, 405, 410, 414 and 501 are reused where the
	// response says nothing. 0 is as RFC 9111 has it, which is not without a
	// Last-Modified; below 0 never reuses them.
	Negative time.Duration

	// StaleIfError is how long after its lifetime a response may be served while
	// the origin fails, where it says nothing of it and does not forbid it.
	StaleIfError time.Duration

	// StaleWhileRevalidate is how long after its lifetime a response may be
	// served while a new one is fetched, likewise.
	StaleWhileRevalidate time.Duration

	// Encode lets bodies that are worth it be encoded with br, zstd or gzip for
	// clients that accept that: text and its like, of 256 bytes to 10 MiB, which
	// the origin has neither encoded nor forbidden to (no-transform).
	Encode bool

	// Expires gives a moment from which on a response may not be served, whatever
	// else holds; the zero time is none. It is asked once, when the response is
	// stored. May be nil.
	Expires func(http.Header) time.Time

	// Edit makes the last changes to the header of each response, those from the
	// cache too. The map is its own to change; the slices in it are not, they are
	// replaced. May be nil, which is fastest.
	Edit func(http.Header)

	seen  *status // is told what the request came to
	tally *tally  // counts what the origin is asked for
}

// ServeHTTP answers r as a plain shared cache: what is requested is the key, and
// what the origin is asked.
func (c *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Serve(w, r, c.Plain)
}
