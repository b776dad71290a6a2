package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
)

// An answer of which a later segment is missing is broken off, so that nobody
// takes the part for the whole.
func TestMissingSegmentBreaksOff(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/1", strings.Repeat("1", 100_000))
	l.must(201, "PUT", "/v1/AUTH_ann/c/2", strings.Repeat("2", 100_000))
	l.must(201, "PUT", "/v1/AUTH_ann/c/big?multipart-manifest=put", `[{"path": "c/1"}, {"path": "c/2"}]`)
	l.must(204, "DELETE", "/v1/AUTH_ann/c/2", "")
	addr := l.serve()
	for _, ranges := range []string{"", "Range: bytes=50000-\r\n"} {
		res, _, _ := l.wire(addr, "GET /v1/AUTH_ann/c/big HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\n"+ranges+"\r\n")
		body, err := io.ReadAll(res.Body)
		if res.StatusCode/100 != 2 || !errors.Is(err, io.ErrUnexpectedEOF) || strings.Trim(string(body), "1") != "" {
			t.Errorf("%q: %d, %d bytes, %v; want the first segment and no end", ranges, res.StatusCode, len(body), err)
		}
	}
	l.play([]step{
		{method: "GET", target: "/v1/AUTH_ann/c/big", headers: []string{"Range: bytes=100000-"}, status: 409},
		{method: "GET", target: "/v1/AUTH_ann/c/big", headers: []string{"Range: bytes=99990-99999"}, status: 206, text: "1111111111"},
	})
}

// What names many segments is refused before any is looked at, and what is
// named twice is looked at once.
func TestManySegments(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/1", "1")
	list := func(n int) string { return "[" + strings.Repeat(`{"path": "c/1"}, `, n-1) + `{"path": "c/1"}]` }
	l.play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c/o?multipart-manifest=put", body: list(1001), status: 413, text: "Number of object-backed segments must be <= 1000"},
		{method: "PUT", target: "/v1/AUTH_ann/c/o?multipart-manifest=put", body: list(1000), status: 201},
		{method: "GET", target: "/v1/AUTH_ann/c/o", status: 200, text: strings.Repeat("1", 1000)},
		{method: "DELETE", target: "/v1/AUTH_ann/c/o?multipart-manifest=delete", status: 200, text: "Number Deleted: 2\nNumber Not Found: 999\nResponse Body: \nResponse Status: 200 OK\nErrors:\n"},
		{method: "PUT", target: "/v1/AUTH_ann/c/o?multipart-manifest=put", body: "[" + strings.Repeat(" ", storage.MaxManifest) + "]", status: 413, text: "Manifest File > 8388608 bytes"},
	})
}

// A manifest names segments that only others may read, or has others read what
// only its owner may.
func TestSegmentsOfOthers(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/secret", "")
	l.must(201, "PUT", "/v1/AUTH_ann/secret/o", "secret")
	l.must(201, "PUT", "/v1/AUTH_ann/public", "", "X-Container-Read: .r:*,.rlistings", "X-Container-Write: ann:clerk")
	l.must(201, "PUT", "/v1/AUTH_ann/public/slo?multipart-manifest=put", `[{"path": "secret/o"}]`)
	l.must(201, "PUT", "/v1/AUTH_ann/public/dlo", "", "X-Object-Manifest: secret/o")
	l.must(201, "PUT", "/v1/AUTH_ann/public/link", "", "X-Symlink-Target: secret/o")
	for target, status := range map[string]int{"slo": 409, "dlo": 401, "link": 401} {
		for _, method := range []string{"GET", "COPY"} {
			who, headers := "", []string(nil)
			if method == "COPY" {
				who, headers = "clerk", []string{"Destination: public/copy"}
				if status == 401 {
					status = 403
				}
			}
			a := l.ask(who, method, "/v1/AUTH_ann/public/"+target, "", headers...)
			if a.status != status || strings.Contains(a.body, "secret") {
				t.Errorf("%s %s = %d %q, want %d and nothing of it", method, target, a.status, a.body, status)
			}
		}
	}
	l.play([]step{
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/public/x?multipart-manifest=put", body: `[{"path": "secret/o"}]`, status: 400, text: "Errors:\nsecret/o, 403 Forbidden\n"},
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/public/x", headers: []string{"X-Symlink-Target: secret/o", "X-Symlink-Target-Etag: abc"}, status: 403},
		{who: "clerk", method: "DELETE", target: "/v1/AUTH_ann/public/slo?multipart-manifest=delete", status: 200, text: "Number Deleted: 1\nNumber Not Found: 0\nResponse Body: \nResponse Status: 400 Bad Request\nErrors:\n/secret/o, 403 Forbidden\n"},
		{method: "GET", target: "/v1/AUTH_ann/secret/o", status: 200, text: "secret"},
	})
}

// Segments that are to go by and by must be in one container, and plain.
func TestDeletedByAndBy(t *testing.T) {
	l := newLab(t)
	for _, c := range []string{"a", "b"} {
		l.must(201, "PUT", "/v1/AUTH_ann/"+c, "")
		l.must(201, "PUT", "/v1/AUTH_ann/"+c+"/1", "1")
	}
	l.must(201, "PUT", "/v1/AUTH_ann/a/o?multipart-manifest=put", `[{"path": "b/1"}, {"path": "a/1"}]`)
	l.must(201, "PUT", "/v1/AUTH_ann/a/p?multipart-manifest=put", `[{"path": "b/1"}, {"data": "YQ=="}, {"path": "b/1"}]`)
	l.play([]step{
		{method: "DELETE", target: "/v1/AUTH_ann/a/o?multipart-manifest=delete&async=yes", status: 400, text: `All segments must be in one container. Found segments in "b", "a"`},
		{method: "GET", target: "/v1/AUTH_ann/a/o", status: 200, text: "11"},
		{method: "DELETE", target: "/v1/AUTH_ann/a/p?multipart-manifest=delete&async=yes", status: 204},
		{method: "GET", target: "/v1/AUTH_ann/b/1", status: 404},
		{method: "GET", target: "/v1/AUTH_ann/a/p", status: 404},
		{method: "GET", target: "/v1/AUTH_ann/a/1", status: 200, text: "1"},
	})
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`[]`, `{}`, `null`, `[1, null, "x"]`, `[{"path": "c/o", "etag": null, "size_bytes": "12", "range": "-5"}]`,
		`[{"data": "YQ=="}, {"path": "/c/\u00fc", "size_bytes": 1e3, "range": "1-2"}]`, `[{"path": "c/o", "range": true}]`,
	} {
		f.Add(seed)
	}
	at := storage.Path{Account: "AUTH_ann", Container: "c", Object: "at"}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseManifest([]byte(text), at)
		if err != nil {
			if r := (*refusal)(nil); !errors.As(err, &r) || r.status != http.StatusBadRequest {
				t.Fatalf("parseManifest(%q): %v", text, err)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("parseManifest(%q) takes what is no JSON", text)
		}
		for i, w := range list {
			if w.data == nil && (w.path.Account != at.Account || w.path.Container == "" || w.path.Object == "" || w.path == at) {
				t.Fatalf("parseManifest(%q)[%d] = %s", text, i, fmt.Sprint(w.path))
			}
		}
	})
}

// Segments of a byte each, in the manifest, are counted before they cost memory.
func TestManifestOfManyBytes(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/s", "x")
	of := func(n int) string {
		return `[{"path": "/c/s"}` + strings.Repeat(`,{"data":"YQ=="}`, n-1) + "]"
	}
	l.must(201, "PUT", "/v1/AUTH_ann/c/many?multipart-manifest=put", of(maxManifestItems))
	if a := l.ask("ann", "PUT", "/v1/AUTH_ann/c/more?multipart-manifest=put", of(maxManifestItems+1)); a.status != 413 {
		t.Errorf("one more = %d %q", a.status, a.body)
	}
	if got := l.must(200, "GET", "/v1/AUTH_ann/c/many", "").body; got != "x"+strings.Repeat("a", maxManifestItems-1) {
		t.Errorf("%d bytes came", len(got))
	}
}
