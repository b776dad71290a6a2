package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// An edge in front of a part of a web server lets nobody out of that part.
func TestEdgeStaysBelowItsOrigin(t *testing.T) {
	var asked string
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.RequestURI }))
	defer origin.Close()
	u, err := url.Parse(origin.URL + "/public/")
	if err != nil {
		t.Fatal(err)
	}
	transport := originTransport()
	defer transport.CloseIdleConnections()
	for target, want := range map[string]string{
		"/a%2fb/..c?d=/../": "/public/a%2fb/..c?d=/../", "/": "/public/",
		"/../secret": "", "/a/%2e%2e/%2E./secret": "", "/..": "", `/..\secret`: "", "/..%2fsecret": "",
	} {
		asked = ""
		r := httptest.NewRequest("GET", target, nil)
		r.RequestURI = ""
		resp, err := toOrigin{url: u, transport: transport}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if asked != want || (want == "") != (resp.StatusCode == http.StatusBadRequest) {
			t.Errorf("%s is asked for as %q, and is %d; want %q", target, asked, resp.StatusCode, want)
		}
	}
}
