package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"memstore.dev/memstore/auth"
)

// testCDN starts a node with an edge, and a container at it.
func testCDN(t *testing.T, change func(*Config)) *node {
	t.Helper()
	n := testNode(t, func(c *Config) {
		c.CDN.Listen = "127.0.0.1:0"
		if change != nil {
			change(c)
		}
	})
	if status, text := as(t, n, "PUT", "/v1/AUTH_demo/site", "", "X-Container-Read: .r:*"); status != 201 {
		t.Fatalf("PUT of the container: %d %s", status, text)
	}
	return n
}

// as makes a request to the gateway as the first user.
func as(t *testing.T, n *node, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	id, err := n.realm.Password(t.Context(), auth.Attempt{User: n.user, Door: "swift"}, n.password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.realm.Issue(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, method, n.gatewayURL+path, body, append(headers, "X-Auth-Token: "+token.Secret)...)
}

func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	said := make([]string, 0, 2)
	for _, name := range []string{"Cache-Status", "Location"} {
		if v := resp.Header.Get(name); v != "" {
			said = append(said, v)
		}
	}
	t.Logf("%s %s: %d %.40q %s", method, url, resp.StatusCode, text, strings.Join(said, " "))
	return resp.StatusCode, string(text)
}

// What a browser sees changes with each change that was acknowledged.
func TestCDNFollowsTheStore(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := testCDN(t, nil)
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	page := n.cdn.url + "/AUTH_demo/site/dir/page.html"
	expect := func(status int, body string) {
		t.Helper()
		got, text := ask(t, "GET", page, "")
		if got != status || body != "" && text != body {
			t.Fatalf("the page is %d %.60q, want %d %q", got, text, status, body)
		}
	}
	must := func(status int, method, path, body string, headers ...string) {
		t.Helper()
		if got, text := as(t, n, method, path, body, headers...); got != status {
			t.Fatalf("%s %s = %d %q, want %d", method, path, got, text, status)
		}
	}
	const object = "/v1/AUTH_demo/site/dir/page.html"
	expect(404, "")
	must(201, "PUT", object, "one")
	expect(200, "one")
	expect(200, "one")
	for range 20 { // within one second, which times do not tell apart
		must(201, "PUT", object, "two")
		expect(200, "two")
		must(201, "PUT", object, "one")
		expect(200, "one")
	}
	must(204, "DELETE", object, "")
	expect(404, "")
	must(201, "PUT", object, "back")
	expect(200, "back")
	must(204, "POST", "/v1/AUTH_demo/site", "", "X-Remove-Container-Read: x")
	expect(404, "")
	must(204, "POST", "/v1/AUTH_demo/site", "", "X-Container-Read: .r:*")
	expect(200, "back")
	must(202, "PUT", "/cdn/v1/AUTH_demo/site", "", "X-CDN-Enabled: False")
	expect(404, "")
	must(202, "PUT", "/cdn/v1/AUTH_demo/site", "", "X-CDN-Enabled: True")
	expect(200, "back")
	must(201, "PUT", object, "gone soon", "X-Delete-After: 1")
	expect(200, "gone soon")
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, _ := ask(t, "GET", page, "")
		if status == 404 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what has expired is still served")
		}
		<-time.After(100 * time.Millisecond)
	}
}

// A container is a web site: the pages of directories and of errors are what
// they are made of, at every moment.
func TestCDNWebSite(t *testing.T) {
	n := testCDN(t, nil)
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	must := func(status int, method, path, body string, headers ...string) {
		t.Helper()
		if got, text := as(t, n, method, "/v1/AUTH_demo/site"+path, body, headers...); got != status {
			t.Fatalf("%s %s = %d %q, want %d", method, path, got, text, status)
		}
	}
	expect := func(path string, status int, part string) {
		t.Helper()
		for range 2 { // the second is from the cache
			if got, text := ask(t, "GET", n.cdn.url+"/AUTH_demo/site"+path, ""); got != status || !strings.Contains(text, part) {
				t.Fatalf("%s is %d %.300q, want %d with %q", path, got, text, status, part)
			}
		}
	}
	must(201, "PUT", "/dir/index.html", "home of dir")
	expect("/", 404, "")
	must(204, "POST", "", "", "X-Container-Meta-Web-Index: index.html", "X-Container-Meta-Web-Error: error.html", "X-Container-Read: .r:*,.rlistings")
	expect("/dir/", 200, "home of dir")
	expect("/dir", 301, "")
	must(201, "PUT", "/dir/index.html", "new home")
	expect("/dir/", 200, "new home")
	expect("/none", 404, "")
	must(201, "PUT", "/404error.html", "lost?")
	expect("/none", 404, "lost?")
	must(201, "PUT", "/none", "found")
	expect("/none", 200, "found")
	must(204, "DELETE", "/dir/index.html", "")
	expect("/dir/", 404, "lost?")
	must(204, "POST", "", "", "X-Container-Meta-Web-Listings: true")
	expect("/", 200, "404error.html")
	must(201, "PUT", "/another", "x")
	expect("/", 200, "another")
}
