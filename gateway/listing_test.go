package gateway

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

func TestListing(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	for _, name := range []string{"a", "b", "b/", "b/1", "b/2/x", "c", "é"} {
		l.must(201, "PUT", "/v1/AUTH_ann/c/"+url.PathEscape(name), name)
	}
	list := func(query, text string) step {
		status := 200
		if text == "" {
			status, text = 204, "-"
		}
		return step{method: "GET", target: "/v1/AUTH_ann/c?" + query, status: status, text: text}
	}
	l.play([]step{
		list("", "a\nb\nb/\nb/1\nb/2/x\nc\né\n"),
		list("limit=2", "a\nb\n"),
		list("limit=0", ""),
		list("limit=10000", "a\nb\nb/\nb/1\nb/2/x\nc\né\n"),
		list("limit=-1&limit=x", "a\nb\nb/\nb/1\nb/2/x\nc\né\n"),
		list("marker=b/1", "b/2/x\nc\né\n"),
		list("marker=%C3%A9", ""),
		list("end_marker=b/", "a\nb\n"),
		list("marker=a&end_marker=c", "b\nb/\nb/1\nb/2/x\n"),
		list("reverse=true&limit=2", "é\nc\n"),
		list("reverse=on&marker=c&end_marker=b", "b/2/x\nb/1\nb/\n"),
		list("reverse=no&limit=1", "a\n"),
		list("prefix=b", "b\nb/\nb/1\nb/2/x\n"),
		list("delimiter=/", "a\nb\nb/\nc\né\n"),
		list("delimiter=/&prefix=b/", "b/\nb/1\nb/2/\n"),
		list("delimiter=/2/", "a\nb\nb/\nb/1\nb/2/\nc\né\n"),
		list("path=", "a\nb\nb/\nc\né\n"),
		list("path=b", "b/1\n"),
		list("path=b/", "b/1\n"),
		list("path=b/2", "b/2/x\n"),
		list("path=&limit=3", "a\nb\nb/\n"),
		list("path=&marker=b/", "c\né\n"),
		list("path=&reverse=1&limit=3", "é\nc\nb/\n"),
		list("prefix=%zz", ""),
		list("prefix=b+", ""),
		list("format=foo&limit=1", "a\n"),
		{method: "GET", target: "/v1/AUTH_ann/c?limit=10001", status: 412, text: "Maximum limit is 10000"},
		{method: "GET", target: "/v1/AUTH_ann/c?limit=99999999999999999999", status: 412},
		{method: "GET", target: "/v1/AUTH_ann?limit=10001", status: 412},
		{method: "GET", target: "/v1/AUTH_ann/c?marker=%ff", status: 400, text: `"marker" parameter not valid UTF-8`, want: []string{"Content-Type: text/plain"}},
		{method: "GET", target: "/v1/AUTH_ann/c?format=%ff", status: 400},
		{method: "GET", target: "/v1/AUTH_ann/c", headers: []string{"Range: bytes=0-1", "If-None-Match: *"}, status: 200},
		{method: "GET", target: "/v1/AUTH_ann?delimiter=c", status: 200, text: "c\n"},
		{method: "GET", target: "/v1/AUTH_ann?path=x", status: 200, text: "c\n"}, // only containers know paths
	})
}

func TestListingFormats(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/q%22%26", "")
	at := time.Date(2026, 11, 21, 22, 33, 48, 590_990_000, time.UTC)
	put := func(name, kind string) {
		ctx := newOwner("ann")
		up, err := l.store.Create(ctx, storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: `q"&`, Object: name}, Size: 5, Type: kind, ModTime: at}, storage.Cond{})
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		up.Write([]byte("hello"))
		if _, err := up.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	put("é\"\\\n\t\x01\x7f😀", `a/b; c="d"`)
	put("<&>\r/x", "t/x")
	const object = `"hash": "` + helloTag + `", "name": `
	l.play([]step{
		{method: "GET", target: "/v1/AUTH_ann/q%22%26?format=json&delimiter=/", status: 200, want: []string{"Content-Type: application/json; charset=utf-8"},
			text: `[{"subdir": "<&>\r/"}, {"bytes": 5, ` + object + `"\u00e9\"\\\n\t\u0001\u007f\ud83d\ude00", "content_type": "a/b;c=\"d\"", "last_modified": "2026-11-21T22:33:48.590990"}]`},
		{method: "GET", target: "/v1/AUTH_ann/q%22%26?format=xml&delimiter=/", status: 200, want: []string{"Content-Type: application/xml; charset=utf-8"},
			text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"q&quot;&amp;\"><subdir name=\"&lt;&amp;&gt;&#13;/\"><name>&lt;&amp;&gt;\r/</name></subdir>" +
				"<object><name>é\"\\\n\t\x01\x7f😀</name><hash>" + helloTag + `</hash><bytes>5</bytes><content_type>a/b;c="d"</content_type><last_modified>2026-11-21T22:33:48.590990</last_modified></object></container>`},
		{method: "GET", target: "/v1/AUTH_ann/q%22%26?format=xml&prefix=none", status: 200, text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"q&quot;&amp;\" />"},
		{method: "GET", target: "/v1/AUTH_ann?format=json&delimiter=%22", status: 200, text: `[{"subdir": "q\""}]`},
		{method: "GET", target: "/v1/AUTH_ann?format=xml&delimiter=%22", status: 200, text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_ann\">\n<subdir name=\"q&quot;\" />\n</account>"},
	})
	var rows []map[string]any
	a := l.must(200, "GET", "/v1/AUTH_ann?format=json", "")
	if err := json.Unmarshal([]byte(a.body), &rows); err != nil || len(rows) != 1 || rows[0]["name"] != `q"&` || rows[0]["count"] != 2.0 || rows[0]["bytes"] != 10.0 {
		t.Errorf("%v in %s", err, a.body)
	}
	a = l.must(200, "GET", "/v1/AUTH_ann?format=xml", "")
	if !strings.Contains(a.body, "\n<container><name>q\"&amp;</name><count>2</count><bytes>10</bytes><last_modified>20") || !strings.HasSuffix(a.body, "</last_modified></container>\n</account>") {
		t.Errorf("XML %s", a.body)
	}
}

func TestCompactType(t *testing.T) {
	for in, want := range map[string]string{
		"text/plain":                       "text/plain",
		"text/plain; charset=utf-8":        "text/plain;charset=utf-8",
		"text/plain;charset=utf-8":         "text/plain;charset=utf-8",
		`a/b ; c = "d; e=\"f" ; g=h`:       `a/b ;c="d; e=\"f";g=h`,
		"a/b; c":                           "a/b;c=",
		"a/b; ; =x; c=d":                   "a/b;c=d",
		"a/b;":                             "a/b",
		`a/b; c="open`:                     "a/b;c=",
		"a/b; charset=utf-8; boundary=x/y": "a/b;charset=utf-8;boundary=x",
	} {
		if got := new(typeNames).compact(in); got != want {
			t.Errorf("compact(%q) = %q, want %q", in, got, want)
		}
	}
}

// A listing too long for one piece goes out in chunks, whole and in order.
func TestLongListing(t *testing.T) {
	f := &storagetest.Faulty{Backend: memory.New()}
	l := newLabOver(t, f)
	var names []string
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	for i := range 3000 {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("long-name/", 5), i))
		l.must(201, "PUT", "/v1/AUTH_ann/c/"+names[i], "")
	}
	addr := l.serve()
	const get = "GET /v1/AUTH_ann/c?format=json HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n\r\n"
	res, _, _ := l.wire(addr, get)
	var rows []struct{ Name string }
	if err := json.NewDecoder(res.Body).Decode(&rows); err != nil || res.ContentLength != -1 {
		t.Fatalf("%v, length %d", err, res.ContentLength)
	}
	got := make([]string, len(rows))
	for i := range rows {
		got[i] = rows[i].Name
	}
	if !slices.Equal(got, names) {
		t.Errorf("%d names, want %d", len(got), len(names))
	}
	var doc struct {
		Objects []struct {
			Name string `xml:"name"`
		} `xml:"object"`
	}
	if err := xml.Unmarshal([]byte(l.must(200, "GET", "/v1/AUTH_ann/c?format=xml", "").body), &doc); err != nil || len(doc.Objects) != len(names) {
		t.Errorf("XML: %v, %d names", err, len(doc.Objects))
	}

	// If it fails at its first row there is a status to say so; later, it
	// breaks off.
	f.Fail(storagetest.List, storage.ErrUnavailable)
	if res, _, _ := l.wire(addr, get); res.StatusCode != 503 {
		t.Errorf("status %d, want 503", res.StatusCode)
	}
	f.Heal()
	f.Inject(storagetest.Fault{On: storagetest.List, Skip: 2500, Err: storage.ErrDamaged})
	res, _, _ = l.wire(addr, get)
	if err := json.NewDecoder(res.Body).Decode(&rows); err == nil || res.StatusCode != 200 {
		t.Errorf("a listing that breaks off reads well: %d rows", len(rows))
	}
}

func FuzzListingParameters(f *testing.F) {
	f.Add("limit=5&marker=a&prefix=%zz&path")
	f.Add("limit=00&reverse=T&delimiter=%2F&&=&x")
	f.Add("path=a//&end_marker=+")
	f.Fuzz(func(t *testing.T, query string) {
		l, err := parseListing(query, true)
		if err != nil {
			return
		}
		if l.limit < 0 || l.limit > maxListing {
			t.Fatalf("parseListing(%q).limit = %d", query, l.limit)
		}
		for _, s := range []string{l.Prefix, l.Delimiter, l.Marker, l.EndMarker} {
			if !utf8.ValidString(s) {
				t.Fatalf("parseListing(%q) = %#v", query, l)
			}
		}
		want, err := url.ParseQuery(query)
		if err != nil {
			return // what net/url refuses, we read as Python does
		}
		if v := want["marker"]; v != nil && l.Marker != v[len(v)-1] {
			t.Fatalf("parseListing(%q).Marker = %q, want %q", query, l.Marker, v[len(v)-1])
		}
	})
}

func FuzzCompactType(f *testing.F) {
	f.Add(`a/b; c="d;e"; f=g;;h`)
	f.Fuzz(func(t *testing.T, s string) {
		once := compactType(s)
		if len(once) > 2*len(s)+1 || compactType(once) != once {
			t.Fatalf("compactType(%q) = %q, and again %q", s, once, compactType(once))
		}
	})
}
