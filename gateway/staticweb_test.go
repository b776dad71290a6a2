package gateway

import (
	"strings"
	"testing"
)

// TestStaticWebIsSafe holds that names and types of objects, which anybody who
// may write chose, are shown on a page and never part of it.
func TestStaticWebIsSafe(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/site", "", "X-Container-Read: .r:*,.rlistings", "X-Container-Meta-Web-Listings: on",
		"X-Container-Meta-Web-Listings-Label: <script>label</script>", `X-Container-Meta-Web-Listings-Css: "><script>css</script>`)
	for _, name := range []string{"%3Cscript%3E", "%22onload=%22x", "javascript:alert(1)", "/evil.example/x", "d/%22%3E%3Cscript%3E"} {
		l.must(201, "PUT", "/v1/AUTH_ann/site/"+name, "x", `Content-Type: text/"><script>`)
	}
	for _, target := range []string{"/v1/AUTH_ann/site/", "/v1/AUTH_ann/site/d/"} {
		a := l.ask("", "GET", target, "")
		if a.status != 200 || !strings.Contains(a.body, "&lt;script&gt;") {
			t.Fatalf("%s = %d %s", target, a.status, a.body)
		}
		for _, bad := range []string{"<script>", `"onload`, `href="javascript:`, `href="//`} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s holds %q:\n%s", target, bad, a.body)
			}
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", target)
		}
	}
	l.must(204, "POST", "/v1/AUTH_ann/site", "", "X-Container-Meta-Web-Listings: off", "X-Container-Meta-Web-Index: <script>")
	if a := l.ask("", "GET", "/v1/AUTH_ann/site/d/", ""); a.status != 404 || strings.Contains(a.body, "<script>") {
		t.Errorf("a list that is off = %d %s", a.status, a.body)
	}
}

// A site tells strangers nothing that they could not have read otherwise.
func TestStaticWebIsGuarded(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/site", "", "X-Container-Meta-Web-Listings: on", "X-Container-Meta-Web-Index: index.html", "X-Container-Meta-Web-Error: error")
	l.must(201, "PUT", "/v1/AUTH_ann/site/index.html", "secret")
	l.must(201, "PUT", "/v1/AUTH_ann/site/d/index.html", "secret")
	l.must(201, "PUT", "/v1/AUTH_ann/site/401error", "secret")
	for _, list := range []string{"", "bob:boss"} {
		l.must(204, "POST", "/v1/AUTH_ann/site", "", "X-Container-Read: "+list)
		for _, target := range []string{"", "/", "/index.html", "/d", "/d/", "/e", "/e/"} {
			for _, method := range []string{"GET", "HEAD"} {
				if a := l.ask("", method, "/v1/AUTH_ann/site"+target, "", "X-Web-Mode: true"); a.status != 401 || strings.Contains(a.body, "secret") {
					t.Errorf("%s %s with list %q = %d %q, want 401", method, target, list, a.status, a.body)
				}
			}
		}
	}
	if a := l.ask("bob", "GET", "/v1/AUTH_ann/site/d/", "", "X-Web-Mode: true"); a.status != 200 || a.body != "secret" {
		t.Errorf("who is on the list gets %d %q", a.status, a.body)
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1Ki", 1536: "2Ki", 2560: "2Ki", 1 << 20: "1Mi", 1<<20 - 1: "1Mi", 5 << 40: "5Ti"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %s, want %s", n, got, want)
		}
	}
}
