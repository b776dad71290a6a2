package cdn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// TestScripts runs testdata/scripts: requests to a cache, and what is expected
// of it and of what it asks its origin. A script is made of
//
//	origin STATUS            what the origin answers from here on, then header
//	                         fields, then "| " and a line of the body; it answers
//	                         304 by itself where its ETag or Last-Modified matches
//	origin down              it cannot be reached
//	origin cut N             it breaks off after N bytes of the body
//	> METHOD URL             a request, then its header fields
//	< STATUS                 what must come of it, then header fields: with a value,
//	                         a "/regular expression/", or "-" for none; then the body
//	asked N                  so many requests have reached the origin since "asked"
//	saw NAME: VALUE          the last of them had this field; "-" is none
//	wait DURATION            time passes
//	purge soft|hard KEY      and: scope soft|hard SCOPE, prefix soft|hard SCOPE PREFIX
//	profile NAME=VALUE ...   what requests are served by from here on
//	restart                  the cache is made anew over the same store
//
// Time is synctest's, so waiting takes none.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runScript(t, file) })
		})
	}
}

// A script is one being run.
type script struct {
	t       *testing.T
	file    string
	line    int
	cache   *Cache
	store   *store.Store
	profile Profile
	live    bool

	status int
	header http.Header
	body   string
	down   bool
	cut    int
	asked  int
	last   *http.Request

	answer *httptest.ResponseRecorder
	broken bool // the answer was cut off
}

func (s *script) failf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("%s:%d: %s", s.file, s.line, fmt.Sprintf(format, args...))
}

func (s *script) open() {
	s.cache = &Cache{Origin: s, Store: s.store, Log: slog.New(slog.DiscardHandler)}
}

// RoundTrip is the origin.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked++
	s.last = r
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if s.down {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	for name, values := range s.header {
		rec.Header()[name] = values
	}
	if rec.Header()["Date"] == nil {
		rec.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	tag, modified := s.header.Get("Etag"), s.header.Get("Last-Modified")
	inm, ims := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
	body := s.body
	status := s.status
	switch {
	case status != 200:
	case inm != "" && inm == tag, inm == "" && ims != "" && ims == modified:
		status, body = 304, ""
	case r.Header.Get("Range") != "" && s.header.Get("Accept-Ranges") == "bytes":
		spans, _ := fit(parseRange(r.Header.Get("Range")), int64(len(body)))
		if len(spans) == 1 {
			rec.Header().Set("Content-Range", string(appendContentRange(nil, spans[0], int64(len(body)))))
			status, body = 206, body[spans[0].off:spans[0].end()]
		}
	}
	rec.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead || status == 304 {
		body = ""
	}
	if status == 304 {
		rec.Header().Del("Content-Length")
	}
	rec.WriteHeader(status)
	resp := rec.Result()
	resp.Body = io.NopCloser(strings.NewReader(body))
	if s.cut > 0 && s.cut < len(body) {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body[:s.cut]), errReader{}))
	}
	return resp, nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func runScript(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &script{t: t, file: filepath.Base(file), status: 200, header: http.Header{}}
	if s.store, err = store.Open(store.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	s.open()
	defer func() { s.cache.Close() }()

	var request *http.Request
	mode := ""
	want := ""
	hasWant := false
	settle := func() { // what ends when the next statement begins
		switch mode {
		case "request":
			s.send(request)
		case "expect":
			if got := s.answer.Body.String(); hasWant && got != strings.TrimSuffix(want, "\n") {
				s.failf("body is %q, want %q", got, strings.TrimSuffix(want, "\n"))
			}
		case "origin":
			s.body = strings.TrimSuffix(s.body, "\n")
		}
		mode, want, hasWant = "", "", false
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		s.line++
		line := lines.Text()
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if text, ok := strings.CutPrefix(line, "|"); ok {
			text = strings.TrimPrefix(text, " ")
			if mode == "origin" {
				s.body += text + "\n"
			} else {
				want += text + "\n"
				hasWant = true
			}
			continue
		}
		if name, value, ok := strings.Cut(line, ": "); ok && mode != "" && !strings.Contains(name, " ") {
			name = http.CanonicalHeaderKey(name)
			switch mode {
			case "origin":
				s.header.Add(name, s.expand(value))
			case "request":
				request.Header.Add(name, s.expand(value))
			case "expect":
				s.field(name, s.answer.Header(), value)
			}
			continue
		}
		settle()
		words := strings.Fields(line)
		switch words[0] {
		case "origin":
			switch words[1] {
			case "down":
				s.down = true
			case "cut":
				s.cut, _ = strconv.Atoi(words[2])
			default:
				s.down, s.cut, s.header, s.body = false, 0, http.Header{}, ""
				if s.status, err = strconv.Atoi(words[1]); err != nil {
					t.Fatalf("%s:%d: %v", s.file, s.line, err)
				}
				mode = "origin"
			}
		case ">":
			request = httptest.NewRequest(words[1], words[2], nil)
			mode = "request"
		case "<":
			mode = "expect"
			code, _ := strconv.Atoi(words[1])
			if words[1] == "cut" {
				if !s.broken {
					s.failf("answered whole, want a cut connection")
				}
				continue
			}
			if s.broken {
				s.failf("the connection was cut, want %d", code)
			} else if s.answer.Code != code {
				s.failf("answered %d, want %d", s.answer.Code, code)
			}
		case "asked":
			synctest.Wait()
			if n, _ := strconv.Atoi(words[1]); n != s.asked {
				s.failf("the origin was asked %d times, want %d", s.asked, n)
			}
			s.asked = 0
		case "saw":
			name, value, _ := strings.Cut(strings.TrimPrefix(line, "saw "), ": ")
			s.field(http.CanonicalHeaderKey(name), s.last.Header, value)
		case "wait":
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
		case "purge":
			s.cache.Purge(words[2], words[1] == "hard")
		case "scope":
			s.cache.PurgeScope(words[2], words[1] == "hard")
		case "prefix":
			s.cache.PurgePrefix(words[2], words[3], words[1] == "hard")
		case "restart":
			s.cache.Close()
			s.open()
		case "profile":
			s.setProfile(words[1:])
		default:
			t.Fatalf("%s:%d: %q is no statement", s.file, s.line, line)
		}
	}
	settle()
}

func (s *script) send(r *http.Request) {
	synctest.Wait() // fills that go on behind an answer have ended
	s.answer, s.broken = httptest.NewRecorder(), false
	func() {
		defer func() {
			if e := recover(); e != nil {
				if e != http.ErrAbortHandler {
					panic(e)
				}
				s.broken = true
			}
		}()
		p := s.profile
		if p.Key != "" {
			p.Key += r.URL.Path
		}
		s.cache.Serve(s.answer, r, p)
	}()
	synctest.Wait()
}

// expand replaces "@-1h" by the date of an hour ago.
func (s *script) expand(v string) string {
	if after, ok := strings.CutPrefix(v, "@"); ok {
		d, err := time.ParseDuration(after)
		if err != nil {
			s.t.Fatal(err)
		}
		return time.Now().Add(d).UTC().Format(http.TimeFormat)
	}
	return v
}

func (s *script) field(name string, h http.Header, want string) {
	s.t.Helper()
	got := strings.Join(h[name], ", ")
	switch {
	case want == "-":
		if len(h[name]) != 0 {
			s.failf("%s is %q, want none", name, got)
		}
	case len(want) > 1 && want[0] == '/' && want[len(want)-1] == '/':
		if !regexp.MustCompile(want[1 : len(want)-1]).MatchString(got) {
			s.failf("%s is %q, want %s", name, got, want)
		}
	case got != s.expand(want):
		s.failf("%s is %q, want %q", name, got, s.expand(want))
	}
}

func (s *script) setProfile(settings []string) {
	p := Profile{}
	for _, set := range settings {
		name, value, _ := strings.Cut(set, "=")
		d, _ := time.ParseDuration(value)
		switch name {
		case "key":
			p.Key = value
		case "scopes":
			p.Scopes = strings.Split(value, ",")
		case "forward":
			p.Forward = strings.Split(value, ",")
		case "live":
			s.live = value == "yes"
			p.Live = func() bool { return s.live }
		case "ttl":
			p.TTL = d
		case "browser":
			p.Browser = d
		case "negative":
			p.Negative = d
		case "stale-if-error":
			p.StaleIfError = d
		case "stale-while-revalidate":
			p.StaleWhileRevalidate = d
		case "delete-at":
			p.Expires = func(h http.Header) time.Time {
				n, _ := strconv.ParseInt(h.Get("X-Delete-At"), 10, 64)
				if n == 0 {
					return time.Time{}
				}
				return time.Unix(n, 0)
			}
		case "edit":
			p.Edit = func(h http.Header) { h["X-Edited"] = []string{value} }
		default:
			s.t.Fatalf("%s:%d: no setting %s", s.file, s.line, name)
		}
	}
	s.profile = p
}
