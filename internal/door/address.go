package door

import (
	"net"
	"net/netip"
	"slices"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyTimeout is how long a proxy may take to say for whom it connects.
const proxyTimeout = 5 * time.Second

// Proxied reports whether addr is that of one of the proxies, who say for whom
// they connect.
func Proxied(addr net.Addr, proxies []netip.Prefix) bool {
	ip := AddrOf(addr)
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// ThroughProxy is nc as its client is known to the proxy it comes from. It
// waits for the proxy's header; a connection that does not begin with one is an
// error.
func ThroughProxy(nc net.Conn) (net.Conn, error) {
	p := proxyproto.NewConn(nc, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyTimeout))
	if _, err := p.Read(nil); err != nil {
		return nil, err
	}
	return p, nil
}

// SourceOf is what connections from an address are counted under: the address,
// or for IPv6 the /64 that one customer usually has. Addresses that are not of
// the Internet count as one.
func SourceOf(a net.Addr) netip.Prefix {
	ip := AddrOf(a)
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// AddrOf is the IP address in a, without its zone; an IPv4 address is one
// however it is written.
func AddrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	var ip netip.Addr
	if t, ok := a.(*net.TCPAddr); ok {
		ip, _ = netip.AddrFromSlice(t.IP)
	} else if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		ip = ap.Addr()
	}
	return ip.Unmap().WithZone("")
}

// AddrString is a in words, "" if there is none.
func AddrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
