package auth

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestCleanACL(t *testing.T) {
	for _, c := range []struct{ header, value, want, refused string }{
		{"X-Container-Read", "", "", ""},
		{"X-Container-Read", "bob, sue", "bob,sue", ""},
		{"X-Container-Read", "bob , sue", "bob,sue", ""},
		{"X-Container-Read", ",bob,,,sue,", "bob,sue", ""},
		{"X-Container-Read", ".referrer : *", ".r:*", ""},
		{"X-Container-Read", ".ref:*.example.com", ".r:.example.com", ""},
		{"X-Container-Read", ".referer:-*.example.com", ".r:-.example.com", ""},
		{"X-Container-Read", ".r: - thief.com", ".r:-thief.com", ""},
		{"X-Container-Read", ".r:*, .rlistings", ".r:*,.rlistings", ""},
		{"X-Container-Read", "ann:tester, ann:*, *:tester, *:*, *", "ann:tester,ann:*,*:tester,*:*,*", ""},
		{"X-Container-Write", "ann:tester", "ann:tester", ""},
		{"X-Container-Write", ".rlistings", ".rlistings", ""},
		{"X-Container-Write", ".r:*", "", "Referrers not allowed in write ACL: '.r:*'"},
		{"x-container-write", "bob, .ref : x", "", "Referrers not allowed in write ACL: '.ref : x'"},
		{"X-Container-Read", ".r:", "", "No host/domain value after referrer designation in ACL: '.r:'"},
		{"X-Container-Read", ".r:-", "", "No host/domain value after referrer designation in ACL: '.r:-'"},
		{"X-Container-Read", ".r:-*.", "", "No host/domain value after referrer designation in ACL: '.r:-*.'"},
		{"X-Container-Read", ".x : y", "", "Unknown designator '.x' in ACL: '.x : y'"},
		{"X-Container-Read", ".x:don't", "", `Unknown designator '.x' in ACL: ".x:don't"`},
		{"X-Container-Read", ".x:'\"", "", `Unknown designator '.x' in ACL: '.x:\'"'`},
		{"X-Container-Read", ".x:a\tb\x01\\", "", `Unknown designator '.x' in ACL: '.x:a\tb\x01\\'`},
	} {
		got, err := CleanACL(c.header, c.value)
		if c.refused == "" && (err != nil || string(got) != c.want) {
			t.Errorf("CleanACL(%s, %q) = %q, %v, want %q", c.header, c.value, got, err, c.want)
		}
		if c.refused != "" && (!errors.Is(err, fs.ErrInvalid) || err.Error() != c.refused) {
			t.Errorf("CleanACL(%s, %q) = %q, %v, want %q", c.header, c.value, got, err, c.refused)
		}
	}
}

func TestACLGrants(t *testing.T) {
	bob := Identity{User: "bob:joe", Account: "bob", Role: RoleUser}
	boss := Identity{User: "bob:boss", Account: "bob", Role: RoleAdmin}
	member := Identity{User: "eve:mel", Account: "eve", Groups: []string{"staff"}}
	for _, c := range []struct {
		list string
		id   Identity
		want bool
	}{
		{"bob", bob, true}, {"bob:joe", bob, true}, {"ann,bob:joe", bob, true},
		{"bo", bob, false}, {"bob:jo", bob, false}, {"bob:joey", bob, false}, {"joe", bob, false}, {"", bob, false},
		{"bob:*", bob, true}, {"*:joe", bob, true}, {"*:*", bob, true}, {"*", bob, true},
		{"ann:*", bob, false}, {"*:ann", bob, false}, {"*:bob", bob, false}, {"joe:*", bob, false},
		{"%62ob%3Ajoe", bob, true}, {"bob%", bob, false}, {"%2A", bob, false}, {"%2A:%2A", bob, false},
		{"AUTH_bob", bob, false}, {"AUTH_bob", boss, true},
		{"staff", member, true}, {"staff", bob, false},
		{".r:*", bob, false}, {".rlistings", bob, false},
		{"*:*", Identity{}, false}, {"*", Identity{}, false}, {":", Identity{}, false}, {"", Identity{}, false}, {",", Identity{}, false},
	} {
		if got := ACL(c.list).Grants(c.id); got != c.want {
			t.Errorf("ACL(%q).Grants(%s) = %v, want %v", c.list, c.id.User, got, c.want)
		}
	}
}

func TestACLRefers(t *testing.T) {
	for _, c := range []struct {
		list, page string
		want       bool
	}{
		{"", "", false}, {".r:*", "", true}, {".r:*", "http://any.org/", true}, {"bob,.rlistings", "http://bob/", false},
		{".r:example.com", "http://example.com/x", true}, {".r:example.com", "https://EXAMPLE.com:8080/x?y", true},
		{".r:example.com", "http://www.example.com/", false}, {".r:example.com", "http://example.com.evil.org/", false},
		{".r:example.com", "http://example.com@evil.org/", false}, {".r:example.com", "example.com", false},
		{".r:.example.com", "http://www.example.com/", true}, {".r:.example.com", "http://example.com/", false},
		{".r:.example.com", "http://evilexample.com/", false},
		{".r:*,.r:-thief.com", "http://thief.com/", false}, {".r:*,.r:-thief.com", "http://www.thief.com/", true},
		{".r:*,.r:-.thief.com", "http://www.thief.com/", false},
		{".r:-thief.com,.r:*", "http://thief.com/", true}, // the order counts
		{".r:.example.com,.r:-bad.example.com", "http://bad.example.com/", false},
		{".r:-thief.com", "http://other.com/", false},
		{".r:*,.r:-unknown", "", false}, {".r:*,.r:-unknown", "http://a/", true}, {".r:unknown", "", true},
		{".r:*", "::not a url::", true}, {".r:a", "http://[::1", false},
		{".r:", "http://a/", false}, {".r:-", "", false},
	} {
		if got := ACL(c.list).Refers(c.page); got != c.want {
			t.Errorf("ACL(%q).Refers(%q) = %v, want %v", c.list, c.page, got, c.want)
		}
	}
}

func TestCleanAccountACL(t *testing.T) {
	for _, c := range []struct{ value, want, refused string }{
		{"", "", ""},
		{"{}", "", ""},
		{`{"admin": ["bob"], "read-only" : [ "a:b", "c" ]}`, `{"admin":["bob"],"read-only":["a:b","c"]}`, ""},
		{`{"read-write":[],"admin":[]}`, `{"admin":[],"read-write":[]}`, ""},
		{"{\"admin\":[\"j\u00fcrgen\U0001f600\\\"\\n\"]}", `{"admin":["j\u00fcrgen\ud83d\ude00\"\n"]}`, ""},
		{"nonsense", "", "Syntax error in input ('nonsense')"},
		{"[]", "", "Syntax error in input ('[]')"},
		{"null", "", "Syntax error in input ('null')"},
		{`{"admin":["a"]} x`, "", `Syntax error in input ('{"admin":["a"]} x')`},
		{`{"admin":["a"]`, "", `Syntax error in input ('{"admin":["a"]')`},
		{`{"boss":["a"],"x":1}`, "", `Key "boss" not recognized`},
		{`{"Admin":["a"]}`, "", `Key "Admin" not recognized`},
		{`{"admin":"a"}`, "", `Value for key "admin" must be a list`},
		{`{"read-only":null}`, "", `Value for key "read-only" must be a list`},
		{`{"read-write":["a",1]}`, "", `Elements of "read-write" list must be strings`},
		{`{"read-write":[["a"]]}`, "", `Elements of "read-write" list must be strings`},
	} {
		got, err := CleanAccountACL(c.value)
		if c.refused == "" && (err != nil || got != c.want) {
			t.Errorf("CleanAccountACL(%q) = %q, %v, want %q", c.value, got, err, c.want)
		}
		if want := "X-Account-Access-Control invalid: " + c.refused + "\n\nInput: " + c.value + "\n"; c.refused != "" &&
			(!errors.Is(err, fs.ErrInvalid) || err.Error() != want) {
			t.Errorf("CleanAccountACL(%q) = %q, %v, want %q", c.value, got, err, want)
		}
	}
}

// FuzzACL holds lists to what must be true of any of them: cleaning twice is
// cleaning once, what is cleaned fits into a header, nobody is granted anything
// who is not named, and the write list of nobody is public.
func FuzzACL(f *testing.F) {
	for _, seed := range []string{".r:*,.rlistings", "ann:bob, *:*", ".ref : -*.a.b", "%62ob", ",,,", ".r:-", "*:"} {
		f.Add(seed, "http://a.b/c")
	}
	f.Fuzz(func(t *testing.T, value, page string) {
		bob := Identity{User: "bob:joe", Account: "bob"}
		ACL(value).Grants(bob)
		if ACL(value).Grants(Identity{Referrer: page}) {
			t.Errorf("ACL(%q) grants something to a stranger", value)
		}
		for _, header := range []string{MetaContainerRead, MetaContainerWrite} {
			once, err := CleanACL(header, value)
			if err != nil {
				if strings.ContainsAny(err.Error(), "\n\r\x00") {
					t.Errorf("CleanACL(%q) fails in several lines: %v", value, err)
				}
				continue
			}
			twice, err := CleanACL(header, string(once))
			if err != nil || twice != once {
				t.Errorf("CleanACL(%q) = %q, but cleaned again %q, %v", value, once, twice, err)
			}
			if header == MetaContainerWrite && once.Refers(page) {
				t.Errorf("write list %q lets in a page", once)
			}
			if !strings.Contains(value, ".r") && once.Refers(page) {
				t.Errorf("ACL(%q).Refers(%q) without a referrer item", once, page)
			}
			if !strings.ContainsAny(value, "*%") && !strings.Contains(value, "bob") && once.Grants(bob) {
				t.Errorf("ACL(%q) grants something to one it does not name", once)
			}
		}
	})
}

func FuzzAccountACL(f *testing.F) {
	f.Add(`{"admin":["a"],"read-write":["b"],"read-only":["c"]}`)
	f.Add(`{"admin":[null]}`)
	f.Fuzz(func(t *testing.T, value string) {
		once, err := CleanAccountACL(value)
		if err != nil {
			return
		}
		for _, c := range []byte(once) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("CleanAccountACL(%q) = %q, which no header can hold", value, once)
			}
		}
		if twice, err := CleanAccountACL(once); err != nil || twice != once {
			t.Errorf("CleanAccountACL(%q) = %q, but cleaned again %q, %v", value, once, twice, err)
		}
		for _, grant := range grants {
			if parseAccountACL(value).grantsTo(Identity{}, grant) {
				t.Errorf("%q grants %s to a stranger", value, grant)
			}
		}
	})
}
