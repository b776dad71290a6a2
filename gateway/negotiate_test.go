package gateway

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestNegotiation(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	for _, c := range []struct{ query, accept, want string }{
		{"", "", textType},
		{"", "*/*", textType},
		{"", "application/json", jsonType},
		{"", "application/*", jsonType},
		{"", "application/xml", xmlType},
		{"", "text/xml", "text/xml; charset=utf-8"},
		{"", "text/*", textType},
		{"", "text/xml;q=0.5, application/json;q=0.9", jsonType},
		{"", "*/*, application/json", jsonType},
		{"", "image/png, */*;q=0.1", textType},
		{"", `application/json; a="b;c" ; q=0.1, text/plain;q=0`, jsonType},
		{"", "image/png", "406"},
		{"", "garbage", "400"},
		{"", "application/json;q=x", "400"},
		{"", "application/json;q=1;q=1", "400"},
		{"", "text/plain,,", "400"},
		{"?format=json", "image/png", jsonType},
		{"?format=XML", "", xmlType},
		{"?format=plain", "application/json", textType},
		{"?format=other", "application/json", textType},
		{"?format=", "application/json", jsonType},
		{"?format=json&format=xml", "", xmlType},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, target := range []string{"/v1/AUTH_ann", "/v1/AUTH_ann/c"} {
				headers := []string{"Accept: " + c.accept}
				if c.accept == "" {
					headers = nil
				}
				a := l.ask("ann", method, target+c.query, "", headers...)
				got := a.header.Get("Content-Type")
				if a.status >= 400 {
					got = fmt.Sprint(a.status)
				}
				if got != c.want {
					t.Errorf("%s %s%s with Accept %q is %s, want %s", method, target, c.query, c.accept, got, c.want)
				}
				if vary := a.header.Get("Vary") == "Accept"; vary != (c.query == "") && a.status < 400 {
					t.Errorf("%s %s%s with Accept %q: Vary %q", method, target, c.query, c.accept, a.header.Get("Vary"))
				}
			}
		}
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("text/*;q=0.3, text/html;level=1")
	f.Add(`a/b;c="\",";q=1`)
	f.Add("*/*;q=1e999")
	f.Fuzz(func(t *testing.T, accept string) {
		i, err := bestMatch(accept)
		if err == nil && (i < 0 || i >= len(formats)) {
			t.Fatalf("bestMatch(%q) = %d", accept, i)
		}
		for item := range strings.SplitSeq(accept, ",") {
			if typ, sub, q, ok := parseAccept(item); ok && (typ == "" || sub == "" || math.IsNaN(q)) {
				t.Fatalf("parseAccept(%q) = %q, %q, %v", item, typ, sub, q)
			}
		}
	})
}
