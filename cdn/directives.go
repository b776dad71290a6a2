package cdn

import (
	"math"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// unset is a duration that nobody gave; forever one without an end.
const (
	unset   time.Duration = -1
	forever time.Duration = math.MaxInt64
)

// directives are what Cache-Control says, in a request or in a response, or one
// of the fields that speak in its place to caches like this one.
type directives struct {
	maxAge, sMaxAge            time.Duration
	minFresh, maxStale         time.Duration
	whileRevalidate, ifError   time.Duration
	noStore, noCache, private  bool
	public, mustUnderstand     bool
	mustRevalidate, proxyAlike bool // proxyAlike: proxy-revalidate
	onlyIfCached               bool
	noCacheFields              []string // of no-cache="…": these fields only
	privateFields              []string
}

func noDirectives() directives {
	return directives{maxAge: unset, sMaxAge: unset, minFresh: unset, maxStale: unset, whileRevalidate: unset, ifError: unset}
}

// parseDirectives reads Cache-Control. Of a directive given twice the first
// counts; a lifetime that is no number is 0, since whoever wrote it meant there
// to be one (RFC 9111, section 4.2.1).
func parseDirectives(values []string) directives {
	d := noDirectives()
	for _, v := range values {
		for v != "" {
			var name, arg string
			var has bool
			name, arg, has, v = nextDirective(v)
			d.add(name, arg, has)
		}
	}
	return d
}

// nextDirective cuts the first directive off a list. Its argument is a token or
// a quoted string, which may contain commas.
func nextDirective(s string) (name, arg string, has bool, rest string) {
	i := 0
	for i < len(s) && s[i] != ',' && s[i] != '=' {
		i++
	}
	name = strings.ToLower(strings.TrimLeft(s[:i], " \t"))
	if i == len(s) || s[i] == ',' {
		return strings.TrimRight(name, " \t"), "", false, s[min(i+1, len(s)):]
	}
	s = s[i+1:]
	if s == "" || s[0] != '"' {
		i = strings.IndexByte(s, ',')
		if i < 0 {
			i = len(s)
		}
		return name, strings.TrimRight(s[:i], " \t"), true, s[min(i+1, len(s)):]
	}
	var b []byte
	i = 1
	for i < len(s) && s[i] != '"' {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
		i++
	}
	closed := i < len(s)
	s = s[min(i+1, len(s)):]
	i = strings.IndexByte(s, ',')
	if i < 0 {
		i = len(s)
	}
	if !closed || strings.Trim(s[:i], " \t") != "" {
		b = append(b, '"') // what no directive can mean
	}
	return name, string(b), true, s[min(i+1, len(s)):]
}

func (d *directives) add(name, arg string, has bool) {
	switch name {
	case "max-age":
		first(&d.maxAge, arg)
	case "s-maxage":
		first(&d.sMaxAge, arg)
	case "min-fresh":
		first(&d.minFresh, arg)
	case "max-stale":
		if !has && d.maxStale == unset {
			d.maxStale = forever
		} else {
			first(&d.maxStale, arg)
		}
	case "stale-while-revalidate":
		first(&d.whileRevalidate, arg)
	case "stale-if-error":
		first(&d.ifError, arg)
	case "no-store":
		d.noStore = true
	case "no-cache":
		if fields := fieldNames(arg); has && len(fields) > 0 {
			d.noCacheFields = append(d.noCacheFields, fields...)
		} else {
			d.noCache = true
		}
	case "private":
		if fields := fieldNames(arg); has && len(fields) > 0 {
			d.privateFields = append(d.privateFields, fields...)
		} else {
			d.private = true
		}
	case "public":
		d.public = true
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyAlike = true
	case "must-understand":
		d.mustUnderstand = true
	case "only-if-cached":
		d.onlyIfCached = true
	}
}

// first sets a lifetime that was not given yet.
func first(d *time.Duration, arg string) {
	if *d != unset {
		return
	}
	*d = max(seconds(arg), 0)
}

// maxSeconds is what more seconds than anybody counts are taken for.
const maxSeconds = 1 << 31

// seconds reads a number of seconds, or returns unset.
func seconds(s string) time.Duration {
	if s == "" {
		return unset
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return unset
		}
		n = min(n*10+int64(s[i]-'0'), maxSeconds)
	}
	return time.Duration(n) * time.Second
}

// fieldNames are the names of header fields in the argument of no-cache or
// private. If one of them can be none, there are no names: the directive is
// taken without an argument then, which is its stricter form.
func fieldNames(arg string) []string {
	var names []string
	for name := range strings.SplitSeq(arg, ",") {
		name = strings.Trim(name, " \t")
		if name == "" {
			continue
		}
		if !isToken(name) {
			return nil
		}
		names = append(names, textproto.CanonicalMIMEHeaderKey(name))
	}
	return names
}

// responseDirectives are those of a response for a cache like this one: of the
// targeted field if there is a valid one, else of Surrogate-Control, else of
// Cache-Control. The first two go over Expires, too, and Pragma never counts.
func responseDirectives(h http.Header) (d directives, targeted bool) {
	if v := h["Cdn-Cache-Control"]; len(v) > 0 {
		if d, ok := parseTargeted(v); ok {
			return d, true
		}
	}
	if v := h["Surrogate-Control"]; len(v) > 0 {
		if d, ok := parseSurrogate(v); ok {
			return d, true
		}
	}
	return parseDirectives(h["Cache-Control"]), false
}

// parseTargeted reads a targeted field, a Dictionary of Structured Fields. What
// is none, is empty, or gives a directive a value of the wrong type is no field
// at all (RFC 9213, section 2.1).
func parseTargeted(values []string) (directives, bool) {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil || len(dict.Names()) == 0 {
		return directives{}, false
	}
	d := noDirectives()
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, ok := member.(httpsfv.Item)
		if !ok {
			return directives{}, false
		}
		switch v := item.Value.(type) {
		case bool:
			if lifetimes[name] {
				return directives{}, false
			}
			if v {
				d.add(name, "", false)
			}
		case int64:
			if !lifetimes[name] {
				continue
			}
			if v < 0 {
				return directives{}, false
			}
			first(d.lifetime(name), "0")
			*d.lifetime(name) = time.Duration(min(v, maxSeconds)) * time.Second
		case string:
			if lifetimes[name] {
				return directives{}, false
			}
			d.add(name, v, true)
		default:
			if lifetimes[name] {
				return directives{}, false
			}
		}
	}
	return d, true
}

var lifetimes = map[string]bool{"max-age": true, "s-maxage": true, "stale-while-revalidate": true, "stale-if-error": true}

func (d *directives) lifetime(name string) *time.Duration {
	switch name {
	case "max-age":
		return &d.maxAge
	case "s-maxage":
		return &d.sMaxAge
	case "stale-while-revalidate":
		return &d.whileRevalidate
	default:
		return &d.ifError
	}
}

// surrogate is what the cache calls itself in Surrogate-Capability.
const surrogate = "memstore"

// parseSurrogate reads Surrogate-Control of the W3C's Edge Architecture note.
// A directive with a parameter is for the device of that name, and passed over
// if that is another than surrogate.
// A lifetime of "60+30" is 60 s, and 30 s that it may be served stale.
func parseSurrogate(values []string) (d directives, ok bool) {
	d = noDirectives()
	for _, v := range values {
		for v != "" {
			var name, arg string
			var has bool
			name, arg, has, v = nextDirective(v)
			from := &arg
			if !has {
				from = &name
			}
			value, target, targeted := strings.Cut(*from, ";")
			if targeted && !strings.EqualFold(strings.Trim(target, " \t"), surrogate) {
				continue
			}
			*from = value
			switch name {
			case "max-age":
				life, stale, _ := strings.Cut(arg, "+")
				if seconds(life) == unset {
					continue
				}
				ok = true
				first(&d.maxAge, life)
				if s := seconds(stale); s != unset {
					d.whileRevalidate, d.ifError = s, s
				}
			case "no-store":
				ok, d.noStore = true, true
			}
		}
	}
	return d, ok
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0
	})
}
