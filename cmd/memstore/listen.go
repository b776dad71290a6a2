package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// listen opens an address for a door that the flag of this name moves. Its
// errors are for somebody who has never seen the program before.
func listen(door, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program has %s already; choose another address with --%s %s", door, addr, door, nextPort(addr))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: this user may not listen on %s; choose a port above 1023 with --%s, or see docs/operating.md", door, addr, door)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: %s is no address of this machine; choose one with --%s", door, addr, door)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", door, err)
	}
	return l, nil
}

// nextPort is the same host with the port above.
func nextPort(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 65535 {
		n = 8080
	}
	return net.JoinHostPort(host, strconv.FormatUint(n+1, 10))
}

// listenAll opens all addresses that the configuration names, before anything
// is made that would be left behind if one of them is taken.
func (n *node) listenAll() (err error) {
	for _, door := range []struct {
		name, addr string
		listener   *net.Listener
	}{
		{"gateway", n.conf.Gateway.Listen, &n.gatewayListener},
		{"ftp", n.conf.FTP.Listen, &n.files.ftp},
		{"ftps", n.conf.FTP.Implicit, &n.files.ftps},
		{"sftp", n.conf.SFTP.Listen, &n.files.sftp},
		{"cdn", n.conf.CDN.Listen, &n.cdn.listener},
		{"cdn-tls", n.conf.CDN.Secure, &n.cdn.secure},
		{"admin", n.conf.Admin.Listen, &n.adminListener},
	} {
		if door.addr == "" {
			continue
		}
		if *door.listener, err = listen(door.name, door.addr); err != nil {
			return err
		}
		n.listeners = append(n.listeners, *door.listener)
	}
	return nil
}

// open serves what comes in at a listener, until the server is shut down.
func (n *node) open(name string, s *http.Server, l net.Listener) {
	n.doors = append(n.doors, s)
	n.work.Go(func() {
		var err error
		if s.TLSConfig != nil {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			n.failed <- fmt.Errorf("%s: %w", name, err)
		}
	})
}

// dialable is the address to give to a client on this machine.
func dialable(a net.Addr) string {
	tcp := a.(*net.TCPAddr)
	if tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return tcp.String()
}
