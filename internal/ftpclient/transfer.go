package ftpclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// data opens a data connection and has the server begin what line says there.
func (c *Conn) data(line string, offset int64) (raw, nc net.Conn, err error) {
	text, err := c.Command(229, "EPSV")
	if err != nil {
		return nil, nil, err
	}
	_, port, _ := strings.Cut(text, "(|||")
	port, _, ok := strings.Cut(port, "|)")
	if !ok {
		return nil, nil, fmt.Errorf("EPSV: no port in %q", text)
	}
	if offset != 0 {
		if _, err := c.Command(350, "REST %d", offset); err != nil {
			return nil, nil, err
		}
	}
	raw, err = net.DialTimeout("tcp", net.JoinHostPort(c.host, port), c.o.Timeout)
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.Command(1, "%s", line); err != nil {
		raw.Close()
		return nil, nil, err
	}
	nc = raw
	if c.o.TLS != nil {
		nc = tls.Client(raw, c.o.TLS)
	}
	return raw, nc, nil
}

// An Upload is a file on its way to the server. It is there when Close has
// returned nil.
type Upload struct {
	c    *Conn
	verb string
	raw  net.Conn
	nc   net.Conn
	sent bool
}

// Store begins to upload a file, from an offset on: from the first byte with
// 0, else behind what is there already.
func (c *Conn) Store(name string, offset int64) (*Upload, error) {
	return c.upload("STOR", name, offset)
}

// Append begins to upload what goes behind the end of a file.
func (c *Conn) Append(name string) (*Upload, error) { return c.upload("APPE", name, 0) }

// StoreOf is Store of a file whose size is announced, by ALLO, so that a server
// that compares knows whether everything has come.
func (c *Conn) StoreOf(name string, size int64) (*Upload, error) {
	if _, err := c.Command(2, "ALLO %d", size); err != nil {
		return nil, err
	}
	return c.Store(name, 0)
}

func (c *Conn) upload(verb, name string, offset int64) (*Upload, error) {
	raw, nc, err := c.data(verb+" "+name, offset)
	if err != nil {
		return nil, err
	}
	return &Upload{c: c, verb: verb, raw: raw, nc: nc}, nil
}

func (u *Upload) Write(p []byte) (int, error) {
	u.raw.SetDeadline(time.Now().Add(u.c.o.Timeout))
	u.sent = true
	return u.nc.Write(p)
}

// Close ends the file, and returns what the server says to it.
func (u *Upload) Close() error {
	if t, ok := u.nc.(*tls.Conn); ok && !u.sent {
		t.Handshake() // also an empty file is told by TLS that it has ended
	}
	u.nc.Close()
	_, err := u.c.reply(u.verb, 2)
	return err
}

// Cut drops the transfer, and the connection with it, as when a cable is
// pulled.
func (u *Upload) Cut() {
	u.c.Cut()
	drop(u.raw)
}

// Put uploads all that r has.
func (c *Conn) Put(name string, r io.Reader) error {
	u, err := c.Store(name, 0)
	if err != nil {
		return err
	}
	return u.finish(r)
}

// Resume uploads all that r has behind the first bytes of a file.
func (c *Conn) Resume(name string, offset int64, r io.Reader) error {
	u, err := c.Store(name, offset)
	if err != nil {
		return err
	}
	return u.finish(r)
}

func (u *Upload) finish(r io.Reader) error {
	_, err := io.Copy(u, r)
	if said := u.Close(); said != nil { // why it went wrong
		return said
	}
	return err
}

// A Download is a file, or a listing, on its way here.
type Download struct {
	c     *Conn
	verb  string
	raw   net.Conn
	nc    net.Conn
	ended bool // the server has closed
}

// Retrieve begins to download a file from an offset on.
func (c *Conn) Retrieve(name string, offset int64) (*Download, error) {
	return c.retrieve("RETR "+name, offset)
}

func (c *Conn) retrieve(line string, offset int64) (*Download, error) {
	raw, nc, err := c.data(line, offset)
	if err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(line, " ")
	return &Download{c: c, verb: verb, raw: raw, nc: nc}, nil
}

func (d *Download) Read(p []byte) (int, error) {
	d.raw.SetDeadline(time.Now().Add(d.c.o.Timeout))
	n, err := d.nc.Read(p)
	d.ended = d.ended || err == io.EOF
	return n, err
}

// Close ends the download. That it was not read to its end is no error; that
// the server could not send all of it is one.
func (d *Download) Close() error {
	d.nc.Close()
	_, err := d.c.reply(d.verb, 2)
	if e := (*Error)(nil); !d.ended && errors.As(err, &e) && e.Code/100 == 4 {
		return nil // it could not, as nobody wanted more
	}
	return err
}

// Abort gives the upload up by ABOR, and returns when the server has answered
// that it is over.
func (u *Upload) Abort() error {
	c := u.c
	c.raw.SetDeadline(time.Now().Add(c.o.Timeout))
	if err := c.text.PrintfLine("ABOR"); err != nil {
		return err
	}
	_, err := c.reply(u.verb, 426)
	u.nc.Close()
	if e := (*Error)(nil); err != nil && !(errors.As(err, &e) && e.Code/100 == 4) {
		return err
	}
	_, err = c.reply("ABOR", 226)
	return err
}
