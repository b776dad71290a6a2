package ftp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/afero"
	"go.uber.org/goleak"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser     = "ann.tester"
	testPassword = "correct horse"
)

// A bench is a server under test and what it said.
type bench struct {
	*Server
	addr string

	mu  sync.Mutex
	log bytes.Buffer
	ops []Operation
}

func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) operations() []Operation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Operation(nil), b.ops...)
}

// start serves fsys until the test ends.
func start(t testing.TB, fsys afero.Fs, configure ...func(*Server)) *bench {
	t.Helper()
	return startOn(t, "127.0.0.1:0", fsys, configure...)
}

func startOn(t testing.TB, address string, fsys afero.Fs, configure ...func(*Server)) *bench {
	t.Helper()
	b := &bench{}
	b.Server = &Server{
		Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Password: func(_ context.Context, a Attempt, password string) (Login, error) {
			if a.User != testUser || password != testPassword {
				return Login{}, errors.New("wrong name or password")
			}
			return Login{Fs: fsys}, nil
		},
		Hooks: Hooks{Operation: func(op Operation) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ops = append(b.ops, op)
		}},
	}
	for _, f := range configure {
		f(b.Server)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	b.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve = %v, want %v", err, ErrServerClosed)
		}
		if strings.Contains(b.logged(), "ftp: panic") && !strings.Contains(b.logged(), "panic=bang") {
			t.Errorf("something has panicked:\n%s", b.logged())
		}
	})
	return b
}

// memFs is a filesystem in memory with a directory /c.
func memFs(t testing.TB) afero.Fs {
	t.Helper()
	fsys := afero.NewMemMapFs()
	if err := fsys.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	return fsys
}

// A house is Memstore's own filesystem, over a store in memory, with a container c.
type house struct {
	store *storage.Store
	t     testing.TB
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{storage.New(memory.New()), t}
	if err := h.session().Mkdir("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) session() *vfs.FS {
	return vfs.New(context.Background(), h.store, "AUTH_ann", vfs.Options{Owner: "ann"})
}

// login gives each connection a session of the house's.
func (h *house) login(s *Server) {
	s.Password = func(ctx context.Context, a Attempt, password string) (Login, error) {
		if a.User != testUser || password != testPassword {
			return Login{}, errors.New("wrong name or password")
		}
		return Login{Fs: vfs.New(ctx, h.store, "AUTH_ann", vfs.Options{Owner: "ann"}), User: "ann:tester"}, nil
	}
}

// A client is a control connection that a test speaks over.
type client struct {
	t    testing.TB
	conn net.Conn
	*textproto.Reader
	private *tls.Config
}

func (b *bench) dial(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn}
	c.over(conn)
	t.Cleanup(func() { conn.Close() })
	return c
}

func (c *client) over(conn net.Conn) {
	c.conn = conn
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	c.Reader = textproto.NewReader(bufio.NewReader(conn))
}

// login returns a client that has logged in.
func (b *bench) login(t testing.TB) *client {
	t.Helper()
	c := b.dial(t)
	c.want("", 220)
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
	return c
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
}

// want sends a command, unless it is empty, and checks the reply's code.
func (c *client) want(line string, code int) string {
	c.t.Helper()
	if line != "" {
		c.send(line)
	}
	got, text, err := c.ReadResponse(code)
	if err != nil {
		c.t.Fatalf("%s: %d %q, %v; want %d", line, got, text, err, code)
	}
	return text
}

// ended checks that the server closes the connection.
func (c *client) ended() {
	c.t.Helper()
	rest, err := io.ReadAll(c.R)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("the connection does not end: %v, after %q", err, rest)
	}
}

// data announces a data connection by EPSV and makes it.
func (c *client) data() net.Conn {
	c.t.Helper()
	conn := c.connect(c.announce())
	if c.private != nil {
		return tls.Client(conn, c.private)
	}
	return conn
}

// announce is where EPSV says that data connections go.
func (c *client) announce() string {
	c.t.Helper()
	text := c.want("EPSV", 229)
	_, text, _ = strings.Cut(text, "(|||")
	port, _, _ := strings.Cut(text, "|")
	host, _, _ := net.SplitHostPort(c.conn.RemoteAddr().String())
	return net.JoinHostPort(host, port)
}

func (c *client) connect(to string) net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", to)
	if err != nil {
		c.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// get makes a download by a command, and checks the last reply.
func (c *client) get(line string, code int) string {
	c.t.Helper()
	d := c.data()
	defer d.Close()
	c.want(line, 150)
	got, err := io.ReadAll(d)
	if err != nil && code < 400 {
		c.t.Fatalf("%s: %v", line, err)
	}
	c.want("", code)
	return string(got)
}

// put makes an upload by a command.
func (c *client) put(line, content string, code int) {
	c.t.Helper()
	d := c.data()
	c.want(line, 150)
	if _, err := io.WriteString(d, content); err != nil && code < 400 {
		c.t.Fatalf("%s: %v", line, err)
	}
	d.Close()
	c.want("", code)
}

// cut makes an upload that ends in a connection that is reset.
func (c *client) cut(line, content string) {
	c.t.Helper()
	d := c.data()
	c.want(line, 150)
	if _, err := io.WriteString(d, content); err != nil {
		c.t.Fatal(err)
	}
	c.wantMoved(int64(len(content)))
	d.(*net.TCPConn).SetLinger(0)
	d.Close()
	c.want("", 426)
}

// wantMoved waits until the server has taken n bytes.
func (c *client) wantMoved(n int64) {
	c.t.Helper()
	waitUntil(c.t, func() bool { return strings.Contains(c.want("STAT", 211), ": "+strconv.FormatInt(n, 10)+" bytes") })
}

func write(t testing.TB, fsys afero.Fs, name, content string) {
	t.Helper()
	if err := afero.WriteFile(fsys, name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t testing.TB, fsys afero.Fs, name, want string) {
	t.Helper()
	got, err := afero.ReadFile(fsys, name)
	if err != nil || string(got) != want {
		t.Errorf("%s = %s, %v; want %s", name, brief(string(got)), err, brief(want))
	}
}

func wantAbsent(t testing.TB, fsys afero.Fs, name string) {
	t.Helper()
	if _, err := fsys.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", name, err)
	}
}

func brief(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q… (%d bytes)", s[:100], len(s))
	}
	return strconv.Quote(s)
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
