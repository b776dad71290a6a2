package gateway

import (
	"strings"
	"testing"
)

func TestAccount(t *testing.T) {
	newLab(t).play([]step{
		// As long as nobody wrote to it, it is answered for all the same.
		{method: "HEAD", target: "/v1/AUTH_ann", status: 200, want: []string{"X-Account-Container-Count: 0", "Accept-Ranges:", "Vary: Accept", "Content-Type: text/plain; charset=utf-8"}},
		{method: "GET", target: "/v1/AUTH_ann", status: 204},
		{method: "GET", target: "/v1/AUTH_ann?format=json", status: 200, text: "[]", want: []string{"Vary:"}},
		{method: "GET", target: "/v1/AUTH_ann?format=xml", status: 200, text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_ann\">\n</account>"},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Color: red", "X-Account-Meta-Old: 1"}, status: 204, text: "-"},
		{method: "HEAD", target: "/v1/AUTH_ann", status: 204, want: []string{"X-Account-Meta-Color: red", "Accept-Ranges: bytes", "X-Account-Storage-Policy-Policy-0-Object-Count:"}},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Taste: sour", "X-Remove-Account-Meta-Old: x", "X-Account-Meta-Color:"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann", want: []string{"X-Account-Meta-Taste: sour", "X-Account-Meta-Old:", "X-Account-Meta-Color:"}},
		{method: "PUT", target: "/v1/AUTH_ann/c", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann", want: []string{"X-Account-Container-Count: 1", "X-Account-Object-Count: 1", "X-Account-Bytes-Used: 5", "X-Account-Storage-Policy-Policy-0-Object-Count: 1"}},
		{method: "PUT", target: "/v1/AUTH_ann", status: 403},
		{method: "DELETE", target: "/v1/AUTH_ann", status: 403},
		{method: "DELETE", target: "/v1/AUTH_ann?x=1", status: 403},
		{who: "root", method: "DELETE", target: "/v1/AUTH_ann?x=1", status: 400},
		{who: "root", method: "PUT", target: "/v1/AUTH_new", status: 201},
		{who: "root", method: "PUT", target: "/v1/AUTH_new", status: 202},
		{who: "root", method: "DELETE", target: "/v1/AUTH_new", status: 204},
		{who: "root", method: "DELETE", target: "/v1/AUTH_new", status: 404, text: "-"},
		{who: "auditor", method: "GET", target: "/v1/AUTH_ann", status: 200, text: "c\n"},
		{who: "auditor", method: "POST", target: "/v1/AUTH_ann", status: 403},
		{who: "clerk", method: "GET", target: "/v1/AUTH_ann", status: 403},
		{who: "bob", method: "GET", target: "/v1/AUTH_ann", status: 403, text: bare(403)},
		{who: "-", method: "GET", target: "/v1/AUTH_ann", status: 401, text: bare(401), want: []string{`Www-Authenticate: Swift realm="AUTH_ann"`}},
		{who: "-", method: "HEAD", target: "/v1/AUTH_ann", status: 401, text: "-", want: []string{"Content-Length: 0"}},
	})
}

func TestAccountMetadataLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	newLab(t).play([]step{
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-" + long(128) + ": 1"}, status: 204},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-" + long(129) + ": 1"}, status: 400, want: []string{"Content-Type: text/plain"}},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-A: " + long(256)}, status: 204},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-A: " + long(257)}, status: 400, text: "Metadata value longer than 256: x-account-meta-A"},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-: 1"}, status: 400, text: "Metadata name cannot be empty"},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-A: \xff"}, status: 400, text: "Metadata must be valid UTF-8"},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Other: " + long(8193)}, status: 400, text: "Header value too long: X-Other"},
		{who: "bob", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-: 1"}, status: 403},
		{who: "-", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Other: " + long(8193)}, status: 401},
	})
}

func TestAccountQuota(t *testing.T) {
	newLab(t).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c", status: 201},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Quota-Bytes: 7"}, status: 403},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Remove-Account-Meta-Quota-Bytes: 7"}, status: 403},
		{who: "-", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Quota-Bytes: 7"}, status: 401},
		{who: "root", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Quota-Bytes: x"}, status: 400, text: bare(400)},
		{who: "root", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Quota-Bytes: 7"}, status: 204},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "12345678", status: 413, text: "Upload exceeds quota."},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "1234567", status: 201},
		{method: "COPY", target: "/v1/AUTH_ann/c/o", headers: []string{"Destination: c/o2"}, status: 413, text: "Upload exceeds quota."},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Color: red"}, status: 204},
		{who: "root", method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Remove-Account-Meta-Quota-Bytes: x"}, status: 204},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "12345678", status: 201},
	})
}

// What is for an account's owner only neither shows to others nor is taken
// from them.
func TestOwnersHeaders(t *testing.T) {
	newLab(t).play([]step{
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Meta-Temp-Url-Key: k", `X-Account-Access-Control: {"read-write": ["ann:clerk"]}`}, status: 204},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Read: .r : *, bob", "X-Container-Write: bob", "X-Container-Meta-Temp-Url-Key-2: k2"}, status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann", want: []string{"X-Account-Meta-Temp-Url-Key: k", `X-Account-Access-Control: {"read-write":["ann:clerk"]}`}},
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Read: .r:*,bob", "X-Container-Write: bob", "X-Container-Meta-Temp-Url-Key-2: k2"}},
		{who: "clerk", method: "HEAD", target: "/v1/AUTH_ann", status: 204, want: []string{"X-Account-Meta-Temp-Url-Key:", "X-Account-Access-Control:", "X-Account-Sysmeta-Core-Access-Control:"}},
		{who: "clerk", method: "HEAD", target: "/v1/AUTH_ann/c", status: 204, want: []string{"X-Container-Read:", "X-Container-Write:", "X-Container-Meta-Temp-Url-Key-2:"}},
		{who: "clerk", method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Read: clerk", "X-Remove-Container-Write: x", "X-Container-Meta-Seen: 1"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Read: .r:*,bob", "X-Container-Write: bob", "X-Container-Meta-Seen: 1"}},
		{method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Remove-Container-Read: x", "X-Container-Write:"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Read:", "X-Container-Write:"}},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Access-Control: {"}, status: 400, want: []string{"Content-Type: text/plain; charset=UTF-8"}},
		{method: "POST", target: "/v1/AUTH_ann", headers: []string{"X-Account-Access-Control:"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann", want: []string{"X-Account-Access-Control:"}},
	})
}

// Nothing that the house keeps for itself gets in or out.
func TestGatekeeper(t *testing.T) {
	l := newLab(t)
	secret := []string{"X-Account-Sysmeta-A: s", "X-Container-Sysmeta-A: s", "X-Object-Sysmeta-A: s",
		"X-Object-Transient-Sysmeta-A: s", "X-Backend-A: s", "X-Timestamp: 1.00000", "X-Account-Sysmeta-Core-Access-Control: s"}
	l.must(204, "POST", "/v1/AUTH_ann", "", secret...)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", secret...)
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "", secret...)
	l.must(202, "POST", "/v1/AUTH_ann/c/o", "", secret...)
	for _, target := range []string{"/v1/AUTH_ann", "/v1/AUTH_ann/c", "/v1/AUTH_ann/c/o"} {
		a := l.ask("ann", "HEAD", target, "")
		for name, values := range a.header {
			if strings.Contains(name, "Sysmeta") || strings.Contains(name, "Backend") || values[0] == "s" || values[0] == "1.00000" {
				t.Errorf("HEAD %s shows %s: %q", target, name, values)
			}
		}
	}
}
