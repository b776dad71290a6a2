package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/ftp"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/sftp"
)

// keysDirectory is where, in the data directory, the file doors keep what they
// prove themselves with: the SSH host keys, and the certificate of FTP where no
// other is configured.
const keysDirectory = "keys"

// fileDoors are the doors for those who come for files: FTP with TLS when it is
// asked for, FTP that begins with it, and SFTP. A door that is not configured is
// nil.
type fileDoors struct {
	ftp, ftps, sftp net.Listener

	hostKeys []ssh.Signer
	tls      *serverTLS // of FTP; nil where the certificate is our own

	opened []openedDoor
}

// An openedDoor is a file door that takes in clients.
type openedDoor struct {
	name   string
	server fileServer
}

// A fileServer is what ftp.Server and sftp.Server have in common.
type fileServer interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

var (
	_ fileServer = (*ftp.Server)(nil)
	_ fileServer = (*sftp.Server)(nil)
)

// openFileDoors serves files wherever the configuration says. The connections
// are some of the crowd's, whichever door they come by.
func (n *node) openFileDoors(guard *auth.Guard, m *requestMetrics, crowd *crowd) error {
	login := &fileLogin{realm: n.realm, guard: guard, store: n.store, keep: n.conf.Partial}
	if n.engine != nil {
		login.space = n.engine.Space
	}
	if n.files.sftp != nil {
		s, err := n.sftpServer(login, m)
		if err != nil {
			return err
		}
		n.serveFiles("sftp", s, crowd.listener(n.files.sftp))
	}
	if n.files.ftp == nil && n.files.ftps == nil {
		return nil
	}
	for _, door := range []struct {
		name     string
		listener net.Listener
		implicit bool
	}{{"ftp", n.files.ftp, false}, {"ftps", n.files.ftps, true}} {
		if door.listener == nil {
			continue
		}
		s, err := n.ftpServer(login, m)
		if err != nil {
			return err
		}
		s.Implicit = door.implicit
		n.serveFiles(door.name, s, crowd.listener(door.listener))
	}
	return nil
}

// serveFiles lets clients in at a listener until the node closes.
func (n *node) serveFiles(name string, s fileServer, l net.Listener) {
	n.files.opened = append(n.files.opened, openedDoor{name, s})
	n.work.Go(func() {
		err := s.Serve(l)
		if !errors.Is(err, ftp.ErrServerClosed) && !errors.Is(err, sftp.ErrServerClosed) {
			n.failed <- fmt.Errorf("%s: %w", name, err)
		}
	})
}

// shutFileDoors ends the file doors, each of which lets what is under way finish
// for as long as ctx lasts.
func (n *node) shutFileDoors(ctx context.Context) {
	var wg sync.WaitGroup
	for _, door := range n.files.opened {
		wg.Go(func() {
			if err := door.server.Shutdown(ctx); err != nil {
				n.log.Warn("sessions cut off", "door", door.name, "error", err)
			}
		})
	}
	wg.Wait()
}

// sftpServer is the SFTP door as it is configured.
func (n *node) sftpServer(login *fileLogin, m *requestMetrics) (*sftp.Server, error) {
	c := n.conf.SFTP
	proxies, err := c.Proxies.Prefixes() // which check has seen already
	if err != nil {
		return nil, err
	}
	return &sftp.Server{
		Proxies:  proxies,
		HostKeys: n.files.hostKeys,
		Password: login.sftpPassword,
		Key:      login.sftpKey,
		Admit:    login.admit,
		Log:      n.log,
		NewID:    gateway.NewTransID,
		Hooks: sftp.Hooks{
			Connect:    func(net.Addr) { m.connections.WithLabelValues("sftp").Inc() },
			Disconnect: func(net.Addr) { m.connections.WithLabelValues("sftp").Dec() },
			Login:      func(_ sftp.Attempt, _ string, err error) { m.login("sftp", err) },
			Operation: func(op sftp.Operation) {
				m.operation("sftp", op.Verb, op.Bytes, op.Took, op.Err)
			},
		},
		Compatible:         c.Compatible,
		IdleTimeout:        orNone(c.Idle),
		MaxConns:           orNone(c.MaxConnections),
		MaxConnsPerAddress: orNone(c.MaxPerAddress),
		MaxConnsPerUser:    orNone(c.MaxPerUser),
	}, nil
}

// ftpServer is the FTP door as it is configured.
func (n *node) ftpServer(login *fileLogin, m *requestMetrics) (*ftp.Server, error) {
	c := n.conf.FTP
	s := &ftp.Server{
		Password:   login.ftpPassword,
		Admit:      login.admit,
		RequireTLS: ftpRequirements[c.TLS],
		Public:     c.Public,
		Log:        n.log,
		NewID:      gateway.NewTransID,
		Hooks: ftp.Hooks{
			Connect:    func(net.Addr) { m.connections.WithLabelValues("ftp").Inc() },
			Disconnect: func(net.Addr) { m.connections.WithLabelValues("ftp").Dec() },
			Login:      func(_ ftp.Attempt, err error) { m.login("ftp", err) },
			Operation: func(op ftp.Operation) {
				m.operation("ftp", op.Verb, op.Bytes, op.Took, op.Err)
			},
		},
		IdleTimeout:        orNone(c.Idle),
		DataTimeout:        orNone(c.Stalled),
		MaxConns:           orNone(c.MaxConnections),
		MaxConnsPerAddress: orNone(c.MaxPerAddress),
		MaxConnsPerUser:    orNone(c.MaxPerUser),
	}
	var wrong [3]error
	s.Passive, wrong[0] = parsePorts(c.Passive)
	s.PublicFor, wrong[1] = parsePublicFor(c.PublicFor)
	s.Proxies, wrong[2] = c.Proxies.Prefixes()
	if err := errors.Join(wrong[:]...); err != nil { // which check has refused already
		return nil, err
	}
	if n.files.tls != nil {
		s.TLS = n.files.tls.config
		return s, nil
	}
	own, err := ftp.SelfSigned(n.keys(), c.Public)
	if err != nil {
		return nil, err
	}
	s.TLS = own.Config()
	return s, nil
}

// makeKeys makes or reads what the file doors prove themselves with, before
// anything is made that would be told only once.
func (n *node) makeKeys() (err error) {
	if n.files.sftp != nil {
		dir := n.conf.SFTP.HostKeys
		if dir == "" {
			dir = n.keys()
		}
		if n.files.hostKeys, err = sftp.HostKeys(dir); err != nil {
			return err
		}
	}
	if n.files.ftp != nil || n.files.ftps != nil {
		if n.files.tls == nil {
			_, err = ftp.SelfSigned(n.keys(), n.conf.FTP.Public)
		}
	}
	return err
}

func (n *node) keys() string { return filepath.Join(n.conf.Data, keysDirectory) }

// fingerprint is that of the host key which clients see first.
func (d *fileDoors) fingerprint() string {
	if len(d.hostKeys) == 0 {
		return ""
	}
	return ssh.FingerprintSHA256(d.hostKeys[0].PublicKey())
}

// addresses are where clients of this machine find the doors, as URLs; "" for a
// closed one.
func (d *fileDoors) addresses() (sftpURL, ftpURL, ftpsURL string) {
	url := func(scheme string, l net.Listener) string {
		if l == nil {
			return ""
		}
		return scheme + "://" + dialable(l.Addr())
	}
	return url("sftp", d.sftp), url("ftp", d.ftp), url("ftps", d.ftps)
}

// orNone is a limit of the configuration, where 0 is none, as the doors have it,
// to whom 0 is the default and anything negative none.
func orNone[T int | time.Duration](limit T) T {
	if limit == 0 {
		return -1
	}
	return limit
}
