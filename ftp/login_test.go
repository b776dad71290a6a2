package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/internal/door"
)

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// secure makes the client speak TLS.
func (c *client) secure(config *tls.Config) *tls.Conn {
	c.t.Helper()
	c.want("AUTH TLS", 234)
	conn := tls.Client(c.conn, config)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.over(conn)
	return conn
}

func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			h := newHouse(t)
			b := start(t, nil, withTLS, h.login, func(s *Server) { s.RequireTLS = RequireAlways })
			c := b.dial(t)
			c.want("", 220)
			c.want("FEAT", 211)
			c.want("USER "+testUser, 530)
			c.want("PASS "+testPassword, 530)
			c.want("AUTH NONSENSE", 504)
			config := clientTLS()
			config.MaxVersion = version
			c.secure(config)
			c.want("AUTH TLS", 503)
			c.want("PASS x", 503) // the name was said in the clear
			c.want("USER "+testUser, 331)
			c.want("PASS "+testPassword, 230)
			c.want("EPSV", 229)
			c.want("LIST", 521)
			c.want("PBSZ 0", 200)
			c.want("PROT C", 534)
			c.want("PROT X", 536)
			c.want("PROT P", 200)
			c.private = config
			big := strings.Repeat("0123456789", 100_000)
			c.put("STOR /c/f", big, 226)
			if got := c.get("RETR /c/f", 226); got != big {
				t.Errorf("got %s", brief(got))
			}
			c.put("STOR /c/empty", "", 226)
			if got := c.get("RETR /c/empty", 226); got != "" {
				t.Errorf("got %s", brief(got))
			}
			if got := c.get("NLST /c", 226); got != "/c/empty\r\n/c/f\r\n" {
				t.Errorf("got %q", got)
			}

			// The session of the control connection serves for data, too.
			d := c.data().(*tls.Conn)
			c.want("RETR /c/f", 150)
			got, err := io.ReadAll(d)
			if err != nil || string(got) != big || !d.ConnectionState().DidResume {
				t.Errorf("read %s, %v, resumed %v", brief(string(got)), err, d.ConnectionState().DidResume)
			}
			c.want("", 226)

			// An upload that ends without TLS's goodbye may have been cut off.
			d = c.data().(*tls.Conn)
			c.want("STOR /c/g", 150)
			io.WriteString(d, "half")
			c.wantMoved(4)
			d.NetConn().Close()
			c.want("", 426)
			c.want("SIZE /c/g", 213) // kept for its owner
			if _, err := h.store.Stat(context.Background(), objectPath("g")); err == nil {
				t.Error("half an upload can be seen")
			}
			if ops := b.operations(); ops[0].Protocol != "ftps" {
				t.Errorf("protocol = %s", ops[0].Protocol)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	b := start(t, memFs(t), withTLS, func(s *Server) { s.TLS.MinVersion = tls.VersionTLS10 })
	c := b.dial(t)
	c.want("", 220)
	c.want("AUTH TLS", 234)
	if err := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}).Handshake(); err == nil {
		t.Error("TLS 1.1 was agreed upon")
	}
}

// Commands that come behind AUTH in the clear must not count (CVE-2011-1575).
func TestCommandsBehindAUTH(t *testing.T) {
	b := start(t, memFs(t), withTLS)
	c := b.dial(t)
	c.want("", 220)
	io.WriteString(c.conn, "AUTH TLS\r\nUSER "+testUser+"\r\n")
	c.want("", 421)
	c.ended()
}

// After an AUTH that was refused, what came with it counts.
func TestCommandsBehindRefusedAUTH(t *testing.T) {
	b := start(t, memFs(t))
	c := b.dial(t)
	c.want("", 220)
	io.WriteString(c.conn, "AUTH TLS\r\nNOOP\r\nAUTH\r\nNOOP\r\n")
	for _, code := range []int{502, 200, 501, 200} {
		c.want("", code)
	}
}

// By default, passwords from elsewhere come by TLS only.
func TestPasswordsInTheClear(t *testing.T) {
	for _, tt := range []struct {
		remote  string
		require Requirement
		secured bool
		want    bool
	}{
		{"127.0.0.1", RequireForPasswords, false, true}, {"::1", RequireForPasswords, false, true},
		{"192.0.2.1", RequireForPasswords, false, false}, {"192.0.2.1", RequireForPasswords, true, true},
		{"192.0.2.1", RequireNever, false, true}, {"127.0.0.1", RequireAlways, false, false}, {"127.0.0.1", RequireAlways, true, true},
	} {
		c := &session{srv: &Server{RequireTLS: tt.require}, Visit: &door.Visit{Remote: &net.TCPAddr{IP: net.ParseIP(tt.remote)}}}
		c.secured.Store(tt.secured)
		if got := c.mayLogIn(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestServerThatCannotServe(t *testing.T) {
	password := func(context.Context, Attempt, string) (Login, error) { return Login{}, nil }
	for name, s := range map[string]*Server{
		"no login": {}, "implicit": {Password: password, Implicit: true}, "required": {Password: password, RequireTLS: RequireAlways},
		"ports": {Password: password, Passive: PortRange{5, 4}}, "port 0": {Password: password, Passive: PortRange{0, 4}},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(l); err == nil || errors.Is(err, ErrServerClosed) {
			t.Errorf("%s: Serve = %v", name, err)
		}
	}
}

func TestFailedLogins(t *testing.T) {
	var attempts []error
	b := start(t, memFs(t), func(s *Server) {
		s.Hooks.Login = func(_ Attempt, err error) { attempts = append(attempts, err) }
	})
	c := b.dial(t)
	c.want("", 220)
	texts := map[string]bool{}
	for _, user := range []string{testUser, "nobody", ""} {
		if user == "" {
			c.want("USER", 501)
			c.want("PASS x", 503)
			user = "x"
		}
		c.want("USER "+user, 331)
		texts[c.want("PASS wrong", 530)] = true
	}
	c.want("", 421)
	c.ended()
	if len(texts) != 1 {
		t.Errorf("a wrong name and a wrong password can be told apart: %v", texts)
	}
	if len(attempts) != 3 || attempts[0] == nil {
		t.Errorf("attempts = %v", attempts)
	}
	if log := b.logged(); strings.Contains(log, "wrong\n") || strings.Contains(log, testPassword) {
		t.Error("the log has a password")
	}
}

func TestCommandsBeforeLogin(t *testing.T) {
	b := start(t, memFs(t))
	c := b.dial(t)
	c.want("", 220)
	for range 30 {
		c.want("NOOP", 200)
	}
	c.want("NOOP", 421)
	c.ended()
	c = b.login(t) // and afterwards there is no limit
	for range 40 {
		c.want("NOOP", 200)
	}
}

func TestOtherProtocols(t *testing.T) {
	b := start(t, memFs(t), withTLS)
	for _, said := range []string{"GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\nUSER a\r\n", "\x16\x03\x01\x02\x00\x01\n", "PRI * HTTP/2.0\r\n", "EHLO x\r\n", "\x00\n"} {
		c := b.dial(t)
		c.want("", 220)
		io.WriteString(c.conn, said)
		if rest, _ := io.ReadAll(c.R); len(rest) > 0 {
			t.Errorf("%q was answered with %q", said, rest)
		}
	}
	if strings.Contains(b.logged(), "ftp: login") {
		t.Error("somebody has logged in")
	}
}

func TestLoginTimeout(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.LoginTimeout = 50 * time.Millisecond })
	c := b.dial(t)
	c.want("", 220)
	c.want("", 421)
	c.ended()
}

func TestLoginsThatAreNone(t *testing.T) {
	for name, judge := range map[string]func(context.Context, Attempt, string) (Login, error){
		"panic":         func(context.Context, Attempt, string) (Login, error) { panic("bang") },
		"no filesystem": func(context.Context, Attempt, string) (Login, error) { return Login{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, memFs(t), func(s *Server) { s.Password = judge })
			c := b.dial(t)
			c.want("", 220)
			c.want("USER x", 331)
			c.want("PASS x", 530)
			c.want("PWD", 530)
		})
	}
}

func TestLimitsOfConnections(t *testing.T) {
	for name, limited := range map[string]func(*Server){
		"in all":      func(s *Server) { s.MaxConns = 2 },
		"per address": func(s *Server) { s.MaxConnsPerAddress = 2 },
		"per user":    func(s *Server) { s.MaxConnsPerUser = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, memFs(t), limited)
			first := b.login(t)
			b.login(t)
			c := b.dial(t)
			if name == "in all" {
				c.want("", 421)
			} else {
				c.want("", 220)
				c.want("USER "+testUser, 331)
				c.want("PASS "+testPassword, 421)
			}
			c.ended()
			first.want("QUIT", 221)
			first.ended()
			waitUntil(t, func() bool { return len(b.Sessions()) == 1 })
			b.login(t)
		})
	}
}

func TestAdmit(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.Admit = func(net.Addr) error { return errors.New("banned") } })
	c := b.dial(t)
	if got, _ := io.ReadAll(c.R); len(got) != 0 {
		t.Errorf("a banned client is told %q", got)
	}
}

// A user who is disabled is gone at once, and what he was uploading fails.
func TestLoginThatEnds(t *testing.T) {
	h := newHouse(t)
	done := make(chan struct{})
	var life context.Context
	b := start(t, nil, h.login, func(s *Server) {
		login := s.Password
		s.Password = func(ctx context.Context, a Attempt, p string) (Login, error) {
			life = ctx
			l, err := login(ctx, a, p)
			l.Done = done
			return l, err
		}
	})
	c := b.login(t)
	d := c.data()
	c.want("STOR /c/f", 150)
	io.WriteString(d, "half")
	c.wantMoved(4)
	if life.Err() != nil {
		t.Error("the context of the login ended before the session")
	}
	began := time.Now()
	close(done)
	c.want("", 421)
	c.ended()
	<-life.Done()
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := h.store.Stat(context.Background(), objectPath("f")); err == nil {
		t.Error("half an upload can be seen")
	}
	if ops := b.operations(); len(ops) != 1 || ops[0].Err == nil || ops[0].Verb != "put" || ops[0].User != "ann:tester" || ops[0].Bytes != 4 {
		t.Errorf("operations = %+v, want one put that failed", ops)
	}
}

func TestDisconnect(t *testing.T) {
	b := start(t, memFs(t))
	one, two := b.login(t), b.login(t)
	if n := b.Disconnect(func(s Session) bool { return s.Remote.String() == one.conn.LocalAddr().String() }); n != 1 {
		t.Errorf("Disconnect = %d, want 1", n)
	}
	one.want("", 421)
	one.ended()
	two.want("NOOP", 200)
}

func TestProxies(t *testing.T) {
	header := "PROXY TCP4 192.0.2.7 192.0.2.1 4711 21\r\n"
	b := start(t, memFs(t), withTLS, func(s *Server) {
		s.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t}
	c.over(conn)
	io.WriteString(conn, header)
	c.want("", 220)
	c.want("USER "+testUser, 530) // it comes from far away
	c.secure(clientTLS())
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
	if s := b.Sessions(); len(s) != 1 || door.AddrOf(s[0].Remote).String() != "192.0.2.7" {
		t.Errorf("sessions = %+v", s)
	}
	// Data connections come through the proxy, too. One without its header, and
	// one for somebody else, are nobody's.
	to := c.announce()
	for _, said := range []string{"x", "PROXY TCP4 192.0.2.8 192.0.2.1 4711 21\r\n"} {
		io.WriteString(c.connect(to), said)
	}
	d := c.connect(to)
	io.WriteString(d, header)
	c.want("STOR /c/f", 150)
	io.WriteString(d, "hello")
	d.Close()
	c.want("", 226)

	direct := b.dial(t)
	io.WriteString(direct.conn, "USER x\r\n")
	if got, _ := io.ReadAll(direct.R); len(got) != 0 {
		t.Errorf("without a header one is told %q", got)
	}
	// From elsewhere the header is not believed.
	b = start(t, memFs(t), func(s *Server) { s.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	c = b.dial(t)
	c.want("", 220)
	io.WriteString(c.conn, header)
	c.ended()
}

// A browser that somebody leads here, by our certificate, gets no session
// (ALPACA).
func TestBrowsersGetNoTLS(t *testing.T) {
	b := start(t, memFs(t), withTLS, func(s *Server) { s.Implicit = true })
	for protocols, want := range map[string]bool{"": true, "ftp": true, "h2 http/1.1": false, "http/1.1": false} {
		config := clientTLS()
		config.NextProtos = strings.Fields(protocols)
		conn, err := tls.Dial("tcp", b.addr, config)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%q: %v", protocols, err)
		}
	}
}

func TestLenientTLS(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, withTLS, h.login, func(s *Server) { s.LenientTLS = true })
	c := b.dial(t)
	c.want("", 220)
	c.private = clientTLS()
	c.secure(c.private)
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
	c.want("PROT P", 200)
	d := c.data().(*tls.Conn)
	c.want("STOR /c/f", 150)
	io.WriteString(d, "whole")
	c.wantMoved(5)
	d.NetConn().Close()
	c.want("", 226)
	wantFile(t, h.session(), "/c/f", "whole")
}
