package ftp

import (
	"crypto/tls"
	"net"
)

// An eagerConn acknowledges without delay until TLS is agreed upon. Clients
// that send the end of their handshake in two pieces would otherwise wait 40 ms
// between them, for each data connection, since the kernel has an answer of ours
// in mind to send the acknowledgement with.
type eagerConn struct {
	*net.TCPConn
	agreed bool
}

func (e *eagerConn) Write(p []byte) (int, error) {
	n, err := e.TCPConn.Write(p)
	if !e.agreed {
		acknowledge(e.TCPConn)
	}
	return n, err
}

// newTLS is the server's side of TLS over nc, of which nothing has been said
// yet.
func newTLS(nc net.Conn, config *tls.Config) *tls.Conn {
	if tcp, ok := nc.(*net.TCPConn); ok {
		nc = &eagerConn{TCPConn: tcp}
	}
	return tls.Server(nc, config)
}

// agree makes the handshake.
func agree(t *tls.Conn) error {
	err := t.Handshake()
	if e, ok := t.NetConn().(*eagerConn); ok {
		e.agreed = true
	}
	return err
}
