package main

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A crowd is all the connections that clients have with the doors. It keeps
// them from taking every file that the process may have open, without which the
// engine can neither read nor write: those beyond a limit, of all or of one
// source, are closed as soon as they are made.
type crowd struct {
	most, each int            // connections, of all and of one source
	exempt     []netip.Prefix // sources that only the limit of all holds for
	log        *slog.Logger

	mu     sync.Mutex
	all    int
	of     map[netip.Prefix]int
	turned int       // away, since it was said
	said   time.Time // when that was
}

// sayEvery is how often it is said that connections are turned away.
const sayEvery = time.Minute

func newCrowd(most, each int, exempt []netip.Prefix, log *slog.Logger) *crowd {
	return &crowd{most: most, each: each, exempt: exempt, log: log, of: make(map[netip.Prefix]int)}
}

// listener returns l with the limits of the crowd, which must be of TCP.
func (c *crowd) listener(l net.Listener) net.Listener { return &crowdListener{l, c} }

type crowdListener struct {
	net.Listener
	crowd *crowd
}

func (l *crowdListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp := conn.(*net.TCPConn)
		from := sourceOf(tcp.RemoteAddr())
		if l.crowd.enter(from) {
			// Embedded, so that all it can do shows, such as sendfile.
			return &crowdConn{TCPConn: tcp, leave: sync.OnceFunc(func() { l.crowd.leave(from) })}, nil
		}
		tcp.SetLinger(0) // nothing is to be remembered of it
		tcp.Close()
	}
}

type crowdConn struct {
	*net.TCPConn
	leave func()
}

func (c *crowdConn) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}

// sourceOf is what connections from an address count for: of IPv6 the whole
// /64, out of which one machine may pick any address.
func sourceOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	from := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits)
	return p
}

func (c *crowd) enter(from netip.Prefix) bool {
	free := slices.ContainsFunc(c.exempt, func(p netip.Prefix) bool { return p.Overlaps(from) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all < c.most && (free || c.of[from] < c.each) {
		c.all++
		c.of[from]++
		return true
	}
	c.turned++
	if now := time.Now(); now.Sub(c.said) >= sayEvery {
		c.log.Warn("too many connections, the newest are closed", "closed", c.turned, "open", c.all, "limit", c.most,
			"last_from", from, "open_from_there", c.of[from], "limit_of_one_source", c.each)
		c.turned, c.said = 0, now
	}
	return false
}

func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.of[from]--; c.of[from] <= 0 {
		delete(c.of, from)
	}
}

// budget is how the files that the process may have open are shared out.
type budget struct{ connections, eachSource, requests int }

// shareOut keeps half of the files, if not more than the engine may ever want,
// for the engine and everything else; of the rest one half is for connections
// and one for what requests hold open, up to two files each. What c says goes
// before, as far as the files reach.
func (c ConnectionsConfig) shareOut(files uint64) budget {
	const enginesMost, enough, few = 4096, 10_000, 1024
	left := int(min(files, 1<<20))
	left -= min(left/2, enginesMost)
	b := budget{connections: max(min(left/2, enough), 1)}
	if c.Max > 0 {
		b.connections = min(c.Max, max(left*3/4, 1))
	}
	b.requests = max((left-b.connections)/2, 1)
	b.eachSource = max(min(b.connections/4, few), 1)
	if c.PerSource > 0 {
		b.eachSource = c.PerSource
	}
	return b
}

// openFiles is how many files this process may have open at once.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return uint64(limit.Cur), err
}
