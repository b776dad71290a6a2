package gateway

import (
	"testing"

	"memstore.dev/memstore/storage/memory"
)

func TestPolicies(t *testing.T) {
	l := newLabOver(t, memory.New(), func(c *Config) { c.Policies = []string{"gold", "silver"} })
	l.play([]step{
		{method: "PUT", target: "/v1/AUTH_ann/a", status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/b", headers: []string{"X-Storage-Policy: SILVER", "X-Container-Sysmeta-Policy: gold"}, status: 201},
		{method: "PUT", target: "/v1/AUTH_ann/x", headers: []string{"X-Storage-Policy: bronze"}, status: 400, text: "Invalid X-Storage-Policy 'bronze'"},
		{method: "HEAD", target: "/v1/AUTH_ann/a", want: []string{"X-Storage-Policy: gold", "X-Container-Sysmeta-Policy:"}},
		{method: "HEAD", target: "/v1/AUTH_ann/b", want: []string{"X-Storage-Policy: silver", "X-Container-Sysmeta-Policy:"}},

		// A container keeps its policy.
		{method: "PUT", target: "/v1/AUTH_ann/b", status: 202},
		{method: "PUT", target: "/v1/AUTH_ann/b", headers: []string{"X-Storage-Policy: silver"}, status: 202},
		{method: "PUT", target: "/v1/AUTH_ann/b", headers: []string{"X-Storage-Policy: gold"}, status: 409},
		{method: "POST", target: "/v1/AUTH_ann/b", headers: []string{"X-Storage-Policy: gold"}, status: 204},
		{method: "HEAD", target: "/v1/AUTH_ann/b", want: []string{"X-Storage-Policy: silver"}},
		{who: "clerk", method: "PUT", target: "/v1/AUTH_ann/b", headers: []string{"X-Storage-Policy: gold"}, status: 403},

		{method: "PUT", target: "/v1/AUTH_ann/b/o", body: "hello", status: 201},
		{method: "HEAD", target: "/v1/AUTH_ann", want: []string{
			"X-Account-Storage-Policy-Gold-Container-Count: 1", "X-Account-Storage-Policy-Gold-Object-Count: 0",
			"X-Account-Storage-Policy-Silver-Container-Count: 1", "X-Account-Storage-Policy-Silver-Object-Count: 1",
			"X-Account-Storage-Policy-Silver-Bytes-Used: 5", "X-Account-Bytes-Used: 5"}},
	})
}
