// Package ftp lets people reach a filesystem with the FTP clients they have,
// in the clear or over TLS. It knows an [afero.Fs] and nothing else of Memstore;
// whoever logs in gets the filesystem that the login returns.
//
// The protocol is ftpserverlib's, who meets nobody before he is logged in: each
// connection is held by a session of this package, which reads the commands,
// lets people in, speaks TLS, and answers itself what the library does not know
// or could not answer while a transfer is under way. The library gets the rest,
// one command at a time, and its replies pass through the session on their way
// out.
//
// Data connections are passive only: the server connects to nobody, so that
// nobody can have it connect to a third party.
package ftp

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/afero"
)

// A Server serves FTP. It needs Password; the zero value of everything else is
// sound. Where a limit is concerned zero means the default, and a negative value
// none.
type Server struct {
	// Password judges a name and a password. An error refuses the login; the
	// client learns nothing of it. The context ends when the connection has ended
	// and everything it had open is closed, so a filesystem may live as long.
	Password func(ctx context.Context, a Attempt, password string) (Login, error)

	// Admit is asked before a single byte is read from a new connection (but for
	// the header of a proxy), and ends it by returning an error. This is where
	// bans belong.
	Admit func(remote net.Addr) error

	// TLS makes the server speak TLS. Sessions are resumed on data connections,
	// as long as the certificate comes from GetCertificate or stays; see
	// Certificate. It is read when Serve begins, and not after.
	TLS *tls.Config

	// Implicit means that clients begin with TLS at once, as on port 990, instead
	// of asking for it with AUTH TLS.
	Implicit bool

	// RequireTLS says when a client must speak TLS. By default a password from
	// another machine must not come in the clear.
	RequireTLS Requirement

	// LenientTLS takes an upload for whole that ends without TLS's goodbye, as
	// those of some old clients do. Somebody on the way can then cut one short,
	// and nobody notices.
	LenientTLS bool

	// Passive is the range of ports for data connections; any port if zero.
	Passive PortRange

	// Public is the IPv4 address, or a name that has one, that clients are told
	// to connect to by PASV: what a router in front of the server is known by. If
	// empty it is the address that the client has reached. EPSV needs none.
	Public string

	// PublicFor is Public for clients of certain networks, where the narrowest
	// that holds the client decides. An empty string is the address that the
	// client has reached: that is for the clients on this side of the router.
	PublicFor map[netip.Prefix]string

	// Proxies are the networks of proxies that begin every connection with a
	// header of the PROXY protocol, of either version. From there a connection
	// without such a header is refused, and from elsewhere one with it. A proxy
	// that forwards data connections must send the header on these, too.
	Proxies []netip.Prefix

	// Banner is the text that clients are greeted with.
	Banner string

	// Log receives a line for each login and each operation on a file;
	// slog.Default() if nil.
	Log *slog.Logger

	// Hooks are told what Log is told, as values.
	Hooks Hooks

	// NewID makes the transaction id of a connection. The operations within it
	// get that id with a number behind it. Random if nil.
	NewID func() string

	// LoginTimeout is how long a client may take until it is logged in. Somebody
	// may be typing a password. Default 60 s.
	LoginTimeout time.Duration

	// IdleTimeout ends a connection over which nothing was said for so long,
	// transfers aside. Default 15 min.
	IdleTimeout time.Duration

	// DataTimeout ends a transfer of which no byte has moved for so long.
	// Default 60 s.
	DataTimeout time.Duration

	// ConnectTimeout is how long a client may take to open a data connection.
	// Default 10 s.
	ConnectTimeout time.Duration

	// MaxAuthTries is how many wrong passwords end a connection. Default 3.
	MaxAuthTries int

	// MaxLoginCommands is how many commands a client has until it is logged in.
	// Default 30.
	MaxLoginCommands int

	// MaxHandshakes is how many clients may be on their way in at once. One more
	// takes the place of one that has been getting nowhere: the place goes to
	// whoever comes, so connections that never log in keep nobody out.
	// Default 64.
	MaxHandshakes int

	// MaxConns, MaxConnsPerAddress and MaxConnsPerUser bound the connections
	// that are logged in: all of them, those from one IPv4 address or IPv6 /64,
	// and those of one user. Defaults 10,000, 256 and 256.
	MaxConns, MaxConnsPerAddress, MaxConnsPerUser int

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	wg        sync.WaitGroup // one per connection

	closing atomic.Bool // set with mu held

	gate  gate
	ports ports
	names resolver

	tlsOnce   sync.Once
	tlsConfig *tls.Config // TLS, made fit for this protocol; the same for all connections
}

// A Requirement says when clients must speak TLS.
type Requirement int

const (
	// RequireForPasswords is that those who log in do, except from the machine
	// itself. What they transfer then is for them to protect, by PROT.
	RequireForPasswords Requirement = iota

	// RequireAlways is that everybody does, and for data as well.
	RequireAlways

	// RequireNever leaves it to the client.
	RequireNever
)

// A PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last int }

// An Attempt is one try of a client to log in.
type Attempt struct {
	ID     string   // the transaction id of the connection
	User   string   // as the client gave it
	Remote net.Addr // where it comes from
	Local  net.Addr // where it arrived
	Client string   // what its software calls itself, if it did
	TLS    bool     // whether TLS is spoken; if not, others may have read the password
}

// A Login is what a successful attempt opens.
type Login struct {
	// Fs is the filesystem of this connection. Two goroutines may use it at
	// once. What more it may be able to do is listed in extensions.go.
	Fs afero.Fs

	// User is who has logged in, for logs and limits; what the client called
	// himself if empty.
	User string

	// Done, if not nil, ends the connection when it is closed: the user was
	// disabled, say.
	Done <-chan struct{}
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("ftp: server closed")

// Serve accepts connections from l until Shutdown or an error that does not
// pass. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if s.Password == nil {
		return errors.New("ftp: server has no way to log in")
	}
	if s.TLS == nil && (s.Implicit || s.RequireTLS == RequireAlways) {
		return errors.New("ftp: server requires TLS and has no certificate")
	}
	if p := s.Passive; p != (PortRange{}) && (p.First < 1 || p.Last > 65535 || p.First > p.Last) {
		return errors.New("ftp: the range of passive ports is none")
	}
	if !s.track(l) {
		return ErrServerClosed
	}
	defer s.untrack(l)

	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.closing.Load() {
				return ErrServerClosed
			}
			// Out of descriptors, most likely: they come back as clients leave.
			//lint:ignore SA1019 it tells here what net/http goes by, too
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Temporary() {
				s.log().Error("ftp: accept failed", "err", err, "retry", pause)
				time.Sleep(pause)
				pause = min(2*pause, time.Second)
				continue
			}
			return err
		}
		pause = 5 * time.Millisecond
		s.welcome(nc)
	}
}

// Shutdown stops accepting and ends every connection as soon as it has no
// command under way. When ctx ends it cuts those that remain, which is told to
// their files as TransferError, and returns the error of ctx. Either way no
// connection is left when Shutdown returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.sessions {
		c.leaveWhenQuiet()
	}
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() { s.wg.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.Disconnect(func(Session) bool { return true })
		<-gone
		return ctx.Err()
	}
}

// A Session describes a connection that is logged in.
type Session struct {
	ID     string
	User   string
	Remote net.Addr
	Client string
	Since  time.Time
}

// Sessions are the connections that are logged in at this moment, in no order.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Session
	for c := range s.sessions {
		if d, ok := c.describe(); ok {
			list = append(list, d)
		}
	}
	return list
}

// Disconnect cuts the connections that match, and says how many those were. It
// cuts those that are still logging in as well, as a Session that says only
// where they come from, but does not count them.
func (s *Server) Disconnect(match func(Session) bool) int {
	s.mu.Lock()
	var cut []*session
	n := 0
	for c := range s.sessions {
		d, in := c.describe()
		if match(d) {
			cut = append(cut, c)
			if in {
				n++
			}
		}
	}
	s.mu.Unlock()
	for _, c := range cut {
		c.cut("disconnected")
	}
	return n
}

// welcome starts to serve a connection, unless the server is closing.
func (s *Server) welcome(nc net.Conn) {
	c := newSession(s, nc)
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		nc.Close()
		return
	}
	if s.sessions == nil {
		s.sessions = make(map[*session]struct{})
	}
	s.sessions[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()

	go func() {
		defer s.wg.Done()
		defer func() {
			s.mu.Lock()
			delete(s.sessions, c)
			s.mu.Unlock()
		}()
		c.serve()
	}()
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]struct{})
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}

func (s *Server) newID() string {
	if s.NewID != nil {
		return s.NewID()
	}
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// limit is n, or its default if it is zero; a negative n is no limit at all.
func limit(n, standard int) int {
	switch {
	case n == 0:
		return standard
	case n < 0:
		return 1<<31 - 1
	}
	return n
}

// span is d, or its default if it is zero, or fifty years if it is negative.
func span(d, standard time.Duration) time.Duration {
	if d < 0 {
		return 50 * 365 * 24 * time.Hour
	}
	return cmp.Or(d, standard)
}
