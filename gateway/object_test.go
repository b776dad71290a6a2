package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

const helloTag = "5d41402abc4b2a76b9719d911017c592" // the MD5 of "hello"

func TestObject(t *testing.T) {
	newLab(t).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", status: 404, text: bareNotFound},
		{method: "PUT", target: "/v1/AUTH_ann/c", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", status: 201, text: "-",
			headers: []string{"Content-Type: text/plain; charset=utf-8", "X-Object-Meta-foo-BAR: baz", "Cache-Control: no-cache", "Content-Encoding: x", "Content-Disposition: inline", "Content-Language: en", "Expires: never", "X-Robots-Tag: none", "X-Unknown: 1"},
			want:    []string{"Etag: " + helloTag, "Content-Type: text/html; charset=UTF-8", "Content-Length: 0"}},
		{method: "GET", target: "/v1/AUTH_ann/c/o", status: 200, text: "hello",
			want: []string{"Etag: " + helloTag, "Content-Type: text/plain; charset=utf-8", "X-Object-Meta-Foo-Bar: baz", "Content-Length: 5", "Accept-Ranges: bytes",
				"Cache-Control: no-cache", "Content-Encoding: x", "Content-Disposition: inline", "Content-Language: en", "Expires: never", "X-Robots-Tag: none", "X-Unknown:"}},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", status: 200, text: "-", headers: []string{"Range: bytes=1-2"}, want: []string{"Etag: " + helloTag, "Content-Length: 5", "Content-Range:"}},
		{method: "POST", target: "/v1/AUTH_ann/c/o", status: 202, text: bare(202), headers: []string{"X-Object-Meta-New: 1", "X-Object-Meta-Empty:", "Content-Language: fr"}},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", want: []string{"X-Object-Meta-New: 1", "X-Object-Meta-Foo-Bar:", "Content-Language: fr", "Cache-Control:", "Content-Type: text/plain; charset=utf-8", "Etag: " + helloTag}},
		{method: "POST", target: "/v1/AUTH_ann/c/o", status: 202, headers: []string{"Content-Type: a/b"}},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", want: []string{"X-Object-Meta-New:", "Content-Type: a/b"}},
		{method: "POST", target: "/v1/AUTH_ann/c/none", status: 404},
		{method: "PUT", target: "/v1/AUTH_ann/c/o.html", body: "", status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o.html", want: []string{"Content-Type: text/html"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/o.html", body: "", status: 201, headers: []string{"Content-Type: a/b", "X-Detect-Content-Type: yes"}},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o.html", want: []string{"Content-Type: text/html"}},
		{method: "DELETE", target: "/v1/AUTH_ann/c/o", status: 204, text: "-", headers: []string{"If-Match: other"}},
		{method: "DELETE", target: "/v1/AUTH_ann/c/o", status: 404, text: bareNotFound},
		{method: "GET", target: "/v1/AUTH_ann/c/o", status: 404, text: bareNotFound},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", status: 404, text: "-"},
	})
}

func TestUploadRefused(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.MaxObjectSize = 100 })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	put := func(status int, text string, headers ...string) step {
		return step{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", headers: headers, status: status, text: text}
	}
	var many []string
	for i := range 91 {
		many = append(many, fmt.Sprintf("X-Object-Meta-%d: 1", i))
	}
	var wide []string
	for i := range 17 {
		wide = append(wide, fmt.Sprintf("X-Object-Meta-%d: %s", i, strings.Repeat("x", 250)))
	}
	l.play([]step{
		put(422, bare(422), "Etag: abc"),
		put(422, bare(422), `Etag: "`+strings.Replace(helloTag, "5", "6", 1)+`"`),
		put(400, "If-None-Match only supports *", "If-None-Match: abc"),
		put(400, "X-Delete-At in past", "X-Delete-At: 5"),
		put(400, "Non-integer X-Delete-At", "X-Delete-At: q"),
		put(400, "X-Delete-After in past", "X-Delete-After: 0"),
		put(400, "X-Delete-After in past", "X-Delete-After: -9223372036854775808"),
		put(400, "Non-integer X-Delete-After", "X-Delete-After: q"),
		put(400, "Metadata name cannot be empty", "X-Object-Meta-: 1"),
		put(400, "Metadata name too long: x-object-meta-X"+strings.Repeat("x", 128), "X-Object-Meta-"+strings.Repeat("x", 129)+": 1"),
		put(400, "Metadata value longer than 256: x-object-meta-A", "X-Object-Meta-A: "+strings.Repeat("x", 257)),
		put(400, "Too many metadata items; max 90", many...),
		put(400, "Total metadata too large; max 4096", wide...),
		put(400, "Invalid Content-Type", "Content-Type: a/\xff"),
		put(400, "Invalid Content-Type, swift_* is not a valid parameter name.", "Content-Type: a/b; swift_bytes=3"),
		put(400, "X-Object-Manifest must be in the format container/prefix", "X-Object-Manifest: c"),
		put(400, "Symlink requests require a zero byte body", "X-Symlink-Target: c/o2"),
		{method: "PUT", target: "/v1/AUTH_ann/c/o?multipart-manifest=put", body: "{}", status: 400, text: "Manifest must be a list.\n"},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: strings.Repeat("x", 101), status: 413, text: "Your request is too large."},
		{method: "GET", target: "/v1/AUTH_ann/c/o", status: 404}, // nothing came of any of it
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Object-Count: 0", "X-Container-Bytes-Used: 0"}},
		{method: "PUT", target: "/v1/AUTH_ann/none/o", headers: []string{"X-Delete-At: q"}, status: 404},
		put(201, "-", `Etag: "`+strings.ToUpper(helloTag)+`"`),
		put(412, bare(412), "If-None-Match: *"),
		{method: "PUT", target: "/v1/AUTH_ann/c/o2", body: "x", headers: []string{"If-None-Match: *"}, status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/o3", body: strings.Repeat("x", 100), status: 201},
		{method: "POST", target: "/v1/AUTH_ann/c/o", headers: []string{"X-Delete-At: 1"}, status: 400, text: "X-Delete-At in past"},
	})
}

func TestExpiry(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x", "X-Delete-After: 1000")
	at, _ := strconv.ParseInt(l.must(200, "HEAD", "/v1/AUTH_ann/c/o", "").header.Get("X-Delete-At"), 10, 64)
	if in := time.Until(time.Unix(at, 0)); in < 990*time.Second || in > 1001*time.Second {
		t.Errorf("X-Delete-After: 1000 expires in %v", in)
	}
	l.play([]step{
		{method: "POST", target: "/v1/AUTH_ann/c/o", headers: []string{"X-Delete-At: 99999999999999"}, status: 202},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", want: []string{"X-Delete-At: 9999999999"}},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/o2"}, status: 201, want: []string{"X-Delete-At: 9999999999"}},
		{method: "POST", target: "/v1/AUTH_ann/c/o", status: 202},
		{method: "HEAD", target: "/v1/AUTH_ann/c/o", want: []string{"X-Delete-At:"}},
	})
}

func TestTimesAreRoundedUp(t *testing.T) {
	for _, c := range []struct {
		at         time.Time
		date, unix string
	}{
		{time.Unix(1795300426, 743070000), "Sat, 21 Nov 2026 22:33:47 GMT", "1795300426.74307"},
		{time.Unix(1795300426, 0), "Sat, 21 Nov 2026 22:33:46 GMT", "1795300426.00000"},
		{time.Unix(0, 10_000), "Thu, 01 Jan 1970 00:00:01 GMT", "0.00001"},
	} {
		if got := httpDate(c.at); got != c.date {
			t.Errorf("httpDate(%v) = %s, want %s", c.at, got, c.date)
		}
		if got := timestamp(c.at); got != c.unix {
			t.Errorf("timestamp(%v) = %s, want %s", c.at, got, c.unix)
		}
	}
}

// What arrives over a wire: framings that a client can get wrong.
func TestFraming(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	addr := l.serve()
	head := func(target string, headers ...string) string {
		return "PUT /v1/AUTH_ann/" + target + " HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	}
	for _, c := range []struct {
		name, request string
		status        int
		text          string
	}{
		{"length", head("c/o", "Content-Length: 5") + "hello", 201, ""},
		{"no length", head("c/x"), 411, "Missing Content-Length header."},
		{"chunks", head("c/chunks", "Transfer-Encoding: chunked") + "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 201, ""},
		{"trailer", head("c/trailer", "Transfer-Encoding: chunked") + "3\r\nhel\r\n0\r\nX-Checksum: 1\r\n\r\n", 201, ""},
		{"no chunks", head("c/nochunks", "Transfer-Encoding: chunked") + "0\r\n\r\n", 201, ""},
		{"bad chunk", head("c/x", "Transfer-Encoding: chunked") + "3\r\nhel\r\nzz\r\n", 499, bare(499)},
		{"bad length", head("c/x", "Content-Length: five"), 400, "400 Bad Request"},
		{"negative length", head("c/x", "Content-Length: -1"), 400, "400 Bad Request"},
		{"header too long", head("c/x", "X: "+strings.Repeat("x", 40<<10)), 431, "431 Request Header Fields Too Large"},
		{"too large, before it is read", head("c/x", "Content-Length: 5368709123"), 413, "Your request is too large."},
		{"expect, refused", head("none/x", "Content-Length: 5", "Expect: 100-continue"), 404, bareNotFound},
		{"expect, too large", head("c/x", "Content-Length: 5368709123", "Expect: 100-continue"), 413, "Your request is too large."},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, _, _ := l.wire(addr, c.request)
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || string(b) != c.text {
				t.Errorf("%d %q %v, want %d %q", res.StatusCode, b, err, c.status, c.text)
			}
		})
	}
	t.Run("expect, wanted", func(t *testing.T) {
		res, conn, r := l.wire(addr, head("c/expect", "Content-Length: 5", "Expect: 100-continue"))
		if res.StatusCode != 100 {
			t.Fatalf("status %d, want 100", res.StatusCode)
		}
		io.WriteString(conn, "hello")
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 201 {
			t.Errorf("then %v %v, want 201", res, err)
		}
	})
	if got := l.must(200, "GET", "/v1/AUTH_ann/c", "").body; got != "chunks\nexpect\nnochunks\no\ntrailer\n" {
		t.Errorf("stored are %q", got)
	}
}

// A connection that ends before the body does stores nothing, and what was
// there stays.
func TestCutBody(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/old", "old")
	addr := l.serve()
	for _, framing := range []string{"Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 9000000\r\n\r\n" + strings.Repeat("x", 1<<20)} {
		for _, name := range []string{"new", "old"} {
			conn := dialTCP(t, addr)
			io.WriteString(conn, "PUT /v1/AUTH_ann/c/"+name+" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n"+framing)
			conn.CloseWrite()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 499 {
				t.Errorf("the answer to a cut body is %v %v", res, err)
			}
			conn.Close()
		}
	}
	if got := l.must(200, "GET", "/v1/AUTH_ann/c", "").body; got != "old\n" {
		t.Errorf("stored are %q", got)
	}
	if got := l.must(200, "GET", "/v1/AUTH_ann/c/old", "").body; got != "old" {
		t.Errorf("old is %q", got)
	}
}

// A client that ends its sending behind a whole body gets its object and its
// answer.
func TestHalfClosed(t *testing.T) {
	wait, gone := make(chan struct{}), make(chan context.Context, 1)
	f := &storagetest.Faulty{Backend: memory.New()}
	l := newLabOver(t, f)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	f.Inject(storagetest.Fault{On: storagetest.Commit, Wait: wait})
	g := l.g
	l.g = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gone <- r.Context()
		g.ServeHTTP(w, r)
	})
	conn := dialTCP(t, l.serve())
	defer conn.Close()
	io.WriteString(conn, "PUT /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\nContent-Length: 5\r\n\r\nhello")
	conn.CloseWrite()
	<-(<-gone).Done() // the server takes the client for gone
	close(wait)
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 201 {
		t.Errorf("answer %v %v, want 201", res, err)
	}
}

// A body that stops coming is given up.
func TestIdleBody(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.BodyIdle = 50 * time.Millisecond })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	res, _, _ := l.wire(l.serve(), "PUT /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\nContent-Length: 10\r\n\r\nhello")
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d, want 408", res.StatusCode)
	}
	l.play([]step{{method: "GET", target: "/v1/AUTH_ann/c/o", status: 404}})
}

// Neither does a refusal wait for a body that does not come.
func TestIdleBodyRefused(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.BodyIdle = 50 * time.Millisecond })
	addr := l.serve()
	for _, framing := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
		res, _, r := l.wire(addr, "PUT /v1/AUTH_ann/none/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n"+framing+"\r\n\r\n")
		io.Copy(io.Discard, res.Body)
		if _, err := r.ReadByte(); res.StatusCode != 404 || err != io.EOF {
			t.Errorf("%s: status %d, then %v; want 404 and the end", framing, res.StatusCode, err)
		}
	}
}

// A chunked upload has no length to judge by, and is stopped on the way.
func TestChunkedTooLarge(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.MaxObjectSize = 10 })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	addr := l.serve()
	for size, status := range map[int]int{9: 201, 10: 201, 11: 413, 1 << 20: 413} {
		req, _ := http.NewRequest("PUT", "http://"+addr+"/v1/AUTH_ann/c/o", io.MultiReader(bytes.NewReader(make([]byte, size))))
		req.Header.Set("X-Auth-Token", "AUTH_tkann")
		req.Close = true
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			if status == 413 {
				continue // the connection may end while we still send
			}
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%d bytes in chunks: status %d, want %d", size, res.StatusCode, status)
		}
	}
	if got := len(l.must(200, "GET", "/v1/AUTH_ann/c/o", "").body); got > 10 {
		t.Errorf("stored is an object of %d bytes", got)
	}
}

// Every failure of what keeps the bytes has its status, stores nothing, and
// tells the client nothing but that.
func TestFaults(t *testing.T) {
	secret := errors.New("disk /dev/secret on fire")
	for _, c := range []struct {
		on     storagetest.Verb
		err    error
		method string
		status int
	}{
		{storagetest.Create, storage.ErrNoSpace, "PUT", 507},
		{storagetest.Write, storage.ErrNoSpace, "PUT", 507},
		{storagetest.Commit, storage.ErrNoSpace, "PUT", 507},
		{storagetest.Commit, storage.ErrUnavailable, "PUT", 503},
		{storagetest.Commit, storage.ErrQuota, "PUT", 413},
		{storagetest.Commit, storage.ErrPrecondition, "PUT", 412},
		{storagetest.Create, secret, "PUT", 500},
		{storagetest.Write, secret, "PUT", 500},
		{storagetest.Commit, secret, "PUT", 500},
		{storagetest.Open, storage.ErrDamaged, "GET", 500},
		{storagetest.Read, storage.ErrDamaged, "GET", 500},
		{storagetest.Open, secret, "GET", 500},
		{storagetest.Stat, secret, "HEAD", 500},
		{storagetest.Update, secret, "POST", 500},
		{storagetest.Remove, secret, "DELETE", 500},
		{storagetest.Remove, storage.ErrUnavailable, "DELETE", 503},
	} {
		t.Run(fmt.Sprint(c.on, " ", c.err), func(t *testing.T) {
			f := &storagetest.Faulty{Backend: memory.New()}
			l := newLabOver(t, f)
			l.must(201, "PUT", "/v1/AUTH_ann/c", "")
			l.must(201, "PUT", "/v1/AUTH_ann/c/o", "old", "X-Object-Meta-A: 1")
			f.Fail(c.on, c.err)
			a := l.ask("ann", c.method, "/v1/AUTH_ann/c/o", map[bool]string{true: "new bytes"}[c.method == "PUT"])
			if a.status != c.status || strings.Contains(a.body, "secret") || a.header.Get("Etag") != "" || a.header.Get("X-Object-Meta-A") != "" {
				t.Errorf("%s = %d %q %v, want %d", c.method, a.status, a.body, a.header, c.status)
			}
			if logged := l.log.String(); c.status == 500 && (!strings.Contains(logged, c.err.Error()) || !strings.Contains(logged, a.header.Get("X-Trans-Id"))) {
				t.Errorf("logged is %s", logged)
			}
			f.Heal()
			if got := l.must(200, "GET", "/v1/AUTH_ann/c/o", ""); got.body != "old" || got.header.Get("X-Object-Meta-A") != "1" {
				t.Errorf("afterwards the object is %q", got.body)
			}
		})
	}
}

// Where damage shows only when part of an object is on its way, the answer is
// broken off, so that nobody takes the part for the whole.
func TestDamageOnTheWay(t *testing.T) {
	f := &storagetest.Faulty{Backend: memory.New()}
	l := newLabOver(t, f)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat("x", 1<<20))
	f.Inject(storagetest.Fault{On: storagetest.Read, Skip: 500_000, Err: storage.ErrDamaged})
	res, _, _ := l.wire(l.serve(), "GET /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n\r\n")
	n, err := io.Copy(io.Discard, res.Body)
	if res.StatusCode != 200 || err == nil || n >= 1<<20 {
		t.Errorf("%d, %d bytes, %v; want the body to break off", res.StatusCode, n, err)
	}
	if !strings.Contains(l.log.String(), "damaged") {
		t.Errorf("logged is %s", l.log)
	}
}

// A verb that panics is an internal error of one request, and no more.
func TestPanic(t *testing.T) {
	l := newLab(t)
	l.g.(*gateway).Owner = nil
	a := l.ask("ann", "PUT", "/v1/AUTH_ann/c", "")
	if a.status != 500 || !strings.Contains(l.log.String(), "panic: runtime error") {
		t.Errorf("status %d, logged %s", a.status, l.log)
	}
}
