package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

const domain = "cdn.test"

// A running is a server with all its doors open.
type running struct {
	*Server
	plain, secure, quic string // addresses
	roots               *x509.CertPool
}

// start serves h at loopback until the test ends. The limits hold for the
// machine itself, too, when the test says so by bound.
func start(t *testing.T, s *Server, bound bool) *running {
	t.Helper()
	s.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s.Domain = domain
	r := &running{Server: s, roots: x509.NewCertPool()}
	if s.Certificate == nil {
		certificate, err := SelfSigned(t.TempDir(), domain)
		if err != nil {
			t.Fatal(err)
		}
		s.Certificate = certificate
	}
	if pair, err := s.Certificate(&tls.ClientHelloInfo{}); err == nil {
		r.roots.AddCert(pair.Leaf)
	}
	if bound {
		s.crowd.everybody = true
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", secure.Addr().String())
	if err != nil {
		t.Skip("the port is taken for UDP:", err)
	}
	r.plain, r.secure, r.quic = plain.Addr().String(), secure.Addr().String(), udp.LocalAddr().String()
	ended := make(chan error, 3)
	go func() { ended <- s.Serve(plain) }()
	go func() { ended <- s.ServeTLS(secure) }()
	go func() { ended <- s.ServeQUIC(udp) }()
	for s.altSvc.Load() == nil { // until QUIC is spoken
		runtime.Gosched()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		for range 3 {
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("a door ended with %v", err)
			}
		}
	})
	return r
}

func (r *running) tls() *tls.Config { return &tls.Config{RootCAs: r.roots} }

// client speaks one version of HTTP to the server, whatever host it is asked for.
func (r *running) client(t *testing.T, version int) *http.Client {
	t.Helper()
	if version == 3 {
		tr := &http3.Transport{TLSClientConfig: r.tls(), Dial: nil}
		t.Cleanup(func() { tr.Close() })
		return &http.Client{Transport: tr}
	}
	tr := &http.Transport{TLSClientConfig: r.tls(), ForceAttemptHTTP2: version == 2}
	if version == 1 {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(true)
	}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := r.secure
		if strings.HasSuffix(addr, ":80") {
			to = r.plain
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s", r.Proto, r.Host)
})

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
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

func TestVersions(t *testing.T) {
	r := start(t, &Server{Handler: hello}, false)
	for _, tt := range []struct {
		version int
		url     string
		want    string
	}{
		{1, "http://a." + domain, "HTTP/1.1 a." + domain},
		{1, "https://a." + domain, "HTTP/1.1 a." + domain},
		{2, "https://a." + domain, "HTTP/2.0 a." + domain},
		{3, "https://" + r.quic, "HTTP/3.0 " + r.quic},
	} {
		resp, body := get(t, r.client(t, tt.version), tt.url)
		if body != tt.want {
			t.Errorf("HTTP/%d %s: %q, want %q", tt.version, tt.url, body, tt.want)
		}
		_, port, _ := net.SplitHostPort(r.quic)
		want := `h3=":` + port + `"; ma=86400`
		if tt.version == 3 || strings.HasPrefix(tt.url, "http:") {
			want = ""
		}
		if got := resp.Header.Get("Alt-Svc"); got != want {
			t.Errorf("HTTP/%d %s: Alt-Svc %q, want %q", tt.version, tt.url, got, want)
		}
	}
}

func TestWeakTLSRefused(t *testing.T) {
	r := start(t, &Server{Handler: hello}, false)
	for name, c := range map[string]*tls.Config{
		"TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC":     {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
	} {
		c.InsecureSkipVerify = true
		if conn, err := tls.Dial("tcp", r.secure, c); err == nil {
			conn.Close()
			t.Errorf("%s is spoken", name)
		}
	}
}

func TestMisdirected(t *testing.T) {
	r := start(t, &Server{Handler: hello}, false)
	for _, version := range []int{1, 2} {
		for host, want := range map[string]int{
			"a." + domain:        200,
			"b." + domain:        200, // the same certificate covers it
			"A." + domain + ":1": 200,
			domain:               200,
			"a.b." + domain:      421,
			"shop.example":       421,
			"x" + domain:         421,
		} {
			req, _ := http.NewRequest("GET", "https://a."+domain, nil)
			req.Host = host
			resp, err := r.client(t, version).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("HTTP/%d: %s on a connection for a.%s: %d, want %d", version, host, domain, resp.StatusCode, want)
			}
		}
	}
}

func TestRequestRate(t *testing.T) {
	r := start(t, &Server{Handler: hello, Limits: Limits{Requests: 2}}, true)
	c := r.client(t, 2)
	count := map[int]int{}
	for range 12 {
		resp, _ := get(t, c, "https://a."+domain)
		count[resp.StatusCode]++
		if resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "" {
			t.Error("429 does not say when to come again")
		}
	}
	if count[200] < 8 || count[429] < 2 { // a burst of 4 s, and what a slow machine gives meanwhile
		t.Errorf("12 requests at once: %v, want 8 of 200 and the others 429", count)
	}
}

func TestConnections(t *testing.T) {
	r := start(t, &Server{Handler: hello, Limits: Limits{Connections: 2}}, true)
	var open []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", r.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
		if got := ask(t, c); got != 200 {
			t.Fatalf("answer %d, want 200", got)
		}
	}
	c, err := net.Dial("tcp", r.plain)
	if err == nil {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		c.Close()
	}
	if err == nil {
		t.Error("a third connection is answered")
	}
	// QUIC counts with the others.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+r.quic, nil)
	if resp, err := r.client(t, 3).Do(req); err == nil {
		resp.Body.Close()
		t.Error("a third connection is answered by QUIC")
	}
	open[0].Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		resp, err := r.client(t, 1).Get("http://a." + domain)
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that was left is not given again:", err)
		}
	}
}

// ask sends a request on a connection, and returns the status of the answer.
func ask(t *testing.T, c net.Conn) int {
	t.Helper()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestSlowHeader is slowloris: a header that comes a byte at a time.
func TestSlowHeader(t *testing.T) {
	r := start(t, &Server{Handler: hello, Limits: Limits{Header: 300 * time.Millisecond}}, false)
	for range 50 {
		c, err := net.Dial("tcp", r.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err == nil; _, err = io.WriteString(c, "X") {
				<-tick.C
			}
		}()
		defer func() {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a header that never ends is waited for")
			}
		}()
	}
	if _, body := get(t, r.client(t, 1), "http://a."+domain); body == "" {
		t.Error("others are not answered meanwhile")
	}
}

func TestLargeHeader(t *testing.T) {
	r := start(t, &Server{Handler: hello}, false)
	for _, version := range []int{1, 2, 3} {
		for size, want := range map[int]int{8 << 10: 200, 40 << 10: 431} {
			host := "a." + domain
			if version == 3 {
				host = r.quic
			}
			req, _ := http.NewRequest("GET", "https://"+host, nil)
			req.Header.Set("Cookie", strings.Repeat("x", size))
			resp, err := r.client(t, version).Do(req)
			if err != nil {
				if want == 431 && version > 1 {
					continue // cut off, which these may
				}
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("HTTP/%d: %d for a header of %d bytes, want %d", version, resp.StatusCode, size, want)
			}
		}
	}
}

// TestSlowReader wants a client cut off who takes nothing of what he asked for,
// by every version of HTTP, from memory and from a file.
func TestSlowReader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	r := start(t, &Server{
		Limits: Limits{Patience: 500 * time.Millisecond, Slowest: 64 << 20},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if r.URL.Path == "/file" {
				f, _ := os.Open(file)
				defer f.Close()
				_, err = io.Copy(w, io.LimitReader(f, 32<<20))
			} else {
				b := make([]byte, 64<<10)
				for n := 0; n < 512 && err == nil; n++ {
					_, err = w.Write(b)
				}
			}
			left <- err
		}),
	}, false)
	for _, tt := range []struct {
		version int
		url     string
	}{
		{1, "http://a." + domain + "/memory"},
		{1, "http://a." + domain + "/file"},
		{1, "https://a." + domain + "/file"},
		{2, "https://a." + domain + "/memory"},
		{3, "https://" + r.quic + "/memory"},
	} {
		resp, err := r.client(t, tt.version).Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-left:
			if err == nil {
				t.Errorf("HTTP/%d %s: all was written to one who reads nothing", tt.version, tt.url)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("HTTP/%d %s: one who reads nothing is waited for", tt.version, tt.url)
		}
		resp.Body.Close()
	}
}

// TestLongAnswer wants an answer that takes longer than the patience to come
// whole, as long as something moves.
func TestLongAnswer(t *testing.T) {
	r := start(t, &Server{
		Limits: Limits{Patience: 1500 * time.Millisecond},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for range 25 {
				<-tick.C
				io.WriteString(w, "more\n")
				w.(http.Flusher).Flush()
			}
		}),
	}, false)
	for version, url := range map[int]string{1: "http://a." + domain, 2: "https://a." + domain, 3: "https://" + r.quic} {
		t.Run(fmt.Sprintf("HTTP%d", version), func(t *testing.T) {
			if _, body := get(t, r.client(t, version), url); len(body) != 25*5 {
				t.Errorf("%d bytes, want 125", len(body))
			}
		})
	}
}
