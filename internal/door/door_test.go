package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An echo is a Visitor who logs in as the line he sends, and says what came of
// it.
type echo struct {
	*Visit
	left sync.Once
	gone chan string
}

func (e *echo) Serve() {
	defer e.HangUp()
	if err := e.Arrive(); err != nil {
		return
	}
	defer e.Leave()
	var name string
	fmt.Fscanln(e.Conn, &name)
	if err := e.Admit(name); err != nil {
		fmt.Fprintln(e.Conn, err)
		return
	}
	e.Enter(name, "echo")
	fmt.Fprintln(e.Conn, "hello", name, "from", e.Remote)
	why := <-e.gone
	fmt.Fprintln(e.Conn, why)
}

func (e *echo) LeaveWhenQuiet() { e.Cut("quiet") }
func (e *echo) Cut(why string)  { e.left.Do(func() { e.gone <- why; close(e.gone) }) }

// open is a door on a port of this machine, until the test ends.
func open(t *testing.T, r *Rules) (k *Keeper, addr string) {
	t.Helper()
	r.Name, r.Log = "echo", slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k = new(Keeper)
	served := make(chan error, 1)
	go func() {
		served <- k.Serve(l, r, func(v *Visit) Visitor { return &echo{Visit: v, gone: make(chan string, 1)} })
	}()
	t.Cleanup(func() {
		k.Shutdown(t.Context())
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve = %v, want %v", err, ErrClosed)
		}
	})
	return k, l.Addr().String()
}

// come connects, says something and returns what the first line of the answer
// is, "" if there is none.
func come(t *testing.T, addr, say string) (answer string, conn net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, say)
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := conn.Read(b); err != nil || b[0] == '\n' {
			return string(line), conn
		}
	}
}

func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		rules  Rules
		second string // who comes second
		answer string
	}{
		"in all":      {Rules{MaxConns: 1}, "bob", ""},
		"per address": {Rules{MaxConnsPerAddress: 1}, "bob", errFullAddress.text},
		"per user":    {Rules{MaxConnsPerUser: 1}, "ann", errFullUser.text},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			connects, disconnects := 0, 0
			count := func(n *int) func(net.Addr) {
				return func(net.Addr) { mu.Lock(); defer mu.Unlock(); *n++ }
			}
			tt.rules.Connect, tt.rules.Disconnect = count(&connects), count(&disconnects)
			k, addr := open(t, &tt.rules)
			if got, _ := come(t, addr, "ann\n"); !strings.HasPrefix(got, "hello ann") {
				t.Fatalf("the first is told %q", got)
			}
			if got, _ := come(t, addr, tt.second+"\n"); got != tt.answer {
				t.Errorf("the second is told %q, want %q", got, tt.answer)
			}
			if n := k.Disconnect(func(s Session) bool { return s.User == "ann" }); n != 1 {
				t.Errorf("Disconnect = %d, want 1", n)
			}
			if err := k.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if entering, inside := k.Counts(); entering != 0 || inside != 0 {
				t.Errorf("counted are still %d and %d", entering, inside)
			}
			if connects != disconnects || connects == 0 {
				t.Errorf("%d connects and %d disconnects were told", connects, disconnects)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	k, addr := open(t, &Rules{NewID: func() string { return "tx1" }})
	_, conn := come(t, addr, "ann\n")
	list := k.Sessions()
	if len(list) != 1 || list[0].User != "ann" || list[0].ID != "tx1" || list[0].Remote.String() != conn.LocalAddr().String() {
		t.Errorf("Sessions = %+v", list)
	}
	if n := k.Disconnect(func(s Session) bool { return s.User == "bob" }); n != 0 {
		t.Errorf("%d were cut, of whom there are none", n)
	}
	if err := k.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(conn); string(rest) != "quiet\n" {
		t.Errorf("at the end one is told %q", rest)
	}
}

func TestAdmit(t *testing.T) {
	_, addr := open(t, &Rules{Admit: func(net.Addr) error { return errors.New("banned") }})
	if got, _ := come(t, addr, "ann\n"); got != "" {
		t.Errorf("one who may not come is told %q", got)
	}
}

func TestShutdownCuts(t *testing.T) {
	k, addr := open(t, &Rules{})
	conn, err := net.Dial("tcp", addr) // says nothing, and so never hears that he is to leave
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go func() {
		// Serve of the echo reads until its client has gone.
		for !k.Closing() {
		}
		conn.Close()
	}()
	if err := k.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v", err)
	}
}

// Only the proxies that are named are believed, and they must say for whom they
// come.
func TestProxies(t *testing.T) {
	const v1 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 22\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc0\x00\x02\x08" + "\xc0\x00\x02\x01" + "\x12\x67\x00\x16"
	named := Rules{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	others := Rules{Proxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	for name, tt := range map[string]struct {
		rules     Rules
		say, want string
	}{
		"version 1":               {named, v1 + "ann\n", "hello ann from 192.0.2.7:4711"},
		"version 2":               {named, v2 + "ann\n", "hello ann from 192.0.2.8:4711"},
		"no header":               {named, "ann\n", ""},
		"nonsense":                {named, "PROXY TCP4 nobody\r\nann\n", ""},
		"a header of anybody's":   {others, v1 + "ann\n", "hello PROXY from 127."},
		"no header, but no proxy": {others, "ann\n", "hello ann from 127."},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := open(t, &tt.rules)
			if got, _ := come(t, addr, tt.say); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// The limits and bans of who comes by a proxy are those of the client, not of
// the proxy.
func TestProxiedClientsAreApart(t *testing.T) {
	var asked sync.Map
	_, addr := open(t, &Rules{
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, MaxConnsPerAddress: 1,
		Admit: func(a net.Addr) error { asked.Store(AddrOf(a).String(), true); return nil },
	})
	for _, from := range []string{"192.0.2.7", "192.0.2.8"} {
		if got, _ := come(t, addr, "PROXY TCP4 "+from+" 192.0.2.1 4711 22\r\nann\n"); !strings.HasPrefix(got, "hello ann from "+from) {
			t.Errorf("from %s one is told %q", from, got)
		}
		if _, ok := asked.Load(from); !ok {
			t.Errorf("Admit was not asked about %s", from)
		}
	}
	if got, _ := come(t, addr, "PROXY TCP4 192.0.2.7 192.0.2.1 4712 22\r\nann\n"); got != errFullAddress.text {
		t.Errorf("the second from 192.0.2.7 is told %q", got)
	}
}

func TestGateEvictsTheLeastDeserving(t *testing.T) {
	began := time.Now()
	gone := make(map[*place]bool)
	at := func(ip string, s Stage) *place {
		began = began.Add(time.Millisecond)
		p := &place{source: SourceOf(&net.TCPAddr{IP: net.ParseIP(ip)}), stage: s, began: began}
		p.cut = func(string) { gone[p] = true }
		return p
	}
	var g gate
	judging, asking := at("10.0.0.1", Judging), at("10.0.0.1", Asking)
	lone, first, second := at("10.0.0.2", Greeting), at("10.0.0.3", Greeting), at("10.0.0.3", Greeting)
	for _, p := range []*place{judging, asking, lone, first, second} {
		if !g.enter(p, 5, 100) {
			t.Fatal("no place")
		}
	}
	for i, want := range []*place{first, lone, second, asking} {
		newcomer := at("10.0.1.1", Greeting)
		if !g.enter(newcomer, 5, 100) {
			t.Fatalf("newcomer %d was turned away", i)
		}
		g.reach(newcomer, Judging)
		if !gone[want] {
			t.Errorf("eviction %d took another one", i)
		}
	}
	if g.enter(at("10.0.1.2", Greeting), 5, 100) {
		t.Error("there was a place although everybody is being judged")
	}
	if gone[judging] {
		t.Error("one that was being judged had to go")
	}
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:21": "192.0.2.7/32", "[::ffff:192.0.2.7]:21": "192.0.2.7/32", "[2001:db8:1:2:3::4]:999": "2001:db8:1:2::/64",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := SourceOf(tcp).String(); got != want {
			t.Errorf("SourceOf(%s) = %s, want %s", addr, got, want)
		}
	}
	if got := SourceOf(&net.UnixAddr{Name: "x"}); got.IsValid() {
		t.Errorf("SourceOf a socket = %v", got)
	}
}

// Operations of one visit are told apart by their ids, and carry what failed
// beneath.
func TestFinish(t *testing.T) {
	var told []Operation
	var said strings.Builder
	known := errors.New("known")
	r := &Rules{
		Name: "echo", Log: slog.New(slog.NewTextHandler(&said, nil)), NewID: func() string { return "tx" },
		Operation: func(op Operation) { told = append(told, op) },
		Known:     func(err error) bool { return errors.Is(err, known) },
	}
	nc, other := net.Pipe()
	defer other.Close()
	defer nc.Close()
	v := new(Keeper).Visit(nc, r)
	if err := v.Arrive(); err != nil {
		t.Fatal(err)
	}
	defer v.Leave()
	v.Enter("ann", "")
	for _, err := range []error{nil, known, quiet{errors.New("disk on fire")}} {
		v.Finish(t.Context(), Operation{Protocol: "echo", Verb: "put", Path: "/c/o", Bytes: 5, Began: time.Now(), Err: err})
	}
	if len(told) != 3 || told[0].ID != "tx-1" || told[2].ID != "tx-3" || told[1].User != "ann" || !errors.Is(told[1].Err, known) {
		t.Errorf("told were %+v", told)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	for i, want := range []string{
		`level=INFO msg="echo: operation" txid=tx-1 user=ann`, `level=INFO msg="echo: operation" txid=tx-2`, `level=ERROR msg="echo: operation" txid=tx-3`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d has no %q:\n%s", i, want, &said)
		}
	}
	if !strings.Contains(lines[2], "disk on fire") || !strings.Contains(lines[0], "outcome=ok") || !strings.Contains(lines[1], "outcome=failed") {
		t.Errorf("the log is\n%s", &said)
	}
}

// quiet says nothing of what is beneath it.
type quiet struct{ inner error }

func (quiet) Error() string   { return "input/output error" }
func (q quiet) Unwrap() error { return q.inner }
