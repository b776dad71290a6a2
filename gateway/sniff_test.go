package gateway

import (
	"fmt"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// Nothing that a client sends comes back as a page with scripts.
func TestNothingIsReflected(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/%3Cscript%3E", "")
	const script = "<script>"
	for _, c := range []struct {
		method, target, header string
		status                 int
	}{
		{"PUT", "/v1/AUTH_ann/c", "X-Container-Read: .x:" + script, 400},
		{"PUT", "/v1/AUTH_ann/c", "X-Container-Write: .r:" + script, 400},
		{"PUT", "/v1/AUTH_ann/new", "X-Storage-Policy: " + script, 400},
		{"POST", "/v1/AUTH_ann", "X-Account-Access-Control: " + script, 400},
		{"GET", "/v1/AUTH_ann/%3Cscript%3E", "", 404},
		{"GET", "/v1/AUTH_ann/c", "", 200},
		{"GET", "/v1/AUTH_ann/c?format=json", "", 200},
		{"GET", "/v1/AUTH_ann/c?format=xml", "", 200},
	} {
		headers := []string{}
		if c.header != "" {
			headers = append(headers, c.header)
		}
		a := l.must(c.status, c.method, c.target, "", headers...)
		if a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: a browser may guess the type", c.method, c.target)
		}
		if strings.Contains(a.body, script) && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s %s %s: %q as HTML", c.method, c.target, c.header, a.body)
		}
	}
}

// A listing by path with one entry does not look at a million names.
func TestListingByPathIsBounded(t *testing.T) {
	b := memory.New()
	l := newLabOver(t, b)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	put := func(name string) {
		w, err := b.Create(t.Context(), storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: "c", Object: name}})
		if err == nil {
			_, err = w.Commit(t.Context(), storage.Info{}, storage.Cond{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxPassed {
		put(fmt.Sprintf("%05d/x", i))
	}
	put("z")
	if a := l.must(200, "GET", "/v1/AUTH_ann/c?path=&limit=1", ""); a.body != "z\n" {
		t.Errorf("listed %q", a.body)
	}
	put("y/x")
	if a := l.must(400, "GET", "/v1/AUTH_ann/c?path=&limit=1", ""); !strings.Contains(a.body, "delimiter") {
		t.Errorf("refused with %q", a.body)
	}
}
