package sftp

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
// Against connections that never finish it does not shut: when all places of
// the handshake are taken, the newcomer gets the place of whoever has come least
// far, and of those, of the address that holds the most places, and of those,
// of the one that came first. A client that behaves takes a few milliseconds
// and is not the one, and one whose password is being judged never is.
type gate struct {
	mu         sync.Mutex // guards what follows
	entering   []*session
	inside     int
	perAddress map[netip.Prefix]int
	perUser    map[string]int
}

// stages of a session on its way in.
const (
	stageGreeting = iota // versions and keys are being exchanged
	stageAsking          // the client is to say who it is
	stageJudging         // the server is looking at what it said
)

// Why somebody who may come in cannot.
var (
	errFull        = errors.New("too many connections")
	errFullAddress = errors.New("too many connections from this address")
	errFullUser    = errors.New("too many connections of this user")
)

// enter gives c a place in the handshake, and reports whether there is one.
func (g *gate) enter(c *session, places, most int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= most {
		return false
	}
	g.entering = append(g.entering, c)
	if len(g.entering) <= places {
		return true
	}
	evicted := g.victim()
	g.entering = slices.DeleteFunc(g.entering, func(e *session) bool { return e == evicted })
	if evicted != c {
		evicted.cut("gave way to another client while logging in")
	}
	return evicted != c
}

// victim is who gives way. It can be the one who enters last, if all others are
// being judged, or were only slower to come here than to connect.
func (g *gate) victim() *session {
	held := make(map[netip.Prefix]int)
	for _, c := range g.entering {
		held[c.source]++
	}
	return slices.MinFunc(g.entering, func(a, b *session) int {
		return cmp.Or(
			cmp.Compare(a.stage, b.stage),
			cmp.Compare(held[b.source], held[a.source]),
			a.began.Compare(b.began),
		)
	})
}

// reach records how far c has come.
func (g *gate) reach(c *session, stage int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.stage = stage
}

// admit counts c, who has shown that he is user, among those inside; an error
// says which limit is in the way.
func (g *gate) admit(c *session, user string, most, mostPerAddress, mostPerUser int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c.admitted:
		return nil
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
	g.inside++
	g.perAddress[c.source]++
	g.perUser[user]++
	c.admitted, c.countedAs = true, user
	return nil
}

// arrived frees the place of c in the handshake.
func (g *gate) arrived(c *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entering = slices.DeleteFunc(g.entering, func(e *session) bool { return e == c })
}

// leave forgets c, wherever it was.
func (g *gate) leave(c *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entering = slices.DeleteFunc(g.entering, func(e *session) bool { return e == c })
	if !c.admitted {
		return
	}
	c.admitted = false
	g.inside--
	decrement(g.perAddress, c.source)
	decrement(g.perUser, c.countedAs)
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
	var ip netip.Addr
	if t, ok := a.(*net.TCPAddr); ok {
		ip, _ = netip.AddrFromSlice(t.IP)
	} else if a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			ip = ap.Addr()
		}
	}
	ip = ip.Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
