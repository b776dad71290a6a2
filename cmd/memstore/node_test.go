package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"memstore.dev/memstore/auth"
)

// testNode starts a node in this process, on a fresh directory.
func testNode(t *testing.T, change func(*Config)) *node {
	t.Helper()
	l := &Loaded{Config: Defaults(), Sources: map[string]string{}}
	l.Data = filepath.Join(t.TempDir(), "data")
	l.Gateway.Listen = "127.0.0.1:0"
	l.Disk.Ballast = 0
	if change != nil {
		change(&l.Config)
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	n, err := start(t.Context(), l, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// do makes a request as the node's first user.
func do(t *testing.T, client *http.Client, n *node, method, path, body string) (status int, answer string) {
	t.Helper()
	id, err := n.realm.Password(t.Context(), auth.Attempt{User: n.user, Door: "swift"}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, n.gatewayURL+"/v1/AUTH_demo"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token.Secret)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// A node keeps its state to itself, and leaves nothing running behind.
func TestTwoNodesInOneProcess(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	one := testNode(t, nil)
	two := testNode(t, func(c *Config) { c.Backend = "memory"; c.Admin.Listen = "127.0.0.1:0" })
	for _, n := range []*node{one, two} {
		status, _ := do(t, client, n, "PUT", "/box", "")
		want(t, "PUT of a container", status, http.StatusCreated)
	}
	status, _ := do(t, client, one, "PUT", "/box/a", "only in one")
	want(t, "PUT of an object", status, http.StatusCreated)
	status, body := do(t, client, one, "GET", "/box/a", "")
	want(t, "GET from the one", status, http.StatusOK)
	want(t, "GET from the one", body, "only in one")
	status, _ = do(t, client, two, "GET", "/box/a", "")
	want(t, "GET from the other", status, http.StatusNotFound)
	client.CloseIdleConnections()
	for _, n := range []*node{one, two} {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}
}

// Readiness is withdrawn as soon as a node drains, so that a balancer sees it.
func TestReady(t *testing.T) {
	n := testNode(t, nil)
	if err := n.ready(t.Context()); err != nil {
		t.Errorf("ready = %v", err)
	}
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	if err := n.ready(t.Context()); err == nil {
		t.Error("a closed node is ready")
	}
}

// A node that cannot open one of its doors closes all it has opened, and leaves
// nothing behind: no user above all, whose password nobody was told.
func TestStartFailsWhole(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := &Loaded{Config: Defaults(), Sources: map[string]string{}}
	l.Data = filepath.Join(t.TempDir(), "data")
	l.Disk.Ballast = 0
	l.Gateway.Listen = "127.0.0.1:0"
	l.Admin.Listen = taken.Addr().String()
	_, err = start(t.Context(), l, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "admin: another program has "+l.Admin.Listen) || !strings.Contains(err.Error(), "--admin 127.0.0.1:") {
		t.Fatalf("start = %v, want that another program has the admin address", err)
	}
	if _, err := os.Stat(l.Data); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

// The socket can be reached however deep the data directory lies, and lets a
// snapshot go when whoever asked for it is gone.
func TestControlSocket(t *testing.T) {
	deep := strings.Repeat("deep/", 40)
	n := testNode(t, func(c *Config) { c.Data = filepath.Join(c.Data, deep) })
	info, err := os.Stat(filepath.Join(n.conf.Data, controlName))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "mode of the socket", info.Mode().Perm(), os.FileMode(0o600))
	dir, release, err := borrowSnapshot(t.Context(), n.conf.Data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the snapshot is still there after its reader has gone")
		}
	}
	if dir, release, err = borrowSnapshot(t.Context(), n.conf.Data); err != nil {
		t.Fatal(err)
	}
	defer release()
	defer func() { // its reader is still there, but the node ends
		if err := n.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the snapshot outlives its node: %v", err)
		}
	}()
	resp, err := askControl(t.Context(), n.conf.Data, "anything-else")
	if err == nil {
		resp.Body.Close()
		t.Error("the socket answers other questions")
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	roots.AddCert(selfSigned(t, cert, key, 1))
	n := testNode(t, func(c *Config) { c.Gateway.Certificate, c.Gateway.Key = cert, key })
	defer n.close()

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	status, _ := do(t, &http.Client{Transport: transport}, n, "PUT", "/box", "")
	want(t, "PUT over TLS", status, http.StatusCreated)

	addr := strings.TrimPrefix(n.gatewayURL, "https://")
	dial := func(c *tls.Config) (tls.ConnectionState, error) {
		c.RootCAs = roots
		conn, err := tls.Dial("tcp", addr, c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	if _, err := dial(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	cbc := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}
	if _, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: cbc}); err == nil {
		t.Error("a CBC cipher was accepted")
	}
	state, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "serial number", state.PeerCertificates[0].SerialNumber.Int64(), int64(1))

	// SIGHUP brings the next certificate; a broken one leaves that in place.
	roots.AddCert(selfSigned(t, cert, key, 2))
	again := func() (*Loaded, error) { return n.conf, nil }
	level := new(slog.LevelVar)
	if err := reload(n, level, again, n.log); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reload(n, level, again, n.log); err == nil {
		t.Error("a broken certificate was taken")
	}
	if state, err = dial(&tls.Config{}); err != nil {
		t.Fatal(err)
	}
	want(t, "serial number after reloading", state.PeerCertificates[0].SerialNumber.Int64(), int64(2))
}

// selfSigned writes a new certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, certFile, keyFile string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestQuote(t *testing.T) {
	for in, out := range map[string]string{
		"demo:admin": "demo:admin", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a;b": "'a;b'",
	} {
		want(t, "quote("+in+")", quote(in), out)
	}
}

func TestNewPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		p := newPassword()
		if len(p) != 23 || quote(p) != p || seen[p] {
			t.Fatalf("newPassword = %q", p)
		}
		seen[p] = true
	}
}

// Exit codes are promised to scripts.
func TestExitCodes(t *testing.T) {
	t.Setenv(envConfig, os.DevNull)
	for line, code := range map[string]int{
		"":                              0,
		"version":                       0,
		"help serve":                    0,
		"serve --cdn nowhere":           exitUsage,
		"serve extra":                   exitUsage,
		"--nonsense":                    exitUsage,
		"backup":                        exitUsage,
		"user add --data /x":            exitUsage,
		"config check --config /nope":   exitUsage,
		"fsck --data /does/not/exist":   exitFailed,
		"health --data /does/not/exist": exitFailed,
	} {
		var out, errs bytes.Buffer
		if got := run(context.Background(), strings.Fields(line), strings.NewReader(""), &out, &errs); got != code {
			t.Errorf("memstore %s exits with %d, want %d: %s", line, got, code, &errs)
		}
	}
}
