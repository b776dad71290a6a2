package gateway

import "testing"

func TestContainer(t *testing.T) {
	newLab(t).play([]step{
		{method: "HEAD", target: "/v1/AUTH_ann/c", status: 404, text: "-"},
		{method: "GET", target: "/v1/AUTH_ann/c", status: 404, text: bareNotFound},
		{method: "POST", target: "/v1/AUTH_ann/c", status: 404},
		{method: "DELETE", target: "/v1/AUTH_ann/c", status: 404},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Storage-Policy: gold"}, status: 400, text: "Invalid X-Storage-Policy 'gold'", want: []string{"Content-Type: text/plain"}},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Storage-Policy: POLICY-0", "X-Container-Meta-A: 1"}, status: 201, text: "-"},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Meta-B: 2"}, status: 202, text: "<html><h1>Accepted</h1><p>The request is accepted for processing.</p></html>"},
		{method: "HEAD", target: "/v1/AUTH_ann/c", status: 204, want: []string{
			"X-Container-Object-Count: 0", "X-Container-Bytes-Used: 0", "X-Storage-Policy: Policy-0", "Accept-Ranges: bytes",
			"Vary: Accept", "X-Container-Meta-A: 1", "X-Container-Meta-B: 2", "Content-Type: text/plain; charset=utf-8"}},
		{method: "HEAD", target: "/v1/AUTH_ann/c?format=json", status: 204, want: []string{"Content-Type: application/json; charset=utf-8", "Vary:"}},
		{method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Meta-A: 3", "X-Remove-Container-Meta-A: x", "X-Remove-Container-Meta-B: x"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Meta-A: 3", "X-Container-Meta-B:"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann/c", want: []string{"X-Container-Object-Count: 1", "X-Container-Bytes-Used: 5"}},
		{method: "DELETE", target: "/v1/AUTH_ann/c", status: 409, text: bare(409)},
		{method: "DELETE", target: "/v1/AUTH_ann/c/o", status: 204},
		{method: "DELETE", target: "/v1/AUTH_ann/c", status: 204},
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/c", status: 403},
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Storage-Policy: gold"}, status: 403},
		{who: "-", method: "PUT", target: "/v1/AUTH_ann/c", status: 401},
	})
}

func TestContainerACLs(t *testing.T) {
	newLab(t).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Write: .r:*"}, status: 400, text: "Referrers not allowed in write ACL: '.r:*'", want: []string{"Content-Type: text/html; charset=UTF-8"}},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Read: .x:*"}, status: 400},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Read: .r:*"}, status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/o", body: "hello", status: 201},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", status: 200, text: "hello"},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c", status: 401},
		{who: "-", method: "PUT", target: "/v1/AUTH_ann/c/o", status: 401},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/none/o", status: 401},
		{who: "bob", method: "GET", target: "/v1/AUTH_ann/none/o", status: 403},
		{who: "nobody", method: "GET", target: "/v1/AUTH_ann/c/o", status: 401}, // a token that went bad
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", headers: []string{"X-Auth-Token: other"}, status: 200},
		{who: "banned", method: "GET", target: "/v1/AUTH_ann/c/o", status: 403, want: []string{"Connection: close"}},
		{method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Read: .r:.example.com,.rlistings"}, status: 204},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", status: 401},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", headers: []string{"Referer: http://www.example.com/page"}, status: 200},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c", headers: []string{"Referer: http://www.example.com/page"}, status: 200, text: "o\n"},
		{method: "POST", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Write: bob:boss"}, status: 204},
		{who: "bob", method: "PUT", target: "/v1/AUTH_ann/c/b", body: "bob's", status: 201},
		{who: "bob", method: "GET", target: "/v1/AUTH_ann/c/b", status: 403},
		{who: "bob", method: "PUT", target: "/v1/AUTH_ann/c/b", headers: []string{"If-None-Match: x"}, status: 400},
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/c/b", headers: []string{"If-None-Match: x"}, status: 403},
		{who: "-", method: "PUT", target: "/v1/AUTH_ann/c/b", headers: []string{"X-Delete-At: x"}, status: 401},
		{who: "-", method: "POST", target: "/v1/AUTH_ann/c/b", headers: []string{"X-Delete-At: x"}, status: 401},
	})
}

func TestContainerQuota(t *testing.T) {
	newLab(t).play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Meta-Quota-Bytes: x"}, status: 400, text: "Invalid bytes quota."},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Meta-Quota-Count: -1"}, status: 400, text: "Invalid count quota."},
		{method: "PUT", target: "/v1/AUTH_ann/c", headers: []string{"X-Container-Meta-Quota-Bytes: 10", "X-Container-Meta-Quota-Count: 2"}, status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/a", body: "12345678901", status: 413, text: "Upload exceeds quota."},
		{method: "PUT", target: "/v1/AUTH_ann/c/a", body: "1234", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/b", body: "1234", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/d", body: "", status: 413},
		{method: "PUT", target: "/v1/AUTH_ann/c/b", body: "123456", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/c/b", body: "1234567", status: 413},
	})
}
