package ftp

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
)

// An underTLS is the connection beneath TLS.
//
// It acknowledges without delay until TLS is agreed upon. Clients that send the
// end of their handshake in two pieces would otherwise wait 40 ms between them,
// for each data connection, since the kernel has an answer of ours in mind to
// send the acknowledgement with.
//
// And it knows whether the connection has ended, which anybody on the way can
// make it do, when TLS says only that there is no more.
type underTLS struct {
	net.Conn
	tcp    syscall.Conn // nil if there is nothing to hasten
	agreed bool
	ended  bool
}

func (u *underTLS) Write(p []byte) (int, error) {
	n, err := u.Conn.Write(p)
	if !u.agreed && u.tcp != nil {
		acknowledge(u.tcp)
	}
	return n, err
}

func (u *underTLS) Read(p []byte) (int, error) {
	n, err := u.Conn.Read(p)
	if err == io.EOF {
		u.ended = true
	}
	return n, err
}

// newTLS is the server's side of TLS over nc, of which nothing has been said
// yet.
func newTLS(nc net.Conn, config *tls.Config) (*tls.Conn, *underTLS) {
	tcp, _ := nc.(syscall.Conn)
	under := &underTLS{Conn: nc, tcp: tcp}
	return tls.Server(under, config), under
}
