package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// A browser comes by HTTPS, is told of HTTP/3, and is sent to HTTPS where the
// owner of a container wants that.
func TestCDNBySecureDoors(t *testing.T) {
	n := testCDN(t, func(c *Config) { c.CDN.Secure = "127.0.0.1:0" })
	defer n.close()
	if status, text := as(t, n, "PUT", "/v1/AUTH_demo/site/a.txt", "hello"); status != 201 {
		t.Fatalf("PUT: %d %s", status, text)
	}
	id, err := n.realm.CDNID(t.Context(), "AUTH_demo")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(n.conf.Data, keysDirectory, "self-signed.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	host := "site-" + id + ".cdn.localhost"
	address := n.cdn.secure.Addr().String()
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	defer tr.CloseIdleConnections()
	get := func(rt http.RoundTripper, url string) (*http.Response, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	resp, body := get(tr, "https://"+host+"/a.txt")
	if body != "hello" || resp.ProtoMajor != 2 || !strings.HasPrefix(resp.Header.Get("Alt-Svc"), "h3=") {
		t.Errorf("HTTPS: %s %q, Alt-Svc %q", resp.Proto, body, resp.Header.Get("Alt-Svc"))
	}
	quic := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer quic.Close()
	if resp, body := get(quic, "https://"+address+"/"+id+"/site/a.txt"); body != "hello" || resp.ProtoMajor != 3 {
		t.Errorf("HTTP/3: %s %q", resp.Proto, body)
	}
	as(t, n, "POST", "/v1/AUTH_demo/site", "", "X-Container-Meta-Cdn-Https: redirect", "X-Container-Meta-Cdn-Hsts: 3600")
	if resp, _ := get(tr, "https://"+host+"/a.txt"); resp.Header.Get("Strict-Transport-Security") != "max-age=3600" {
		t.Errorf("HSTS is %q", resp.Header.Get("Strict-Transport-Security"))
	}
	_, port, _ := net.SplitHostPort(address)
	req, _ := http.NewRequest("GET", n.cdn.url+"/a.txt?x=%20", nil)
	req.Host = "site." + id + ".cdn.localhost"
	resp, err = http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("Location"), "https://"+host+":"+port+"/a.txt?x=%20"; resp.StatusCode != 308 || got != want {
		t.Errorf("plain HTTP: %d to %q, want 308 to %q", resp.StatusCode, got, want)
	}
	urls, secure, err := n.cdn.sites.urls(t.Context(), "AUTH_demo", "site")
	if err != nil || !strings.HasPrefix(urls, "http://site."+id) || secure != "https://"+host+":"+port {
		t.Errorf("owners are told %q and %q, %v", urls, secure, err)
	}
}
