package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// A certificate can be exchanged while it is in use.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// load reads the certificate and its key; on an error the one before stays.
func (c *certificate) load(certFile, keyFile string) error {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// serverTLS is the TLS configuration of the gateway, nil if it has none.
func (l *Loaded) serverTLS() (*serverTLS, error) {
	if l.Gateway.Certificate == "" {
		return nil, nil
	}
	s, err := newServerTLS(l.Gateway.Certificate, l.Gateway.Key)
	if err != nil {
		return nil, l.complain("gateway.certificate", err.Error())
	}
	s.config.NextProtos = []string{"h2", "http/1.1"}
	return s, nil
}

// ftpCertificate names the files that the FTP door proves itself with: its own,
// or those of the gateway, or none.
func (l *Loaded) ftpCertificate() (certFile, keyFile string) {
	if l.FTP.Certificate == "" {
		return l.Gateway.Certificate, l.Gateway.Key
	}
	return l.FTP.Certificate, l.FTP.Key
}

// ftpTLS is the TLS configuration of the FTP door, nil if no certificate is
// configured for it.
func (l *Loaded) ftpTLS() (*serverTLS, error) {
	certFile, keyFile := l.ftpCertificate()
	if certFile == "" || l.FTP.Listen == "" && l.FTP.Implicit == "" {
		return nil, nil
	}
	s, err := newServerTLS(certFile, keyFile)
	if err != nil {
		return nil, l.complain("ftp.certificate", err.Error())
	}
	return s, nil
}

// newServerTLS is TLS as every door speaks it, with a certificate that can be
// exchanged. Only AEAD ciphers are offered for TLS 1.2: Go's own list still has
// CBC ones.
func newServerTLS(certFile, keyFile string) (*serverTLS, error) {
	s := &serverTLS{}
	if err := s.certificate.load(certFile, keyFile); err != nil {
		return nil, err
	}
	s.config = &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate.current.Load(), nil
		},
	}
	return s, nil
}

type serverTLS struct {
	config      *tls.Config
	certificate certificate
}
