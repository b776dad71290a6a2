package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// operator keeps something with an account that no request can.
func (l *lab) operator(account, key, value string) {
	l.t.Helper()
	ctx := auth.NewContext(l.t.Context(), known["root"])
	if err := l.store.Merge(ctx, storage.Path{Account: account}, storage.Meta{key: value}); err != nil {
		l.t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.ReadOnly = true })
	l.operator("AUTH_ann", metaReadOnly, "no")
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x")
	l.operator("AUTH_ann", metaReadOnly, "")
	for _, request := range []string{"PUT /v1/AUTH_ann/c/o", "POST /v1/AUTH_ann/c/o", "DELETE /v1/AUTH_ann/c/o", "COPY /v1/AUTH_ann/c/o",
		"PUT /v1/AUTH_ann/d", "POST /v1/AUTH_ann", "POST /v1/AUTH_ann?bulk-delete", "PUT /v1/AUTH_ann/c?extract-archive=tar"} {
		method, target, _ := strings.Cut(request, " ")
		if a := l.ask("ann", method, target, "", "Destination: c/copy"); a.status != 405 || a.body != "Writes are disabled for this account." {
			t.Errorf("%s = %d %q", request, a.status, a.body)
		}
	}
	l.must(200, "GET", "/v1/AUTH_ann/c/o", "")
	// A copy to an account that may be written reads from one that may not.
	l.operator("AUTH_bob", metaReadOnly, "false")
	l.ask("bob", "PUT", "/v1/AUTH_bob/c", "", "X-Container-Write: ann:boss")
	if a := l.ask("ann", "COPY", "/v1/AUTH_ann/c/o", "", "Destination: c/o", "Destination-Account: AUTH_bob"); a.status != 201 {
		t.Errorf("a copy out = %d %q", a.status, a.body)
	}
	if a := l.ask("bob", "COPY", "/v1/AUTH_bob/c/o", "", "Destination: c/o2", "Destination-Account: AUTH_ann"); a.status != 405 {
		t.Errorf("a copy in = %d %q", a.status, a.body)
	}
	deletes := newLabOver(t, memory.New(), func(c *Config) { c.ReadOnly, c.ReadOnlyDeletes = true, true })
	deletes.must(404, "DELETE", "/v1/AUTH_ann/c/o", "")
}

func TestNameRules(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) {
		c.Names = &NameRules{Characters: "'\"`<>", Length: 40, Pattern: regexp.MustCompile(`/\./|/\.\./|/\.$|/\.\.$`)}
	})
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	for target, want := range map[string]string{
		"/v1/AUTH_ann/c/a%3Cb":                  "forbidden chars from",
		"/v1/AUTH_ann/%27":                      "forbidden chars from",
		"/v1/AUTH_ann/c/" + rep("x", 41):        "longer than the allowed maximum 40",
		"/v1/AUTH_ann/c/../o":                   "forbidden substring from regular expression",
		"/v1/AUTH_ann/c/a/.":                    "forbidden substring from regular expression",
		"/v1/AUTH_ann/c/o?temp_url_sig=a%22%3C": "",
	} {
		a := l.ask("ann", "GET", target, "")
		if (a.status == 400) != (want != "") || !strings.Contains(a.body, want) {
			t.Errorf("%s = %d %q, want %q", target, a.status, a.body, want)
		}
	}
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

func TestRateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLabOver(t, memory.New(), func(c *Config) {
			c.RateLimits = RateLimits{Containers: 10, Objects: []SizeRate{{0, 2}, {100, 1}}, Listings: []SizeRate{{0, 4}}, MaxWait: time.Second}
		})
		// The first goes at once, and each further one when its turn has come.
		begun := time.Now()
		for i := range 5 {
			l.must(201, "PUT", fmt.Sprint("/v1/AUTH_ann/c", i), "")
		}
		if took := time.Since(begun); took != 400*time.Millisecond {
			t.Errorf("5 containers at 10 a second took %v", took)
		}
		time.Sleep(time.Minute)
		begun = time.Now()
		l.must(201, "PUT", "/v1/AUTH_ann/c0/o", "x")
		l.must(201, "PUT", "/v1/AUTH_ann/c0/o", "x")
		l.must(201, "PUT", "/v1/AUTH_ann/c1/o", "x") // another container has turns of its own
		if took := time.Since(begun); took != 500*time.Millisecond {
			t.Errorf("2 objects at 2 a second took %v", took)
		}
		// Who would wait too long is refused, and does not take the turn of others.
		answers := make(chan int, 8)
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for range cap(answers) {
			wg.Go(func() { answers <- l.ask("ann", "PUT", "/v1/AUTH_ann/c0/o", "x").status })
		}
		wg.Wait()
		close(answers)
		count := map[int]int{}
		for status := range answers {
			count[status]++
		}
		if count[201] != 2 || count[498] != 6 {
			t.Errorf("of 8 at once there are %v", count)
		}
		if a := l.ask("ann", "GET", "/v1/AUTH_ann/c0/o", ""); a.status != 200 {
			t.Errorf("reading = %d", a.status)
		}
		l.operator("AUTH_ann", metaWriteRate, "BLACKLIST")
		if a := l.ask("ann", "PUT", "/v1/AUTH_ann/c0/o", "x"); a.status != 497 {
			t.Errorf("on the black list: %d", a.status)
		}
		l.operator("AUTH_ann", metaWriteRate, "WHITELIST")
		begun = time.Now()
		for range 10 {
			l.must(201, "PUT", "/v1/AUTH_ann/c0/o", "x")
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("on the white list: %v", took)
		}
		l.operator("AUTH_ann", metaWriteRate, "5")
		time.Sleep(time.Minute)
		begun = time.Now()
		for i := range 3 {
			l.must(201, "PUT", fmt.Sprintf("/v1/AUTH_ann/c%d/o", i), "x")
		}
		if took := time.Since(begun); took != 400*time.Millisecond {
			t.Errorf("3 changes at 5 a second took %v", took)
		}
	})
}

func TestRateFor(t *testing.T) {
	rates := []SizeRate{{100, 100}, {300, 50}}
	for n, want := range map[int64]float64{0: 0, 99: 0, 100: 100, 200: 75, 300: 50, 1000: 50} {
		if got := rateFor(rates, n); got != want {
			t.Errorf("rateFor(%d) = %v, want %v", n, got, want)
		}
	}
}

func TestAliases(t *testing.T) {
	asked := 0
	names := map[string]string{"pics.example.org": "c.AUTH-ann.store.example.com", "two.example.org": "pics.example.org", "self.example.org": "self.example.org"}
	l := newLabOver(t, memory.New(), func(c *Config) {
		c.Hosts = &Hosts{Domains: []string{"store.example.com"}, Exempt: []string{"localhost", "example.com"}, Resolve: func(_ context.Context, host string) (string, error) {
			asked++
			if name, ok := names[host]; ok {
				return name, nil
			}
			return "", errors.New("no such name")
		}}
	})
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Read: .r:*")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello")
	host := func(host, target string) answer {
		return l.ask("", "GET", "http://"+host+target, "")
	}
	for range 3 {
		if a := host("pics.example.org:8080", "/o"); a.status != 200 || a.body != "hello" {
			t.Errorf("by an alias: %d %q", a.status, a.body)
		}
	}
	if asked != 1 {
		t.Errorf("the name was looked up %d times", asked)
	}
	for name, text := range map[string]string{
		"two.example.org": "CNAME lookup failed after 1 tries", "self.example.org": "CNAME lookup failed to resolve to a valid domain",
		"none.example.org": "CNAME lookup failed to resolve to a valid domain",
	} {
		if a := host(name, "/o"); a.status != 400 || a.body != text {
			t.Errorf("%s = %d %q, want %q", name, a.status, a.body, text)
		}
	}
	for _, name := range []string{"localhost", "192.0.2.1", "[2001:db8::1]:80", "LOCALHOST:80", "store.example.com"} {
		if a := host(name, "/v1/AUTH_ann/c/o"); a.status != 200 {
			t.Errorf("%s = %d %q", name, a.status, a.body)
		}
	}
}

// TestAdminInfo holds that the operators' part of /info is for who has the key.
func TestAdminInfo(t *testing.T) {
	now := time.Now().Unix()
	l := newLabOver(t, memory.New(), func(c *Config) { c.InfoKey = "k" })
	target := func(key, method string, expires int64) string {
		return fmt.Sprintf("/info?swiftinfo_sig=%s&swiftinfo_expires=%d", sign("sha1", key, method, fmt.Sprint(expires), "/info"), expires)
	}
	a := l.ask("", "GET", target("k", "GET", now+60), "")
	var about map[string]any
	if err := json.Unmarshal([]byte(a.body), &about); a.status != 200 || err != nil || about["admin"] == nil || about["swift"] == nil {
		t.Errorf("signed = %d %s, %v", a.status, a.body, err)
	}
	for what, target := range map[string]string{
		"another key": target("x", "GET", now+60), "no key": target("", "GET", now+60), "over": target("k", "GET", now-1), "for HEAD": target("k", "HEAD", now+60),
		"no number": "/info?swiftinfo_sig=x&swiftinfo_expires=x",
	} {
		if a := l.ask("", "GET", target, ""); a.status != 401 {
			t.Errorf("%s = %d", what, a.status)
		}
	}
	if a := l.ask("", "HEAD", target("k", "GET", now+60), ""); a.status != 200 {
		t.Errorf("HEAD by the signature for GET = %d", a.status)
	}
	if a := newLab(t).ask("", "GET", target("", "GET", now+60), ""); a.status != 403 {
		t.Errorf("where there is no key: %d", a.status)
	}
}

// TestRecords holds that what is remembered is never older than what was
// answered.
func TestRecords(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x")
	quoted := func() bool {
		return strings.HasPrefix(l.must(200, "HEAD", "/v1/AUTH_ann/c/o", "").header.Get("Etag"), `"`)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.ask("ann", "HEAD", "/v1/AUTH_ann/c/o", "")
				}
			}
		})
	}
	for i := range 300 {
		want := i%2 == 0
		l.must(204, "POST", "/v1/AUTH_ann/c", "", fmt.Sprint("X-Container-Rfc-Compliant-Etags: ", want))
		if got := quoted(); got != want {
			t.Fatalf("after change %d the ETag is quoted: %t", i, got)
		}
	}
	close(stop)
	wg.Wait()
	l.must(204, "POST", "/v1/AUTH_ann/c", "", "X-Container-Rfc-Compliant-Etags: true")
	l.must(204, "DELETE", "/v1/AUTH_ann/c/o", "")
	l.must(204, "DELETE", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x")
	if quoted() {
		t.Error("a new container has the ETags of the one before")
	}
}
