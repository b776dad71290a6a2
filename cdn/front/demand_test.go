package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const pebble = "github.com/letsencrypt/pebble/v2"

// An authority is a certificate authority for tests, which believes that every
// name leads to this machine.
type authority struct {
	directory, roots string
	client           *http.Client
	management       string
}

// startAuthority runs pebble, which will come to these ports.
func startAuthority(t *testing.T, plain, secure int) *authority {
	t.Helper()
	dir := t.TempDir()
	install := exec.Command("go", "install", pebble+"/cmd/pebble@v2.10.1", pebble+"/cmd/pebble-challtestsrv@v2.10.1")
	install.Env, install.Dir = append(os.Environ(), "GOBIN="+dir, "GOFLAGS="), dir
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("pebble: %v\n%s", err, out)
		}
		t.Skipf("pebble cannot be had here: %v", err)
	}
	if _, err := selfSign(dir, []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	a := &authority{roots: filepath.Join(dir, selfSignedFile)}
	api, management, dns := free(t, "tcp"), free(t, "tcp"), free(t, "udp")
	a.directory, a.management = "https://"+api+"/dir", "https://"+management
	conf, _ := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": management,
		"certificate": a.roots, "privateKey": a.roots, "httpPort": plain, "tlsPort": secure,
	}})
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join(dir, "pebble-challtestsrv"), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", dns,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", free(t, "tcp"))
	run(t, filepath.Join(dir, "pebble"), "-config", file, "-dnsserver", dns)
	text, _ := os.ReadFile(a.roots)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := a.client.Get(a.directory)
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("pebble does not answer:", err)
		}
	}
	return a
}

// run runs a program until the test ends.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(name), &out)
		}
	})
}

// free is an address that nobody has at this moment.
func free(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pool is the root that the authority signs with.
func (a *authority) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	resp, err := a.client.Get(a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("the authority's root: %s, %v", text, err)
	}
	return pool
}

// TestDemand has an authority sign for the domains of customers when the first
// browser comes, and for no others.
func TestDemand(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a certificate authority")
	}
	for _, way := range []string{"TLS-ALPN", "HTTP"} {
		t.Run(way, func(t *testing.T) {
			secure, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			plain, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ca := startAuthority(t, port(plain.Addr()), map[string]int{"TLS-ALPN": port(secure.Addr()), "HTTP": 1}[way])
			dir := filepath.Join(t.TempDir(), "certificates")
			fallback, err := SelfSigned(t.TempDir(), domain)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			asked := map[string]int{}
			o := DemandOptions{
				Directory: ca.directory, Roots: ca.roots, Dir: dir, Email: "ops@example.com",
				Allow: func(_ context.Context, name string) error {
					mu.Lock()
					defer mu.Unlock()
					if asked[name]++; name != "shop.example.test" {
						return errors.New("not a customer's")
					}
					return nil
				},
				Fallback: fallback, Secure: secure.Addr(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			}
			if way == "HTTP" {
				o.Plain = plain.Addr()
			}
			d, err := NewDemand(o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			s := &Server{Handler: d.Handler(hello), Certificate: d.Certificate, Protocols: d.Protocols(), Log: o.Log}
			go s.Serve(plain)
			go s.ServeTLS(secure)
			defer s.Shutdown(t.Context())

			roots := ca.pool(t)
			var wait sync.WaitGroup
			for range 8 { // who come at once share one certificate
				wait.Go(func() {
					c, err := tls.Dial("tcp", secure.Addr().String(), &tls.Config{ServerName: "Shop.Example.test", RootCAs: roots})
					if err != nil {
						t.Error("customer's domain:", err)
						return
					}
					c.Close()
				})
			}
			wait.Wait()
			c, err := tls.Dial("tcp", secure.Addr().String(), &tls.Config{ServerName: "stranger.test", InsecureSkipVerify: true})
			if err != nil {
				t.Fatal("stranger's domain:", err)
			}
			if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != domain {
				t.Errorf("a stranger's domain has the certificate of %q, want that of %s", got, domain)
			}
			c.Close()
			if asked["stranger.test"] == 0 {
				t.Error("nobody was asked about a stranger's domain")
			}
			count := 0
			filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				if info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %v: others can read it", filepath.Base(name), info.Mode())
				}
				if filepath.Ext(name) == ".key" && filepath.Base(filepath.Dir(name)) == "shop.example.test" {
					count++
				}
				return nil
			})
			if count != 1 {
				t.Errorf("%d keys of the domain, want 1", count)
			}
		})
	}
}
