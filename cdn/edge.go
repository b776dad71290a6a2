package cdn

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Edge serves the public containers of a Memstore to browsers: it knows from
// the host name which one is meant, judges each request by what its owner has
// set, and leaves the rest to a Cache. It is an http.Handler.
//
//	http://CONTAINER.ID.DOMAIN/OBJECT    or CONTAINER-ID, or the owner's domain
//	http://DOMAIN/ACCOUNT/CONTAINER/OBJECT    also on loopback
type Edge struct {
	// Cache answers. NewEdge makes its Origin fit.
	Cache *Cache

	// Directory knows the sites.
	Directory Directory

	// Domain is what the names of all sites end with, "cdn.example.com". Empty
	// is "cdn.localhost", which browsers look for on their own machine.
	Domain string

	// Origin is the URL of the Memstore that the Cache's Origin asks: the
	// scheme and the host of it. Nil is any, for one in this process.
	Origin *url.URL

	// Judge knows signed URLs, by which private objects are had too. Nil knows
	// none.
	Judge Judge

	// SecurePort is where browsers are spoken to by HTTPS; "" is nowhere.
	SecurePort string

	// Live says whether every change is told by Apply at this moment. Nil is
	// always.
	Live func() bool

	// Resolver finds the sites of domains that are their owners'. Nil knows none.
	Resolver Resolver

	// Negative, StaleIfError and StaleWhileRevalidate are those of a Profile.
	// 0 is 10 seconds, a day and a minute.
	Negative, StaleIfError, StaleWhileRevalidate time.Duration

	// Logs takes the access logs of containers whose owners want them. May be
	// nil; it is to be open.
	Logs *AccessLog

	records records
	tallies tallies
	naming  sync.Once
	run     string // tells this edge's reports from those of others and of earlier ones
}

// NewEdge returns an Edge in front of a Memstore that is asked by origin.
func NewEdge(c *Cache, origin http.RoundTripper, d Directory) *Edge {
	c.Origin = siteOrigin{origin}
	return &Edge{Cache: c, Directory: d}
}

const allowedMethods = "GET, HEAD, OPTIONS"

func (e *Edge) live() bool { return e.Live == nil || e.Live() }

func (e *Edge) domain() string {
	if e.Domain == "" {
		return "cdn.localhost"
	}
	return e.Domain
}

// ServeHTTP answers one request.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec, root, object, err := e.locate(r)
	switch {
	case err != nil:
		refuse(w, r, http.StatusBadGateway, "The origin cannot be asked.")
		return
	case rec == nil || rec.missing || !rec.site.Enabled:
		refuse(w, r, http.StatusNotFound, "There is nothing here.")
		return
	}
	v, w := e.watch(w, r, rec)
	defer v.end()
	s := &rec.site
	if e.insist(w, r, s) {
		return
	}
	t, ok := e.admit(w, r, s, object)
	if !ok {
		return
	}
	if t == nil && !s.Open() {
		refuse(w, r, http.StatusNotFound, "There is nothing here.")
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		s.preflight(w, r)
		return
	case "PURGE":
		e.purge(w, r, s, object)
		return
	default:
		w.Header().Set("Allow", allowedMethods)
		refuse(w, r, http.StatusMethodNotAllowed, "This is to be read only.")
		return
	}
	if t == nil && !s.Admits(r.Referer()) {
		refuse(w, r, http.StatusForbidden, "Not for the page that you come from.")
		return
	}
	if object == "" && s.Index == "" && !s.Listings {
		refuse(w, r, http.StatusNotFound, "There is nothing here.")
		return
	}
	p := e.profile(r, rec, root, object).under(t)
	p.seen, p.tally = &v.seen, rec.tally
	e.Cache.Serve(w, r, p)
}

// locate finds the site and the object that a request is for. root is the part
// of the path that names the site, "" if its host does. A nil record is none.
func (e *Edge) locate(r *http.Request) (rec *record, root, object string, err error) {
	host := plainHost(r.Host)
	ref, ok := parseHost(host, e.domain())
	object = strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case ok:
	case byPath(host, e.domain()):
		if ref, root, object, ok = parsePath(r.URL.Path); !ok {
			return nil, "", "", nil
		}
	default:
		if ref, ok = e.custom(r.Context(), host); !ok {
			return nil, "", "", nil
		}
		rec, err = e.find(r.Context(), ref)
		if err == nil && !rec.missing && !rec.site.claims(host) {
			rec = nil
		}
		return rec, "", object, err
	}
	rec, err = e.find(r.Context(), ref)
	return rec, root, object, err
}

// Knows reports whether a host name is that of a site which is open, for who
// decides about certificates.
func (e *Edge) Knows(r *http.Request) bool {
	rec, _, _, err := e.locate(r)
	return err == nil && rec != nil && !rec.missing && rec.site.Open()
}

// profile says how the cache is to serve an object of a site.
func (e *Edge) profile(r *http.Request, rec *record, root, object string) Profile {
	s := &rec.site
	ttl, browser := s.TTL, s.Browser
	forever := e.Live
	if forever == nil {
		forever = always
	}
	never := false
	if rule := s.rule(object); rule != nil {
		if rule.TTL != nil {
			ttl = *rule.TTL
			browser = ttl
		}
		if rule.Browser != nil {
			browser = *rule.Browser
		}
		if rule.NoStore {
			ttl, browser, forever, never = 0, 0, nil, true
		}
	}
	u := &url.URL{Scheme: "http", Host: "memstore", Path: originPath + keyOf(s.Account, s.Container, object)}
	if e.Origin != nil {
		u.Scheme, u.Host = e.Origin.Scheme, e.Origin.Host
	}
	if s.KeepQuery {
		u.RawQuery = r.URL.RawQuery
	}
	p := Profile{
		Key:      u.Path[len(originPath):],
		Scopes:   rec.scopes,
		Composed: rec.parts,
		Upstream: u,
		Forward:  rec.forward,
		Live:     forever,
		TTL:      max(time.Duration(ttl)*time.Second, 1), // 0 is for the cache to guess
		Browser:  time.Duration(browser) * time.Second,
		Negative: e.Negative,

		StaleIfError:         e.StaleIfError,
		StaleWhileRevalidate: e.StaleWhileRevalidate,
		Expires:              expires,
		Encode:               true,
	}
	if p.Negative == 0 {
		p.Negative = 10 * time.Second
	}
	if p.StaleIfError == 0 {
		p.StaleIfError = 24 * time.Hour
	}
	switch {
	case ttl == 0:
		p.StaleWhileRevalidate = 0
	case p.StaleWhileRevalidate == 0:
		p.StaleWhileRevalidate = time.Minute
	}
	if never {
		p.StaleIfError, p.Negative = 0, -1
	}
	p.Edit = s.edit(r, root, browser, never)
	return p
}

func always() bool { return true }

var (
	noStore  = []string{"no-store"}
	askAgain = []string{"public, max-age=0, must-revalidate"}
)

// edit is what is done to each answer; nil if nothing is to be done, as it is
// most of the time.
func (s *Site) edit(r *http.Request, root string, browser int64, never bool) func(http.Header) {
	origin := r.Header.Get("Origin")
	cors := origin != "" && len(s.CORS.Origins) > 0 || len(s.CORS.Origins) > 1
	if !cors && root == "" && browser > 0 && !never {
		return nil
	}
	return func(h http.Header) {
		if cors {
			s.CORS.expose(h, origin)
		}
		if l := h.Get("Location"); root != "" && strings.HasPrefix(l, "/") && !strings.HasPrefix(l, "//") {
			h["Location"] = []string{(&url.URL{Path: root}).EscapedPath() + l}
		}
		switch {
		case never:
			h["Cache-Control"] = noStore
		case browser == 0 && h["Cache-Control"] == nil && h["Expires"] == nil:
			h["Cache-Control"] = askAgain
		}
	}
}

// expires is when an object ceases to be.
func expires(h http.Header) time.Time {
	v := h.Get("X-Delete-At")
	if v == "" {
		return time.Time{}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// exposed is what every page that may see an answer may see of it.
const exposed = "cache-control, content-language, content-type, expires, last-modified, pragma, etag, x-timestamp, age, cache-status"

// expose adds to an answer what lets a page of this origin see it. Where pages
// of some origins may and others not, caches must tell answers apart.
func (c *CORS) expose(h http.Header, origin string) {
	ok, any := c.allows(origin)
	if !any {
		h["Vary"] = append(slices.Clone(h["Vary"]), "Origin")
	}
	if origin == "" || !ok {
		return
	}
	list := exposed
	for key := range h {
		if strings.HasPrefix(key, "X-Object-Meta-") {
			list += ", " + strings.ToLower(key)
		}
	}
	if len(c.Expose) > 0 {
		list += ", " + strings.Join(c.Expose, ", ")
	}
	h["Access-Control-Expose-Headers"] = []string{list}
	if any {
		origin = "*"
	}
	h["Access-Control-Allow-Origin"] = []string{origin}
}

// preflight tells a browser whether a page may ask what it wants to ask.
func (s *Site) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	if origin == "" || method == "" {
		h.Set("Allow", allowedMethods)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	ok, any := s.CORS.allows(origin)
	if !any {
		h.Add("Vary", "Origin")
	}
	if !ok || method != http.MethodGet && method != http.MethodHead {
		refuse(w, r, http.StatusForbidden, "Not for the page that you come from.")
		return
	}
	if any {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	if s.CORS.MaxAge != "" {
		h.Set("Access-Control-Max-Age", s.CORS.MaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// purge hands a PURGE to the Memstore, which knows who may, and tells all edges.
// Its answer is ours.
func (e *Edge) purge(w http.ResponseWriter, r *http.Request, s *Site, object string) {
	u := &url.URL{Scheme: "http", Host: "memstore", Path: "/cdn/v1/" + keyOf(s.Account, s.Container, object)}
	if e.Origin != nil {
		u.Scheme, u.Host = e.Origin.Scheme, e.Origin.Host
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawQuery = r.URL.RawQuery
	req := (&http.Request{Method: http.MethodDelete, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(r.Context())
	for _, name := range []string{"X-Auth-Token", "X-Purge-Email", "X-Purge-Hard"} {
		if v := r.Header[name]; v != nil {
			req.Header[name] = v
		}
	}
	if object == "" {
		req.Header.Set("X-Purge-Email", "-") // which is how a container is meant
	}
	resp, err := e.Cache.Origin.RoundTrip(req)
	if err != nil {
		refuse(w, r, http.StatusBadGateway, "The origin cannot be asked.")
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		w.WriteHeader(resp.StatusCode)
		return
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	refuse(w, r, resp.StatusCode, http.StatusText(resp.StatusCode)+".")
}

// refuse answers without the cache. What is refused may be there a moment
// later, so nobody is to keep it.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintln(w, text)
	}
}
