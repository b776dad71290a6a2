package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"memstore.dev/memstore/auth"
)

// Hosts have names of hosts stand for accounts and containers: with the domain
// "store.example.com", the host pics.AUTH-ann.store.example.com is the container
// pics of the account AUTH_ann, and AUTH-ann.store.example.com the account.
type Hosts struct {
	Domains []string // "store.example.com"

	// Resolve, if not nil, finds the name that another one is an alias for (a
	// CNAME record), so that people may use domains of their own; "" if it is
	// none's. Then hosts that lead to none of the Domains are refused, those of
	// Exempt and addresses aside.
	Resolve func(ctx context.Context, host string) (string, error)

	// Exempt are the other names by which this gateway is reached.
	Exempt []string

	// Depth is how many aliases are followed; 1 if zero.
	Depth int

	aliases aliases
}

// DNS is a Resolve that asks the system's resolver.
func DNS(ctx context.Context, host string) (string, error) {
	name, err := net.DefaultResolver.LookupCNAME(ctx, host)
	return strings.TrimSuffix(name, "."), err
}

// aliases remember what was resolved.
type aliases struct {
	mu    sync.Mutex
	known map[string]alias
	slots chan struct{}
}

type alias struct {
	name  string
	until time.Time
}

const (
	aliasLife   = time.Minute
	maxAliases  = 10_000
	maxLookups  = 32 // at once
	lookupLimit = 5 * time.Second
)

// resolve looks a name up, or remembers. Lookups cost others something, so only
// so many are under way at once.
func (h *Hosts) resolve(ctx context.Context, host string) (string, error) {
	a := &h.aliases
	now := time.Now()
	a.mu.Lock()
	if a.known == nil {
		a.known, a.slots = make(map[string]alias), make(chan struct{}, maxLookups)
	}
	found, ok := a.known[host]
	a.mu.Unlock()
	if ok && now.Before(found.until) {
		return found.name, nil
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		return "", &refusal{status: http.StatusServiceUnavailable}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	name, err := h.Resolve(ctx, host)
	if err != nil {
		name = "" // that there is no such name is remembered too
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxAliases {
		clear(a.known)
	}
	a.known[host] = alias{name, now.Add(aliasLife)}
	return name, nil
}

// beneath cuts the domain off a host, if it is beneath one of ours.
func (h *Hosts) beneath(host string) (labels string, ok bool) {
	for _, domain := range h.Domains {
		domain = "." + strings.TrimPrefix(domain, ".")
		if n := len(host) - len(domain); n >= 0 && strings.EqualFold(host[n:], domain) {
			return host[:n], true
		}
	}
	return "", false
}

// remap gives the request the path that its host stands for.
func (c *call) remap() error {
	h := c.g.Hosts
	host := c.r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "" || isAddress(host) || slices.ContainsFunc(h.Exempt, func(s string) bool { return strings.EqualFold(s, host) }) {
		return nil
	}
	labels, ok := h.beneath(host)
	own := slices.ContainsFunc(h.Domains, func(d string) bool { return strings.EqualFold(strings.TrimPrefix(d, "."), host) })
	if !ok && !own && h.Resolve != nil {
		var err error
		if host, err = h.follow(c.r.Context(), host); err != nil {
			return err
		}
		labels, ok = h.beneath(host)
	}
	if !ok {
		return nil
	}
	parts := strings.Split(strings.Trim(labels, "."), ".")
	container, account := "", parts[0]
	switch len(parts) {
	case 1:
	case 2:
		container, account = parts[0], parts[1]
	default:
		return badRequest("Bad domain in host header")
	}
	account, ok = accountOfLabel(account)
	if !ok {
		return nil
	}
	to := "/v1/" + account
	if container != "" {
		to += "/" + container
	}
	u, r := *c.r.URL, *c.r
	c.asked, c.mapped = quote(u.Path), quote(to)+quote(u.Path)
	u.Path = to + u.Path
	u.RawPath = "" // the path is read decoded in any case
	r.URL = &u
	c.r = &r
	return nil
}

// follow finds the one of our hosts that a host is an alias for.
func (h *Hosts) follow(ctx context.Context, host string) (string, error) {
	for range max(h.Depth, 1) {
		next, err := h.resolve(ctx, host)
		if err != nil {
			return "", err
		}
		if next == "" || strings.EqualFold(next, host) {
			return "", badRequest("CNAME lookup failed to resolve to a valid domain")
		}
		if _, ok := h.beneath(next); ok {
			return next, nil
		}
		host = next
	}
	return "", badRequest("CNAME lookup failed after " + strconv.Itoa(max(h.Depth, 1)) + " tries")
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// accountOfLabel is the account that a part of a host's name stands for, which
// has no case, and a hyphen where there is no underscore.
func accountOfLabel(label string) (string, bool) {
	if !strings.Contains(label, "_") {
		label = strings.Replace(label, "-", "_", 1)
	}
	n := len(auth.Prefix)
	if len(label) < n || !strings.EqualFold(label[:n], auth.Prefix) {
		return "", false
	}
	return auth.Prefix + label[n:], true
}

// unmap has addresses that an answer names be those that the client knows.
func (c *call) unmap() {
	for _, key := range []string{"Location", "Content-Location"} {
		v := c.w.Header().Get(key)
		u, err := url.Parse(v)
		if v == "" || err != nil || u.Host == "" {
			continue
		}
		origin := u.Scheme + "://" + u.Host
		if rest, ok := strings.CutPrefix(v, origin+c.mapped); ok {
			c.set(key, origin+c.asked+rest)
		}
	}
}
