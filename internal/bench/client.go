package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// A server is what is measured: where it listens, and as whom it is asked.
type server struct {
	name  string
	addr  string // host and port
	base  string // path of the account
	token string
}

func newServer(name, storageURL, token string) (*server, error) {
	u, err := url.Parse(storageURL)
	if err != nil {
		return nil, err
	}
	return &server{name, u.Host, u.Path, token}, nil
}

// A conn is one persistent HTTP/1.1 connection. It does no more than what a
// benchmark needs, because the one who measures works on the same processors as
// the one who is measured.
type conn struct {
	s    *server
	nc   net.Conn
	in   *bufio.Reader
	head []byte // of the request being sent
	bulk []byte // where large bodies are read to and forgotten
}

// patience is how long any request may take.
const patience = 2 * time.Minute

func (s *server) dial() *conn { return &conn{s: s, in: bufio.NewReaderSize(nil, 16<<10)} }

func (c *conn) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
}

// A reply is what came back.
type reply struct {
	status int
	size   int64 // of its body
}

// do sends a request for a path beneath the account and reads the whole
// answer. A body is sent unless it is nil.
func (c *conn) do(method, path string, body []byte) (reply, error) {
	if c.nc == nil {
		nc, err := net.Dial("tcp", c.s.addr)
		if err != nil {
			return reply{}, err
		}
		c.nc = nc
		c.in.Reset(nc)
	}
	r, again, err := c.exchange(method, path, body)
	if err != nil {
		err = fmt.Errorf("%s %s%s: %w", method, c.s.base, path, err)
	}
	if err != nil || !again {
		c.close()
	}
	return r, err
}

// exchange does that on the connection that is open, and reports whether it can
// be used again.
func (c *conn) exchange(method, path string, body []byte) (r reply, again bool, err error) {
	c.nc.SetDeadline(time.Now().Add(patience))
	h := append(c.head[:0], method...)
	h = append(append(append(h, ' '), c.s.base...), path...)
	h = append(append(h, " HTTP/1.1\r\nHost: "...), c.s.addr...)
	h = append(append(h, "\r\nX-Auth-Token: "...), c.s.token...)
	if body != nil || method == "PUT" || method == "POST" {
		h = strconv.AppendInt(append(h, "\r\nContent-Length: "...), int64(len(body)), 10)
	}
	h = append(h, "\r\n\r\n"...)
	if len(body) <= 64<<10 {
		h = append(h, body...)
		_, err = c.nc.Write(h)
	} else {
		parts := net.Buffers{h, body}
		_, err = parts.WriteTo(c.nc)
	}
	c.head = h[:0]
	if err != nil {
		return r, false, err
	}
	return c.receive(method)
}

var errMalformed = errors.New("malformed answer")

// receive reads an answer.
func (c *conn) receive(method string) (r reply, again bool, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return r, false, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return r, false, errMalformed
	}
	if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return r, false, errMalformed
	}
	again = true
	length, chunked := int64(-1), false
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return r, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if v, ok := field(line, "content-length:"); ok {
			if length, err = strconv.ParseInt(string(v), 10, 64); err != nil {
				return r, false, errMalformed
			}
		} else if v, ok := field(line, "connection:"); ok {
			again = again && !bytes.EqualFold(v, []byte("close"))
		} else if v, ok := field(line, "transfer-encoding:"); ok {
			chunked = bytes.EqualFold(v, []byte("chunked"))
		}
	}
	switch {
	case r.status == 100:
		return c.receive(method)
	case method == "HEAD" || r.status == 204 || r.status == 304:
		return r, again, nil
	case chunked:
		r.size, err = c.chunks()
	case length >= 0:
		r.size = length
		err = c.skip(length)
	default:
		again = false
		r.size, err = io.Copy(io.Discard, c.in)
	}
	return r, again, err
}

// field returns the value of a header line, if it is of that name.
func field(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// skip reads n bytes and forgets them.
func (c *conn) skip(n int64) error {
	if n <= int64(c.in.Size()) {
		_, err := c.in.Discard(int(n))
		return err
	}
	have, err := c.in.Discard(c.in.Buffered())
	n -= int64(have)
	if c.bulk == nil {
		c.bulk = make([]byte, 256<<10)
	}
	for n > 0 && err == nil {
		var got int
		got, err = c.nc.Read(c.bulk[:min(n, int64(len(c.bulk)))])
		n -= int64(got)
	}
	if n == 0 {
		return nil
	}
	return err
}

// chunks reads a body sent in chunks and returns its size.
func (c *conn) chunks() (total int64, err error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return total, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 64)
		if err != nil {
			return total, errMalformed
		}
		if n > 0 {
			if err := c.skip(n); err != nil {
				return total, err
			}
		}
		total += n
		if _, err := c.in.Discard(2); err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil
		}
	}
}
