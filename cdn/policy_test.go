package cdn

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestReadSite(t *testing.T) {
	three, year := int64(3), int64(maxTTL)
	base := Site{Account: "AUTH_ann", Container: "pics", TTL: 100}
	for name, c := range map[string]struct {
		meta map[string]string
		want func(*Site)
		open bool
	}{
		"nothing": {nil, func(*Site) {}, false},
		"public":  {map[string]string{headerRead: "bob,.r:*,.rlistings"}, func(s *Site) { s.Readers = []string{"*"} }, true},
		"disabled": {map[string]string{headerRead: ".r:*", headerEnabled: "False"}, func(s *Site) {
			s.Readers, s.Enabled = []string{"*"}, false
		}, false},
		"enabled and private": {map[string]string{headerEnabled: "True"}, func(s *Site) { s.Chosen = true }, false},
		"lifetimes": {map[string]string{headerTTL: "0", headerBrowser: "7"}, func(s *Site) {
			s.TTL, s.Browser = 0, 7
		}, false},
		"lifetimes that are none": {map[string]string{headerTTL: "soon", headerBrowser: "-1"}, func(*Site) {}, false},
		"web": {map[string]string{headerIndex: "index.html", headerError: "error.html", headerList: "yes", headerCSS: "a.css"}, func(s *Site) {
			s.Index, s.Error, s.Listings, s.CSS = "index.html", "error.html", true, "a.css"
		}, false},
		"cors": {map[string]string{headerOrigins: "http://a http://b", headerExpose: "X-A x-b", headerMaxAge: "5"}, func(s *Site) {
			s.CORS = CORS{Origins: []string{"http://a", "http://b"}, Expose: []string{"x-a", "x-b"}, MaxAge: "5"}
		}, false},
		"others": {map[string]string{headerDomains: "WWW.example.com., img.example.com", headerLogs: "True", headerQuery: "keep"}, func(s *Site) {
			s.Domains, s.Logs, s.KeepQuery = []string{"www.example.com", "img.example.com"}, true, true
		}, false},
		"rules": {map[string]string{
			headerRules:        "*.jpg ttl=3 ; live/* no-store; nothing; x y=z",
			headerRules + "-2": "/a/*.css browser=99999999999",
		}, func(s *Site) {
			s.Rules = []Rule{{Pattern: "*.jpg", TTL: &three}, {Pattern: "live/*", NoStore: true}, {Pattern: "a/*.css", Browser: &year}}
		}, false},
	} {
		want := base
		want.Enabled, want.Browser = true, want.TTL
		c.want(&want)
		got := ReadSite(base, c.meta)
		// An empty list and none are the same.
		for _, l := range []*[]string{&got.CORS.Origins, &got.CORS.Expose} {
			if len(*l) == 0 {
				*l = nil
			}
		}
		if !reflect.DeepEqual(got, want) || got.Open() != c.open {
			t.Errorf("%s: %+v\nwant %+v", name, got, want)
		}
		text, err := json.Marshal(got)
		var again Site
		if err == nil {
			err = json.Unmarshal(text, &again)
		}
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s comes back from JSON as %+v, %v", name, again, err)
		}
	}
}

func TestAdmits(t *testing.T) {
	const none = ""
	for _, c := range []struct {
		list, page string
		want       bool
	}{
		{".r:*", none, true}, {".r:*", "http://x/", true},
		{".r:example.com", none, false}, {".r:example.com", "http://example.com/a", true},
		{".r:example.com", "https://EXAMPLE.com:8080/a", true}, {".r:example.com", "http://www.example.com/", false},
		{".r:.example.com", "http://www.example.com/", true}, {".r:.example.com", "http://badexample.com/", false},
		{".r:*,.r:-bad.org", "http://bad.org/", false}, {".r:*,.r:-bad.org", none, true}, {".r:-bad.org,.r:*", "http://bad.org/", true},
		{".r:-bad.org", "http://good.org/", false}, {"bob", none, false}, {".r:unknown", none, true}, {".r:*", "::no url", true},
	} {
		s := ReadSite(Site{}, map[string]string{headerRead: c.list})
		if got := s.Admits(c.page); got != c.want {
			t.Errorf("%s admits who comes from %q: %v", c.list, c.page, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false},
		{"*.jpg", "a.jpg", true}, {"*.jpg", "a.jpgx", false}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false},
		{"?", "a", true}, {"?", "", false}, {"a?c*", "abc", true}, {"**", "x", true}, {"*a", "aaaa", true},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
	s := Site{Rules: ParseRules("*.jpg ttl=1; a/* ttl=2")}
	for name, want := range map[string]int64{"x/y.jpg": 1, "a/y.jpg": 1, "a/b": 2, "b/a/b": 0, ".jpg": 1} {
		got := int64(0)
		if r := s.rule(name); r != nil {
			got = *r.TTL
		}
		if got != want {
			t.Errorf("the rule for %q is that of ttl=%d, want %d", name, got, want)
		}
	}
}

// A pattern that an owner made to be slow is not.
func TestMatchIsQuick(t *testing.T) {
	pattern, name := "", ""
	for range 120 {
		pattern += "*a"
	}
	for range 1000 {
		name += "a"
	}
	begun := time.Now()
	if match(pattern+"b", name) {
		t.Error("a name without b is matched")
	}
	if took := time.Since(begun); took > 100*time.Millisecond {
		t.Errorf("matching took %v", took)
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add("*.jpg ttl=86400 browser=3600; live/* no-store")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range ParseRules(text) {
			if r.TTL == nil && r.Browser == nil && !r.NoStore || r.TTL != nil && (*r.TTL < 0 || *r.TTL > maxTTL) {
				t.Errorf("%q has the rule %+v", text, r)
			}
		}
	})
}
