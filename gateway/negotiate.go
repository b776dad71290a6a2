package gateway

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// A format is how a listing is written.
type format struct {
	contentType string
	encoder     func(storage.Path) encoder
	negotiated  bool // by Accept, so that caches must tell answers apart
}

const (
	textType = "text/plain; charset=utf-8"
	jsonType = "application/json; charset=utf-8"
	xmlType  = "application/xml; charset=utf-8"
)

// The formats, in the order in which one is taken where any will do.
var formats = [...]struct {
	name string
	format
}{
	{"text/plain", format{textType, newTextEncoder, true}},
	{"application/json", format{jsonType, newJSONEncoder, true}},
	{"application/xml", format{xmlType, newXMLEncoder, true}},
	{"text/xml", format{"text/xml; charset=utf-8", newXMLEncoder, true}},
}

// negotiate finds the format that a client asks for: by the parameter
// "format", where all that is not known means text, or by its Accept header.
func negotiate(r *http.Request) (format, error) {
	if r.URL.RawQuery != "" {
		v, given, err := textParam(r.URL.RawQuery, "format")
		if err != nil {
			return format{}, err
		}
		switch strings.ToLower(v) {
		case "":
			return byAccept(r.Header, !given)
		case "json":
			return format{jsonType, newJSONEncoder, false}, nil
		case "xml":
			return format{xmlType, newXMLEncoder, false}, nil
		}
		return format{textType, newTextEncoder, false}, nil
	}
	return byAccept(r.Header, true)
}

func byAccept(h http.Header, negotiated bool) (format, error) {
	i, err := bestMatch(joined(h["Accept"]))
	if err != nil {
		return format{}, err
	}
	f := formats[i].format
	f.negotiated = negotiated
	return f, nil
}

var (
	errBadAccept     = &refusal{status: http.StatusBadRequest, text: "Invalid Accept header"}
	errNotAcceptable = &refusal{status: http.StatusNotAcceptable}
)

// bestMatch finds the first format that fits the item of an Accept header with
// the highest quality; among equals one without an asterisk goes first, then
// the one that is named first.
func bestMatch(accept string) (int, error) {
	if accept == "" {
		return 0, nil
	}
	best, bestQuality, bestExact := -1, math.Inf(-1), false
	for item := range strings.SplitSeq(accept, ",") {
		typ, sub, quality, ok := parseAccept(item)
		if !ok {
			return 0, errBadAccept
		}
		exact := typ != "*" && sub != "*"
		if quality < bestQuality || quality == bestQuality && (bestExact || !exact) {
			continue
		}
		for i, f := range formats {
			t, s, _ := strings.Cut(f.name, "/")
			if (typ == "*" || typ == t) && (sub == "*" || sub == s) {
				best, bestQuality, bestExact = i, quality, exact
				break
			}
		}
	}
	if best < 0 {
		return 0, errNotAcceptable
	}
	return best, nil
}

// parseAccept reads one item of an Accept header, "text/*;q=0.5".
func parseAccept(item string) (typ, sub string, quality float64, ok bool) {
	rest := strings.TrimLeft(item, " \t")
	if typ, rest, ok = token(rest); !ok || rest == "" || rest[0] != '/' {
		return "", "", 0, false
	}
	if sub, rest, ok = token(rest[1:]); !ok {
		return "", "", 0, false
	}
	quality = 1
	rated := false
	for rest = strings.Trim(rest, " \t"); rest != ""; rest = strings.Trim(rest, " \t") {
		if rest[0] != ';' {
			return "", "", 0, false
		}
		var name, value string
		if name, rest, ok = token(strings.TrimLeft(rest[1:], " \t")); !ok {
			return "", "", 0, false
		}
		if rest = strings.TrimLeft(rest, " \t"); rest == "" || rest[0] != '=' {
			return "", "", 0, false
		}
		rest = strings.TrimLeft(rest[1:], " \t")
		if strings.HasPrefix(rest, `"`) {
			value, rest, ok = quotedString(rest)
		} else {
			value, rest, ok = token(rest)
		}
		if !ok {
			return "", "", 0, false
		}
		if name == "q" {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || rated || math.IsNaN(q) {
				return "", "", 0, false
			}
			quality, rated = q, true
		}
	}
	return typ, sub, quality, true
}

// token cuts a token of RFC 2616 off the front of s.
func token(s string) (tok, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] > ' ' && s[i] != 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(s[i])) {
		i++
	}
	return s[:i], s[i:], i > 0
}

// quotedString cuts a string in quotes off the front of s.
func quotedString(s string) (value, rest string, ok bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:], true
		}
	}
	return "", "", false
}
