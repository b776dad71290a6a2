package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

func TestJudge(t *testing.T) {
	in := &storage.Info{ETag: "abc", ModTime: time.Date(2026, 11, 21, 22, 33, 46, 1, time.UTC)} // shown as :47
	const before, same, after = "Sat, 21 Nov 2026 22:33:46 GMT", "Sat, 21 Nov 2026 22:33:47 GMT", "Sat, 21 Nov 2026 22:33:48 GMT"
	for _, c := range []struct {
		headers map[string]string
		want    int
	}{
		{nil, 0},
		{map[string]string{"If-Match": "abc"}, 0},
		{map[string]string{"If-Match": `"abc"`}, 0},
		{map[string]string{"If-Match": `W/"abc"`}, 412},
		{map[string]string{"If-Match": "x, abc"}, 0},
		{map[string]string{"If-Match": "*"}, 0},
		{map[string]string{"If-Match": "x"}, 412},
		{map[string]string{"If-Match": ""}, 412},
		{map[string]string{"If-None-Match": "abc"}, 304},
		{map[string]string{"If-None-Match": `"x", "abc"`}, 304},
		{map[string]string{"If-None-Match": "*"}, 304},
		{map[string]string{"If-None-Match": `W/"abc"`}, 0},
		{map[string]string{"If-None-Match": "x"}, 0},
		{map[string]string{"If-None-Match": ""}, 0},
		{map[string]string{"If-None-Match": "abc", "If-Match": "x"}, 304},
		{map[string]string{"If-Modified-Since": before}, 0},
		{map[string]string{"If-Modified-Since": same}, 304},
		{map[string]string{"If-Modified-Since": after}, 304},
		{map[string]string{"If-Modified-Since": "yesterday"}, 0},
		{map[string]string{"If-Unmodified-Since": before}, 412},
		{map[string]string{"If-Unmodified-Since": same}, 0},
		{map[string]string{"If-Unmodified-Since": after}, 0},
		{map[string]string{"If-Unmodified-Since": "never"}, 0},
		{map[string]string{"If-None-Match": "x", "If-Modified-Since": same}, 304}, // both count, in Swift
	} {
		h := http.Header{}
		for k, v := range c.headers {
			h.Set(k, v)
		}
		if got := judge(h, in); got != c.want {
			t.Errorf("judge(%v) = %d, want %d", c.headers, got, c.want)
		}
	}
}

func TestConditions(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello", "X-Object-Meta-A: 1", "Content-Type: a/b")
	for _, method := range []string{"GET", "HEAD"} {
		l.play([]step{
			{method: method, target: "/v1/AUTH_ann/c/o", headers: []string{"If-None-Match: " + helloTag}, status: 304, text: "-",
				want: []string{"Etag: " + helloTag, "X-Object-Meta-A: 1", "Accept-Ranges: bytes", "Content-Type: a/b"}},
			{method: method, target: "/v1/AUTH_ann/c/o", headers: []string{"If-Match: x"}, status: 412, text: "-",
				want: []string{"Etag: " + helloTag, "X-Object-Meta-A: 1", "Accept-Ranges:", "Content-Type: text/html; charset=UTF-8", "Content-Length: 0"}},
			{method: method, target: "/v1/AUTH_ann/c/none", headers: []string{"If-Match: *"}, status: 412, text: "-"},
			{method: method, target: "/v1/AUTH_ann/c/none", headers: []string{"If-Match: x"}, status: 404},
			{method: method, target: "/v1/AUTH_ann/c/none", headers: []string{"If-None-Match: *"}, status: 404},
			{method: method, target: "/v1/AUTH_ann/c/o", headers: []string{"If-None-Match: *", "Range: bytes=90-"}, status: 304},
			{method: method, target: "/v1/AUTH_ann/c/o", headers: []string{"If-Match: x", "Range: bytes=0-1,2-3"}, status: 412},
		})
	}
}

func FuzzListed(f *testing.F) {
	f.Add(`"abc", W/"abc"`, "abc")
	f.Add(`,,"`, `"`)
	f.Add("*", "x")
	f.Fuzz(func(t *testing.T, list, tag string) {
		listed(list, tag)
		if tag != "" && bareTag(tag) == tag && !strings.Contains(tag, ",") && tag == strings.TrimSpace(tag) && !listed(list+","+tag, tag) {
			t.Fatalf("%q is not in %q", tag, list+","+tag)
		}
	})
}
