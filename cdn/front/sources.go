package front

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

var errCrowded = errors.New("front: too many connections from there")

// A crowd is all clients, by where they are.
type crowd struct {
	limits *Limits
	exempt []netip.Prefix

	mu      sync.Mutex
	sources map[netip.Prefix]*source
	all     int // connections
	sweep   int // sources that are worth looking through

	everybody bool // the machine itself has limits too, for tests
}

// A source is where connections come from: an address, or a /64 of IPv6, out of
// which one machine may pick any. The machine itself has no limits.
type source struct {
	from  netip.Prefix
	exact bool // the limits hold
	conns int  // the crowd's mutex guards it

	mu     sync.Mutex
	tokens float64   // requests that may come at once
	at     time.Time // when that was so
}

// sourceKey is where contexts keep a source.
type sourceKey struct{}

// burst is how many seconds' worth of requests may come at once.
const burst = 4

// manyConnections are so many that whoever comes by UDP has to show where he is.
const manyConnections = 1000

// enter counts a connection in; nil turns it away.
func (c *crowd) enter(a net.Addr) *source {
	from := prefixOf(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[from]
	if s == nil {
		if c.sources == nil {
			c.sources = make(map[netip.Prefix]*source)
		}
		c.clean()
		s = &source{from: from, exact: c.everybody || !c.exempts(from), tokens: float64(c.limits.Requests * burst), at: time.Now()}
		c.sources[from] = s
	}
	if n := c.limits.Connections; n > 0 && s.exact && s.conns >= n {
		return nil
	}
	s.conns++
	c.all++
	return s
}

// exempts reports whether the limits of one source do not hold for this one.
func (c *crowd) exempts(from netip.Prefix) bool {
	return from.Addr().IsLoopback() || slices.ContainsFunc(c.exempt, func(p netip.Prefix) bool { return p.Overlaps(from) })
}

// leave counts a connection out. What its source has used up stays used up.
func (c *crowd) leave(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.conns--
	c.all--
	if s.conns == 0 && s.rested(c.limits.Requests) {
		delete(c.sources, s.from)
	}
}

// clean drops those who have left, whenever there are twice as many as it found
// worth keeping before.
func (c *crowd) clean() {
	if len(c.sources) < max(c.sweep, 1024) {
		return
	}
	for from, s := range c.sources {
		if s.conns == 0 && s.rested(c.limits.Requests) {
			delete(c.sources, from)
		}
	}
	c.sweep = 2 * len(c.sources)
}

// busy reports whether there are many connections.
func (c *crowd) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all > manyConnections
}

// rested reports whether nothing is remembered of a source that matters.
func (s *source) rested(rate int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rate == 0 || time.Since(s.at) > burst*time.Second
}

// take takes one request, if there is one to be had.
func (s *source) take(rate int) bool {
	if rate <= 0 || !s.exact {
		return true
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = min(s.tokens+now.Sub(s.at).Seconds()*float64(rate), float64(rate*burst))
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

func prefixOf(a net.Addr) netip.Prefix {
	var from netip.Addr
	switch a := a.(type) {
	case *net.TCPAddr:
		from = a.AddrPort().Addr()
	case *net.UDPAddr:
		from = a.AddrPort().Addr()
	default:
		return netip.Prefix{}
	}
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() && !from.IsLoopback() {
		bits = 64
	}
	p, _ := from.Prefix(bits)
	return p
}

// A listener accepts no more than the crowd bears.
type listener struct {
	net.Listener
	crowd *crowd
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if src := l.crowd.enter(c.RemoteAddr()); src != nil {
			return &conn{Conn: c, source: src, leave: sync.OnceFunc(func() { l.crowd.leave(src) })}, nil
		}
		if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
			tcp.SetLinger(0) // nothing is to be remembered of it
		}
		c.Close()
	}
}

// A conn is a connection that is counted.
type conn struct {
	net.Conn
	source *source
	leave  func()
}

func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// ReadFrom lets a TCP connection send files without copying.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// CloseWrite lets net/http say that an answer ends, and then wait for the client.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// withSource puts the source of a connection into the context of its requests.
func withSource(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, sourceKey{}, c.source)
	}
	return ctx
}
