package gateway

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// sign is what an owner does: the HMAC of the lines with a key.
func sign(digest, key string, lines ...string) string {
	mac := hmac.New(digests[digest], []byte(key))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// signed is a target with a signature for a minute from now.
func signed(method, target, key string, more ...string) string {
	name, _ := url.PathUnescape(target)
	expires := fmt.Sprint(time.Now().Add(time.Minute).Unix())
	return target + "?temp_url_sig=" + sign("sha256", key, method, expires, name) + "&temp_url_expires=" + expires + strings.Join(more, "")
}

func TestGrants(t *testing.T) {
	now := time.Unix(1_700_000_000, 5)
	p := storage.Path{Account: "AUTH_ann", Container: "c", Object: "dir/o"}
	keys := SignatureKeys{Account: [2]string{"a1", "a2"}, Container: [2]string{"", "c2"}}
	all := []string{"sha1", "sha256", "sha512"}
	account, container := storage.Path{Account: "AUTH_ann"}, p.Parent()
	good := sign("sha256", "a2", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o")
	raw, _ := hex.DecodeString(good)
	for name, tt := range map[string]struct {
		query, method, from string
		allowed             []string
		want                storage.Path
	}{
		"account key":          {query: "temp_url_sig=" + good + "&temp_url_expires=1700000100", want: account},
		"upper case":           {query: "temp_url_sig=" + strings.ToUpper(good) + "&temp_url_expires=1700000100", want: account},
		"container key":        {query: "temp_url_sig=" + sign("sha512", "c2", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100", want: container},
		"no key":               {query: "temp_url_sig=" + sign("sha256", "", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100"},
		"base64":               {query: "temp_url_sig=sha256:" + url.QueryEscape(base64.StdEncoding.EncodeToString(raw)) + "&temp_url_expires=1700000100", want: account},
		"base64 of URLs":       {query: "temp_url_sig=sha256:" + base64.RawURLEncoding.EncodeToString(raw) + "&temp_url_expires=1700000100", want: account},
		"another digest's sum": {query: "temp_url_sig=sha512:" + base64.RawURLEncoding.EncodeToString(raw) + "&temp_url_expires=1700000100"},
		"digest not allowed":   {query: "temp_url_sig=" + sign("sha1", "a1", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100", allowed: DefaultDigests},
		"digest allowed":       {query: "temp_url_sig=" + sign("sha1", "a1", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100", want: account},
		"over":                 {query: "temp_url_sig=" + sign("sha256", "a1", "GET", "1700000000", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000000"},
		"other method":         {query: "temp_url_sig=" + good + "&temp_url_expires=1700000100", method: "PUT"},
		"HEAD by GET":          {query: "temp_url_sig=" + good + "&temp_url_expires=1700000100", method: "HEAD", want: account},
		"HEAD by DELETE":       {query: "temp_url_sig=" + sign("sha256", "a1", "DELETE", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100", method: "HEAD"},
		"other expiry":         {query: "temp_url_sig=" + good + "&temp_url_expires=1700000101"},
		"as prefix":            {query: "temp_url_sig=" + good + "&temp_url_expires=1700000100&temp_url_prefix=dir/"},
		"by prefix":            {query: "temp_url_sig=" + sign("sha256", "a1", "GET", "1700000100", "prefix:/v1/AUTH_ann/c/dir/") + "&temp_url_expires=1700000100&temp_url_prefix=dir/", want: account},
		"by another prefix":    {query: "temp_url_sig=" + sign("sha256", "a1", "GET", "1700000100", "prefix:/v1/AUTH_ann/c/x") + "&temp_url_expires=1700000100&temp_url_prefix=x"},
		"by empty prefix":      {query: "temp_url_sig=" + sign("sha256", "a1", "GET", "1700000100", "prefix:/v1/AUTH_ann/c/") + "&temp_url_expires=1700000100&temp_url_prefix=", want: account},
		"from the network":     {query: "temp_url_sig=" + sign("sha256", "a1", "ip=192.0.2.0/24", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100&temp_url_ip_range=192.0.2.0/24", from: "192.0.2.7", want: account},
		"from elsewhere":       {query: "temp_url_sig=" + sign("sha256", "a1", "ip=192.0.2.0/24", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100&temp_url_ip_range=192.0.2.0/24", from: "192.0.3.7"},
		"from a socket":        {query: "temp_url_sig=" + sign("sha256", "a1", "ip=0.0.0.0/0", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100&temp_url_ip_range=0.0.0.0/0"},
		"network left out":     {query: "temp_url_sig=" + sign("sha256", "a1", "ip=192.0.2.0/24", "GET", "1700000100", "/v1/AUTH_ann/c/dir/o") + "&temp_url_expires=1700000100", from: "192.0.2.7"},
	} {
		t.Run(name, func(t *testing.T) {
			u, signed := ParseTempURL(tt.query, now)
			if !signed {
				t.Fatalf("ParseTempURL(%q) finds no signature", tt.query)
			}
			if tt.method == "" {
				tt.method = "GET"
			}
			if tt.allowed == nil {
				tt.allowed = all
			}
			from, _ := netip.ParseAddr(tt.from)
			within, ok := u.Grants(tt.method, p, from, &keys, tt.allowed)
			if within != tt.want || ok != (tt.want != storage.Path{}) {
				t.Errorf("Grants = %v, %t, want %v", within, ok, tt.want)
			}
		})
	}
	if _, signed := ParseTempURL("limit=1&prefix=temp_url_sig", now); signed {
		t.Error("a query without a signature is taken for one")
	}
}

// TestTempURLReaches holds that a signature reaches what it is for and nothing
// else, by whatever header or parameter.
func TestTempURLReaches(t *testing.T) {
	l := newLabOver(t, memory.New())
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Meta-Temp-Url-Key: k")
	l.must(201, "PUT", "/v1/AUTH_ann/secret", "")
	l.must(201, "PUT", "/v1/AUTH_ann/secret/o", "secret")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "some bytes", "X-Object-Meta-Own: x", "X-Object-Meta-Public-A: y")
	get := l.ask("", "GET", signed("GET", "/v1/AUTH_ann/c/o", "k"), "")
	if get.status != 200 || get.body != "some bytes" || get.header.Get("X-Object-Meta-Own") != "" || get.header.Get("X-Object-Meta-Public-A") != "y" {
		t.Errorf("GET = %d %q %v", get.status, get.body, get.header)
	}
	if a := l.ask("", "PUT", signed("PUT", "/v1/AUTH_ann/c/new", "k"), "x"); a.status != 201 {
		t.Errorf("PUT = %d %q", a.status, a.body)
	}
	for _, header := range []string{"X-Copy-From: secret/o", "x-copy-from: /secret/o", "X-Object-Manifest: secret/o", "X-Symlink-Target: secret/o"} {
		if a := l.ask("", "PUT", signed("PUT", "/v1/AUTH_ann/c/new", "k"), "", header); a.status != 400 {
			t.Errorf("PUT with %s = %d, want 400", header, a.status)
		}
	}
	if a := l.must(200, "GET", "/v1/AUTH_ann/c/new", ""); a.body != "x" {
		t.Errorf("what was put has become %q", a.body)
	}
	for _, target := range []string{"/v1/AUTH_ann/secret/o", "/v1/AUTH_bob/c/o"} {
		if a := l.ask("", "GET", signed("GET", target, "k"), ""); a.status != 401 {
			t.Errorf("GET %s by the key of another container = %d, want 401", target, a.status)
		}
	}
	// The log names nothing that could be used again.
	if log := l.log.String(); strings.Contains(log, "temp_url_sig") || !strings.Contains(log, "user=.tempurl") {
		t.Errorf("the log is\n%s", log)
	}
}

// BenchmarkTempURL is what judging a signed URL costs, with the reading of the
// keys; it is to stay below 20 µs.
func BenchmarkTempURL(b *testing.B) {
	l := newLab(b)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Meta-Temp-Url-Key-2: k", "X-Container-Meta-Temp-Url-Key: k1")
	l.must(204, "POST", "/v1/AUTH_ann", "", "X-Account-Meta-Temp-Url-Key: k2", "X-Account-Meta-Temp-Url-Key-2: k3")
	g := l.g.(*gateway)
	target := signed("GET", "/v1/AUTH_ann/c/o", "k")
	_, query, _ := strings.Cut(target, "?")
	p := storage.Path{Account: "AUTH_ann", Container: "c", Object: "o"}
	r := httptest.NewRequest("GET", target, nil)
	for b.Loop() {
		c := call{g: g, r: r}
		u, _ := ParseTempURL(query, time.Now())
		keys := c.signatureKeys(p)
		if _, ok := u.Grants("GET", p, netip.Addr{}, &keys, DefaultDigests); !ok {
			b.Fatal("refused")
		}
	}
}

func FuzzTempURL(f *testing.F) {
	f.Add("temp_url_sig=sha256:ab&temp_url_expires=2100-01-01T00:00:00Z&temp_url_prefix=a&temp_url_ip_range=1.2.3.4&filename=x&inline")
	f.Add(signed("GET", "/v1/AUTH_a/c/o", "other"))
	keys := SignatureKeys{Account: [2]string{"a", "b"}}
	f.Fuzz(func(t *testing.T, query string) {
		u, _ := ParseTempURL(query, time.Now())
		if _, ok := u.Grants("HEAD", storage.Path{Account: "AUTH_a", Container: "c", Object: "o"}, netip.Addr{}, &keys, DefaultDigests); ok {
			t.Errorf("a signature was found in %q", query)
		}
		u.saveAs("", query)
	})
}
