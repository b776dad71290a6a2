package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/ftp"
	"memstore.dev/memstore/sftp"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// A ftpTalk is a control connection that a test speaks over.
type ftpTalk struct {
	t    *testing.T
	conn net.Conn
	*textproto.Conn
}

// talkFTP connects, and says first what is to come before the greeting.
func talkFTP(t *testing.T, n *node, first string) *ftpTalk {
	t.Helper()
	conn, err := net.Dial("tcp", n.files.ftp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, first)
	return &ftpTalk{t, conn, textproto.NewConn(conn)}
}

func (c *ftpTalk) say(want int, line string) string {
	c.t.Helper()
	if line != "" {
		fmt.Fprintf(c.conn, "%s\r\n", line)
	}
	_, text, err := c.ReadResponse(want)
	if err != nil {
		c.t.Fatalf("%.4s: %v %s", line, err, text)
	}
	return text
}

// login logs the first user in.
func (c *ftpTalk) login(n *node) {
	c.t.Helper()
	c.say(220, "")
	c.say(331, "USER "+n.user)
	c.say(230, "PASS "+n.password)
}

// upload sends a file over a data connection to an address.
func (c *ftpTalk) upload(to, name, content string) {
	c.t.Helper()
	data, err := net.Dial("tcp", to)
	if err != nil {
		c.t.Fatal(err)
	}
	defer data.Close()
	c.say(150, "STOR "+name)
	io.WriteString(data, content)
	data.Close()
	c.say(226, "")
}

// pasv is where PASV says that data connections go.
func (c *ftpTalk) pasv() netip.AddrPort {
	c.t.Helper()
	text := c.say(227, "PASV")
	_, text, _ = strings.Cut(text, "(")
	text, _, _ = strings.Cut(text, ")")
	var ip [4]byte
	var high, low uint16
	if _, err := fmt.Sscanf(text, "%d,%d,%d,%d,%d,%d", &ip[0], &ip[1], &ip[2], &ip[3], &high, &low); err != nil {
		c.t.Fatalf("PASV: %q, %v", text, err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(ip), high<<8|low)
}

// epsv is the port that EPSV says.
func (c *ftpTalk) epsv() uint16 {
	c.t.Helper()
	text := c.say(229, "EPSV")
	_, text, _ = strings.Cut(text, "(|||")
	text, _, _ = strings.Cut(text, "|")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		c.t.Fatal(err)
	}
	return uint16(port)
}

// freePorts are so many ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) (first, last int) {
	t.Helper()
search:
	for first = 42_000; first+n < 60_000; first += n {
		for p := first; p < first+n; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
			if err != nil {
				continue search
			}
			l.Close()
		}
		return first, first + n - 1
	}
	t.Fatal("there are no free ports")
	return 0, 0
}

// Behind a router or a firewall clients are told the address, and the ports,
// that the configuration names; by PASV and by EPSV transfers work there.
func TestFTPBehindARouter(t *testing.T) {
	first, last := freePorts(t, 4)
	for name, tt := range map[string]struct {
		public, publicFor string
		want              string
	}{
		"as reached":          {"", "", "127.0.0.1"},
		"an address":          {"127.0.0.7", "", "127.0.0.7"},
		"a name":              {"localhost", "", "127.0.0.1"},
		"an address for some": {"192.0.2.1", "127.0.0.0/8=127.0.0.9, 10.0.0.0/8=10.0.0.1", "127.0.0.9"},
		"a name for some":     {"192.0.2.1", "127.0.0.0/8=localhost", "127.0.0.1"},
		"inside":              {"192.0.2.1", "127.0.0.0/8=, 0.0.0.0/0=192.0.2.2", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := fileNode(t, func(c *Config) {
				c.FTP.Passive, c.FTP.Public, c.FTP.PublicFor = fmt.Sprintf("%d-%d", first, last), tt.public, tt.publicFor
			})
			c := talkFTP(t, n, "")
			c.login(n)
			c.say(257, "MKD /box")
			for i := range 6 { // more often than there are ports
				to := c.pasv()
				if to.Addr().String() != tt.want || int(to.Port()) < first || int(to.Port()) > last {
					t.Fatalf("PASV says %v, want %s and a port from %d to %d", to, tt.want, first, last)
				}
				c.upload(to.String(), fmt.Sprint("/box/pasv", i), "x")
				port := c.epsv()
				if int(port) < first || int(port) > last {
					t.Fatalf("EPSV says %d, want a port from %d to %d", port, first, last)
				}
				c.upload(fmt.Sprint("127.0.0.1:", port), fmt.Sprint("/box/epsv", i), "x")
			}
		})
	}
}

// dialSSH logs the first user in at the SFTP door, by a connection over which
// something is said first.
func dialSSH(t *testing.T, n *node, first, password string) (*ssh.Client, error) {
	t.Helper()
	nc, err := net.Dial("tcp", n.files.sftp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, first)
	conn, chans, reqs, err := ssh.NewClientConn(nc, "", &ssh.ClientConfig{
		User: strings.Replace(n.user, ":", ".", 1), Auth: []ssh.AuthMethod{ssh.Password(password)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(conn, chans, reqs), nil
}

// Behind a proxy the client's own address is what users' networks and bans go
// by, at both file doors.
func TestFileDoorsBehindAProxy(t *testing.T) {
	n := fileNode(t, func(c *Config) {
		c.FTP.Proxies, c.SFTP.Proxies, c.FTP.TLS = "127.0.0.1", "127.0.0.1", "never"
		c.Bans.Limit, c.Bans.Allow = 2, ""
	})
	const header = "PROXY TCP4 %s 192.0.2.1 4711 22\r\n"
	good, guesser := fmt.Sprintf(header, "192.0.2.7"), fmt.Sprintf(header, "192.0.2.8")
	conn, err := dialSSH(t, n, good, n.password)
	if err != nil {
		t.Fatal(err)
	}
	client, err := pkgsftp.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Mkdir("/box"); err != nil {
		t.Fatal(err)
	}
	c := talkFTP(t, n, good)
	c.login(n)
	to := c.epsv()
	data, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", to))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	io.WriteString(data, good)
	c.say(150, "STOR /box/f")
	io.WriteString(data, "content")
	data.Close()
	c.say(226, "")
	if in, err := client.Stat("/box/f"); err != nil || in.Size() != 7 {
		t.Errorf("what came through the proxy: %v, %v", in, err)
	}
	// One who guesses is banned; others who come by the same proxy are not.
	for range 2 {
		if _, err := dialSSH(t, n, guesser, "wrong"); err == nil {
			t.Fatal("a wrong password was right")
		}
	}
	if _, err := dialSSH(t, n, guesser, n.password); err == nil {
		t.Error("who was banned is let in by SFTP")
	}
	banned := talkFTP(t, n, guesser)
	if rest, _ := io.ReadAll(banned.conn); len(rest) != 0 {
		t.Errorf("who was banned hears by FTP %q", rest)
	}
	talkFTP(t, n, good).login(n)
	// Users' networks are those of the client.
	u, err := n.realm.User(t.Context(), n.user)
	if err != nil {
		t.Fatal(err)
	}
	u.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
	if err := n.realm.SetUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, err := dialSSH(t, n, good, n.password); err != nil {
		t.Errorf("from his network he is not let in: %v", err)
	}
	if _, err := dialSSH(t, n, fmt.Sprintf(header, "192.0.2.9"), n.password); err == nil {
		t.Error("from elsewhere he is let in")
	}
}

// A ban that is earned at one door holds at all of them, and is lifted from all
// of them by one command.
func TestBansHoldAtAllDoors(t *testing.T) {
	tries := map[string]func(t *testing.T, n *node, password string) bool{
		"swift": func(t *testing.T, n *node, password string) bool {
			code, err := logIn(t, n, password)
			return err == nil && code == 200
		},
		"ftp": func(t *testing.T, n *node, password string) bool {
			c := talkFTP(t, n, "")
			for _, line := range []string{"", "USER " + n.user, "PASS " + password} {
				if line != "" {
					fmt.Fprintf(c.conn, "%s\r\n", line)
				}
				if code, _, err := c.ReadResponse(0); err != nil || code >= 400 {
					return false
				}
			}
			return true
		},
		"sftp": func(t *testing.T, n *node, password string) bool {
			_, err := dialSSH(t, n, "", password)
			return err == nil
		},
	}
	for earned, try := range tries {
		t.Run(earned, func(t *testing.T) {
			n := fileNode(t, func(c *Config) { c.Bans.Limit, c.Bans.Allow = 3, "" })
			for range 3 {
				if try(t, n, "wrong") {
					t.Fatal("a wrong password was right")
				}
			}
			for door, try := range tries {
				if try(t, n, n.password) {
					t.Errorf("banned by %s, and let in by %s", earned, door)
				}
			}
			if code, _, stderr := runLine(t, "", "ban", "lift", "127.0.0.1", "--data", n.conf.Data); code != 0 {
				t.Fatal(stderr)
			}
			waitFor(t, func() bool { return len(n.realm.Defender().Bans()) == 0 })
			for door, try := range tries {
				if !try(t, n, n.password) {
					t.Errorf("the ban by %s was lifted, and %s does not let in", earned, door)
				}
			}
		})
	}
}

// A witness is a Backend that notes on whose behalf it is asked.
type witness struct {
	storage.Backend
	mu  sync.Mutex // guards what follows
	ids map[string]int
}

func (w *witness) note(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[storage.TransID(ctx)]++
}

func (w *witness) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	w.note(ctx)
	return w.Backend.Stat(ctx, p)
}

func (w *witness) Make(ctx context.Context, p storage.Path, m storage.Meta) (bool, error) {
	w.note(ctx)
	return w.Backend.Make(ctx, p, m)
}

// What a session asks of the store carries its transaction id.
func TestSessionsCarryTheirTransactionID(t *testing.T) {
	n := fileNode(t, nil)
	w := &witness{Backend: memory.New(), ids: map[string]int{}}
	guard := auth.NewGuard(w)
	login := &fileLogin{realm: n.realm, guard: guard, store: storage.New(guard), keep: time.Hour}
	byFTP, err := login.ftpPassword(t.Context(), ftp.Attempt{ID: "tx-ftp", User: n.user}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	bySFTP, err := login.sftpPassword(t.Context(), sftp.Attempt{ID: "tx-sftp", User: n.user}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	if err := byFTP.Fs.Mkdir("/box", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := bySFTP.Fs.Create("/box/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("x"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ids["tx-ftp"] == 0 || w.ids["tx-sftp"] == 0 || w.ids[""] != 0 {
		t.Errorf("the backend was asked on behalf of %v", w.ids)
	}
}

// The lines of a session, and of what is done in it, are found by one id.
func TestTransactionIDsInTheLog(t *testing.T) {
	var mu sync.Mutex
	var said bytes.Buffer
	l := &Loaded{Config: Defaults(), Sources: map[string]string{}}
	l.Data, l.Disk.Ballast = t.TempDir()+"/data", 0
	l.Gateway.Listen, l.FTP.Listen, l.SFTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	n, err := start(t.Context(), l, slog.New(slog.NewJSONHandler(locked{&mu, &said}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c := talkFTP(t, n, "")
	c.login(n)
	c.say(257, "MKD /box")
	c.upload(fmt.Sprint("127.0.0.1:", c.epsv()), "/box/by-ftp", "x")
	c.say(221, "QUIT")
	viaSFTP{dialSFTP(t, n)}.put(t, "/box/by-sftp", []byte("x"), time.Now())
	if err := n.close(); err != nil {
		t.Fatal(err)
	}
	logins, puts := map[string]string{}, map[string]string{}
	for line := range strings.Lines(said.String()) {
		var e struct{ Msg, Txid, Door, Verb, Outcome string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(e.Msg, ": login") && e.Outcome == "ok":
			logins[e.Door] = e.Txid
		case strings.HasSuffix(e.Msg, ": operation") && e.Verb == "put":
			puts[e.Door] = e.Txid
		}
	}
	for _, door := range []string{"ftp", "sftp"} {
		if !strings.HasPrefix(logins[door], "tx") || !strings.HasPrefix(puts[door], logins[door]+"-") {
			t.Errorf("by %s the login has the id %q and the upload %q", door, logins[door], puts[door])
		}
	}
}

// locked is a Writer for many.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// waitFor waits for what a running server hears of by its database, at which it
// looks every 250 ms.
func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !f() {
		select {
		case <-deadline:
			t.Fatal("it never happened")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
