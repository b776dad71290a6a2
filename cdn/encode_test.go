package cdn

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"memstore.dev/memstore/cdn/store"
)

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct{ accept, want string }{
		{"", ""},
		{"gzip, deflate, br, zstd", "br zstd gzip"},
		{"gzip", "gzip"},
		{"x-gzip", "gzip"},
		{"GZIP;Q=0.5, zstd", "zstd gzip"},
		{"br;q=0.5, gzip;q=0.8", "gzip br"},
		{"br;q=0, *", "zstd gzip"},
		{"*;q=0", ""},
		{"identity", ""},
		{"identity, gzip;q=0.5", ""},
		{"identity;q=0.1, gzip;q=0.5", "gzip"},
		{"identity;q=0", ""},
		{"gzip;q=nonsense", ""},
	} {
		order, n := negotiate([]string{tt.accept})
		var got []string
		for _, i := range order[:n] {
			got = append(got, coders[i].name)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("negotiate(%q) = %v, want %s", tt.accept, got, tt.want)
		}
	}
}

// decode undoes a content coding.
func decode(t *testing.T, coding string, b []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch coding {
	case "br":
		r = brotli.NewReader(r)
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(text)
}

// A coded is a live cache in front of one text of changing content.
type coded struct {
	*live
	text   string
	etag   string
	header http.Header
	asked  []http.Header
}

func newCoded(t *testing.T) *coded {
	t.Helper()
	c := &coded{etag: `"v1"`, header: http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"max-age=600"}}}
	for n := range 2000 {
		c.text += fmt.Sprintf("<li>line %d of a page</li>\n", n)
	}
	c.live = newLive(t, func(w http.ResponseWriter, r *http.Request) {
		c.asked = append(c.asked, r.Header.Clone())
		for name, values := range c.header {
			w.Header()[name] = values
		}
		w.Header().Set("Etag", c.etag)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(c.text))
	}, store.Options{})
	c.cache.Plain.Encode = true
	return c
}

// get asks for the text.
func (c *coded) get(t *testing.T, method string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), method, c.server.URL+"/page", nil)
	req.Header.Set("Accept-Encoding", "identity")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Vary"); got != "Accept-Encoding" {
		t.Errorf("%s %v: Vary is %q, want Accept-Encoding", method, headers, got)
	}
	return resp, body
}

// warm asks until the answer is encoded.
func (c *coded) warm(t *testing.T, coding string) (*http.Response, []byte) {
	t.Helper()
	for range 100 {
		resp, body := c.get(t, "GET", "Accept-Encoding: "+coding)
		if resp.Header.Get("Content-Encoding") == coding {
			return resp, body
		}
		if string(body) != c.text {
			t.Fatalf("not encoded, and not the text: %d bytes", len(body))
		}
		c.cache.work.Wait() // for what is made behind the answer
	}
	t.Fatalf("never encoded with %s", coding)
	return nil, nil
}

func TestEncode(t *testing.T) {
	for _, coding := range []string{"br", "zstd", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			c := newCoded(t)
			first, _ := c.get(t, "GET", "Accept-Encoding: "+coding)
			if first.Header.Get("Content-Encoding") != "" {
				t.Error("the first answer is encoded, which somebody waited for")
			}
			resp, body := c.warm(t, coding)
			tag := `"v1-` + coding + `"`
			if got := decode(t, coding, body); got != c.text {
				t.Error("decoded it is not the text")
			}
			if got := resp.Header.Get("Etag"); got != tag {
				t.Errorf("ETag %s, want %s", got, tag)
			}
			if len(body) > len(c.text)/5 || resp.ContentLength != int64(len(body)) {
				t.Errorf("%d bytes of %d, Content-Length %d", len(body), len(c.text), resp.ContentLength)
			}
			if n := len(c.asked); n != 1 {
				t.Errorf("the origin was asked %d times, want once", n)
			}
			head, _ := c.get(t, "HEAD", "Accept-Encoding: "+coding)
			if head.ContentLength != int64(len(body)) || head.Header.Get("Etag") != tag {
				t.Errorf("HEAD: Content-Length %d, ETag %s", head.ContentLength, head.Header.Get("Etag"))
			}
			if resp, body := c.get(t, "GET"); string(body) != c.text || resp.Header.Get("Etag") != `"v1"` {
				t.Errorf("a client that accepts nothing: %d bytes, ETag %s", len(body), resp.Header.Get("Etag"))
			}
			for _, tt := range []struct {
				headers string
				code    int
				body    string
			}{
				{"If-None-Match: " + tag, 304, ""},
				{"If-None-Match: W/" + tag, 304, ""},
				{"If-None-Match: \"v1-deflate\"", 200, string(body)},
				{"If-Match: " + tag, 200, string(body)},
				{"If-Match: \"other\"", 412, ""},
				{"Range: bytes=5-9|If-Range: " + tag, 206, string(body[5:10])},
				{"Range: bytes=5-9|If-Range: \"v1\"", 206, c.text[5:10]},
				{"Range: bytes=5-9", 206, c.text[5:10]},
				{"Range: bytes=5-9|If-Range: \"old-" + coding + "\"", 200, c.text},
			} {
				headers := append(strings.Split(tt.headers, "|"), "Accept-Encoding: "+coding)
				resp, got := c.get(t, "GET", headers...)
				if resp.StatusCode != tt.code || string(got) != tt.body {
					t.Errorf("%s: %d and %d bytes, want %d and %d", tt.headers, resp.StatusCode, len(got), tt.code, len(tt.body))
				}
			}
			if n := len(c.asked); n != 1 {
				t.Errorf("the origin was asked %d times, want once", n)
			}
		})
	}
}

// The origin knows nothing of variants: it is asked by its own tags, and what
// holds still is not made again; what has changed is never shown.
func TestEncodeValidates(t *testing.T) {
	c := newCoded(t)
	_, body := c.warm(t, "br")
	resource := URLKey(mustURL(c.server.URL + "/page"))
	c.cache.Purge(resource, false)
	resp, again := c.get(t, "GET", "Accept-Encoding: br", `If-None-Match: "other"`)
	if got := c.asked[len(c.asked)-1].Get("If-None-Match"); got != `"v1"` {
		t.Errorf("the origin is asked whether %s holds, want its own tag", got)
	}
	if resp.Header.Get("Content-Encoding") != "br" || !bytes.Equal(again, body) {
		t.Error("what holds still is encoded anew")
	}
	c.cache.Purge(resource, false)
	c.text, c.etag = strings.ToUpper(c.text), `"v2"`
	if _, body := c.get(t, "GET", "Accept-Encoding: br", `If-None-Match: "v1-br"`); string(body) != c.text {
		t.Error("what has changed is not shown")
	}
	if resp, body := c.warm(t, "br"); decode(t, "br", body) != c.text || resp.Header.Get("Etag") != `"v2-br"` {
		t.Error("the variant is not of what has changed")
	}
	// Purged for good, and as it was by its tag, but not by its bytes.
	c.cache.Purge(resource, true)
	c.text = strings.ToLower(c.text)
	c.get(t, "GET")
	if _, body := c.warm(t, "br"); decode(t, "br", body) != c.text {
		t.Error("a variant outlives a purge")
	}
}

// A client that has a variant is told so even if the cache has it no more.
func TestEncodedTagHolds(t *testing.T) {
	c := newCoded(t)
	c.get(t, "GET")
	resp, _ := c.get(t, "GET", "Accept-Encoding: br", `If-None-Match: "v1-br"`)
	if resp.StatusCode != 304 || resp.Header.Get("Etag") != `"v1-br"` {
		t.Errorf("%d with ETag %s, want 304 with its own", resp.StatusCode, resp.Header.Get("Etag"))
	}
}

func TestNotEncoded(t *testing.T) {
	for name, h := range map[string]http.Header{
		"image":        {"Content-Type": {"image/png"}},
		"no type":      {},
		"encoded":      {"Content-Type": {"text/css"}, "Content-Encoding": {"gzip"}},
		"no-transform": {"Content-Type": {"text/css"}, "Cache-Control": {"public, No-Transform"}},
		"its own Vary": {"Content-Type": {"text/css"}, "Vary": {"Accept-Language, accept-encoding"}},
		"events":       {"Content-Type": {"text/event-stream"}},
		"short":        {"Content-Type": {"text/css"}, "Content-Length": {"255"}},
		"huge":         {"Content-Type": {"text/css"}, "Content-Length": {"10485761"}},
	} {
		if r := newResponse(200, h, time.Now(), time.Now(), 0); r.encoded != nil {
			t.Errorf("%s is to be encoded", name)
		}
	}
	r := newResponse(200, http.Header{"Content-Type": {"application/ld+json"}}, time.Now(), time.Now(), 0)
	if r.encoded == nil {
		t.Error("JSON of unknown length is not to be encoded")
	}
	// What encoding makes no smaller is left as it is.
	c := newCoded(t)
	noise := make([]byte, 4096)
	rand.NewChaCha8([32]byte{}).Read(noise)
	c.text = string(noise)
	for range 5 {
		resp, body := c.get(t, "GET", "Accept-Encoding: br")
		c.cache.work.Wait()
		if resp.Header.Get("Content-Encoding") != "" || string(body) != c.text {
			t.Error("noise is encoded")
		}
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
