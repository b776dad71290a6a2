package cdn

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for host, want := range map[string]Ref{
		"pics.0d9303a4.cdn.test":     {ID: "0d9303a4", Container: "pics"},
		"pics-0d9303a4.cdn.test":     {ID: "0d9303a4", Container: "pics"},
		"a-b-0d9303a4.cdn.test":      {ID: "0d9303a4", Container: "a-b"},
		"a-b.0d9303a4.cdn.test":      {ID: "0d9303a4", Container: "a-b"},
		"x.0d9303a4.cdn.test":        {ID: "0d9303a4", Container: "x"},
		"0d9303a4.0d9303a4.cdn.test": {ID: "0d9303a4", Container: "0d9303a4"},
		"cdn.test":                   {},
		".cdn.test":                  {},
		"0d9303a4.cdn.test":          {},
		"-0d9303a4.cdn.test":         {},
		"pics.0d9303a.cdn.test":      {},
		"pics.0d9303ag.cdn.test":     {},
		"pics_0d9303a4.cdn.test":     {},
		"-a.0d9303a4.cdn.test":       {},
		"a-.0d9303a4.cdn.test":       {},
		"a.b.0d9303a4.cdn.test":      {},
		"pics.0d9303a4.cdn.test.x":   {},
		"pics.0d9303a4cdn.test":      {},
		"":                           {},
	} {
		got, ok := parseHost(host, "cdn.test")
		if got != want || ok != (want != Ref{}) {
			t.Errorf("parseHost(%q) = %+v, %v, want %+v", host, got, ok, want)
		}
	}
}

func TestPlainHost(t *testing.T) {
	for host, want := range map[string]string{
		"a.b": "a.b", "A.b:80": "a.b", "a.b.": "a.b", "a.b.:443": "a.b", "[::1]:80": "::1", "[::1]": "::1", "": "", ":80": "",
	} {
		if got := plainHost(host); got != want {
			t.Errorf("plainHost(%q) = %q, want %q", host, got, want)
		}
	}
}

// Every container has a label, and no two containers of an account the same.
func TestLabel(t *testing.T) {
	long := strings.Repeat("a", 54)
	for name, own := range map[string]bool{
		"pics": true, "a-b": true, "1": true, long: true,
		long + "a": false, "Pics": false, "a_b": false, "a.b": false, "-a": false, "a-": false, "ä": false, "a b": false,
	} {
		l := Label("AUTH_ann", name)
		if !isLabel(l) || len(l)+9 > 63 {
			t.Errorf("Label(%q) = %q, which is none", name, l)
		}
		if (l == name) != own || !own && !Hashed(l) {
			t.Errorf("Label(%q) = %q", name, l)
		}
		if !own && l == Label("AUTH_bob", name) {
			t.Errorf("containers of two accounts called %q have one label", name)
		}
		if ref, ok := parseHost(l+"-0d9303a4.cdn.test", "cdn.test"); !ok || ref.Container != l {
			t.Errorf("the host of %q is read as %+v", name, ref)
		}
	}
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]struct {
		ref          Ref
		root, object string
	}{
		"/AUTH_a/c/o":      {Ref{Account: "AUTH_a", Container: "c"}, "/AUTH_a/c", "o"},
		"/AUTH_a/c":        {Ref{Account: "AUTH_a", Container: "c"}, "/AUTH_a/c", ""},
		"/AUTH_a/c/":       {Ref{Account: "AUTH_a", Container: "c"}, "/AUTH_a/c", ""},
		"/AUTH_a/c//a/../": {Ref{Account: "AUTH_a", Container: "c"}, "/AUTH_a/c", "/a/../"},
		"/0d9303a4/c/o":    {Ref{ID: "0d9303a4", Container: "c"}, "/0d9303a4/c", "o"},
		"/AUTH_a":          {}, "/AUTH_a/": {}, "/": {}, "": {}, "//c/o": {}, "*": {},
	} {
		ref, root, object, ok := parsePath(path)
		if ref != want.ref || root != want.root || object != want.object || ok != (want.root != "") {
			t.Errorf("parsePath(%q) = %+v, %q, %q, %v", path, ref, root, object, ok)
		}
	}
}

// zone is the DNS.
type zone struct {
	cname map[string]string
	txt   map[string][]string
	asked int
}

func (z *zone) LookupCNAME(_ context.Context, host string) (string, error) {
	z.asked++
	if to, ok := z.cname[host]; ok {
		return to, nil
	}
	return "", errors.New("no such host")
}

func (z *zone) LookupTXT(_ context.Context, host string) ([]string, error) {
	if texts, ok := z.txt[host]; ok {
		return texts, nil
	}
	return nil, errors.New("no such host")
}

func TestLookUp(t *testing.T) {
	z := &zone{
		cname: map[string]string{
			"www.example.com": "Pics-0d9303a4.cdn.test.", "other.example.com": "example.net.",
		},
		txt: map[string][]string{"_memstore.example.com": {"v=spf1 -all", "pics.0d9303a4.cdn.test"}},
	}
	for host, want := range map[string]Ref{
		"www.example.com": {ID: "0d9303a4", Container: "pics"}, "example.com": {ID: "0d9303a4", Container: "pics"},
		"other.example.com": {}, "none.example.com": {},
	} {
		if got, ok := lookUp(t.Context(), z, host, "cdn.test"); got != want || ok != (want != Ref{}) {
			t.Errorf("lookUp(%q) = %+v, %v", host, got, ok)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	f.Add("pics.0d9303a4.cdn.test")
	f.Add("a-b-0d9303a4.cdn.test:80")
	f.Fuzz(func(t *testing.T, host string) {
		ref, ok := parseHost(plainHost(host), "cdn.test")
		if ok && (!isLabel(ref.Container) || len(ref.ID) != 8 || !isHex(ref.ID)) {
			t.Errorf("%q is read as %+v", host, ref)
		}
	})
}
