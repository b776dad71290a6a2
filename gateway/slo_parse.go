package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// A wanted is a segment as a client's manifest wants it.
type wanted struct {
	data []byte // the bytes themselves; the other fields are unset then

	name string // as the client wrote it
	path storage.Path
	etag *string
	size *int64
	part *span
}

// maxManifestItems is how many segments a manifest may have, with those whose
// bytes stand in it. A text of the largest size could name half a million of one
// byte, for which everybody who reads the object would need a hundred megabytes of
// our memory.
const maxManifestItems = 10 * storage.MaxSegments

// parseManifest reads the manifest that a client puts at a path. All that is
// wrong with it is told at once, in Swift's words.
func parseManifest(text []byte, at storage.Path) ([]wanted, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var items []json.RawMessage
	if !json.Valid(text) {
		return nil, &refusal{status: 400, text: "Manifest must be valid JSON.\n"}
	}
	if json.Unmarshal(text, &items) != nil || items == nil {
		return nil, &refusal{status: 400, text: "Manifest must be a list.\n"}
	}
	if len(items) > maxManifestItems {
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge,
			text:   fmt.Sprintf("Number of segments must be <= %d", maxManifestItems),
		}
	}
	var wrong strings.Builder
	list := make([]wanted, len(items))
	inline := 0
	for i, item := range items {
		var fields map[string]any
		fault := "not a JSON object"
		d := json.NewDecoder(bytes.NewReader(item))
		d.UseNumber()
		if d.Decode(&fields) == nil && fields != nil {
			if _, is := fields["data"]; is {
				inline++
			}
			fault = list[i].parse(fields, at, i == len(items)-1)
		}
		if fault != "" {
			fmt.Fprintf(&wrong, "Index %d: %s\n", i, fault)
		}
	}
	if len(items) > 0 && inline == len(items) {
		wrong.WriteString("Inline data segments require at least one object-backed segment.\n")
	}
	if wrong.Len() > 0 {
		return nil, badRequest(wrong.String())
	}
	return list, nil
}

// parse reads an item of a manifest, and returns what is wrong with it.
func (w *wanted) parse(fields map[string]any, at storage.Path, last bool) string {
	kind, optional := "data", []string(nil)
	if _, is := fields["data"]; !is {
		kind, optional = "path", []string{"range", "etag", "size_bytes"}
		if _, is := fields["path"]; !is {
			return "expected keys to include one of 'data' or 'path'"
		}
	}
	var extra []string
	for key := range fields {
		if key != kind && !slices.Contains(optional, key) {
			extra = append(extra, key)
		}
	}
	if extra != nil {
		slices.Sort(extra)
		var b []byte
		for i, key := range extra {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = storage.AppendJSON(b, key)
		}
		return "extraneous keys " + string(b)
	}
	if kind == "data" {
		return w.parseData(fields["data"])
	}
	return w.parseObject(fields, at, last)
}

func (w *wanted) parseData(field any) string {
	text, ok := field.(string)
	if ok {
		w.data, ok = decodeBase64(text)
	}
	switch {
	case !ok:
		return "data must be valid base64"
	case len(w.data) == 0:
		return "too small; each segment must be at least 1 byte."
	}
	return ""
}

// decodeBase64 is as strict as Swift: no line breaks, and no less padding than
// is due, but more of it does no harm.
func decodeBase64(s string) ([]byte, bool) {
	digits := strings.TrimRight(s, "=")
	if len(s)-len(digits) < -len(digits)&3 {
		return nil, false
	}
	if strings.ContainsAny(digits, "\r\n") { // which the decoder would pass over
		return nil, false
	}
	b, err := base64.RawStdEncoding.DecodeString(digits)
	return b, err == nil
}

func (w *wanted) parseObject(fields map[string]any, at storage.Path, last bool) string {
	var ok bool
	if w.name, ok = fields["path"].(string); !ok {
		return `"path" must be a string`
	}
	switch etag := fields["etag"].(type) {
	case nil:
	case string:
		w.etag = &etag
	default:
		return `"etag" must be a string or null (if provided)`
	}
	if !strings.Contains(strings.Trim(w.name, "/"), "/") {
		return "path does not refer to an object. Path must be of the form /container/object."
	}
	w.path.Account = at.Account
	w.path.Container, w.path.Object, _ = strings.Cut(strings.TrimLeft(w.name, "/"), "/")
	if field := fields["size_bytes"]; field != nil {
		size, ok := wholeNumber(field)
		if !ok {
			return "invalid size_bytes"
		}
		if size < 1 && !last {
			return "too small; each segment must be at least 1 byte."
		}
		w.size = &size
	}
	if w.path == at {
		return "manifest must not include itself as a segment"
	}
	return w.parseRange(fields["range"])
}

func (w *wanted) parseRange(field any) string {
	switch field {
	case nil, "", false, json.Number("0"): // what is false in Python is no range
		return ""
	}
	text, _ := field.(string)
	spans := parseRanges("bytes=" + text)
	switch {
	case spans == nil:
		return "invalid range"
	case len(spans) > 1:
		return "multiple ranges (only one allowed)"
	}
	if w.size != nil {
		if _, _, ok := spans[0].within(*w.size); !ok {
			return "unsatisfiable range"
		}
	}
	w.part = &spans[0]
	return ""
}

// wholeNumber reads what Python's int takes for one.
func wholeNumber(field any) (int64, bool) {
	switch v := field.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, true
		}
		f, err := v.Float64()
		return int64(f), err == nil && math.Abs(f) < 1<<62
	}
	return 0, false
}
