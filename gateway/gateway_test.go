package gateway

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// A step is one request of a script, and what is to come back. Zero fields are
// not looked at.
type step struct {
	who     string // "-" for a stranger, "" for ann
	method  string
	target  string
	body    string
	headers []string

	status int
	text   string   // the whole body, "-" for none
	want   []string // headers, "Name: value"; "Name:" for one that must be absent
}

func (l *lab) play(steps []step) {
	l.t.Helper()
	for i, s := range steps {
		switch s.who {
		case "":
			s.who = "ann"
		case "-":
			s.who = ""
		}
		a := l.ask(s.who, s.method, s.target, s.body, s.headers...)
		if s.status != 0 && a.status != s.status {
			l.t.Errorf("step %d: %s %s %q = %d %q, want %d", i, s.method, s.target, s.headers, a.status, a.body, s.status)
		}
		if s.text == "-" && a.body != "" || s.text != "" && s.text != "-" && a.body != s.text {
			l.t.Errorf("step %d: %s %s %q: body %q, want %q", i, s.method, s.target, s.headers, a.body, s.text)
		}
		for _, line := range s.want {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			if got := strings.Join(a.header[http.CanonicalHeaderKey(name)], "|"); got != value {
				l.t.Errorf("step %d: %s %s %q: header %s is %q, want %q", i, s.method, s.target, s.headers, name, got, value)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	newLab(t).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c", status: 201, want: []string{"Content-Type: text/html; charset=UTF-8", "Content-Length: 0"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/", status: 202, text: bare(202)},
		{method: "HEAD", target: "/v1.0/AUTH_ann/c", status: 204},
		{method: "GET", target: "/", status: 300}, // the versions of Keystone there are
		{method: "GET", target: "//x", status: 404},
		{method: "GET", target: "/v1", status: 412, text: "Bad URL"},
		{method: "GET", target: "/v1/", status: 412, text: "Bad URL"},
		{method: "GET", target: "/v1//c", status: 412, text: "Bad URL"},
		{method: "GET", target: "/nothing", status: 412, text: "Bad URL"},
		{method: "GET", target: "/v2/AUTH_ann", status: 400, text: bare(400)},
		{method: "PUT", target: "/v1/AUTH_ann//o", status: 412, text: "Bad URL"},
		{method: "PUT", target: "/v1/AUTH_ann/c%00", status: 412, text: "Invalid UTF8 or contains NULL"},
		{method: "PUT", target: "/v1/AUTH_ann/c%ff", status: 412, text: "Invalid UTF8 or contains NULL"},
		{method: "GET", target: "/nothing%ff", status: 412, text: "Invalid UTF8 or contains NULL"},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c%ff", status: 401, want: []string{`Www-Authenticate: Swift realm="AUTH_ann"`}},
		{method: "PUT", target: "/v1/AUTH_ann/a%2Fb", status: 404, text: bareNotFound},
		{method: "BREW", target: "/v1/AUTH_ann/c/o", status: 405, text: bare(405), want: []string{"Allow: " + allowed}},
		{method: "COPY", target: "/v1/AUTH_ann/c", status: 405},
		{method: "GET", target: "/v1/AUTH_ann/c/" + strings.Repeat("x", 8200), status: 414},
		{method: "GET", target: "/v1/AUTH_ann/" + strings.Repeat("x", 257), status: 404},
		{method: "PUT", target: "/v1/AUTH_ann/" + strings.Repeat("x", 256), status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/" + strings.Repeat("x", 257), status: 400, text: "Container name length of 257 longer than 256"},
		{method: "PUT", target: "/v1/AUTH_ann/c/" + strings.Repeat("x", 1024), status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/" + strings.Repeat("x", 1025), status: 400, text: "Object name length of 1025 longer than 1024", want: []string{"Content-Type: text/plain"}},
		{who: "root", method: "GET", target: "/v1/AUTH_" + strings.Repeat("x", 252), status: 400, text: "Account name length of 257 longer than 256"},
		{who: "root", method: "PUT", target: "/v1/AUTH_" + strings.Repeat("x", 252), status: 400},
	})
}

// Names of objects are any bytes of UTF-8, and are what they are.
func TestNames(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	names := map[string]string{ // on the wire, and in the Store
		"a%20b":        "a b",
		"a//b":         "a//b",
		"..":           "..",
		"../../x":      "../../x",
		".":            ".",
		"/lead":        "/lead",
		"trail/":       "trail/",
		"%25":          "%",
		"a%252Fb":      "a%2Fb",
		"%C3%A9":       "é",
		"new%0Aline":   "new\nline",
		"q%3Fx%23y":    "q?x#y",
		"a+b":          "a+b",
		"%F0%9F%98%80": "😀",
	}
	for wire, name := range names {
		l.must(201, "PUT", "/v1/AUTH_ann/c/"+wire, name)
		if a := l.must(200, "GET", "/v1/AUTH_ann/c/"+wire, ""); a.body != name {
			t.Errorf("GET %s = %q, want %q", wire, a.body, name)
		}
	}
	list := l.must(200, "GET", "/v1/AUTH_ann/c", "")
	for wire, name := range names {
		if !strings.Contains("\n"+list.body, "\n"+name+"\n") {
			t.Errorf("%s is not listed as %q", wire, name)
		}
	}
}

func TestTransactionIDs(t *testing.T) {
	l := newLabOver(t, nil, func(c *Config) { c.TransIDSuffix = "-ldn" })
	form := regexp.MustCompile(`^tx[0-9a-f]{21}-[0-9a-f]{10}-ldn(-my%20id/7)?$`)
	seen := map[string]bool{}
	for range 100 {
		for _, extra := range []string{"", "my id/7"} {
			a := l.ask("", "GET", "/healthcheck", "", "X-Trans-Id-Extra: "+extra)
			id := a.header.Get("X-Trans-Id")
			if !form.MatchString(id) || strings.HasSuffix(id, "my%20id/7") != (extra != "") {
				t.Fatalf("transaction id %q of extra %q", id, extra)
			}
			if a.header.Get("X-Openstack-Request-Id") != id || seen[id] {
				t.Fatalf("request id %q of %q, seen %v", a.header.Get("X-Openstack-Request-Id"), id, seen[id])
			}
			seen[id] = true
		}
	}
	if a := l.ask("", "GET", "/healthcheck", "", "X-Trans-Id-Extra: "+strings.Repeat("x", 99)); !strings.HasSuffix(a.header.Get("X-Trans-Id"), "-ldn-"+strings.Repeat("x", 32)) {
		t.Errorf("a long extra gives %q", a.header.Get("X-Trans-Id"))
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("AUTH_ann/c/o")
	f.Add("AUTH_ann//")
	f.Add("a/b//c/../\x00")
	f.Add("a/\xff")
	f.Fuzz(func(t *testing.T, path string) {
		p, err := split(path)
		if err != nil {
			return
		}
		if p.Account == "" || strings.Contains(p.Account, "/") || strings.Contains(p.Container, "/") || p.Container == "" && p.Object != "" {
			t.Fatalf("split(%q) = %#v", path, p)
		}
		if !utf8.ValidString(p.String()) {
			t.Fatalf("split(%q) = %#v", path, p)
		}
		joined := strings.TrimRight(p.Account+"/"+p.Container+"/"+p.Object, "/")
		if joined != strings.TrimRight(path, "/") {
			t.Fatalf("split(%q) = %#v, which is %q", path, p, joined)
		}
		if storage.CheckName(p) != nil && len(path) < 256 {
			t.Fatalf("split(%q) = %#v: %v", path, p, storage.CheckName(p))
		}
	})
}
