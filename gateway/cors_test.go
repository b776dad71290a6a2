package gateway

import (
	"strings"
	"testing"
)

func TestCORS(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "", "X-Container-Read: .r:*",
		"X-Container-Meta-Access-Control-Allow-Origin: http://a.example http://b.example", "X-Container-Meta-Access-Control-Expose-Headers: X-Foo X-Bar", "X-Container-Meta-Access-Control-Max-Age: 60")
	l.must(201, "PUT", "/v1/AUTH_ann/any", "", "X-Container-Meta-Access-Control-Allow-Origin: *")
	l.must(201, "PUT", "/v1/AUTH_ann/none", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello", "X-Object-Meta-A: 1")
	const a = "Origin: http://a.example"
	l.play([]step{
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann", status: 200, text: "-", want: []string{"Allow: " + allowed}},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann", headers: []string{a}, status: 200, want: []string{"Allow: " + allowed, "Access-Control-Allow-Origin:"}},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/c/o", status: 200, want: []string{"Allow: " + allowed + ", COPY", "Vary:"}},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/c/o", headers: []string{a, "Access-Control-Request-Method: COPY", "Access-Control-Request-Headers: x-one, x-two"}, status: 200, text: "-",
			want: []string{"Access-Control-Allow-Origin: http://a.example", "Access-Control-Allow-Methods: " + allowed + ", COPY", "Access-Control-Allow-Headers: x-one, x-two",
				"Access-Control-Max-Age: 60", "Vary: Origin, Access-Control-Request-Headers", "Allow: " + allowed + ", COPY"}},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/c/o", headers: []string{a, "Access-Control-Request-Method: BREW"}, status: 401, text: bare(401), want: []string{"Allow: " + allowed, "Access-Control-Allow-Origin:"}},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/c/o", headers: []string{a}, status: 401},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/c", headers: []string{"Origin: http://c.example", "Access-Control-Request-Method: GET"}, status: 401},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/none", headers: []string{a, "Access-Control-Request-Method: GET"}, status: 401},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/absent", headers: []string{a, "Access-Control-Request-Method: GET"}, status: 401},
		{who: "-", method: "OPTIONS", target: "/v1/AUTH_ann/any", headers: []string{a, "Access-Control-Request-Method: GET"}, status: 200, want: []string{"Access-Control-Allow-Origin: *", "Vary:"}},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", headers: []string{"Origin: http://b.example"}, status: 200, text: "hello",
			want: []string{"Access-Control-Allow-Origin: http://b.example", "Vary: Origin", "Access-Control-Expose-Headers: " + exposed + ", x-bar, x-foo, x-object-meta-a"}},
		{who: "-", method: "GET", target: "/v1/AUTH_ann/c/o", headers: []string{"Origin: http://c.example"}, status: 200, want: []string{"Access-Control-Allow-Origin:", "Access-Control-Expose-Headers:", "Vary:"}},
		{method: "GET", target: "/v1/AUTH_ann/c", headers: []string{a}, status: 200, want: []string{"Access-Control-Allow-Origin: http://a.example", "Vary: Accept, Origin"}},
		{method: "GET", target: "/v1/AUTH_ann/any?format=json", headers: []string{a}, status: 200, want: []string{"Access-Control-Allow-Origin: *", "Vary:"}},
		{method: "GET", target: "/v1/AUTH_ann", headers: []string{a}, want: []string{"Access-Control-Allow-Origin:"}},
		// A page learns also that it may not, or that nothing is there.
		{who: "-", method: "PUT", target: "/v1/AUTH_ann/c/o", headers: []string{a}, status: 401, want: []string{"Access-Control-Allow-Origin: http://a.example"}},
		{method: "GET", target: "/v1/AUTH_ann/c/absent", headers: []string{a}, status: 404, want: []string{"Access-Control-Allow-Origin: http://a.example"}},
		{method: "PUT", target: "/v1/AUTH_ann/c/p", body: "x", headers: []string{a}, status: 201, want: []string{"Access-Control-Allow-Origin: http://a.example"}},
	})
	// What the gateway sees of the container for this purpose stays with it.
	for name, values := range l.ask("bob", "GET", "/v1/AUTH_ann/none", "", a).header {
		if strings.HasPrefix(name, "X-Container") {
			t.Errorf("shown to somebody else: %s %q", name, values)
		}
	}
}
