package ftp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine is how long a command may be. ftpserverlib gives up at 4,096 bytes.
const maxLine = 4000

// maxHeld is how many commands a client may send ahead.
const maxHeld = 16

// replyTimeout is how long a client may take to read a reply.
const replyTimeout = 30 * time.Second

var (
	errLineTooLong = errors.New("line is too long")
	errNotFTP      = errors.New("this is another protocol")
)

// A command is one line of a client's.
type command struct {
	verb string // in capitals
	arg  string

	// bad says why the argument cannot be one: it is a whole reply then.
	bad *refusal

	err   error // instead of a command: the connection has ended, and how
	ahead bool  // something followed already when the command was read
}

// parse reads a line without its end. What it makes of the name of a file is
// certain to fit in a line and to be UTF-8.
func parse(line []byte) command {
	// Telnet's attention sequences may precede ABOR (RFC 959, 4.1.3), and of
	// those any part, since some of it is sent out of band.
	for len(line) > 0 && line[0] >= 0x80 {
		line = line[1:]
	}
	verb, arg, _ := strings.Cut(string(line), " ")
	cmd := command{verb: strings.ToUpper(verb), arg: arg}
	switch {
	case strings.ContainsFunc(cmd.verb, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') }):
		cmd.verb, cmd.arg, cmd.bad = "", "", &refusal{500, "that is no command"}
	case strings.ContainsFunc(arg, unicode.IsControl):
		cmd.arg, cmd.bad = "", &refusal{501, "control characters are not allowed"}
	case !utf8.ValidString(arg):
		cmd.arg, cmd.bad = "", &refusal{501, "names must be valid UTF-8"}
	}
	return cmd
}

// foreign reports whether a client's first line belongs to another protocol:
// that is a browser which somebody made connect here, with the hope that it
// takes our replies for a web server's, or ours for one's.
func foreign(line []byte) bool {
	if len(line) > 0 && (line[0] < ' ' || line[0] == 0x7f || line[0] >= 0x80 && line[0] < 0xf0) {
		return true // TLS begins with 0x16, say
	}
	verb, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(bytes.ToUpper(verb)) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI", "HELO", "EHLO", "PROXY":
		return true
	}
	return bytes.Contains(rest, []byte(" HTTP/"))
}

// readCommands reads commands until the connection ends. After AUTH, and before
// anything that follows it, it waits for the connection to go on with.
func (c *session) readCommands(conn net.Conn) {
	defer close(c.commands)
	r := bufio.NewReaderSize(conn, maxLine)
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		var cmd command
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			cmd.err = errLineTooLong
		case err != nil:
			cmd.err = err
		default:
			line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
			if first && foreign(line) {
				cmd.err = errNotFTP
				break
			}
			cmd = parse(line)
			cmd.ahead = r.Buffered() > 0
		}
		if cmd.verb == "QUIT" {
			c.quitting.Store(true)
		}
		if cmd.err != nil {
			close(c.hungUp)
		}
		select {
		case c.commands <- cmd:
		case <-c.gone:
			return
		}
		if cmd.err != nil {
			return
		}
		if cmd.verb == "AUTH" {
			select {
			case next := <-c.resume:
				if next != conn { // and otherwise what is in the buffer counts
					conn = next
					r.Reset(conn)
				}
			case <-c.gone:
				return
			}
		}
	}
}

// reply tells the client something, as one line or several.
func (c *session) reply(code int, lines ...string) {
	var b strings.Builder
	for i, line := range lines {
		mark := '-'
		if i == len(lines)-1 {
			mark = ' '
		}
		fmt.Fprintf(&b, "%d%c%s\r\n", code, mark, printable(line))
	}
	c.write(b.String())
}

// details tells the client something of which the lines between the first and
// the last have no code before them, and a space instead.
func (c *session) details(code int, first string, lines []string, last string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d-%s\r\n", code, printable(first))
	for _, line := range lines {
		fmt.Fprintf(&b, " %s\r\n", printable(line))
	}
	fmt.Fprintf(&b, "%d %s\r\n", code, printable(last))
	c.write(b.String())
}

// refuse tells the client no.
func (c *session) refuse(r *refusal) { c.reply(r.code, r.text) }

func (c *session) write(text string) {
	c.Conn.SetWriteDeadline(time.Now().Add(replyTimeout))
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.Cut("client does not listen")
	}
}
