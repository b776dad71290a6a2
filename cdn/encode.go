package cdn

import (
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"memstore.dev/memstore/cdn/store"
)

// What is worth encoding. Less does not get smaller, and more takes too long for
// a body that is kept whole.
const (
	encodeMin = 256
	encodeMax = 10 << 20
)

// encodings are what becomes of a body that may be encoded: one variant for each
// coding, made when it has been asked for twice, each with a strong tag of its
// own. The response as it came is what is fresh or stale, purged and validated;
// its variants come and go with it.
type encodings struct {
	vary []string      // what Vary says of all of them
	hits atomic.Uint32 // how often the response was found
	of   [3]encoding   // by the order of coders
}

// An encoding is one of them.
type encoding struct {
	busy    atomic.Bool              // it is being made, or was not worth it
	current atomic.Pointer[response] // with the header that goes with the body
}

// newEncodings judges whether a response is to be encoded; nil if not.
func newEncodings(r *response) *encodings {
	h := r.header
	if r.status != http.StatusOK || r.length >= 0 && (r.length < encodeMin || r.length > encodeMax) ||
		len(h["Content-Encoding"]) > 0 || len(h["Content-Range"]) > 0 || !compressible(h.Get("Content-Type")) ||
		headerHas(h["Cache-Control"], "no-transform") {
		return nil
	}
	for _, name := range varySpec(h["Vary"]) {
		if name == "Accept-Encoding" || name == "*" {
			return nil // the origin chooses itself
		}
	}
	return &encodings{vary: append(slices.Clone(h["Vary"]), "Accept-Encoding")}
}

// compressibles are types that get smaller, besides text and what is written in
// JSON or XML.
var compressibles = map[string]bool{
	"application/javascript": true, "application/json": true, "application/xml": true, "application/wasm": true,
	"application/x-javascript": true, "application/ecmascript": true, "application/rtf": true, "application/x-ndjson": true,
	"application/graphql": true, "application/yaml": true, "application/toml": true, "application/x-sh": true,
	"application/vnd.ms-fontobject": true, "application/x-font-ttf": true, "application/x-font-otf": true,
	"font/ttf": true, "font/otf": true, "font/collection": true, "image/svg+xml": true, "image/bmp": true,
	"image/x-icon": true, "image/vnd.microsoft.icon": true,
}

func compressible(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil || kind == "text/event-stream": // which somebody waits for
		return false
	case strings.HasPrefix(kind, "text/"), strings.HasSuffix(kind, "+json"), strings.HasSuffix(kind, "+xml"):
		return true
	}
	return compressibles[kind]
}

// serve answers with what was found, encoded if the client wants that and it is
// to be had.
func (x *exchange) serve(f *found) bool {
	if f.encoded == nil || !x.profile.Encode || f.sliced != nil || f.piece != nil {
		return x.answer(f)
	}
	if v := x.encodedFor(f); v != nil {
		defer v.release()
		return x.answer(v)
	}
	return x.answer(f)
}

// encodedFor finds the variant of f for this request, and has it made if it is
// worth it. Nil is f itself.
func (x *exchange) encodedFor(f *found) *found {
	accept := x.r.Header["Accept-Encoding"]
	if len(accept) == 0 {
		return nil
	}
	wanted, n := negotiate(accept)
	often := x.status.hit && f.encoded.hits.Add(1) >= 2
	for _, i := range wanted[:n] {
		c := &coders[i]
		tag := c.tag(f.etag)
		if x.r.Header["Range"] != nil && (tag == "" || !slices.Equal(x.r.Header["If-Range"], []string{tag})) {
			return nil // a range of which bytes? Of those that it was never encoded from
		}
		key := encodedKey(f, c)
		e := x.c.Store.Get(key)
		if e == nil {
			if often && !f.shared && f.encoded.of[i].busy.CompareAndSwap(false, true) {
				x.c.encode(f, i, key)
			}
			if tag != "" && anyTag(x.r.Header["If-None-Match"], func(t string) bool { return weakEqual(t, tag) }) {
				// He has it, though it is not kept here any more.
				r := encodedResponse(f.response, c, -1)
				return &found{response: r, key: key, entry: f.entry, shared: true}
			}
			continue
		}
		size, _ := e.Size()
		r := f.encoded.of[i].current.Load()
		if r == nil || r.length != size {
			r = encodedResponse(f.response, c, size)
			f.encoded.of[i].current.Store(r)
		}
		return &found{response: r, key: key, entry: e}
	}
	return nil
}

// encodedKey is where a variant of a body is kept. It is never found for another
// body.
func encodedKey(f *found, c *coder) store.Key {
	return derivedKey('e', f.key[:], c.name, strconv.FormatUint(f.body, 36))
}

// aboutBody are fields that hold for the bytes as they came.
var aboutBody = []string{"Content-Md5", "Digest", "Content-Digest", "Content-Length"}

// encodedResponse is r, encoded to a size that is -1 if nobody wants the body.
func encodedResponse(r *response, c *coder, size int64) *response {
	v := r.copy()
	v.header = maps.Clone(r.header)
	for _, name := range aboutBody {
		delete(v.header, name)
	}
	v.header["Content-Encoding"] = []string{c.name}
	if v.length = size; size >= 0 {
		v.header["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	}
	if tag := c.tag(r.etag); tag != "" {
		v.header["Etag"], v.etag = []string{tag}, tag
	}
	return v
}

// tag is the tag of a variant of what has this one, "" if that has none that is
// strong: a weak one holds for all variants.
func (c *coder) tag(of string) string {
	if !isStrong(of) {
		return ""
	}
	return of[:len(of)-1] + "-" + c.name + `"`
}

// negotiate reads Accept-Encoding: the codings that are accepted, as indices of
// coders, the dearest first, and of those as dear the one that makes less of it.
func negotiate(values []string) (order [3]int, n int) {
	const unsaid = -1
	weights, star, plain := [3]int{unsaid, unsaid, unsaid}, unsaid, unsaid
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.Trim(name, " \t")
			q := 1000
			if params != "" {
				q = weight(strings.ToLower(params))
			}
			switch {
			case name == "*":
				star = q
			case strings.EqualFold(name, "identity"):
				plain = q
			default:
				name = strings.TrimPrefix(strings.ToLower(name), "x-")
				for i := range coders {
					if coders[i].name == name {
						weights[i] = q
					}
				}
			}
		}
	}
	for i, q := range weights {
		if q == unsaid {
			q = star
		}
		weights[i] = q
		if q > 0 && q >= plain {
			order[n] = i
			n++
		}
	}
	slices.SortStableFunc(order[:n], func(a, b int) int { return weights[b] - weights[a] })
	return order, n
}
