package ftp

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"memstore.dev/memstore/internal/door"
)

// A library is one client's ftpserverlib, and the control connection that it
// believes to have with him: commands go in as lines, and what it says comes out
// as replies. Each session has a library to itself, so that the library's
// questions, some of which do not tell on whose behalf they are asked, are
// answered by the session they concern.
type library struct {
	c       *session
	lines   chan string
	replies chan reply
	context ftpserver.ClientContext // set before the first reply

	reading []byte // of the line that is being read
	writing bytes.Buffer
	partial reply

	ending, ended   sync.Once
	stop            chan struct{} // closed by the session
	gone            chan struct{} // closed by the library
	once            bool          // its listener has accepted
	address, remote net.Addr
}

// A reply is what is said of a command: one that is not over yet, or the last.
type reply struct {
	code int
	text []string
}

func (r reply) final() bool { return r.code >= 200 }

func newLibrary(c *session) (*library, error) {
	l := &library{
		c: c, address: c.Conn.LocalAddr(), remote: c.Remote,
		lines: make(chan string), replies: make(chan reply, 4),
		stop: make(chan struct{}), gone: make(chan struct{}),
	}
	server := ftpserver.NewFtpServer(driver{l})
	server.Logger = slog.New(slog.DiscardHandler) // the session has more to tell
	if err := server.Listen(); err != nil {
		return nil, err
	}
	// It begins to serve the one connection there will be, and returns.
	return l, server.Serve()
}

// say passes on a command. Its replies come through the channel replies.
func (l *library) say(line string) error {
	select {
	case l.lines <- line:
		return nil
	case <-l.gone:
		return net.ErrClosed
	case <-l.c.gone:
		return net.ErrClosed
	}
}

// ask passes on a command and waits for the last reply to it.
func (l *library) ask(line string) (reply, error) {
	if line != "" {
		if err := l.say(line); err != nil {
			return reply{}, err
		}
	}
	for {
		select {
		case r := <-l.replies:
			if r.final() {
				return r, nil
			}
		case <-l.gone:
			return reply{}, net.ErrClosed
		case <-l.c.gone:
			return reply{}, net.ErrClosed
		}
	}
}

// end tells the library that its client is gone, and waits until it is, too.
func (l *library) end() {
	l.ending.Do(func() { close(l.stop) })
	<-l.gone
}

// What follows is the connection, as the library uses it.

type controlConn struct{ *library }

var _ net.Conn = controlConn{}

func (l controlConn) Read(p []byte) (int, error) {
	if len(l.reading) == 0 {
		select {
		case line := <-l.lines:
			l.reading = append(l.reading[:0], line+"\r\n"...)
		case <-l.stop:
			return 0, io.EOF
		}
	}
	n := copy(p, l.reading)
	l.library.reading = l.reading[n:]
	return n, nil
}

func (l controlConn) Write(p []byte) (int, error) {
	l.writing.Write(p)
	for {
		i := bytes.IndexByte(l.writing.Bytes(), '\n')
		if i < 0 {
			return len(p), nil
		}
		line := strings.TrimRight(string(l.writing.Next(i+1)), "\r\n")
		if r, ok := l.partial.add(line); ok {
			l.library.partial = reply{}
			select {
			case l.replies <- r:
			case <-l.stop:
			}
		}
	}
}

// add takes a line, and returns the reply that it completes, if it does.
func (r *reply) add(line string) (reply, bool) {
	code := 0
	if len(line) >= 4 && (line[3] == ' ' || line[3] == '-') {
		for _, d := range []byte(line[:3]) {
			if d < '0' || d > '9' {
				code = 0
				break
			}
			code = 10*code + int(d-'0')
		}
	}
	switch {
	case r.code == 0 && code == 0:
		return reply{}, false // nothing that a client could make sense of
	case r.code == 0:
		r.code, r.text = code, []string{line[4:]}
		return *r, line[3] == ' '
	case code == r.code:
		r.text = append(r.text, line[4:])
		return *r, line[3] == ' '
	}
	r.text = append(r.text, line)
	return reply{}, false
}

func (l controlConn) Close() error {
	l.ended.Do(func() { close(l.gone) })
	return nil
}

func (l controlConn) LocalAddr() net.Addr              { return l.address }
func (l controlConn) RemoteAddr() net.Addr             { return l.remote }
func (l controlConn) SetDeadline(time.Time) error      { return nil }
func (l controlConn) SetReadDeadline(time.Time) error  { return nil }
func (l controlConn) SetWriteDeadline(time.Time) error { return nil }

// An onlyListener is where the library accepts its one connection.
type onlyListener struct{ *library }

func (l onlyListener) Accept() (net.Conn, error) {
	if l.once {
		return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
	}
	l.library.once = true
	return controlConn(l), nil
}

func (l onlyListener) Close() error   { return nil }
func (l onlyListener) Addr() net.Addr { return l.address }

// A driver answers the questions of a library about its server.
type driver struct{ *library }

var (
	_ ftpserver.MainDriver                        = driver{}
	_ ftpserver.MainDriverExtensionPassiveWrapper = driver{}
)

func (d driver) GetSettings() (*ftpserver.Settings, error) {
	s := d.c.srv
	settings := &ftpserver.Settings{
		Listener:               onlyListener(d),
		IdleTimeout:            -1, // the session looks to that
		ConnectionTimeout:      max(1, int(door.Span(s.ConnectTimeout, 10*time.Second).Seconds())),
		DisableActiveMode:      true,
		DisableSite:            true,
		DisableLISTArgs:        true,
		DefaultTransferType:    ftpserver.TransferTypeBinary,
		DisableASCIIConversion: true,
		PublicIPResolver: func(ftpserver.ClientContext) (string, error) {
			return d.c.publicAddr.String(), nil
		},
	}
	settings.PassiveTransferPortRange = portGetter{&s.ports, cmp.Or(s.Passive, anyPort())}
	return settings, nil
}

func (d driver) ClientConnected(cc ftpserver.ClientContext) (string, error) {
	d.context = cc
	return "", nil
}

func (d driver) ClientDisconnected(ftpserver.ClientContext) {}

// AuthUser lets in whoever comes: the session has judged him before.
func (d driver) AuthUser(ftpserver.ClientContext, string, string) (ftpserver.ClientDriver, error) {
	return &files{c: d.c, fs: d.c.login.Fs}, nil
}

// GetTLSConfig is never asked: the session speaks TLS.
func (d driver) GetTLSConfig() (*tls.Config, error) {
	return nil, errors.New("not here")
}

func (d driver) WrapPassiveListener(l net.Listener) (net.Listener, error) {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("%v is no address of TCP", l.Addr())
	}
	return d.c.expect(l, tcp.Port), nil
}
