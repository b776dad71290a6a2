package ftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

func objectPath(name string) storage.Path {
	return storage.Path{Account: "AUTH_ann", Container: "c", Object: name}
}

// Nobody can have the server connect anywhere.
func TestNoBounce(t *testing.T) {
	victim, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	port := victim.Addr().(*net.TCPAddr).Port
	c := start(t, memFs(t)).login(t)
	c.want(fmt.Sprintf("PORT 127,0,0,1,%d,%d", port>>8, port&255), 502)
	c.want(fmt.Sprintf("EPRT |1|127.0.0.1|%d|", port), 502)
	c.want("LIST", 425)
	c.want("STOR /c/f", 425)
	victim.(*net.TCPListener).SetDeadline(time.Now())
	if _, err := victim.Accept(); err == nil {
		t.Error("the server has connected")
	}
}

// A stranger at the passive port gets nothing, and does not keep the client from
// his transfer.
func TestStrangersAtThePassivePort(t *testing.T) {
	fsys := memFs(t)
	write(t, fsys, "/c/f", "secret")
	b := startOn(t, "0.0.0.0:0", fsys)
	_, port, _ := net.SplitHostPort(b.addr)
	b.addr = net.JoinHostPort("127.0.0.1", port)
	c := b.login(t)
	to := c.announce()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	stranger, err := from.Dial("tcp", to)
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	defer stranger.Close()
	d := c.connect(to)
	c.want("RETR /c/f", 150)
	if got, err := io.ReadAll(d); string(got) != "secret" {
		t.Errorf("the client got %q, %v", got, err)
	}
	if got, _ := io.ReadAll(stranger); len(got) > 0 {
		t.Errorf("the stranger got %q", got)
	}
	c.want("", 226)
}

func TestDataConnectionThatNeverComes(t *testing.T) {
	h := newHouse(t)
	write(t, h.session(), "/c/f", "old")
	b := start(t, nil, h.login, func(s *Server) { s.ConnectTimeout = time.Second })
	c := b.login(t)
	c.want("EPSV", 229)
	c.want("STOR /c/f", 425)
	c.want("SIZE /c/f", 213)
	if got := c.get("RETR /c/f", 226); got != "old" {
		t.Errorf("it was %q that an upload which never began has left", got)
	}
	// Whoever waits can be told not to.
	c.want("EPSV", 229)
	began := time.Now()
	c.send("STOR /c/f")
	c.send("ABOR")
	c.want("", 426)
	c.want("", 226)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("ABOR took %v", took)
	}
}

// The same without an ABOR heard while waiting: many PASV leave nothing open.
func TestListenersDoNotPileUp(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.Passive = PortRange{41000, 41400} })
	c := b.login(t)
	for range 300 {
		c.want("PASV", 227)
	}
	held := func() int {
		b.ports.mu.Lock()
		defer b.ports.mu.Unlock()
		return len(b.ports.taken)
	}
	if n := held(); n != 1 {
		t.Errorf("%d ports are held", n)
	}
	c.want("QUIT", 221)
	waitUntil(t, func() bool { return held() == 0 })
}

func TestResumeAfterACut(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, h.login)
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(rand.IntN(256))
	}
	for _, how := range []string{"data", "control", "append"} {
		name := "/c/" + how
		at := 1 + rand.IntN(len(content)-1)
		c := b.login(t)
		if how == "control" {
			d := c.data()
			c.want("STOR "+name, 150)
			d.Write(content[:at])
			c.wantMoved(int64(at))
			c.conn.Close()
			waitUntil(t, func() bool { return len(b.Sessions()) == 0 })
		} else {
			c.cut("STOR "+name, string(content[:at]))
			c.want("QUIT", 221)
		}
		if _, err := h.store.Stat(context.Background(), objectPath(how)); err == nil {
			t.Errorf("%s: half an upload can be seen", how)
		}
		c = b.login(t)
		if got := c.want("SIZE "+name, 213); got != fmt.Sprint(at) {
			t.Errorf("%s: SIZE = %s, want %d", how, got, at)
		}
		verb := "APPE "
		if how != "append" {
			verb = "STOR "
			c.want(fmt.Sprintf("REST %d", at), 350)
		}
		c.put(verb+name, string(content[at:]), 226)
		wantFile(t, h.session(), name, string(content))
		// And a download, from where it was cut off.
		c.want(fmt.Sprintf("REST %d", at), 350)
		if got := c.get("RETR "+name, 226); got != string(content[at:]) {
			t.Errorf("%s: RETR from %d = %s", how, at, brief(got))
		}
		c.want("QUIT", 221)
	}
}

// 200 clients that stall in the middle of a transfer hold nobody up, and do not
// hold out for ever.
func TestStalledTransfers(t *testing.T) {
	h := newHouse(t)
	write(t, h.session(), "/c/big", strings.Repeat("x", 16<<20))
	b := start(t, nil, h.login, func(s *Server) {
		s.DataTimeout = 2 * time.Second
		s.MaxHandshakes = 300
	})
	var wg sync.WaitGroup
	var clients []*client
	for i := range 200 {
		c := b.login(t)
		d := c.data()
		if i%2 == 0 {
			c.want("RETR /c/big", 150)
		} else {
			c.want(fmt.Sprintf("STOR /c/f%d", i), 150)
			io.WriteString(d, "x")
		}
		clients = append(clients, c)
	}
	began := time.Now()
	b.login(t).want("PWD", 257)
	took := time.Since(began)
	if took > 500*time.Millisecond {
		t.Errorf("another client took %v", took)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("another client took %v; %d MiB are in use", took, m.HeapAlloc>>20)
	if m.HeapAlloc > 400<<20 {
		t.Errorf("%d MiB are in use", m.HeapAlloc>>20)
	}
	for _, c := range clients {
		wg.Go(func() {
			if code, text, err := c.ReadResponse(426); err != nil {
				t.Errorf("%d %s, %v", code, text, err)
			}
		})
	}
	wg.Wait()
	if _, err := h.store.Stat(context.Background(), objectPath("f1")); err == nil {
		t.Error("an upload that stalled can be seen")
	}
}

// A client that is slow, and not stalled, may take all the time it needs.
func TestSlowIsNotStalled(t *testing.T) {
	h := newHouse(t)
	write(t, h.session(), "/c/big", strings.Repeat("x", 8<<20))
	b := start(t, nil, h.login, func(s *Server) { s.DataTimeout = 150 * time.Millisecond })
	c := b.login(t)
	d := c.data()
	d.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.want("RETR /c/big", 150)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	total, buf := 0, make([]byte, 128<<10)
	for {
		<-tick.C
		n, err := io.ReadFull(d, buf)
		total += n
		if err != nil {
			break
		}
	}
	c.want("", 226)
	if total != 8<<20 {
		t.Errorf("got %d bytes", total)
	}
}

// A thousand connections that never log in must not keep others out.
func TestConnectionsThatNeverLogIn(t *testing.T) {
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
			io.WriteString(c, "USER slow\r\n")
		}
	}
	began := time.Now()
	for range 5 {
		b.login(t).want("PWD", 257)
	}
	took := time.Since(began) / 5
	if took > 500*time.Millisecond {
		t.Errorf("a login takes %v", took)
	}
	t.Logf("a login takes %v", took)
	if n, _ := b.keeper.Counts(); n > 64 {
		t.Errorf("%d connections are logging in, want at most 64", n)
	}
}

func TestIdleSessionsEnd(t *testing.T) {
	b := start(t, memFs(t), func(s *Server) { s.IdleTimeout = 100 * time.Millisecond })
	c := b.login(t)
	d := c.data()
	c.want("STOR /c/f", 150)
	time.AfterFunc(400*time.Millisecond, func() { d.Close() })
	c.want("", 226) // a transfer is not idling
	c.want("", 421)
	c.ended()
}

func TestShutdownLetsTransfersFinish(t *testing.T) {
	fsys := memFs(t)
	b := start(t, fsys)
	idle, busy, early := b.login(t), b.login(t), b.dial(t)
	early.want("", 220)
	d := busy.data()
	busy.want("STOR /c/f", 150)
	io.WriteString(d, "first ")
	down := make(chan error, 1)
	go func() { down <- b.Shutdown(context.Background()) }()
	for _, c := range []*client{idle, early} { // have nothing under way, so they go at once
		c.want("", 421)
		c.ended()
	}
	select {
	case <-down:
		t.Error("Shutdown did not wait")
	default:
	}
	io.WriteString(d, "second")
	d.Close()
	busy.want("", 226)
	busy.want("", 421)
	if err := <-down; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	wantFile(t, fsys, "/c/f", "first second")
}

func TestShutdownCutsWhatDoesNotFinish(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, h.login)
	c := b.login(t)
	d := c.data()
	c.want("STOR /c/f", 150)
	io.WriteString(d, "half")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v, want %v", err, context.Canceled)
	}
	if _, err := h.store.Stat(context.Background(), objectPath("f")); err == nil {
		t.Error("half an upload can be seen")
	}
}

func TestIPv6(t *testing.T) {
	fsys := memFs(t)
	b := startOn(t, "[::1]:0", fsys, func(s *Server) { s.Passive = PortRange{42000, 42100} })
	c := b.login(t)
	c.want("PASV", 425)
	c.want("EPSV 1", 522)
	c.put("STOR /c/f", "six", 226)
	wantFile(t, fsys, "/c/f", "six")
}

func TestPublicAddresses(t *testing.T) {
	asked := 0
	s := &Server{
		Public: "ftp.example.org",
		PublicFor: map[netip.Prefix]string{
			netip.MustParsePrefix("10.0.0.0/8"): "", netip.MustParsePrefix("10.1.0.0/16"): "192.0.2.9", netip.MustParsePrefix("fd00::/8"): "",
		},
	}
	fail := false
	s.names.ask = func(_ context.Context, name string) ([]netip.Addr, error) {
		asked++
		if fail {
			return nil, errors.New("no answer")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	local := &net.TCPAddr{IP: net.ParseIP("10.0.0.1"), Port: 21}
	for remote, want := range map[string]string{"203.0.113.5": "192.0.2.1", "10.5.0.1": "10.0.0.1", "10.1.0.1": "192.0.2.9", "198.51.100.1": "192.0.2.1"} {
		got, err := s.publicAddr(t.Context(), netip.MustParseAddr(remote), local)
		if err != nil || got.String() != want {
			t.Errorf("for %s: %v, %v; want %s", remote, got, err, want)
		}
	}
	if asked != 1 {
		t.Errorf("the name was asked for %d times", asked)
	}
	if _, err := s.publicAddr(t.Context(), netip.MustParseAddr("fd00::1"), &net.TCPAddr{IP: net.ParseIP("fd00::2")}); err == nil {
		t.Error("an IPv6 address was named")
	}
	s.names.known["ftp.example.org"] = resolved{netip.MustParseAddr("192.0.2.1"), time.Now().Add(-time.Hour)}
	fail = true
	if got, err := s.publicAddr(t.Context(), netip.MustParseAddr("203.0.113.5"), local); err != nil || got.String() != "192.0.2.1" || asked != 2 {
		t.Errorf("when nobody answers: %v, %v", got, err)
	}
	c := start(t, memFs(t), func(s *Server) { s.Public = "192.0.2.77" }).login(t)
	if got := c.want("PASV", 227); !strings.Contains(got, "(192,0,2,77,") {
		t.Errorf("PASV = %s", got)
	}
}

func TestPorts(t *testing.T) {
	var p ports
	g := portGetter{&p, PortRange{100, 109}}
	seen := map[int]bool{}
	for range 10 {
		port, same, ok := g.FetchNext()
		if !ok || port != same || port < 100 || port > 109 || seen[port] {
			t.Fatalf("FetchNext = %d, %d, %v after %v", port, same, ok, seen)
		}
		seen[port] = true
		p.take(port)
	}
	if port, _, ok := g.FetchNext(); ok {
		t.Errorf("there was %d when all were taken", port)
	}
	p.give(105)
	if port, _, ok := g.FetchNext(); !ok || port != 105 {
		t.Errorf("FetchNext = %d, %v; want 105", port, ok)
	}
}
