package cdn

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDirectives(t *testing.T) {
	base := noDirectives()
	with := func(f func(*directives)) directives { d := base; f(&d); return d }
	for _, tt := range []struct {
		in   []string
		want directives
	}{
		{nil, base},
		{[]string{""}, base},
		{[]string{" ,, "}, base},
		{[]string{"max-age=60"}, with(func(d *directives) { d.maxAge = time.Minute })},
		{[]string{`Max-Age="60"`}, with(func(d *directives) { d.maxAge = time.Minute })},
		{[]string{"max-age=60, max-age=1"}, with(func(d *directives) { d.maxAge = time.Minute })},
		{[]string{"max-age=60", "s-maxage=1"}, with(func(d *directives) { d.maxAge, d.sMaxAge = time.Minute, time.Second })},
		{[]string{"max-age=-1"}, with(func(d *directives) { d.maxAge = 0 })},
		{[]string{"max-age"}, with(func(d *directives) { d.maxAge = 0 })},
		{[]string{"max-age=99999999999999999999"}, with(func(d *directives) { d.maxAge = maxSeconds * time.Second })},
		{[]string{`x="max-age=60, no-store", public`}, with(func(d *directives) { d.public = true })},
		{[]string{`x="unclosed, no-store`}, base},
		{[]string{`x="a\"b", private`}, with(func(d *directives) { d.private = true })},
		{[]string{"no-cache"}, with(func(d *directives) { d.noCache = true })},
		{[]string{`no-cache="Set-Cookie, x-a"`}, with(func(d *directives) { d.noCacheFields = []string{"Set-Cookie", "X-A"} })},
		{[]string{`private="not a name"`}, with(func(d *directives) { d.private = true })},
		{[]string{"max-stale"}, with(func(d *directives) { d.maxStale = forever })},
		{[]string{"max-stale=5"}, with(func(d *directives) { d.maxStale = 5 * time.Second })},
	} {
		if got := parseDirectives(tt.in); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parseDirectives(%q) = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestTargeted(t *testing.T) {
	for _, tt := range []struct {
		in     string
		maxAge time.Duration
		ok     bool
	}{
		{"max-age=60", time.Minute, true},
		{"max-age=60;param, unknown=1.5", time.Minute, true},
		{"max-age=60, max-age=1", time.Second, true}, // the last, as in any Dictionary
		{"", unset, false},
		{"max-age", unset, false},
		{`max-age="60"`, unset, false},
		{"max-age=-1", unset, false},
		{"max-age=60,", unset, false},
		{"Max-Age=60", unset, false},
		{"no-store", unset, true},
	} {
		d, ok := parseTargeted([]string{tt.in})
		if ok != tt.ok || ok && d.maxAge != tt.maxAge {
			t.Errorf("parseTargeted(%q) = %v, %v, want %v, %v", tt.in, d.maxAge, ok, tt.maxAge, tt.ok)
		}
	}
}

func TestParseTime(t *testing.T) {
	for in, ok := range map[string]bool{
		"Thu, 18 Aug 2050 02:01:18 GMT":    true,
		"Thu, 18 Aug 2050 02:01:18 gmt":    true,
		"Thursday, 18-Aug-50 02:01:18 GMT": true,
		"Thu Aug 18 02:01:18 2050":         true,
		"Thu, 18 Aug 2050 2:01:18 GMT":     false,
		"Thu, 18  Aug 2050 02:01:18 GMT":   false,
		"Thu, 18 Aug 2050 02:01:18 UTC":    false,
		"0":                                false,
		"":                                 false,
	} {
		if _, err := parseTime(in); (err == nil) != ok {
			t.Errorf("parseTime(%q) = %v, want ok: %v", in, err, ok)
		}
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		in   string
		size int64
		want []span
		ok   bool
	}{
		{"bytes=0-0", 10, []span{{0, 1}}, true},
		{"bytes=-3", 10, []span{{7, 3}}, true},
		{"bytes=-30", 10, []span{{0, 10}}, true},
		{"bytes=-0", 10, nil, true},
		{"bytes=5-", 10, []span{{5, 5}}, true},
		{"bytes=10-", 10, nil, true},
		{"bytes=8-8,0-1", 10, []span{{8, 1}, {0, 2}}, true}, // in the order asked for
		{"bytes=4-5,0-3", 10, []span{{0, 6}}, true},
		{"bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 10, []span{{0, 1}}, true},
		{"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16", 100, nil, false},
		{"bytes=0-4,5-9", 10, nil, false},
		{"bytes=0-0", 0, nil, true},
	} {
		got, ok := fit(parseRange(tt.in), tt.size)
		if ok != tt.ok || ok && !slices.Equal(got, tt.want) {
			t.Errorf("fit(%q, %d) = %v, %v, want %v, %v", tt.in, tt.size, got, ok, tt.want, tt.ok)
		}
	}
	for _, bad := range []string{"", "bytes", "bytes=", "bytes=a-b", "bytes=5-4", "bytes=--1", "bytes=+1-2", "lines=0-1", "bytes=1"} {
		if got := parseRange(bad); got != nil {
			t.Errorf("parseRange(%q) = %v, want none", bad, got)
		}
	}
}

func TestNormal(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []string
		same bool
	}{
		{"Accept-Encoding", []string{"gzip, br"}, []string{"br", "GZIP;q=0.1"}, true},
		{"Accept-Encoding", []string{"gzip, br"}, []string{"*"}, false},
		{"Accept-Encoding", []string{"br, gzip, zstd"}, []string{"*"}, true},
		{"Accept-Encoding", []string{"gzip;q=0.000"}, []string{"identity"}, true},
		{"Accept-Language", []string{"en, de;q=0.5"}, []string{"de;q=0.5,en"}, true},
		{"Accept-Language", []string{"en;q=0.5, de"}, []string{"en, de;q=0.5"}, false},
		{"X-Foo", []string{"1, 2"}, []string{"1", "2"}, true},
		{"X-Foo", []string{"1,2"}, []string{"2,1"}, false},
		{"X-Foo", []string{""}, nil, false},
		{"X-Foo", []string{"a"}, []string{"A"}, false},
	} {
		a, b := normal(http.Header{tt.name: tt.a}, tt.name), normal(http.Header{tt.name: tt.b}, tt.name)
		if (a == b) != tt.same {
			t.Errorf("normal(%q) = %q and normal(%q) = %q, same should be %v", tt.a, a, tt.b, b, tt.same)
		}
	}
}

func TestRecords(t *testing.T) {
	r := newResponse(200, http.Header{"A": {"1", "2"}, "Content-Length": {"5"}, "Etag": {`"x"`}, "Date": {"Thu, 18 Aug 2022 02:01:18 GMT"}},
		time.Unix(10, 0), time.Unix(11, 5), 42)
	r.epoch, r.softened, r.expires = 7, true, time.Unix(99, 0)
	r.sliced = newVersion(1 << 40)
	r.piece = &piece206{span{3, 4}, 9}
	head := r.encode()
	got, _, err := decodeHead(head)
	if err != nil {
		t.Fatal(err)
	}
	got.received = got.received.Local()
	if !reflect.DeepEqual(got, r) {
		t.Errorf("decodeHead(encode) = %+v, want %+v", got, r)
	}
	i := &index{nonce: newVersion(0).id, epoch: 3, specs: [][]string{{}, {"A", "B"}}}
	_, j, err := decodeHead(i.encode())
	if err != nil || !reflect.DeepEqual(i, j) {
		t.Errorf("decodeHead(encode) = %+v, %v, want %+v", j, err, i)
	}
	for n := range head { // no part of a head is taken for one
		if _, _, err := decodeHead(head[:n]); err == nil {
			t.Errorf("decodeHead accepts the first %d bytes of %d", n, len(head))
		}
	}
}

func TestGenerationLimits(t *testing.T) {
	var g generations
	save := func([]byte) error { return nil }
	for i := range 3 * maxPrefixes {
		g.purge("s", "p"+strings.Repeat("x", i+1)+"/", i%2 == 0, save)
	}
	if v, _ := g.scopes.Load("s"); len(v.(*generation).prefixes) > maxPrefixes {
		t.Errorf("%d prefixes are remembered, at most %d should be", len(v.(*generation).prefixes), maxPrefixes)
	}
	if got := g.judge(0, []string{"s"}, "px/1"); got != genGone {
		t.Errorf("the first purge came to %v, want gone", got)
	}
	if got := g.judge(g.last.Load(), []string{"s"}, "px/1"); got != genFresh {
		t.Errorf("what came after all purges is %v, want fresh", got)
	}
}

func FuzzDirectives(f *testing.F) {
	f.Add(`max-age=60, private="a, b", x="\"`)
	f.Fuzz(func(t *testing.T, s string) {
		d := parseDirectives([]string{s})
		for _, v := range []time.Duration{d.maxAge, d.sMaxAge, d.minFresh, d.maxStale, d.whileRevalidate, d.ifError} {
			if v < unset {
				t.Errorf("parseDirectives(%q) has the lifetime %v", s, v)
			}
		}
		for _, name := range slices.Concat(d.noCacheFields, d.privateFields) {
			if !isToken(name) {
				t.Errorf("parseDirectives(%q) has the field %q", s, name)
			}
		}
		parseTargeted([]string{s})
		parseSurrogate([]string{s})
	})
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-1,5-,-3", int64(10))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		size = max(size, 0)
		spans, ok := fit(parseRange(s), size)
		if !ok {
			return
		}
		total := int64(0)
		for _, sp := range spans {
			if sp.off < 0 || sp.n <= 0 || sp.end() > size {
				t.Fatalf("fit(%q, %d) has %v", s, size, sp)
			}
			total += sp.n
		}
		if total > size || len(spans) > maxRanges {
			t.Fatalf("fit(%q, %d) = %v, more than the body", s, size, spans)
		}
		contentRange(s)
	})
}

func FuzzTags(f *testing.F) {
	f.Add(`"a", W/"b", c`)
	f.Fuzz(func(t *testing.T, s string) {
		n := 0
		anyTag([]string{s}, func(tag string) bool {
			if n++; n > len(s) || !strings.Contains(s, tag) {
				t.Fatalf("anyTag(%q) saw %q", s, tag)
			}
			return false
		})
	})
}

func FuzzVary(f *testing.F) {
	f.Add("gzip;q=0, br", "en, de;q=0.5")
	f.Fuzz(func(t *testing.T, a, b string) {
		enc := acceptEncoding([]string{a})
		if again := acceptEncoding([]string{enc}); again != enc {
			t.Errorf("acceptEncoding(%q) = %q, and of that %q", a, enc, again)
		}
		lang := preferences([]string{b})
		if again := preferences([]string{lang[1:]}); again != lang {
			t.Errorf("preferences(%q) = %q, and of that %q", b, lang, again)
		}
		spec := varySpec([]string{a, b})
		if !slices.IsSorted(spec) {
			t.Errorf("varySpec(%q, %q) = %q", a, b, spec)
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Add(newResponse(200, http.Header{"A": {"1"}}, time.Unix(1, 0), time.Unix(2, 0), 3).encode())
	f.Add((&index{specs: [][]string{{"A"}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, _, err := decodeHead(b); err == nil && r != nil {
			r.life(&Profile{})
		}
		new(generations).decode(b)
	})
}
