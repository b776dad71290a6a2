package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"
)

func TestPasswordLogin(t *testing.T) {
	var mu sync.Mutex
	var seen []Attempt
	b := start(t, memFs(t), func(s *Server) {
		s.Hooks.Login = func(a Attempt, method string, err error) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, a)
			if wrong := err != nil; method != "password" || wrong != (len(seen) == 1) {
				t.Errorf("login %d by %s: %v", len(seen), method, err)
			}
		}
	})
	const secret = "not the right one"
	if c, err := ssh.Dial("tcp", b.addr, clientConfig(ssh.Password(secret))); err == nil {
		c.Close()
		t.Error("a wrong password was let in")
	}
	b.client(t)
	mu.Lock()
	defer mu.Unlock()
	for _, a := range seen {
		if a.User != testUser || a.ID == "" || a.Remote == nil || a.Local.String() != b.addr || !strings.HasPrefix(a.Client, "SSH-2.0-") {
			t.Errorf("attempt %+v", a)
		}
	}
	if log := b.logged(); strings.Contains(log, secret) || strings.Contains(log, testPassword) {
		t.Errorf("a password is in the log:\n%s", log)
	}
}

// CVE-2024-45337: what a callback says of a key that is only offered must not
// decide who is let in with another.
func TestOfferedKeyIsNotTheKeyThatSigned(t *testing.T) {
	admin, ann := newKey(), newKey()
	users := map[string]string{string(admin.PublicKey().Marshal()): "admin", string(ann.PublicKey().Marshal()): "ann"}
	var offered, proven atomic.Int32
	b := start(t, memFs(t), func(s *Server) {
		s.Key = func(_ context.Context, a Attempt, key ssh.PublicKey) (Login, error) {
			user, ok := users[string(key.Marshal())]
			if !ok {
				return Login{}, fs.ErrPermission
			}
			if a.Proven {
				proven.Add(1)
			} else {
				offered.Add(1)
			}
			return Login{Fs: memFs(t), User: user}, nil
		}
	})
	// offeredOnly is the admin's public key in the hands of somebody who has not
	// the private one.
	offeredOnly := impostor{admin.PublicKey(), newKey()}
	if c, err := ssh.Dial("tcp", b.addr, clientConfig(ssh.PublicKeys(offeredOnly))); err == nil {
		c.Close()
		t.Fatal("a key was accepted that the client does not hold")
	}
	if proven.Load() != 0 || offered.Load() == 0 {
		t.Errorf("%d keys offered and %d proven, want some and none", offered.Load(), proven.Load())
	}
	// Offers the admin's key first, cannot sign, then logs in with its own.
	c, err := ssh.Dial("tcp", b.addr, clientConfig(ssh.PublicKeys(&reluctant{impostor{admin.PublicKey(), nil}}, ann)))
	if err != nil {
		// This client gives up when a signature fails; log in with the right key only.
		c, err = ssh.Dial("tcp", b.addr, clientConfig(ssh.PublicKeys(ann)))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	waitUntil(t, func() bool { return len(b.Sessions()) > 0 })
	if got := b.Sessions(); len(got) != 1 || got[0].User != "ann" {
		t.Errorf("sessions = %+v, want one of ann", got)
	}
}

// An impostor shows one key and signs with another.
type impostor struct {
	shown ssh.PublicKey
	ssh.Signer
}

func (i impostor) PublicKey() ssh.PublicKey { return i.shown }

type reluctant struct{ impostor }

func (r *reluctant) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return nil, errors.New("key is not here")
}

func TestRefusedKeys(t *testing.T) {
	key := newKey()
	b := start(t, memFs(t), func(s *Server) {
		s.Key = func(context.Context, Attempt, ssh.PublicKey) (Login, error) { return Login{Fs: memFs(t)}, nil }
	})
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity, ValidPrincipals: []string{testUser}}
	if err := cert.SignCert(zeros{}, newKey()); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ssh.Dial("tcp", b.addr, clientConfig(ssh.PublicKeys(signer))); err == nil {
		c.Close()
		t.Error("a certificate was accepted")
	}
	c, err := ssh.Dial("tcp", b.addr, clientConfig(ssh.PublicKeys(key)))
	if err != nil {
		t.Fatalf("the key itself: %v", err)
	}
	c.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPanicInLogin(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) {
		judge := s.Password
		s.Password = func(ctx context.Context, a Attempt, password string) (Login, error) {
			if a.User == "bang" {
				panic("bang")
			}
			return judge(ctx, a, password)
		}
	})
	config := clientConfig()
	config.User = "bang"
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		c.Close()
		t.Error("a panic let somebody in")
	}
	b.client(t) // others are served
}

// A thousand connections that never finish must neither keep others out nor
// take memory without bound.
func TestConnectionsThatNeverFinish(t *testing.T) {
	b := start(t, memFs(t))
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	for i := range 1000 {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		if i%2 == 0 {
			io.WriteString(c, "SSH-2.0-slow\r\n")
		}
	}
	began := time.Now()
	for range 5 {
		c, err := ssh.Dial("tcp", b.addr, clientConfig())
		if err != nil {
			t.Fatalf("a client that behaves: %v", err)
		}
		c.Close()
	}
	if took := time.Since(began) / 5; took > 500*time.Millisecond {
		t.Errorf("a login takes %v", took)
	}
	if n, _ := b.keeper.Counts(); n > 64 {
		t.Errorf("%d connections are logging in, want at most 64", n)
	}
}

// Behind a proxy it is the client who is admitted, counted and told of; without
// the proxy's header, or with one from anybody else, nobody is served.
func TestProxies(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 22\r\n"
	var attempt Attempt
	dial := func(b *bench, say string) (*ssh.Client, error) {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		io.WriteString(nc, say)
		conn, chans, reqs, err := ssh.NewClientConn(nc, b.addr, clientConfig())
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(conn, chans, reqs), nil
	}
	fsys := memFs(t)
	b := start(t, fsys, func(s *Server) {
		s.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.Password = func(_ context.Context, a Attempt, _ string) (Login, error) {
			attempt = a
			return Login{Fs: fsys}, nil
		}
	})
	conn, err := dial(b, header)
	if err != nil {
		t.Fatal(err)
	}
	client, err := pkgsftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Mkdir("/made"); err != nil {
		t.Fatal(err)
	}
	if attempt.Remote.String() != "192.0.2.7:4711" {
		t.Errorf("who logs in is said to be at %v", attempt.Remote)
	}
	if s := b.Sessions(); len(s) != 1 || s[0].Remote.String() != "192.0.2.7:4711" {
		t.Errorf("sessions = %+v", s)
	}
	if !strings.Contains(b.logged(), "from=192.0.2.7:4711") {
		t.Errorf("the log does not name the client:\n%s", b.logged())
	}
	client.Close()
	conn.Close()
	if _, err := dial(b, ""); err == nil {
		t.Error("one without a header is served")
	}
	b = start(t, memFs(t), func(s *Server) { s.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	// SSH lets anybody begin with lines that are no version, and skips them.
	if conn, err := dial(b, header); err == nil {
		defer conn.Close()
		b.dial(t)
	}
	for _, s := range b.Sessions() {
		if !strings.HasPrefix(s.Remote.String(), "127.0.0.1:") {
			t.Errorf("anybody is believed to be at %v", s.Remote)
		}
	}
}

func TestLimitsOfConnections(t *testing.T) {
	for name, limited := range map[string]func(*Server){
		"in all":      func(s *Server) { s.MaxConns = 2 },
		"per address": func(s *Server) { s.MaxConnsPerAddress = 2 },
		"per user":    func(s *Server) { s.MaxConnsPerUser = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{}, 10)
			b := start(t, memFs(t), limited, func(s *Server) { s.Hooks.Disconnect = func(net.Addr) { left <- struct{}{} } })
			first := b.dial(t)
			b.dial(t)
			if c, err := ssh.Dial("tcp", b.addr, clientConfig()); err == nil {
				c.Close()
				t.Error("a third connection was let in")
			}
			first.Close()
			<-left
			if name != "in all" { // there the third was turned away before it counted
				<-left
			}
			if _, inside := b.keeper.Counts(); inside > 2 {
				t.Fatalf("%d inside", inside)
			}
			waitUntil(t, func() bool {
				c, err := ssh.Dial("tcp", b.addr, clientConfig())
				if err == nil {
					c.Close()
				}
				return err == nil
			})
		})
	}
}

// waitUntil polls for something that happens without telling.
func waitUntil(t testing.TB, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatal("it never happened")
		}
	}
}

func TestAdmit(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) {
		s.Admit = func(remote net.Addr) error { return fmt.Errorf("%v is banned", remote) }
	})
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _ := io.ReadAll(c); len(got) != 0 {
		t.Errorf("a banned client is told %q", got)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.HandshakeTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the server did not hang up: %v", err)
	}
}

// A user who is disabled is gone at once, and what he was uploading fails.
func TestLoginThatEnds(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t)}
	done := make(chan struct{})
	var life context.Context
	b := start(t, fsys, func(s *Server) {
		s.Password = func(ctx context.Context, a Attempt, _ string) (Login, error) {
			life = ctx
			return Login{Fs: fsys, User: "ann:tester", Done: done}, nil
		}
	})
	conn := b.dial(t)
	c, err := pkgsftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("half"))
	if life.Err() != nil {
		t.Error("the context of the login ended before the session")
	}
	began := time.Now()
	close(done)
	conn.Wait()
	<-life.Done()
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	wantAbsent(t, fsys, "/f")
	ops := b.operations()
	if len(ops) != 1 || ops[0].Err == nil || ops[0].Verb != "put" || ops[0].User != "ann:tester" || ops[0].Bytes != 4 {
		t.Errorf("operations = %+v, want one put that failed", ops)
	}
}

func TestDisconnect(t *testing.T) {
	b := start(t, memFs(t))
	one, two := b.dial(t), b.dial(t)
	waitUntil(t, func() bool { return len(b.Sessions()) == 2 })
	if n := b.Disconnect(func(s Session) bool { return s.Remote.String() == one.LocalAddr().String() }); n != 1 {
		t.Errorf("Disconnect = %d, want 1", n)
	}
	one.Wait()
	if _, err := pkgsftp.NewClient(two); err != nil {
		t.Errorf("the other connection: %v", err)
	}
}

func TestShutdownLetsTransfersFinish(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t)}
	b := start(t, fsys)
	idle, busy := b.dial(t), b.client(t)
	f, err := busy.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("first "))
	down := make(chan error)
	go func() { down <- b.Shutdown(context.Background()) }()
	idle.Wait() // has nothing open, so it goes at once
	if _, err := f.Write([]byte("second")); err != nil {
		t.Errorf("write during shutdown: %v", err)
	}
	select {
	case <-down:
		t.Error("Shutdown did not wait")
	default:
	}
	if err := f.Close(); err != nil {
		t.Errorf("close during shutdown: %v", err)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	wantFile(t, fsys, "/f", []byte("first second"))
	if _, err := net.DialTimeout("tcp", b.addr, time.Second); err == nil {
		t.Error("somebody still listens")
	}
}

func TestShutdownCutsWhatDoesNotFinish(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t)}
	b := start(t, fsys)
	f, err := b.client(t).Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("half"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v, want %v", err, context.Canceled)
	}
	wantAbsent(t, fsys, "/f")
}

func TestIdleSessionsEnd(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.IdleTimeout = 100 * time.Millisecond })
	b.dial(t).Wait()
	if !strings.Contains(b.logged(), "reason=idle") {
		waitUntil(t, func() bool { return strings.Contains(b.logged(), "reason=idle") })
	}
}

// A client that has stopped reading is noticed because it answers nothing.
func TestSilentClientsEnd(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.KeepAlive = 50 * time.Millisecond })
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stop := &stopper{Conn: nc, stopped: make(chan struct{})}
	conn, chans, reqs, err := ssh.NewClientConn(stop, b.addr, clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	go func() {
		for range chans {
		}
	}()
	close(stop.stopped)
	waitUntil(t, func() bool { return strings.Contains(b.logged(), `reason="client does not answer"`) })
}

// A stopper is a connection on which nothing arrives or leaves once stopped.
type stopper struct {
	net.Conn
	stopped chan struct{}
}

func (s *stopper) Write(p []byte) (int, error) {
	select {
	case <-s.stopped:
		return len(p), nil
	default:
		return s.Conn.Write(p)
	}
}

func TestAliveClientsStay(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.KeepAlive = 100 * time.Millisecond })
	asked := make(chan struct{}, 100)
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, chans, reqs, err := ssh.NewClientConn(nc, b.addr, clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		for range chans {
		}
	}()
	go func() {
		for r := range reqs {
			r.Reply(false, nil) // as OpenSSH answers
			if r.Type == "keepalive@openssh.com" {
				asked <- struct{}{}
			}
		}
	}()
	cut := make(chan struct{})
	go func() { conn.Wait(); close(cut) }()
	for range 8 { // more than twice what silence may last
		select {
		case <-asked:
		case <-cut:
			t.Fatal("a client that answers was given up")
		}
	}
	if len(b.Sessions()) != 1 {
		t.Error("a client that answers was given up")
	}
}

func TestNothingButFiles(t *testing.T) {
	b := start(t, memFs(t))
	conn := b.dial(t)
	for _, kind := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com", "x11", "auth-agent@openssh.com"} {
		if ch, _, err := conn.OpenChannel(kind, nil); err == nil {
			ch.Close()
			t.Errorf("a %s channel was opened", kind)
		}
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "no-more-sessions@openssh.com", "hostkeys-prove-00@openssh.com"} {
		if ok, _, err := conn.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("global request %s = %v, %v", kind, ok, err)
		}
	}
	ch, reqs, err := conn.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	for _, kind := range []string{"shell", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com", "window-change", "signal", "eow@openssh.com"} {
		if ok, err := ch.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("request %s = %v, %v", kind, ok, err)
		}
	}
	for _, name := range []string{"netconf", "sftp-server", ""} {
		if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{name})); ok || err != nil {
			t.Errorf("subsystem %q = %v, %v", name, ok, err)
		}
	}
	if ok, err := ch.SendRequest("subsystem", true, []byte{0, 0, 0, 9, 'x'}); ok || err != nil {
		t.Errorf("a malformed subsystem request = %v, %v", ok, err)
	}
	start := func() bool {
		ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		return ok && err == nil
	}
	if !start() {
		t.Error("sftp was refused after all that")
	}
	if start() {
		t.Error("sftp was started twice on one channel")
	}
	ch.Close()
}

func TestChannelsAreFew(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.MaxChannels = 2 })
	conn := b.dial(t)
	var open []ssh.Channel
	for range 2 {
		ch, reqs, err := conn.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		open = append(open, ch)
	}
	if _, _, err := conn.OpenChannel("session", nil); err == nil {
		t.Error("a third channel was opened")
	}
	open[0].Close()
	waitUntil(t, func() bool {
		ch, reqs, err := conn.OpenChannel("session", nil)
		if err == nil {
			go ssh.DiscardRequests(reqs)
			ch.Close()
		}
		return err == nil
	})
}

// What one session is told must not depend on another's filesystem.
func TestSessionsHaveTheirOwnFilesystem(t *testing.T) {
	trees := map[string]afero.Fs{"ann": memFs(t), "bob": memFs(t)}
	put(t, trees["ann"], "/secret", []byte("ann's"))
	b := start(t, nil, func(s *Server) {
		s.Password = func(_ context.Context, a Attempt, _ string) (Login, error) { return Login{Fs: trees[a.User]}, nil }
	})
	config := clientConfig()
	config.User = "bob"
	conn, err := ssh.Dial("tcp", b.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := pkgsftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stat("/secret"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v, want %v", err, fs.ErrNotExist)
	}
	config.User = "nobody" // for whom there is no filesystem
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		c.Close()
		t.Error("a login without a filesystem was let in")
	}
}

func TestBanner(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.Banner = "be nice\n" })
	config := clientConfig()
	var got bytes.Buffer
	config.BannerCallback = func(m string) error { got.WriteString(m); return nil }
	c, err := ssh.Dial("tcp", b.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got.String() != "be nice\n" {
		t.Errorf("banner = %q", got.String())
	}
}

func TestServeNeedsKeysAndLogins(t *testing.T) {
	for name, s := range map[string]*Server{
		"no keys":   {Password: func(context.Context, Attempt, string) (Login, error) { return Login{}, nil }},
		"no logins": {HostKeys: []ssh.Signer{testHostKey()}},
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
