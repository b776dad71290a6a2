package ftp

import (
	"net"
	"net/netip"
	"slices"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyTimeout is how long a proxy may take to say for whom it connects.
const proxyTimeout = 5 * time.Second

// proxied reports whether addr is that of a proxy who says for whom he connects.
func (s *Server) proxied(addr net.Addr) bool {
	ip := addrOf(addr)
	return slices.ContainsFunc(s.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// throughProxy is nc as its client is known to the proxy it comes from. It
// waits for the proxy's header; a connection that does not begin with one is an
// error.
func throughProxy(nc net.Conn) (net.Conn, error) {
	p := proxyproto.NewConn(nc, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyTimeout))
	if _, err := p.Read(nil); err != nil {
		return nil, err
	}
	return p, nil
}
