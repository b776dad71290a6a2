package cdn

import (
	"net/http"
	"strings"
	"time"
)

// strongEqual compares entity tags where the bytes must be the same (RFC 9110,
// section 8.8.3.2).
func strongEqual(a, b string) bool {
	return a == b && isStrong(a)
}

func isStrong(tag string) bool {
	return len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"'
}

// weakEqual compares entity tags where the meaning must be the same. Tags that
// origins forgot to quote are compared as they are.
func weakEqual(a, b string) bool {
	return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

// anyTag says whether one of the tags in a field matches, or the field is "*".
func anyTag(values []string, match func(tag string) bool) bool {
	for _, v := range values {
		for v != "" {
			var tag string
			tag, v = nextTag(v)
			if tag == "*" || tag != "" && match(tag) {
				return true
			}
		}
	}
	return false
}

// nextTag cuts the first entity tag off a list. A tag may contain commas if it
// is quoted.
func nextTag(s string) (tag, rest string) {
	s = strings.TrimLeft(s, " \t,")
	i := 0
	if strings.HasPrefix(s, `W/"`) {
		i = 3
	} else if strings.HasPrefix(s, `"`) {
		i = 1
	}
	if i > 0 {
		end := strings.IndexByte(s[i:], '"')
		if end < 0 {
			return "", ""
		}
		return s[:i+end+1], s[i+end+1:]
	}
	if i = strings.IndexByte(s, ','); i < 0 {
		i = len(s)
	}
	return strings.TrimRight(s[:i], " \t"), s[i:]
}

// A condition is what the conditions of a request come to.
type condition int

const (
	proceed     condition = iota
	notModified           // 304
	failed                // 412
)

// conditions judges those of a request against what is kept, in the order that
// RFC 9110, section 13.2.2, wants.
func conditions(h http.Header, r *response) condition {
	if r.status != http.StatusOK {
		return proceed // section 13.2.1: only what would be 2xx is conditional
	}
	if v := h["If-Match"]; len(v) > 0 {
		if !anyTag(v, func(tag string) bool { return strongEqual(tag, r.etag) }) {
			return failed
		}
	} else if v := h["If-Unmodified-Since"]; len(v) > 0 {
		if t, err := parseTime(v[0]); err == nil && !r.modified.IsZero() && r.modified.After(t) {
			return failed
		}
	}
	if v := h["If-None-Match"]; len(v) > 0 {
		if anyTag(v, func(tag string) bool { return r.etag != "" && weakEqual(tag, r.etag) }) {
			return notModified
		}
	} else if v := h["If-Modified-Since"]; len(v) > 0 {
		t, err := parseTime(v[0])
		since := r.modified
		if since.IsZero() {
			since = r.date // section 13.1.3 lets a cache go by Date
		}
		if err == nil && !since.IsZero() && !since.After(t) {
			return notModified
		}
	}
	return proceed
}

// conditional are the fields that conditions are in.
var conditional = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

func isConditional(h http.Header) bool {
	for _, name := range conditional {
		if h[name] != nil {
			return true
		}
	}
	return false
}

// ifRange says whether a Range counts, by its If-Range (RFC 9110, section
// 13.1.5): a strong tag, or a date that is exactly that of a response which had
// it for a minute when it was sent.
func ifRange(h http.Header, r *response) bool {
	v := h["If-Range"]
	if len(v) == 0 {
		return true
	}
	if tag, _ := nextTag(v[0]); strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, "W/") {
		return strongEqual(tag, r.etag)
	}
	t, err := parseTime(v[0])
	return err == nil && t.Equal(r.modified) && r.date.Sub(r.modified) >= time.Minute
}
