package main

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crowded returns the address of a listener whose connections stay open until
// they are closed from outside, and the crowd before it.
func crowded(t *testing.T, c *crowd) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l := c.listener(l)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, ok := conn.(io.ReaderFrom); !ok {
				t.Error("a connection cannot send files any more")
			}
			conn.Write([]byte("!"))
			go func() { // until the client goes
				io.Copy(io.Discard, conn)
				conn.Close()
				conn.Close() // counts once
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// connect reports whether a connection is let in.
func connect(t *testing.T, addr string) (net.Conn, bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, false // turned away as fast as that
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var b [1]byte
	_, err = conn.Read(b[:])
	return conn, err == nil
}

func TestCrowd(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		name       string
		most, each int
		exempt     []netip.Prefix
		want       int
	}{
		{"of all", 3, 10, nil, 3},
		{"of one source", 10, 2, nil, 2},
		{"of one source that is exempt", 4, 2, loopback, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log strings.Builder
			crowd := newCrowd(c.most, c.each, c.exempt, slog.New(slog.NewTextHandler(&log, nil)))
			addr := crowded(t, crowd)
			var open []net.Conn
			for range c.want {
				conn, in := connect(t, addr)
				if !in {
					t.Fatalf("connection %d is turned away", len(open)+1)
				}
				open = append(open, conn)
			}
			for range 3 {
				if _, in := connect(t, addr); in {
					t.Errorf("more than %d connections", c.want)
				}
			}
			for _, conn := range open {
				conn.Close()
			}
			for in := false; !in; { // the server has to notice first
				_, in = connect(t, addr)
			}
			crowd.mu.Lock()
			defer crowd.mu.Unlock()
			if n := strings.Count(log.String(), "too many connections"); n != 1 || crowd.all > c.want {
				t.Errorf("said %d times within a minute: %s; %d open", n, &log, crowd.all)
			}
		})
	}
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64",
	} {
		if got := sourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))); got.String() != want {
			t.Errorf("sourceOf(%s) = %v, want %s", addr, got, want)
		}
	}
}

// Whatever is configured, connections and what their requests hold open leave
// the engine its files.
func TestShareOut(t *testing.T) {
	for _, c := range []ConnectionsConfig{{}, {Max: 10}, {Max: 1 << 30, PerSource: 5}} {
		for _, files := range []uint64{64, 200, 1024, 65536, 1 << 62} {
			b := c.shareOut(files)
			const two = 2 // files of a request, which reads one and writes another
			if used := uint64(b.connections + two*b.requests); used > files-min(files/2, 4096) || b.connections < 1 || b.requests < 1 || b.eachSource < 1 {
				t.Errorf("of %d files %+v takes %d for %+v", files, c, used, b)
			}
			if c.Max == 10 && b.connections != 10 || c.PerSource != 0 && b.eachSource != c.PerSource {
				t.Errorf("of %d files %+v takes %+v", files, c, b)
			}
		}
	}
}

// The socket is its owner's from the moment on that it is there, whatever the
// process leaves to others otherwise.
func TestControlSocketIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), controlName)
	l, err := listenPrivately(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil || st.Mode&0o777 != 0o600 {
		t.Errorf("the socket has mode %o, %v; want 600", st.Mode&0o777, err)
	}
}
