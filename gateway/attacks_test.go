package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// Attacks on Swift and Keystone that were published, each held to fail here. What
// concerns signed URLs is in tempurl_test.go, tokens in package auth.

// Headers by which Swift's servers speak to each other, and what is kept where no
// client is to see it, neither get in nor out (CVE-2026-50221, OSSA-2016-006 and
// others).
func TestAttackInternalHeaders(t *testing.T) {
	l := newLab(t)
	inside := []string{
		"X-Account-Sysmeta-Read-Only: true", "X-Account-Sysmeta-Deleted: 1", "X-Account-Sysmeta-Global-Write-Ratelimit: BLACKLIST",
		`X-Account-Sysmeta-Core-Access-Control: {"admin":["bob:boss"]}`,
		"X-Container-Sysmeta-Rfc-Compliant-Etags: true", "X-Container-Sysmeta-Versions-Container: x", "X-Object-Sysmeta-Slo-Etag: x",
		"X-Object-Transient-Sysmeta-Crypto-Meta: x", "X-Backend-Storage-Policy-Index: 1", "X-Backend-Allow-Reserved-Names: true",
		"X-Container-Host: 127.0.0.1:22", "X-Container-Device: sda", "X-Container-Partition: 1", "X-Delete-At-Host: 127.0.0.1:22", "X-Delete-At-Container: x",
		"X-Timestamp: 1", "X-Account-Host: 127.0.0.1:22",
	}
	for _, target := range []string{"/v1/AUTH_ann", "/v1/AUTH_ann/c", "/v1/AUTH_ann/c/o"} {
		for _, method := range []string{"PUT", "POST"} {
			l.ask("ann", method, target, "", inside...)
			l.ask("root", method, target, "", inside...)
			l.ask("ann", method, target, "", append(inside, "X-Static-Large-Object: true")...)
		}
		a := l.ask("ann", "HEAD", target, "")
		if a.status/100 != 2 {
			t.Errorf("HEAD %s = %d after them", target, a.status)
		}
		for key := range a.header {
			if strings.Contains(key, "Sysmeta") || strings.HasPrefix(key, "X-Backend") || strings.HasSuffix(key, "-Host") || key == "X-Static-Large-Object" {
				t.Errorf("%s tells %s", target, key)
			}
		}
		var p storage.Path
		parts := strings.SplitN(strings.TrimPrefix(target, "/v1/"), "/", 3)
		p.Account = parts[0]
		if len(parts) > 1 {
			p.Container = parts[1]
		}
		if len(parts) > 2 {
			p.Object = parts[2]
		}
		in, err := l.store.Stat(newOwner("root"), p)
		if err != nil {
			t.Fatal(err)
		}
		for key := range in.Meta {
			if strings.Contains(key, "Sysmeta") || strings.HasPrefix(key, "X-Backend") {
				t.Errorf("%s keeps %s", target, key)
			}
		}
	}
	if a := l.ask("bob", "GET", "/v1/AUTH_ann", ""); a.status != 403 {
		t.Errorf("an access control list got in by its inner name: %d", a.status)
	}
}

// Keys by which URLs are signed are for owners: who may only read or write must
// neither see nor set them (OSSA-2014-007 and its like).
func TestAttackKeys(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Meta-Temp-Url-Key: sikrit", "X-Container-Read: bob:boss,ann:clerk", "X-Container-Write: bob:boss,ann:clerk")
	l.must(204, "POST", "/v1/AUTH_ann", "", "X-Account-Meta-Temp-Url-Key-2: sikrit", `X-Account-Access-Control: {"read-write":["bob:boss"]}`)
	for _, who := range []string{"bob", "clerk", "auditor"} {
		for _, target := range []string{"/v1/AUTH_ann", "/v1/AUTH_ann/c"} {
			for _, method := range []string{"GET", "HEAD"} {
				for key, values := range l.ask(who, method, target, "").header {
					if strings.Contains(strings.Join(values, " "), "sikrit") {
						t.Errorf("%s %s shows %s to %s", method, target, key, who)
					}
				}
			}
			l.ask(who, "POST", target, "", "X-Account-Meta-Temp-Url-Key: theirs", "X-Container-Meta-Temp-Url-Key: theirs", "X-Container-Meta-Temp-Url-Key-2: theirs")
		}
		if a := l.ask("", "GET", signed("GET", "/v1/AUTH_ann/c/o", "theirs"), ""); a.status != 401 {
			t.Errorf("%s has set a key: %d", who, a.status)
		}
	}
}

// A TempURL for PUT and for GET together must not reach what its holder cannot
// (CVE-2026-97149, OSSA-2015-016): neither by headers nor by the query.
func TestAttackTempURLPointers(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/secret", "")
	l.must(201, "PUT", "/v1/AUTH_ann/secret/o", "secret")
	l.must(204, "POST", "/v1/AUTH_ann", "", "X-Account-Meta-Temp-Url-Key: k") // which reaches every container
	for _, header := range []string{"X-Copy-From: secret/o", "X-Copy-From: /secret/o", "X-Object-Manifest: secret/", "X-Symlink-Target: secret/o"} {
		for _, more := range []string{"", "&multipart-manifest=put", "&multipart-manifest=get"} {
			l.ask("", "PUT", signed("PUT", "/v1/AUTH_ann/c/o", "k", more), "", header)
			l.ask("", "POST", signed("POST", "/v1/AUTH_ann/c/o", "k", more), "", header)
			if a := l.ask("", "GET", signed("GET", "/v1/AUTH_ann/c/o", "k", more), ""); strings.Contains(a.body, "secret") {
				t.Errorf("%s%s shows %q", header, more, a.body)
			}
		}
	}
	l.ask("", "PUT", signed("PUT", "/v1/AUTH_ann/c/o", "k", "&multipart-manifest=put"), `[{"path":"/secret/o"}]`)
	if a := l.ask("", "GET", signed("GET", "/v1/AUTH_ann/c/o", "k"), ""); strings.HasPrefix(a.body, "secret") {
		t.Errorf("a manifest shows %q", a.body)
	}
	if a := l.ask("", "DELETE", signed("PUT", "/v1/AUTH_ann/c/o", "k"), ""); a.status != 401 {
		t.Errorf("DELETE by a signature for PUT = %d", a.status)
	}
	if a := l.ask("", "POST", signed("POST", "/v1/AUTH_ann/c/o", "k", "&bulk-delete"), "/secret/o\n"); a.status == 200 && strings.Contains(a.body, "Deleted: 1") {
		t.Errorf("a signature for POST deletes: %q", a.body)
	}
	l.must(200, "GET", "/v1/AUTH_ann/secret/o", "")
}

// Headers are read in time that grows with their length, and no faster
// (CVE-2026-71190).
func TestAttackAccept(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	for _, accept := range []string{
		strings.Repeat("a/b;", 7000), strings.Repeat(" ", 28000) + "x", "text/plain" + strings.Repeat(`;a="\`, 5000), strings.Repeat("*/*;q=0.", 3000), strings.Repeat(",", 28000),
	} {
		begun := time.Now()
		l.ask("ann", "GET", "/v1/AUTH_ann/c", "", "Accept: "+accept)
		l.ask("ann", "GET", "/v1/AUTH_ann/c/o", "", "Range: "+accept, "If-None-Match: "+accept)
		l.ask("ann", "POST", "/v1/AUTH_ann/c", "", "X-Container-Read: "+accept, "Content-Type: multipart/form-data; boundary="+accept)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%.20q… takes %v", accept, took)
		}
	}
}

// A page of errors must not be made to run scripts by what was asked for
// (OSSA-2013-009 and its like).
func TestAttackMarkup(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.SyncHosts = []string{"a"} })
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	const script = "<script>"
	for _, a := range []answer{
		l.ask("ann", "POST", "/v1/AUTH_ann/c", "", "X-Container-Sync-To: http://"+script+"/x"),
		l.ask("ann", "POST", "/v1/AUTH_ann/c", "", "X-Container-Read: .x:"+script),
		l.ask("ann", "PUT", "/v1/AUTH_ann/d", "", "X-Storage-Policy: "+script),
		l.ask("ann", "GET", "/v1/AUTH_ann/c?limit=99999&marker="+script, ""),
		l.ask("", "GET", "/v1/AUTH_%3Cscript%3E/c", ""),
		l.ask("ann", "PUT", "/v1/AUTH_ann/c?extract-archive=%3Cscript%3E", ""),
	} {
		page := strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
		if a.status < 400 || page && strings.Contains(a.body, script) || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("= %d %q %q", a.status, a.header.Get("Content-Type"), a.body)
		}
	}
}

// Whoever may copy from a container he may read, and only then
// (OSSA-2015-006): by neither way of asking.
func TestAttackCopy(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/secret", "")
	l.must(201, "PUT", "/v1/AUTH_ann/secret/o", "secret")
	l.ask("bob", "PUT", "/v1/AUTH_bob/c", "")
	for _, a := range []answer{
		l.ask("bob", "PUT", "/v1/AUTH_bob/c/o", "", "X-Copy-From: secret/o", "X-Copy-From-Account: AUTH_ann"),
		l.ask("bob", "COPY", "/v1/AUTH_ann/secret/o", "", "Destination: c/o", "Destination-Account: AUTH_bob"),
		l.ask("bob", "PUT", "/v1/AUTH_bob/c/o", "", "X-Copy-From: ../AUTH_ann/secret/o"),
		l.ask("bob", "PUT", "/v1/AUTH_bob/c/o", "", "X-Copy-From: secret/o", "X-Copy-From-Account: AUTH_bob/../AUTH_ann"),
	} {
		if a.status < http.StatusBadRequest {
			t.Errorf("a copy of what he may not read = %d", a.status)
		}
	}
}

// Who has not logged in has nothing read that he sends, least of all into
// memory.
func TestAttackByStrangersWithMuch(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Read: .r:*,.rlistings")
	for _, request := range []string{
		"POST /v1/AUTH_ann?bulk-delete", "DELETE /v1/AUTH_ann?bulk-delete", "PUT /v1/AUTH_ann/c?extract-archive=tar",
		"PUT /v1/AUTH_ann/c/o?multipart-manifest=put", "PUT /v1/AUTH_ann/c/o",
	} {
		method, target, _ := strings.Cut(request, " ")
		body := strings.NewReader(strings.Repeat("/c/o\n", 1000))
		r := httptest.NewRequest(method, target, body)
		w := httptest.NewRecorder()
		l.g.ServeHTTP(w, r)
		if w.Code != 401 || body.Len() != 5000 {
			t.Errorf("%s = %d, and %d bytes of 5000 are left", request, w.Code, body.Len())
		}
	}
}

// A cache that asks whether it may go on with a large object is not told so when
// the segments are not for strangers any more.
func TestAttackByAskingAgain(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/films", "", "X-Container-Read: .r:*")
	l.must(201, "PUT", "/v1/AUTH_ann/reels", "", "X-Container-Read: .r:*")
	l.must(201, "PUT", "/v1/AUTH_ann/reels/1", "secret")
	l.must(201, "PUT", "/v1/AUTH_ann/films/film?multipart-manifest=put", `[{"path": "/reels/1"}]`)
	etag := l.must(200, "GET", "/v1/AUTH_ann/films/film", "").header.Get("Etag")
	for _, tt := range []struct {
		who, read string
		status    int
	}{{"", ".r:*", 304}, {"ann", ".r:*", 304}, {"", "", 409}, {"ann", "", 304}} {
		l.must(204, "POST", "/v1/AUTH_ann/reels", "", "X-Container-Read: "+tt.read)
		if a := l.ask(tt.who, "GET", "/v1/AUTH_ann/films/film", "", "If-None-Match: "+etag); a.status != tt.status {
			t.Errorf("%q with %q: %d %q, want %d", tt.who, tt.read, a.status, a.body, tt.status)
		}
	}
}
