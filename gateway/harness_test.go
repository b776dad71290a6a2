package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

func TestMain(m *testing.M) {
	// A server that answered before it had read a body waits half a second
	// before it closes the connection, and ends by itself then.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// people is an Authenticator of a few users whose tokens are "AUTH_tk" and the
// name.
type people struct{ auth.Authenticator }

var known = map[string]auth.Identity{
	"ann":     {User: "ann:boss", Account: "ann", Role: auth.RoleAdmin},
	"clerk":   {User: "ann:clerk", Account: "ann", Role: auth.RoleUser},
	"bob":     {User: "bob:boss", Account: "bob", Role: auth.RoleAdmin},
	"root":    {User: "root:root", Account: "root", Role: auth.RoleReseller},
	"service": {User: "glance:glance", Account: "glance", Role: auth.RoleService},
	"auditor": {User: "root:auditor", Account: "root", Role: auth.RoleResellerReader},
}

func (people) Verify(_ context.Context, secret string) (auth.Identity, auth.Token, error) {
	name, ok := strings.CutPrefix(secret, "AUTH_tk")
	if name == "banned" {
		return auth.Identity{}, auth.Token{}, auth.ErrBanned
	}
	if id, found := known[name]; ok && found {
		return id, auth.Token{}, nil
	}
	return auth.Identity{}, auth.Token{}, fs.ErrPermission
}

func (people) Password(context.Context, auth.Attempt, string) (auth.Identity, error) {
	return auth.Identity{}, fs.ErrPermission
}

func (people) PublicKey(context.Context, auth.Attempt, ssh.PublicKey) (auth.Identity, error) {
	return auth.Identity{}, fs.ErrPermission
}

// A lab is a gateway over a backend in memory, as a client sees it.
type lab struct {
	t     testing.TB
	g     http.Handler
	store *storage.Store
	log   *journal
}

// journal keeps what was logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func newLab(t testing.TB) *lab { return newLabOver(t, memory.New()) }

func newLabOver(t testing.TB, b storage.Backend, change ...func(*Config)) *lab {
	guard := auth.NewGuard(b)
	l := &lab{t: t, store: storage.New(guard), log: new(journal)}
	guard.Gone = l.store.Gone
	c := Config{Store: l.store, Auth: people{}, Owner: guard.Owner, Log: slog.New(slog.NewTextHandler(l.log, nil))}
	for _, f := range change {
		f(&c)
	}
	l.g = New(c)
	return l
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request as a user ("" for a stranger), with headers as
// "Name: value".
func (l *lab) ask(who, method, target, body string, headers ...string) answer {
	l.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == "PUT" || body != "" {
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	if who != "" {
		r.Header.Set("X-Auth-Token", "AUTH_tk"+who)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	w := httptest.NewRecorder()
	l.g.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

// must is ask as ann, for requests that make what a test is about.
func (l *lab) must(status int, method, target, body string, headers ...string) answer {
	l.t.Helper()
	a := l.ask("ann", method, target, body, headers...)
	if a.status != status {
		l.t.Fatalf("%s %s = %d %q, want %d", method, target, a.status, a.body, status)
	}
	return a
}

// serve has the gateway listen, and returns its address.
func (l *lab) serve() string {
	l.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	s := Server(l.g, nil)
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ln) })
	l.t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// wire sends bytes over a connection of its own and returns the first answer.
// The connection stays open until the test ends.
func (l *lab) wire(addr, request string) (*http.Response, net.Conn, *bufio.Reader) {
	l.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		l.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		l.t.Fatalf("no answer to %q: %v", request, err)
	}
	return res, conn, r
}

const bareNotFound = "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>"

// newOwner is a context that acts for the admin of an account.
func newOwner(name string) context.Context {
	return auth.NewContext(context.Background(), known[name])
}
