package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// peer is the address a request comes from; the zero Addr if it is none of the
// internet's, such as a unix socket's. Where a trusted proxy stands before us
// it is the one that he says it came from: of the addresses in X-Forwarded-For,
// to which each proxy appends whom it heard, the last that is no proxy's. What
// stands before that may have been made up by anybody.
func (g *gateway) peer(r *http.Request) netip.Addr {
	direct, _ := netip.ParseAddrPort(r.RemoteAddr)
	from := plainAddr(direct.Addr())
	if !g.proxy(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, ok := parseHop(hop)
		if !ok {
			break
		}
		from = a
		if !g.proxy(a) {
			break
		}
	}
	return from
}

// parseHop reads one address of X-Forwarded-For; some proxies write the port
// too.
func parseHop(hop string) (netip.Addr, bool) {
	hop = strings.TrimSpace(hop)
	if a, err := netip.ParseAddr(hop); err == nil {
		return plainAddr(a), true
	}
	if a, err := netip.ParseAddrPort(hop); err == nil {
		return plainAddr(a.Addr()), true
	}
	return netip.Addr{}, false
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// proxy reports whether an address is one of the trusted proxies'.
func (g *gateway) proxy(a netip.Addr) bool {
	return slices.ContainsFunc(g.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// secure reports whether the client speaks TLS, to us or to a proxy we trust.
func (g *gateway) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if len(g.Proxies) == 0 || !strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return false
	}
	direct, _ := netip.ParseAddrPort(r.RemoteAddr)
	return g.proxy(plainAddr(direct.Addr()))
}

// from is the peer as the log has it: with its port where it is who connected.
func (c *call) from() string {
	if len(c.g.Proxies) > 0 {
		direct, _ := netip.ParseAddrPort(c.r.RemoteAddr)
		if a := c.g.peer(c.r); a.IsValid() && a != plainAddr(direct.Addr()) {
			return a.String()
		}
	}
	return c.r.RemoteAddr
}
