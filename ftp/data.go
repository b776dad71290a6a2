package ftp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/internal/door"
)

// A dataListener awaits the data connection that PASV or EPSV announced. It
// takes nobody but the client: others who find the port are sent away, and do
// not use up the one connection that ftpserverlib accepts.
type dataListener struct {
	net.Listener
	c       *session
	private bool // TLS is spoken
	port    int  // to give back when closed

	closing sync.Once

	mu     sync.Mutex // guards what follows
	conn   *dataConn
	closed bool
}

// Accept waits for the client. The library has set a deadline.
func (l *dataListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := nc
		if l.c.Proxied && door.Proxied(nc.RemoteAddr(), l.c.srv.Proxies) {
			if conn, err = door.ThroughProxy(nc); err != nil {
				nc.Close()
				l.c.Log.Debug("ftp: data connection refused", "from", door.AddrString(nc.RemoteAddr()), "err", err)
				continue
			}
		}
		if door.AddrOf(conn.RemoteAddr()) != door.AddrOf(l.c.Remote) {
			l.c.Log.Warn("ftp: data connection refused", "from", door.AddrString(conn.RemoteAddr()), "err", "another address than the client's")
			conn.Close()
			continue
		}
		d := &dataConn{Conn: conn, raw: conn, timeout: l.c.dataTimeout}
		if l.private {
			d.tls, d.under = newTLS(conn, l.c.srv.config())
			d.Conn, d.lenient = d.tls, l.c.srv.LenientTLS
		}
		if !l.hold(d) {
			conn.Close()
			return nil, net.ErrClosed
		}
		if tcp, ok := conn.(*net.TCPConn); ok && !l.private {
			return &plainConn{d, tcp}, nil
		}
		return d, nil
	}
}

func (l *dataListener) hold(d *dataConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.conn = d
	return true
}

// Close stops listening.
func (l *dataListener) Close() error {
	l.closing.Do(func() { l.c.srv.ports.give(l.port) })
	return l.Listener.Close()
}

// abort ends whatever waits for the connection or uses it.
func (l *dataListener) abort() {
	l.mu.Lock()
	l.closed = true
	d := l.conn
	l.mu.Unlock()
	l.Close()
	if d != nil {
		d.raw.Close()
	}
}

// transferred says how much has moved, and what has gone wrong with the
// connection, if anything has.
func (l *dataListener) transferred() (n int64, err error) {
	l.mu.Lock()
	d := l.conn
	l.mu.Unlock()
	if d == nil {
		return 0, nil
	}
	if e := d.failed.Load(); e != nil {
		err = *e
	}
	return d.moved.Load(), err
}

// A dataConn is a data connection. Each byte that moves renews its deadline, and
// small writes are put together, since the lines of a listing come one by one.
// One goroutine uses it, beside one that may abort it.
type dataConn struct {
	net.Conn // TLS, or raw
	raw      net.Conn
	tls      *tls.Conn // nil in the clear
	under    *underTLS // what tls is over
	lenient  bool      // about how TLS ends
	timeout  time.Duration

	agreed                bool // the handshake was made
	readUntil, writeUntil time.Time
	buf                   []byte // written, and not sent

	moved  atomic.Int64
	failed atomic.Pointer[error]
}

const (
	gather  = 32 << 10  // how many bytes of small writes are put together
	portion = 64 << 10  // how many are written within one deadline
	stretch = 256 << 10 // how many the kernel is told to send within one
)

// renew moves a deadline on, unless that was done just now.
func (d *dataConn) renew(until *time.Time, set func(time.Time) error) {
	if now := time.Now(); until.Sub(now) < d.timeout*9/10 {
		*until = now.Add(d.timeout)
		set(*until)
	}
}

// portions are what files that the kernel cannot send are copied through.
var portions = sync.Pool{New: func() any { return new([portion]byte) }}

func (d *dataConn) fail(err error) error {
	if err != nil && err != io.EOF {
		d.failed.CompareAndSwap(nil, &err)
	}
	return err
}

func (d *dataConn) Read(p []byte) (int, error) {
	if err := d.handshake(); err != nil {
		return 0, err
	}
	d.renew(&d.readUntil, d.raw.SetReadDeadline)
	n, err := d.Conn.Read(p)
	d.moved.Add(int64(n))
	if err == io.EOF && d.tls != nil && d.under.ended && !d.lenient {
		err = io.ErrUnexpectedEOF // without TLS's goodbye
	}
	return n, d.fail(err)
}

func (d *dataConn) Write(p []byte) (int, error) {
	// Of an empty file this is all that is written.
	if err := d.handshake(); err != nil || len(p) == 0 {
		return 0, err
	}
	d.moved.Add(int64(len(p)))
	if len(p) < gather/4 {
		if len(d.buf)+len(p) > gather {
			if err := d.Flush(); err != nil {
				return 0, err
			}
		}
		d.buf = append(d.buf, p...) // which grows as there is need: most files are small
		return len(p), nil
	}
	if err := d.Flush(); err != nil {
		return 0, err
	}
	return d.write(p)
}

// Flush sends what is gathered. The library calls it before it closes.
func (d *dataConn) Flush() error {
	p := d.buf
	d.buf = d.buf[:0]
	_, err := d.write(p)
	return err
}

func (d *dataConn) write(p []byte) (total int, err error) {
	for len(p) > 0 {
		d.renew(&d.writeUntil, d.raw.SetWriteDeadline)
		n, err := d.Conn.Write(p[:min(len(p), portion)])
		total += n
		p = p[n:]
		// A client that takes a little at a time is slow, not gone. After a
		// timeout a TLS connection is of no more use, however.
		if n > 0 && d.tls == nil && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return total, d.fail(err)
		}
	}
	return total, nil
}

// handshake begins TLS. Many clients wait with it for the reply that the
// transfer may begin, so it cannot be made any sooner.
func (d *dataConn) handshake() error {
	if d.tls == nil || d.agreed {
		return nil
	}
	d.agreed = true
	d.raw.SetDeadline(time.Now().Add(min(handshakeTimeout, d.timeout)))
	d.readUntil, d.writeUntil = time.Time{}, time.Time{}
	err := d.tls.Handshake()
	d.under.agreed = true
	return d.fail(err)
}

// A plainConn is a data connection in the clear, over which the kernel can send
// files itself.
type plainConn struct {
	*dataConn
	tcp *net.TCPConn
}

// ReadFrom sends what r has. A file goes a stretch at a time, so that the
// deadline means that nothing moves.
func (p *plainConn) ReadFrom(r io.Reader) (total int64, err error) {
	if err := p.Flush(); err != nil {
		return 0, err
	}
	// The kernel's way is only found through a single LimitedReader.
	from, whole := r, (*io.LimitedReader)(nil)
	if whole, _ = r.(*io.LimitedReader); whole != nil {
		from = whole.R
	}
	file, ok := from.(*os.File)
	if !ok {
		buf := portions.Get().(*[portion]byte)
		defer portions.Put(buf)
		return io.CopyBuffer(struct{ io.Writer }{p.dataConn}, struct{ io.Reader }{r}, buf[:])
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	for {
		part := &io.LimitedReader{R: file, N: stretch}
		if whole != nil {
			part.N = min(whole.N, stretch)
		}
		want := part.N
		if want <= 0 {
			return total, nil
		}
		p.renew(&p.writeUntil, p.raw.SetWriteDeadline)
		n, err := p.tcp.ReadFrom(part)
		if whole != nil {
			whole.N -= n
		}
		total += n
		at += n
		p.moved.Add(n)
		switch {
		case n > 0 && errors.Is(err, os.ErrDeadlineExceeded):
			// A client that takes a little at a time is slow, not gone. More may
			// have been read than was sent.
			if _, err := file.Seek(at, io.SeekStart); err != nil {
				return total, err
			}
		case err != nil:
			return total, p.fail(err)
		case n < want:
			return total, nil // the file has no more
		}
	}
}
