// Package sftp lets people reach a filesystem with the clients they have: SFTP
// and, for old clients, scp, over SSH. It knows an [afero.Fs] and nothing else
// of Memstore; whoever logs in gets the filesystem that the login returns.
//
// There is no shell behind this door: no terminal, no forwarding, no agent, no
// environment. A connection can start the sftp subsystem, and run scp and a few
// commands that only answer a question (md5sum, df, pwd), which rclone and
// other clients ask to verify what they sent.
package sftp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/door"
)

// A Server serves SFTP and scp. It needs HostKeys and one of Password and Key;
// the zero value of everything else is sound. Where a limit is concerned zero
// means the default, and a negative value none.
type Server struct {
	// HostKeys are what the server proves its own identity with; the function of
	// that name loads or makes them. Those on NIST's curves are offered only if Compatible is
	// set or there is no other.
	HostKeys []ssh.Signer

	// Password judges a password. An error refuses the login; the client learns
	// nothing of it. If Password is nil, passwords are not offered.
	Password func(ctx context.Context, a Attempt, password string) (Login, error)

	// Key judges a public key. It is asked when a client offers the key, which
	// anybody can do, and once more when the client has proved that it holds the
	// key: Attempt.Proven tells which. Only what the second call returns is ever
	// used. If Key is nil, keys are not offered.
	Key func(ctx context.Context, a Attempt, key ssh.PublicKey) (Login, error)

	// Admit is asked before a single byte is read from a new connection (but for
	// the header of a proxy), and ends it by returning an error. This is where
	// bans belong.
	Admit func(remote net.Addr) error

	// Proxies are the networks of proxies that begin every connection with a
	// header of the PROXY protocol, of either version. From there a connection
	// without such a header is refused; from elsewhere the header is not believed.
	Proxies []netip.Prefix

	// Log receives a line for each login and each operation on a file;
	// slog.Default() if nil.
	Log *slog.Logger

	// Hooks are told what Log is told, as values.
	Hooks Hooks

	// NewID makes the transaction id of a connection. The operations within it
	// get that id with a number behind it. Random if nil.
	NewID func() string

	// Banner is shown to clients before they log in.
	Banner string

	// Compatible offers, besides today's algorithms, what some older clients
	// cannot do without: host keys and key exchange on NIST's curves, and MACs
	// over the plain text (curl with libssh2 before 1.11, JSch).
	Compatible bool

	// HandshakeTimeout is how long a client may take from its first byte until
	// it is logged in. Default 20 s.
	HandshakeTimeout time.Duration

	// IdleTimeout ends a connection over which no data has moved for so long;
	// the server's own work, such as computing a checksum, does not count as
	// idling. Default 15 min.
	IdleTimeout time.Duration

	// KeepAlive is how often a silent client is asked whether it is still there.
	// One that leaves three questions unanswered is given up. Default 30 s.
	KeepAlive time.Duration

	// MaxAuthTries is how many failed attempts to log in a connection has.
	// Every key that is offered and not known is one. Default 6.
	MaxAuthTries int

	// MaxHandshakes is how many clients may be on their way in at once. One more
	// takes the place of one that has been getting nowhere: the place goes to
	// whoever comes, so connections that never finish keep nobody out.
	// Default 64.
	MaxHandshakes int

	// MaxConns, MaxConnsPerAddress and MaxConnsPerUser bound the connections
	// that are logged in: all of them, those from one IPv4 address or IPv6 /64,
	// and those of one user. Defaults 10,000, 256 and 256.
	MaxConns, MaxConnsPerAddress, MaxConnsPerUser int

	// MaxChannels is how many SFTP sessions and commands may run at once over
	// one connection. Default 8.
	MaxChannels int

	// MaxOpenFiles is how many files and directories one SFTP session may hold
	// open. Default 256.
	MaxOpenFiles int

	keeper door.Keeper
}

// An Attempt is one try of a client to log in.
type Attempt struct {
	ID     string   // the transaction id of the connection
	User   string   // as the client gave it
	Remote net.Addr // where it comes from
	Local  net.Addr // where it arrived
	Client string   // what its software calls itself, such as "SSH-2.0-OpenSSH_9.2p1"
	Proven bool     // in Key: the client holds the private key
}

// A Login is what a successful attempt opens.
type Login struct {
	// Fs is the filesystem of this connection. Several goroutines use it at
	// once, and the methods ReadAt and WriteAt of one file likewise. What more
	// it may be able to do is listed in extensions.go.
	Fs afero.Fs

	// User is who has logged in, for logs and limits; what the client called
	// himself if empty.
	User string

	// Done, if not nil, ends the connection when it is closed: the user was
	// disabled, say.
	Done <-chan struct{}
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("sftp: server closed")

// Serve accepts connections from l until Shutdown or an error that does not
// pass. It closes l.
//
// The context that Password and Key get ends when the connection has ended and
// everything it had open is closed, so a filesystem may live as long as that.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if len(s.HostKeys) == 0 {
		return errors.New("sftp: server has no host keys")
	}
	if s.Password == nil && s.Key == nil {
		return errors.New("sftp: server has no way to log in")
	}
	config := s.config()
	err := s.keeper.Serve(l, s.rules(), func(v *door.Visit) door.Visitor {
		return &session{Visit: v, srv: s, config: config, gone: make(chan struct{})}
	})
	if errors.Is(err, door.ErrClosed) {
		return ErrServerClosed
	}
	return err
}

// rules are the server's settings, as far as every door has them.
func (s *Server) rules() *door.Rules {
	return &door.Rules{
		Name: "sftp", Log: s.log(), Admit: s.Admit, Proxies: s.Proxies, NewID: s.NewID,
		Connect: s.Hooks.Connect, Disconnect: s.Hooks.Disconnect, Operation: s.Hooks.Operation,
		Known:         func(err error) bool { _, known := toStatus(err); return known },
		MaxHandshakes: s.MaxHandshakes, MaxConns: s.MaxConns,
		MaxConnsPerAddress: s.MaxConnsPerAddress, MaxConnsPerUser: s.MaxConnsPerUser,
	}
}

// Shutdown stops accepting and ends every connection as soon as it has no file
// open and no command running. When ctx ends it cuts those that remain, which
// is told to their files as TransferError, and returns the error of ctx. Either
// way no connection is left when Shutdown returns.
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
