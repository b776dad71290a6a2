package gateway

import (
	"strings"
	"testing"
	"unicode/utf8"

	"memstore.dev/memstore/storage/memory"
)

func TestCopy(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/d%C3%A9", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello", "Content-Type: a/b", "X-Object-Meta-A: 1", "Content-Encoding: x", "X-Object-Meta-B: 2")
	l.play([]step{
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: /d%C3%A9/o/2", "X-Object-Meta-B: 3"}, status: 201, text: "-",
			want: []string{"Etag: " + helloTag, "X-Copied-From: c/o", "X-Copied-From-Account: AUTH_ann", "X-Object-Meta-A: 1", "X-Object-Meta-B: 3"}},
		{method: "GET", target: "/v1/AUTH_ann/d%C3%A9/o/2", status: 200, text: "hello", want: []string{"Content-Type: a/b", "X-Object-Meta-A: 1", "X-Object-Meta-B: 3", "Content-Encoding: x"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/back", headers: []string{"X-Copy-From: d%C3%A9/o%2F2", "X-Fresh-Metadata: true", "X-Object-Meta-C: 4"}, status: 201,
			want: []string{"X-Copied-From: d%C3%A9/o/2", "X-Object-Meta-C: 4", "X-Object-Meta-A:"}},
		{method: "GET", target: "/v1/AUTH_ann/c/back", text: "hello", want: []string{"Content-Type: a/b", "X-Object-Meta-C: 4", "X-Object-Meta-A:", "Content-Encoding:"}},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/typed", "Content-Type: c/d"}, status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann/c/typed", want: []string{"Content-Type: c/d"}},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/guess.html", "X-Detect-Content-Type: 1"}, status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann/c/guess.html", want: []string{"Content-Type: text/html"}},
		// Onto itself: metadata is changed.
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/o", "X-Object-Meta-A: new"}, status: 201},
		{method: "GET", target: "/v1/AUTH_ann/c/o", text: "hello", want: []string{"X-Object-Meta-A: new", "X-Object-Meta-B: 2"}},
		// Conditions and ranges are about the source.
		{method: "PUT", target: "/v1/AUTH_ann/c/part", headers: []string{"X-Copy-From: c/o", "Range: bytes=1-2"}, status: 201, want: []string{"Etag: 65c10911d8b8591219a21ebacf46da01"}},
		{method: "GET", target: "/v1/AUTH_ann/c/part", text: "el", want: []string{"X-Object-Meta-A: new"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/o", "Range: bytes=9-"}, status: 416, want: []string{"Content-Range: bytes */5"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/o", "If-Match: x"}, status: 412, text: "-", want: []string{"Etag: " + helloTag}},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/o", "If-None-Match: *"}, status: 304, text: "-"},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/o", "If-None-Match: abc"}, status: 400, text: "If-None-Match only supports *"},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/o", "If-Match: *"}, status: 201},
		{method: "DELETE", target: "/v1/AUTH_ann/c/x", status: 204},
		// What does not come to a copy.
		{method: "COPY", target: "/v1/AUTH_ann/c/o", status: 412, text: "Destination header required"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c"}, status: 412, text: "Destination header must be of the form <container name>/<object name>"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/"}, status: 412},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: //c/x"}, status: 412},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x%ff"}, status: 412, text: "Invalid UTF8 or contains NULL"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: none/x"}, status: 404, text: bareNotFound},
		{method: "COPY", target: "/v1/AUTH_ann/c/none", headers: []string{"Destination: c/x"}, status: 404},
		{method: "COPY", target: "/v1/AUTH_ann/c/none", headers: []string{"Destination: c/x", "If-Match: *"}, status: 412},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x", "Destination-Account:"}, status: 412, text: "Account name cannot be empty"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x", "Destination-Account: a%2Fb"}, status: 412, text: "Account name cannot contain slashes"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x", "X-Delete-At: 1"}, status: 400, text: "X-Delete-At in past"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x", "X-Object-Meta-: 1"}, status: 400, text: "Metadata name cannot be empty"},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/" + strings.Repeat("x", 1025)}, status: 400},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c"}, status: 412, text: "X-Copy-From header must be of the form <container name>/<object name>"},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", body: "x", headers: []string{"X-Copy-From: c/o"}, status: 400, text: "Copy requests require a zero byte body"},
		{method: "GET", target: "/v1/AUTH_ann/c/x", status: 404},
	})
}

func TestCopyBetweenAccounts(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Read: bob")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello")
	l.play([]step{
		{who: "bob", method: "PUT", target: "/v1/AUTH_bob/c", status: 201},
		{who: "bob", method: "PUT", target: "/v1/AUTH_bob/c/mine", headers: []string{"X-Copy-From: c/o", "X-Copy-From-Account: AUTH_ann"}, status: 201, want: []string{"X-Copied-From-Account: AUTH_ann"}},
		{who: "bob", method: "GET", target: "/v1/AUTH_bob/c/mine", status: 200, text: "hello"},
		{who: "bob", method: "COPY", target: "/v1/AUTH_bob/c/mine", headers: []string{"Destination: c/yours", "Destination-Account: AUTH_ann"}, status: 403},
		{method: "PUT", target: "/v1/AUTH_ann/c/x", headers: []string{"X-Copy-From: c/mine", "X-Copy-From-Account: AUTH_bob"}, status: 403},
		{who: "-", method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x"}, status: 401},
		{method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Write: bob"}, status: 204},
		{who: "bob", method: "COPY", target: "/v1/AUTH_bob/c/mine", headers: []string{"Destination: c/yours", "Destination-Account: AUTH_ann"}, status: 201},
		{method: "GET", target: "/v1/AUTH_ann/c/yours", status: 200, text: "hello"},
	})
}

func TestCopyTooLarge(t *testing.T) {
	b := memory.New()
	newLabOver(t, b).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "12345678901", status: 201},
	})
	newLabOver(t, b, func(c *Config) { c.MaxObjectSize = 10 }).play([]step{
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/x"}, status: 413, text: bare(413)},
	})
}

func FuzzDestination(f *testing.F) {
	f.Add("/c/o")
	f.Add("c%2Fo")
	f.Add("%zz/%")
	f.Add("a/%00")
	f.Fuzz(func(t *testing.T, v string) {
		container, object, err := pathInHeader(map[string][]string{"Destination": {v}}, "Destination")
		if err != nil {
			return
		}
		if container == "" || object == "" || strings.Contains(container, "/") || !utf8.ValidString(container+object) || strings.Contains(container+object, "\x00") {
			t.Fatalf("pathInHeader(%q) = %q, %q", v, container, object)
		}
		again, objectAgain, err := pathInHeader(map[string][]string{"Destination": {quote(container) + "/" + quote(object)}}, "Destination")
		if err != nil || again != container || objectAgain != object {
			t.Fatalf("%q, %q comes back as %q, %q, %v", container, object, again, objectAgain, err)
		}
	})
}
