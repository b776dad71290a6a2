package gateway

import (
	"testing"
)

// TestRemovedAccount holds that of an account that was removed nothing can be had
// by any road, and that it may be made anew when it has been reaped.
func TestRemovedAccount(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Read: .r:*", "X-Container-Meta-Temp-Url-Key: k", "X-Container-Meta-Web-Index: o")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "secret")
	if a := l.ask("root", "DELETE", "/v1/AUTH_ann", ""); a.status != 204 || a.header.Get("X-Account-Status") != "Deleted" {
		t.Fatalf("DELETE = %d %v", a.status, a.header)
	}
	for _, tt := range []struct {
		who, method, target string
		status              int
	}{
		{"ann", "GET", "/v1/AUTH_ann", 410}, {"root", "HEAD", "/v1/AUTH_ann", 410}, {"auditor", "GET", "/v1/AUTH_ann", 410}, {"bob", "GET", "/v1/AUTH_ann", 403},
		{"root", "PUT", "/v1/AUTH_ann", 403}, {"root", "DELETE", "/v1/AUTH_ann", 404}, {"ann", "PUT", "/v1/AUTH_ann/new", 503},
		{"ann", "GET", "/v1/AUTH_ann/c", 404}, {"ann", "GET", "/v1/AUTH_ann/c/o", 404}, {"ann", "PUT", "/v1/AUTH_ann/c/o", 404},
		{"", "GET", "/v1/AUTH_ann/c/o", 401}, {"", "GET", "/v1/AUTH_ann/c/", 401},
		{"", "GET", signed("GET", "/v1/AUTH_ann/c/o", "k"), 401}, {"", "PUT", signed("PUT", "/v1/AUTH_ann/c/o", "k"), 401},
		{"ann", "POST", "/v1/AUTH_ann?bulk-delete", 404}, {"ann", "PUT", "/v1/AUTH_ann/c?extract-archive=tar", 503},
	} {
		if a := l.ask(tt.who, tt.method, tt.target, ""); a.status != tt.status {
			t.Errorf("%s %s by %q = %d %q, want %d", tt.method, tt.target, tt.who, a.status, a.body, tt.status)
		}
	}
	// Nor by way of an account that is still there.
	l.ask("bob", "PUT", "/v1/AUTH_bob/c", "")
	if a := l.ask("bob", "PUT", "/v1/AUTH_bob/c/o", "x"); a.status != 201 {
		t.Fatal(a)
	}
	if a := l.ask("root", "COPY", "/v1/AUTH_bob/c/o", "", "Destination: c/o", "Destination-Account: AUTH_ann"); a.status == 201 {
		t.Errorf("a copy into it = %d", a.status)
	}
	if n, err := l.store.Reap(t.Context()); n != 1 || err != nil {
		t.Fatalf("Reap = %d, %v", n, err)
	}
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(404, "GET", "/v1/AUTH_ann/c/o", "")
	if a := l.ask("root", "GET", "/v1/AUTH_.condemned", ""); a.status != 403 {
		t.Errorf("what is still to be reaped is shown: %d %q", a.status, a.body)
	}
}

// TestServiceAccount holds that the two keys of such an account open it together
// only, and that a service's token lends nothing else.
func TestServiceAccount(t *testing.T) {
	l := newLab(t)
	with := func(who, service, method, target string) int {
		var headers []string
		if service != "" {
			headers = append(headers, "X-Service-Token: AUTH_tk"+service)
		}
		return l.ask(who, method, target, "", headers...).status
	}
	for _, tt := range []struct {
		who, service string
		status       int
	}{
		{"ann", "service", 201}, {"ann", "", 403}, {"ann", "ann", 403}, {"ann", "bob", 403}, {"ann", "root", 403}, {"ann", "nonsense", 403},
		{"service", "", 403}, {"service", "service", 403}, {"bob", "service", 403}, {"clerk", "service", 403}, {"", "service", 401}, {"root", "", 202},
	} {
		if got := with(tt.who, tt.service, "PUT", "/v1/SERVICE_ann/c"); got != tt.status {
			t.Errorf("%q with %q = %d, want %d", tt.who, tt.service, got, tt.status)
		}
	}
	if got := with("service", "ann", "GET", "/v1/AUTH_ann"); got != 403 {
		t.Errorf("a service reaches the user's own account: %d", got)
	}
	if got := with("bob", "root", "GET", "/v1/AUTH_ann"); got != 403 {
		t.Errorf("a reseller's token in place of a service's reaches another account: %d", got)
	}
}
