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

// serverTLS is the TLS configuration of the gateway, nil if it has none. Only
// AEAD ciphers are offered for TLS 1.2: Go's own list still has CBC ones.
func (l *Loaded) serverTLS() (*serverTLS, error) {
	if l.Gateway.Certificate == "" {
		return nil, nil
	}
	s := &serverTLS{}
	if err := s.certificate.load(l.Gateway.Certificate, l.Gateway.Key); err != nil {
		return nil, l.complain("gateway.certificate", err.Error())
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
		NextProtos: []string{"h2", "http/1.1"},
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
