// Package gateway is the door for OpenStack Swift clients: an http.Handler
// that answers the Swift API, to the letter of what clients observe, from a
// storage.Store.
//
// A request passes, in this order: its transaction id (txid.go), who it is
// from (identify.go), what it is about (the table of routes below), the
// handler of that verb (account.go, container.go, object.go, copy.go), which
// returns an error or has answered, and the one place that turns errors into
// answers (errors.go) and writes the log (log.go).
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// A Config says what a gateway stands in front of, and how it behaves. Store
// and Auth are needed; every other field has a sound zero value.
type Config struct {
	// Store answers the requests. Its Backend is usually an auth.Guard: the
	// gateway names in the context who asks (auth.NewContext) and leaves it to
	// the Store to refuse with fs.ErrPermission.
	Store *storage.Store

	// Auth tells whom a token was issued for, and logs in those who ask for one.
	Auth auth.Authenticator

	// Owner reports whether who ctx acts for may see and set the headers that
	// are for an account's owner only, such as access control lists; usually
	// auth.Guard's method of that name. If nil, nobody may.
	Owner func(ctx context.Context, account string) bool

	// Log takes one record for every request, at level Info, and one more at
	// level Error for each that failed for a reason the client is not told. If
	// nil nothing is logged.
	Log *slog.Logger

	// Metrics is told of every request when it is over. It may be nil.
	Metrics Metrics

	// MaxObjectSize is the most bytes one upload may have, and one object that
	// is copied; beyond it the answer is 413. Zero means Swift's 5 GiB + 2.
	MaxObjectSize int64

	// BodyIdle is how long an upload may go without a single byte arriving
	// before it is given up, with nothing stored and the answer 408. Zero means
	// 60 seconds.
	BodyIdle time.Duration

	// UploadRate is the fewest bytes per second that an upload may come with, on
	// average over a minute; one that is slower is given up like one that is
	// idle. Zero means 100, and a negative number any rate.
	UploadRate int64

	// MaxRequests is how many requests for accounts and what is in them may be
	// under way at once, each of which may hold open files; beyond it the answer
	// is 503 at once. Zero means any number.
	MaxRequests int64

	// URL is where clients reach this gateway, "https://store.example.com", for
	// the addresses that it tells them at login. If empty these are made from
	// the host and the scheme of each request.
	URL string

	// Proxies are the networks of the proxies that stand before this gateway.
	// What they say of a client is believed: his address in X-Forwarded-For,
	// which bans and a user's networks go by, and X-Forwarded-Proto. If there
	// are none nobody is, and clients are who connects.
	Proxies []netip.Prefix

	// TransIDSuffix is appended to every transaction id, so that several
	// gateways behind one address can be told apart. It may be empty.
	TransIDSuffix string

	// Digests are the hashes that signatures of URLs and forms may be made with,
	// of "sha1", "sha256" and "sha512". If empty they are DefaultDigests.
	Digests []string

	// CDN, if not nil, has containers put on the edges; see there.
	CDN *CDN

	// Edges, if not nil, answers the edges on other machines, below /edge/v1/.
	Edges http.Handler

	// Policies are the names of the storage policies, the default first. If there
	// are none it is "Policy-0", as Swift has it when none is configured.
	Policies []string

	// ReadOnly refuses every change, of whomever, except in accounts of which the
	// operator has said otherwise; but ReadOnlyDeletes lets them delete.
	ReadOnly, ReadOnlyDeletes bool

	// RateLimits slow down clients that do too much at once.
	RateLimits RateLimits

	// Hosts, if not nil, have names of hosts stand for accounts and containers.
	Hosts *Hosts

	// Names, if not nil, forbid names that the store itself could keep.
	Names *NameRules

	// SyncHosts are the hosts that containers may be synchronised to.
	SyncHosts []string

	// CrossDomain is what /crossdomain.xml says to Flash and its like, lines such
	// as `<allow-access-from domain="*" secure="false" />`. If empty there is no
	// such document.
	CrossDomain string

	// InfoKey is the secret with which operators sign requests for the part of
	// /info that is theirs. If empty nobody gets it.
	InfoKey string

	// Disabled, if not nil and true at the moment, makes /healthcheck answer
	// 503, so that a balancer sends no new clients while others are finishing.
	Disabled func() bool
}

const (
	defaultMaxObjectSize = 5<<30 + 2
	defaultBodyIdle      = 60 * time.Second

	// defaultUploadRate is low enough for any line that somebody uploads by on
	// purpose: a megabyte may take nearly three hours.
	defaultUploadRate = 100

	// maxURL is the longest request line's URL, as eventlet, which Swift stands
	// on, has it.
	maxURL = 8192

	defaultPolicy = "Policy-0"
)

// New returns a handler that answers the Swift API as c says.
func New(c Config) http.Handler {
	if c.Owner == nil {
		c.Owner = func(context.Context, string) bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxObjectSize <= 0 {
		c.MaxObjectSize = defaultMaxObjectSize
	}
	if c.BodyIdle <= 0 {
		c.BodyIdle = defaultBodyIdle
	}
	if c.UploadRate == 0 {
		c.UploadRate = defaultUploadRate
	}
	if len(c.Policies) == 0 {
		c.Policies = []string{defaultPolicy}
	}
	if len(c.Digests) == 0 {
		c.Digests = DefaultDigests
	}
	g := &gateway{Config: c}
	g.capabilities = capabilities(&c)
	g.records.watch(c.Store)
	g.router = g.routes()
	return g
}

type gateway struct {
	Config
	router       *mux.Router // everything but accounts, containers and objects
	capabilities string      // the body of /info
	underWay     atomic.Int64
	records      records
	turns        turns
}

// routes is the table of what lies outside the accounts. What is inside them
// never comes this way: names of objects may be anything, and the road to them
// is to be short.
func (g *gateway) routes() *mux.Router {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.Handle("/healthcheck", handler((*call).healthcheck))
	r.Handle("/info", handler((*call).info))
	if g.CrossDomain != "" {
		r.Handle("/crossdomain.xml", handler((*call).crossDomain)).MatcherFunc(
			func(r *http.Request, _ *mux.RouteMatch) bool { return r.Method == http.MethodGet })
	}
	if g.CDN != nil {
		r.PathPrefix(cdnRoot).Handler(handler((*call).cdnPath))
	}
	if g.Edges != nil {
		r.PathPrefix("/edge/v1/").Handler(g.Edges)
	}
	(&identity{auth: g.Auth, log: g.Log, url: g.URL}).routes(r)
	r.NotFoundHandler = handler((*call).nowhere)
	r.MethodNotAllowedHandler = handler((*call).methodNotAllowed)
	return r
}

// A verb answers a request, or returns the error that is to be answered.
type verb func(*call) error

// handler makes a verb a handler within the router of a gateway.
func handler(v verb) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := w.(*response).call
		c.r = r // which knows the variables of the route
		c.err = v(c)
	})
}

// The verbs of accounts, containers and objects.
var (
	accountVerbs = map[string]verb{
		http.MethodGet:     (*call).getAccount,
		http.MethodHead:    (*call).headAccount,
		http.MethodPut:     (*call).putAccount,
		http.MethodPost:    (*call).postAccount,
		http.MethodDelete:  (*call).deleteAccount,
		http.MethodOptions: (*call).options,
	}
	containerVerbs = map[string]verb{
		http.MethodGet:     (*call).getContainer,
		http.MethodHead:    (*call).headContainer,
		http.MethodPut:     (*call).putContainer,
		http.MethodPost:    (*call).postContainer,
		http.MethodDelete:  (*call).deleteContainer,
		http.MethodOptions: (*call).options,
	}
	objectVerbs = map[string]verb{
		http.MethodGet:     (*call).getObject,
		http.MethodHead:    (*call).headObject,
		http.MethodPut:     (*call).putObject,
		http.MethodPost:    (*call).postObject,
		http.MethodDelete:  (*call).deleteObject,
		http.MethodOptions: (*call).options,
		"COPY":             (*call).copyObject,
	}
)

// allowed is what the Allow header says, COPY of objects aside.
const allowed = "PUT, POST, DELETE, GET, HEAD, OPTIONS"

// A call is one request on its way through the gateway.
type call struct {
	g     *gateway
	r     *http.Request
	ctx   context.Context // of the request, acting for id
	id    auth.Identity
	path  storage.Path
	home  storage.Path // what the URL names; path may move on from there
	txid  string
	begun time.Time
	err   error // what became of it

	w       response
	body    body
	origin  *origin  // if a browser asks on behalf of a page
	tempURL *TempURL // if it is by one that the request came in

	asked, mapped string // paths, if a host stands for the beginning of the latter

	values  [20]string // room for the values of headers; see set
	nvalues int
}

// ServeHTTP answers one request.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{g: g, r: r, ctx: r.Context(), begun: time.Now()}
	c.w = response{ResponseWriter: w, call: c}
	c.body = body{ReadCloser: r.Body, call: c, left: -1}
	c.txid = newTransID(c.begun, r.Header.Get("X-Trans-Id-Extra"), g.TransIDSuffix)
	c.set("X-Trans-Id", c.txid)
	c.set("X-Openstack-Request-Id", c.txid)
	if strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
		c.set("Connection", "keep-alive") // said again to those who ask for it in so many words
	}
	defer c.end()
	if len(r.RequestURI) > maxURL {
		c.err = &refusal{status: http.StatusRequestURITooLong, hangUp: true}
		return
	}
	if g.Hosts != nil {
		if c.err = c.remap(); c.err != nil {
			return
		}
		r = c.r
	}
	if rest, ok := withinAccount(r.URL.Path); ok {
		if n := g.underWay.Add(1); g.MaxRequests > 0 && n > g.MaxRequests {
			c.err = errCrowded
		} else {
			c.err = c.serve(rest)
		}
		g.underWay.Add(-1)
		return
	}
	g.router.ServeHTTP(&c.w, r)
}

// withinAccount cuts the version off a path, if it is one of the API's and an
// account follows.
func withinAccount(path string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(path, "/v1/"); !ok {
		rest, ok = strings.CutPrefix(path, "/v1.0/")
	}
	return rest, ok && rest != "" && rest[0] != '/'
}

// serve answers a request for an account or what is within it.
func (c *call) serve(rest string) error {
	path, err := split(rest)
	if err == nil {
		c.home = path
		if err := c.pass(path); err != nil {
			return err
		}
	}
	if t, signed := c.signedURL(); signed {
		if err := c.admit(t, path, err); err != nil {
			return err
		}
	} else if boundary, ok := formBoundary(c.r); ok {
		return c.postForm(boundary, path, err)
	} else if err := c.identify(realm(rest)); err != nil {
		return err
	}
	if err != nil {
		if c.id.Stranger() {
			return errUnauthorized // strangers first show who they are, as in Swift
		}
		return err
	}
	c.path = path
	if err := c.checkGone(path); err != nil {
		return err
	}
	if v, ok := c.bulk(); ok {
		if c.id.Stranger() {
			return errUnauthorized // before the megabytes are read that this may come with
		}
		return v(c)
	}
	verbs := objectVerbs
	switch {
	case path.IsAccount():
		verbs = accountVerbs
	case path.IsContainer():
		verbs = containerVerbs
	}
	v, ok := verbs[c.r.Method]
	if !ok {
		return c.methodNotAllowed()
	}
	if !path.IsAccount() && c.r.Header["Origin"] != nil {
		c.origin = c.askOrigin()
	}
	if c.wantsWeb() {
		err = c.web(v)
	} else {
		err = v(c)
	}
	if said := (*storage.Refusal)(nil); errors.As(err, &said) {
		return c.unlessForbidden(err) // the Store judges metadata before it asks the guard
	}
	return err
}

// pass lets a request through that may be made at all, whoever makes it.
func (c *call) pass(p storage.Path) error {
	if c.g.Names != nil {
		if err := c.g.Names.check(c.r.URL.Path); err != nil {
			return err
		}
	}
	if err := c.checkWritable(p); err != nil {
		return err
	}
	if !p.IsAccount() && c.r.Header["X-Container-Sync-Auth"] != nil {
		return c.errSyncAuth(p.Account)
	}
	return c.waitTurn(p)
}

// split reads the decoded path of a URL, "AUTH_ann/pics/a/b.jpg". A slash is a
// slash however it was escaped, as in Swift, and whatever follows the
// container's is the object's name.
func split(path string) (storage.Path, error) {
	if !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0 {
		return storage.Path{}, &refusal{status: http.StatusPreconditionFailed, text: "Invalid UTF8 or contains NULL"}
	}
	var p storage.Path
	p.Account, path, _ = strings.Cut(path, "/")
	p.Container, p.Object, _ = strings.Cut(path, "/")
	if p.Account == "" || p.Container == "" && p.Object != "" {
		return storage.Path{}, errBadURL
	}
	return p, nil
}

var errBadURL = &refusal{status: http.StatusPreconditionFailed, text: "Bad URL"}

// nowhere answers for a path that names neither an account nor anything else
// there is.
func (c *call) nowhere() error {
	version, rest, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/"), "/")
	account, _, _ := strings.Cut(rest, "/")
	switch {
	case !utf8.ValidString(c.r.URL.Path) || strings.IndexByte(c.r.URL.Path, 0) >= 0:
		_, err := split(c.r.URL.Path)
		return err
	case version == "":
		return &refusal{status: http.StatusNotFound}
	case account != "":
		return &refusal{status: http.StatusBadRequest} // of another version
	}
	return errBadURL
}

func (c *call) methodNotAllowed() error {
	c.set("Allow", allowed)
	return &refusal{status: http.StatusMethodNotAllowed}
}

// set sets a header of the response, in room that is there already. The key
// must be in canonical form.
func (c *call) set(key, value string) {
	if c.nvalues == len(c.values) {
		c.w.Header()[key] = []string{value}
		return
	}
	c.values[c.nvalues] = value
	c.nvalues++
	c.w.Header()[key] = c.values[c.nvalues-1 : c.nvalues : c.nvalues]
}
