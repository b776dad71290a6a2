// Package ftpclient is an FTP client for the tools that test and load the door
// of that name. It does what a careful client does: passive connections, binary
// transfers, TLS if it is given any, sizes and times from MLST and MLSD. What a
// server says no with is an [Error], which knows the words for the errors of
// io/fs.
package ftpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say as whom, and how, a connection is made.
type Options struct {
	User, Password string

	// TLS, if not nil, is spoken for commands and data, when AUTH has asked for
	// it or from the first byte if Implicit is set. Without a ClientSessionCache
	// it gets one.
	TLS      *tls.Config
	Implicit bool

	// Timeout is how long a reply, or the next bytes of a transfer, may take.
	// Default 30 s.
	Timeout time.Duration
}

// A Conn is a connection that is logged in. One goroutine uses it, beside one
// that may Cut it; while a transfer is open it can do nothing else.
type Conn struct {
	o    Options
	raw  net.Conn
	nc   net.Conn // raw, or TLS over it
	text *textproto.Conn
	host string
}

// An Error is a reply that says no.
type Error struct {
	Command string // its verb
	Code    int
	Text    string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %d %s", e.Command, e.Code, e.Text) }

// words are those by which servers tell apart what FTP has one code for.
var words = []struct {
	said string
	err  error
}{
	{"no such file", fs.ErrNotExist},
	{"not empty", syscall.ENOTEMPTY},
	{"exists", fs.ErrExist},
	{"permission", fs.ErrPermission},
	{"containers only", fs.ErrPermission},
	{"is a directory", syscall.EISDIR},
	{"not a directory", syscall.ENOTDIR},
	{"invalid", fs.ErrInvalid},
}

// Is tells by the words of the reply what kind of error it is.
func (e *Error) Is(target error) bool {
	said := strings.ToLower(e.Text)
	for _, w := range words {
		if strings.Contains(said, w.said) {
			return errors.Is(w.err, target)
		}
	}
	return false
}

// Dial connects to a server and logs in.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		if o.TLS.ServerName == "" {
			o.TLS.ServerName = host
		}
		if o.TLS.ClientSessionCache == nil {
			o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
	}
	d := net.Dialer{Timeout: o.Timeout}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{o: o, raw: raw, host: host}
	c.speak(raw)
	if err := c.login(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("ftp login at %s: %w", addr, err)
	}
	return c, nil
}

func (c *Conn) speak(nc net.Conn) {
	c.nc, c.text = nc, textproto.NewConn(nc)
}

func (c *Conn) login() error {
	if c.o.TLS != nil && c.o.Implicit {
		c.speak(tls.Client(c.raw, c.o.TLS))
	}
	if _, err := c.reply("greeting", 220); err != nil {
		return err
	}
	if c.o.TLS != nil {
		if !c.o.Implicit {
			if _, err := c.Command(234, "AUTH TLS"); err != nil {
				return err
			}
			c.speak(tls.Client(c.raw, c.o.TLS))
		}
		for _, line := range []string{"PBSZ 0", "PROT P"} {
			if _, err := c.Command(200, "%s", line); err != nil {
				return err
			}
		}
	}
	if _, err := c.Command(331, "USER %s", c.o.User); err != nil {
		return err
	}
	if _, err := c.Command(230, "PASS %s", c.o.Password); err != nil {
		return err
	}
	_, err := c.Command(200, "TYPE I")
	return err
}

// Command says one line and returns the text of the reply. A reply of another
// code than want is an Error; want may be one digit, for all codes that begin
// with it.
func (c *Conn) Command(want int, format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	verb, _, _ := strings.Cut(line, " ")
	if strings.ContainsAny(line, "\r\n") {
		return "", &Error{verb, 553, "a name cannot hold the end of a line: invalid"}
	}
	c.raw.SetDeadline(time.Now().Add(c.o.Timeout))
	if err := c.text.PrintfLine("%s", line); err != nil {
		return "", err
	}
	return c.reply(verb, want)
}

func (c *Conn) reply(verb string, want int) (string, error) {
	c.raw.SetDeadline(time.Now().Add(c.o.Timeout))
	_, text, err := c.text.ReadResponse(want)
	if e := (*textproto.Error)(nil); errors.As(err, &e) {
		return text, &Error{verb, e.Code, e.Msg}
	}
	return text, err
}

// Close says goodbye.
func (c *Conn) Close() error {
	_, err := c.Command(221, "QUIT")
	return errors.Join(err, c.raw.Close())
}

// Cut drops the connection as when a cable is pulled.
func (c *Conn) Cut() { drop(c.raw) }

// drop closes a connection without a goodbye.
func drop(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	nc.Close()
}

// Mkdir makes a directory.
func (c *Conn) Mkdir(name string) error {
	_, err := c.Command(257, "MKD %s", name)
	return err
}

// Remove removes a file.
func (c *Conn) Remove(name string) error {
	_, err := c.Command(250, "DELE %s", name)
	return err
}

// RemoveDir removes a directory in which nothing is.
func (c *Conn) RemoveDir(name string) error {
	_, err := c.Command(250, "RMD %s", name)
	return err
}

// Rename renames a file or directory.
func (c *Conn) Rename(from, to string) error {
	if _, err := c.Command(350, "RNFR %s", from); err != nil {
		return err
	}
	_, err := c.Command(250, "RNTO %s", to)
	return err
}

// SetModTime sets when a file was last modified, to the second.
func (c *Conn) SetModTime(name string, t time.Time) error {
	_, err := c.Command(213, "MFMT %s %s", t.UTC().Format(timeFormat), name)
	return err
}

// Size asks how large a file is.
func (c *Conn) Size(name string) (int64, error) {
	text, err := c.Command(213, "SIZE %s", name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
}

const timeFormat = "20060102150405"
