package ftp

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// A gate counts those on their way in and those who are in.
//
// Against connections that never log in it does not shut: when all places for
// those who have not are taken, the newcomer gets the place of one of the address
// that holds the most; of those, the one that came first. What a client has said
// so far counts for nothing, as anybody can say it. One whose password is being
// judged never has to go.
type gate struct {
	mu         sync.Mutex // guards what follows, and judging and counted of sessions
	entering   []*session
	inside     int
	perAddress map[netip.Prefix]int
	perUser    map[string]int
}

// Why somebody who may come in cannot.
var (
	errFull        = errors.New("too many connections")
	errFullAddress = errors.New("too many connections from this address")
	errFullUser    = errors.New("too many connections of this user")
)

// enter gives c a place among those who have not logged in, and reports whether
// there is one.
func (g *gate) enter(c *session, places, most int) bool {
	g.mu.Lock()
	if g.inside >= most {
		g.mu.Unlock()
		return false
	}
	g.entering = append(g.entering, c)
	var evicted *session
	if len(g.entering) > places {
		evicted = g.victim()
		g.remove(evicted)
	}
	g.mu.Unlock()
	if evicted != nil && evicted != c {
		evicted.cut("gave way to another client while logging in")
	}
	return evicted != c
}

// victim is who gives way: the newcomer, if all others are being judged.
func (g *gate) victim() *session {
	held := make(map[netip.Prefix]int)
	for _, c := range g.entering {
		held[c.source]++
	}
	newest := g.entering[len(g.entering)-1]
	return slices.MinFunc(g.entering, func(a, b *session) int {
		return cmp.Or(
			cmp.Compare(rank(a, newest), rank(b, newest)),
			cmp.Compare(held[b.source], held[a.source]),
			a.began.Compare(b.began),
		)
	})
}

// rank is the order in which sessions may have to go.
func rank(c, newest *session) int {
	switch {
	case c.judging:
		return 2
	case c == newest:
		return 1
	}
	return 0
}

func (g *gate) remove(c *session) {
	g.entering = slices.DeleteFunc(g.entering, func(e *session) bool { return e == c })
}

// judge records whether c's password is being judged.
func (g *gate) judge(c *session, judging bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.judging = judging
}

// admit counts c, who has shown that he is user, among those inside; an error
// says which limit is in the way.
func (g *gate) admit(c *session, user string, most, mostPerAddress, mostPerUser int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.inside >= most:
		return errFull
	case g.perAddress[c.source] >= mostPerAddress:
		return errFullAddress
	case g.perUser[user] >= mostPerUser:
		return errFullUser
	}
	if g.perUser == nil {
		g.perUser, g.perAddress = make(map[string]int), make(map[netip.Prefix]int)
	}
	g.remove(c)
	g.inside++
	g.perAddress[c.source]++
	g.perUser[user]++
	c.counted = &user
	return nil
}

// leave forgets c, wherever it was.
func (g *gate) leave(c *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(c)
	if c.counted == nil {
		return
	}
	g.inside--
	decrement(g.perAddress, c.source)
	decrement(g.perUser, *c.counted)
	c.counted = nil
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// sourceOf is what connections from an address are counted under: the address,
// or for IPv6 the /64 that one customer usually has. Addresses that are not of
// the Internet count as one.
func sourceOf(a net.Addr) netip.Prefix {
	ip := addrOf(a)
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// addrOf is the IP address in a, without its zone; an IPv4 address is one
// however it is written.
func addrOf(a net.Addr) netip.Addr {
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
