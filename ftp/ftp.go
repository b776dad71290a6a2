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
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/internal/door"
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

	keeper door.Keeper
	ports  ports
	names  resolver

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
	err := s.keeper.Serve(l, s.rules(), func(v *door.Visit) door.Visitor { return newSession(s, v) })
	if errors.Is(err, door.ErrClosed) {
		return ErrServerClosed
	}
	return err
}

// rules are the server's settings, as far as every door has them.
func (s *Server) rules() *door.Rules {
	return &door.Rules{
		Name: "ftp", Log: s.log(), Admit: s.Admit, Proxies: s.Proxies, NewID: s.NewID,
		Connect: s.Hooks.Connect, Disconnect: s.Hooks.Disconnect, Operation: s.Hooks.Operation,
		Known:         func(err error) bool { _, known := toRefusal(err); return known },
		MaxHandshakes: s.MaxHandshakes, MaxConns: s.MaxConns,
		MaxConnsPerAddress: s.MaxConnsPerAddress, MaxConnsPerUser: s.MaxConnsPerUser,
	}
}

// Shutdown stops accepting and ends every connection as soon as it has no
// command under way. When ctx ends it cuts those that remain, which is told to
// their files as TransferError, and returns the error of ctx. Either way no
// connection is left when Shutdown returns.
func (s *Server) Shutdown(ctx context.Context) error { return s.keeper.Shutdown(ctx) }

// A Session describes a connection that is logged in.
type Session = door.Session

// Sessions are the connections that are logged in at this moment, in no order.
func (s *Server) Sessions() []Session { return s.keeper.Sessions() }

// Disconnect cuts the connections that match, and says how many those were. It
// cuts those that are still logging in as well, as a Session that says only
// where they come from, but does not count them.
func (s *Server) Disconnect(match func(Session) bool) int { return s.keeper.Disconnect(match) }

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}
