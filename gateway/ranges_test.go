package gateway

import (
	"context"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"reflect"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

func TestParseRanges(t *testing.T) {
	const end = math.MaxInt64
	for header, want := range map[string][]span{
		"":                             nil,
		"bytes=0-4":                    {{0, 4}},
		"BYTES = 0 - 4":                {{0, 4}},
		"bytes=5-":                     {{5, end}},
		"bytes=-5":                     {{-1, 5}},
		"bytes=-0":                     {{-1, 0}},
		"bytes=0-0,-1, 3-":             {{0, 0}, {-1, 1}, {3, end}},
		"bytes=0-99999999999999999999": {{0, end}},
		"bytes=99999999999999999999-":  {{end, end}},
		"bytes=":                       nil,
		"bytes=-":                      nil,
		"bytes=5":                      nil,
		"bytes=5-4":                    nil,
		"bytes=1-2,":                   nil,
		"bytes=1-2,x-y":                nil,
		"bytes=1-2,5-4":                nil,
		"bytes=--5":                    nil,
		"bytes=+1-2":                   {{1, 2}},
		"lines=1-2":                    nil,
		"bytes 1-2":                    nil,
		"bytes=0x1-0x2":                nil,
		"bytes=1-2-3":                  nil,
		"bytes=\u0661-2":               nil,
	} {
		if got := parseRanges(header); !reflect.DeepEqual(got, want) {
			t.Errorf("parseRanges(%q) = %v, want %v", header, got, want)
		}
	}
}

func TestStretches(t *testing.T) {
	spans := func(n int, f func(i int) string) string {
		var items []string
		for i := range n {
			items = append(items, f(i))
		}
		return "bytes=" + strings.Join(items, ",")
	}
	one := func(i int) string { return fmt.Sprintf("%d-%[1]d", i*2) }
	down := func(i int) string { return fmt.Sprintf("%d-%[1]d", 90-i*2) }
	for _, c := range []struct {
		header string
		want   int // of stretches
	}{
		{"bytes=0-4,200-", 1},
		{"bytes=200-,300-", 0},
		{"bytes=-0,0-0", 1},
		{spans(50, one), 50},
		{spans(51, one), 0},
		{"bytes=0-9,5-14,20-29,25-34", 4}, // 2 overlap
		{"bytes=0-9,5-14,20-29,25-34,40-49,45-54", 0},
		{"bytes=0-9,0-9", 2},
		{"bytes=0-9,0-9,0-9", 0}, // though equal ones do not count in Swift
		{spans(7, down), 7},
		{spans(8, down), 0},
		{"bytes=0-9,20-29,30-39,40-49,50-59,60-69,70-79,10-19", 0},
		{"bytes=0-9,0-8", 2},
		{"bytes=0-9,0-8,1-1", 0},
	} {
		if got := stretches(parseRanges(c.header), 101); len(got) != c.want {
			t.Errorf("stretches(%q) = %v, want %d", c.header, got, c.want)
		}
	}
}

func TestRange(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "hello", "Content-Type: a/b")
	l.must(201, "PUT", "/v1/AUTH_ann/c/empty", "")
	get := func(name, header string, status int, text, contentRange string) step {
		return step{method: "GET", target: "/v1/AUTH_ann/c/" + name, headers: []string{"Range: " + header, "If-Range: other"}, status: status, text: text,
			want: []string{"Content-Range: " + contentRange, "Accept-Ranges: bytes", fmt.Sprintf("Content-Length: %d", len(strings.TrimPrefix(text, "-")))}}
	}
	l.play([]step{
		get("o", "bytes=1-2", 206, "el", "bytes 1-2/5"),
		get("o", "bytes=1-", 206, "ello", "bytes 1-4/5"),
		get("o", "bytes=0-", 206, "hello", "bytes 0-4/5"),
		get("o", "bytes=0-99", 206, "hello", "bytes 0-4/5"),
		get("o", "bytes=-2", 206, "lo", "bytes 3-4/5"),
		get("o", "bytes=-99", 206, "hello", "bytes 0-4/5"),
		get("o", "bytes=0-9223372036854775807", 206, "hello", "bytes 0-4/5"),
		get("o", "bytes=4-9223372036854775806", 206, "o", "bytes 4-4/5"),
		get("o", "bytes=-9223372036854775808", 206, "hello", "bytes 0-4/5"),
		get("o", "bytes=4-4,9-", 206, "o", "bytes 4-4/5"),
		get("o", "bytes=5-", 416, bare(416), "bytes */5"),
		get("o", "bytes=-0", 416, bare(416), "bytes */5"),
		get("o", "bytes=5-,9-", 416, bare(416), "bytes */5"),
		get("o", "bytes=2-1", 200, "hello", ""),
		get("o", "bytes=a-b", 200, "hello", ""),
		get("o", "lines=1-2", 200, "hello", ""),
		{method: "GET", target: "/v1/AUTH_ann/c/o", headers: []string{"Range: bytes=0-1", "Range: bytes=3-4"}, status: 200, text: "hello"},
		get("empty", "bytes=0-", 416, bare(416), "bytes */0"),
		get("empty", "bytes=0-5", 416, bare(416), "bytes */0"),
		get("empty", "bytes=-5", 200, "-", ""),
		get("empty", "bytes=-5,-6", 200, "-", ""),
		get("empty", "bytes=-5,0-", 200, "-", ""),
		get("empty", "bytes=3-,0-", 416, bare(416), "bytes */0"),
		{method: "GET", target: "/v1/AUTH_ann/c/none", headers: []string{"Range: bytes=0-1,2-3"}, status: 404},
	})
}

func TestSeveralRanges(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	body := strings.Repeat("0123456789", 20_000)
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", body, "Content-Type: a/b")
	a := l.must(206, "GET", "/v1/AUTH_ann/c/o", "", "Range: bytes=1-2,100000-150000,-3,900000-")
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || len(params["boundary"]) != 32 {
		t.Fatalf("Content-Type is %q", a.header.Get("Content-Type"))
	}
	if fmt.Sprint(len(a.body)) != a.header.Get("Content-Length") {
		t.Errorf("%d bytes, but Content-Length %s", len(a.body), a.header.Get("Content-Length"))
	}
	parts := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for _, want := range []struct{ from, to int }{{1, 2}, {100000, 150000}, {199997, 199999}} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if err != nil || string(got) != body[want.from:want.to+1] {
			t.Errorf("part %d-%d has %d bytes, %v", want.from, want.to, len(got), err)
		}
		if r := p.Header.Get("Content-Range"); r != fmt.Sprintf("bytes %d-%d/200000", want.from, want.to) || p.Header.Get("Content-Type") != "a/b" {
			t.Errorf("part %d-%d has headers %v", want.from, want.to, p.Header)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
	// Byte for byte, as Swift has it.
	small := l.must(206, "GET", "/v1/AUTH_ann/c/o", "", "Range: bytes=1-2,4-4")
	b := strings.TrimPrefix(small.header.Get("Content-Type"), "multipart/byteranges;boundary=")
	if want := "--" + b + "\r\nContent-Type: a/b\r\nContent-Range: bytes 1-2/200000\r\n\r\n12\r\n--" + b + "\r\nContent-Type: a/b\r\nContent-Range: bytes 4-4/200000\r\n\r\n4\r\n--" + b + "--"; small.body != want {
		t.Errorf("body %q, want %q", small.body, want)
	}
}

// An openHook is a backend that does something each time an object was opened,
// and counts the readers that are open.
type openHook struct {
	storage.Backend
	opened  func()
	forward bool // readers know no way but forward

	open, most int
}

func (b *openHook) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.Backend.Open(ctx, p, r)
	if b.opened != nil {
		b.opened()
	}
	if err != nil {
		return rc, in, err
	}
	b.open++
	b.most = max(b.most, b.open)
	counted := &countedReader{ReadCloser: rc, b: b}
	if b.forward {
		return counted, in, nil
	}
	return struct {
		*countedReader
		io.ReaderAt
	}{counted, rc.(io.ReaderAt)}, in, nil
}

type countedReader struct {
	io.ReadCloser
	b      *openHook
	closed bool
}

func (r *countedReader) Close() error {
	if !r.closed {
		r.closed = true
		r.b.open--
	}
	return r.ReadCloser.Close()
}

// However many parts are asked for, one reader is enough: each costs a
// descriptor that an upload may need.
func TestRangesOpenOneReader(t *testing.T) {
	for _, forward := range []bool{false, true} {
		hook := &openHook{Backend: memory.New(), forward: forward}
		l := newLabOver(t, hook)
		l.must(201, "PUT", "/v1/AUTH_ann/c", "")
		l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat("0123456789", 50))
		var items []string
		for i := range maxRanges {
			items = append(items, fmt.Sprintf("%d-%d", i*10+2, i*10+6))
		}
		a := l.must(206, "GET", "/v1/AUTH_ann/c/o", "", "Range: bytes="+strings.Join(items, ","))
		if n := strings.Count(a.body, "\r\n23456\r\n"); n != maxRanges {
			t.Errorf("forward %v: %d parts are right of %d", forward, n, maxRanges)
		}
		if hook.most != 1 || hook.open != 0 {
			t.Errorf("forward %v: %d readers were open at once and %d still are, want 1 and 0", forward, hook.most, hook.open)
		}
	}
}

// Parts are all of one object, however often it changes.
func TestRangesOfChangingObject(t *testing.T) {
	parts := func(body string) (seen []string) {
		for line := range strings.SplitSeq(body, "\r\n") {
			if len(line) == 5 {
				seen = append(seen, line)
			}
		}
		return seen
	}
	for _, forward := range []bool{false, true} {
		hook := &openHook{Backend: memory.New(), forward: forward}
		l := newLabOver(t, hook)
		times, letter := 8, byte('a')
		hook.opened = func() {
			if times--; times >= 0 {
				l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat(string(letter), 40))
				letter++
			}
		}
		l.must(201, "PUT", "/v1/AUTH_ann/c", "")
		hook.opened()
		if !forward {
			if seen := parts(l.must(206, "GET", "/v1/AUTH_ann/c/o", "", "Range: bytes=0-4,10-14,20-24").body); fmt.Sprint(seen) != "[aaaaa aaaaa aaaaa]" {
				t.Errorf("parts %q, want those of the version that was opened", seen)
			}
			continue
		}
		// The first part is of the last version of those that come and go while it
		// is opened.
		if seen := parts(l.must(206, "GET", "/v1/AUTH_ann/c/o", "", "Range: bytes=0-4,10-14,20-24").body); fmt.Sprint(seen) != "[hhhhh hhhhh hhhhh]" {
			t.Errorf("parts %q, want those of the last version", seen)
		}
		// Once a part is sent the answer cannot be begun anew.
		l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat("y", 100_000))
		opens := 0
		hook.opened = func() {
			if opens++; opens == 3 {
				l.must(201, "PUT", "/v1/AUTH_ann/c/o", strings.Repeat("z", 100_000))
			}
		}
		addr := l.serve()
		res, _, _ := l.wire(addr, "GET /v1/AUTH_ann/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: AUTH_tkann\r\nRange: bytes=0-19999,30000-59999,70000-99999\r\n\r\n")
		body, err := io.ReadAll(res.Body)
		if err == nil || strings.Contains(string(body), "z") || res.StatusCode != 206 {
			t.Errorf("an object that changed between two parts is answered with %d %q, %v", res.StatusCode, body, err)
		}
	}
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-4,5-,-3", int64(10))
	f.Add("bytes=0-9223372036854775807", int64(math.MaxInt64))
	f.Add("bytes=9223372036854775807-,-9223372036854775807", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		spans := parseRanges(header)
		for _, s := range stretches(spans, size) {
			if s.offset < 0 || s.length < 0 || s.offset > size-s.length || s.length == 0 && size > 0 {
				t.Fatalf("stretches(%q, %d) has %v", header, size, s)
			}
		}
		for _, s := range spans {
			offset, length, ok := s.within(size)
			storeOffset, storeLength, err := s.ask().Resolve(size)
			if size > 0 && (ok != (err == nil) || ok && (offset != storeOffset || length != storeLength)) {
				t.Fatalf("%v of %d: %d+%d %v, but the Store takes it for %d+%d %v", s, size, offset, length, ok, storeOffset, storeLength, err)
			}
		}
	})
}
