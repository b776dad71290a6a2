package ftp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"memstore.dev/memstore/internal/door"
)

// ports hands out the ports of a range for data connections: one at random that
// no session of this server listens on, since ports that can be foretold are
// ports that somebody else can connect to first. It answers ftpserverlib, whose
// own getter draws up a list of the whole range for each transfer.
type ports struct {
	mu    sync.Mutex
	taken map[int]int // how many sessions hold or try a port
}

// A portGetter is what the library asks, for one server's range.
type portGetter struct {
	*ports
	PortRange
}

// NumberAttempts is how many ports the library may try, should other programs
// hold some. It has as many named before it tries the first.
func (g portGetter) NumberAttempts() int { return 16 }

// anyPort is the range that the kernel itself takes ports from. Asked for any of
// them it looks for one that not even a connection of a minute ago has used, and
// of those every transfer leaves one behind: with thousands of them that look
// took half of all that small files cost. A port that is named it only has to
// find free.
var anyPort = sync.OnceValue(func() PortRange {
	r := PortRange{32768, 60999} // what it is where nobody has changed it
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return r
	}
	var is PortRange
	if _, err := fmt.Sscan(string(b), &is.First, &is.Last); err != nil || is.First < 1 || is.Last > 65535 || is.First > is.Last {
		return r
	}
	return is
})

// FetchNext returns a port twice: as clients know it, and as the server does.
func (g portGetter) FetchNext() (exposed, listened int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.Last - g.First + 1
	start := rand.IntN(n)
	for i := range n {
		port := g.First + (start+i)%n
		if g.taken[port] == 0 {
			return port, port, true
		}
	}
	return 0, 0, false
}

func (p *ports) take(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil {
		p.taken = make(map[int]int)
	}
	p.taken[port]++
}

func (p *ports) give(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[port]--; p.taken[port] <= 0 {
		delete(p.taken, port)
	}
}

// publicAddr is what a client is told to connect to by PASV.
func (s *Server) publicAddr(ctx context.Context, remote netip.Addr, local net.Addr) (netip.Addr, error) {
	public, narrowest := s.Public, -1
	for network, name := range s.PublicFor {
		if network.Contains(remote) && network.Bits() > narrowest {
			public, narrowest = name, network.Bits()
		}
	}
	ip := door.AddrOf(local)
	if public != "" {
		var err error
		if ip, err = s.names.lookup(ctx, public); err != nil {
			return netip.Addr{}, err
		}
	}
	if !ip.Is4() {
		return netip.Addr{}, errors.New("there is no IPv4 address to name")
	}
	return ip, nil
}

// A resolver remembers for a while what names mean, and for longer if it cannot
// find out anew.
type resolver struct {
	mu    sync.Mutex
	known map[string]resolved
	ask   func(ctx context.Context, name string) ([]netip.Addr, error) // net.DefaultResolver if nil
}

type resolved struct {
	addr netip.Addr
	at   time.Time
}

const namesLast = time.Minute

func (r *resolver) lookup(ctx context.Context, name string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap(), nil
	}
	r.mu.Lock()
	old, ok := r.known[name]
	r.mu.Unlock()
	if ok && time.Since(old.at) < namesLast {
		return old.addr, nil
	}
	ask := r.ask
	if ask == nil {
		ask = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found, err := ask(ctx, name)
	if err == nil && len(found) == 0 {
		err = errors.New("the name has no address")
	}
	if err != nil {
		if ok {
			return old.addr, nil
		}
		return netip.Addr{}, err
	}
	fresh := resolved{found[0].Unmap(), time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[string]resolved)
	}
	r.known[name] = fresh
	return fresh.addr, nil
}
