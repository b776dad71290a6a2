package ftp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	c, err := SelfSigned(dir, "ftp.example.org", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	first := c.current.Load()
	cert, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ftp.example.org", "192.0.2.1", "localhost", "127.0.0.1", "::1"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	again, err := SelfSigned(dir)
	if err != nil || !bytes.Equal(again.current.Load().Certificate[0], first.Certificate[0]) {
		t.Errorf("the second start has another certificate, %v", err)
	}
	key := filepath.Join(dir, selfSignedKey)
	if in, err := os.Stat(key); err != nil || in.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", in.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("the directory holds %v", left)
	}
	// Others may not read it.
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := SelfSigned(dir); err == nil {
		t.Error("a key that everybody can read was taken")
	}
	// One that is broken is not replaced by another.
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(key, 0o600)
	if _, err := SelfSigned(dir); err == nil {
		t.Error("a key that is none was taken")
	}
}

// A certificate is exchanged for the connections that come after, and a mistake
// leaves the one that was.
func TestReload(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if _, err := SelfSigned(dir); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadCertificate(filepath.Join(one, selfSignedCert), filepath.Join(one, selfSignedKey))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, memFs(t), func(s *Server) { s.TLS, s.Implicit = c.Config(), true })
	shown := func() []byte {
		conn, err := tls.Dial("tcp", b.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	before := shown()
	replace := func(name string) {
		content, err := os.ReadFile(filepath.Join(two, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(one, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(selfSignedCert)
	if err := c.Reload(); err == nil {
		t.Error("a certificate with another's key was taken")
	}
	if !bytes.Equal(shown(), before) {
		t.Error("a reload that failed has changed the certificate")
	}
	replace(selfSignedKey)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(shown(), before) {
		t.Error("the certificate is still the old one")
	}
	if _, err := LoadCertificate("none", "none"); err == nil {
		t.Error("a certificate that is not there was loaded")
	}
	if slices.ContainsFunc(c.Config().CipherSuites, func(id uint16) bool {
		return slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == id })
	}) {
		t.Error("an insecure cipher is offered")
	}
}
