package gateway

import (
	"net/http"
	"strings"

	"memstore.dev/memstore/storage"
)

// judge tells whether the conditions of a request let the object be sent: 0 if
// so, else 304 or 412. The order and the rules are Swift's: a tag is compared
// by its bytes, with quotes or without; weak ones match nothing; times count in
// whole seconds, and one that cannot be read is none.
func judge(h http.Header, in *storage.Info) int {
	if v := h["If-None-Match"]; v != nil && listed(joined(v), in.ETag) {
		return http.StatusNotModified
	}
	if v := h["If-Match"]; v != nil && !listed(joined(v), in.ETag) {
		return http.StatusPreconditionFailed
	}
	if v := h["If-Modified-Since"]; v != nil {
		if t, err := http.ParseTime(v[0]); err == nil && !ceil(in.ModTime).After(t) {
			return http.StatusNotModified
		}
	}
	if v := h["If-Unmodified-Since"]; v != nil {
		if t, err := http.ParseTime(v[0]); err == nil && ceil(in.ModTime).After(t) {
			return http.StatusPreconditionFailed
		}
	}
	return 0
}

// listed reports whether a list of tags has this one, or "*".
func listed(list, tag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if item = bareTag(item); item == "*" || item == tag {
			return true
		}
	}
	return false
}

// bareTag is an entity tag without its quotes, if it has them.
func bareTag(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// answerCondition tells that a condition did not hold, with the headers of the
// object and without a body.
func (c *call) answerCondition(status int, in *storage.Info) error {
	c.describe(in)
	if status == http.StatusPreconditionFailed {
		c.w.Header().Del("Accept-Ranges")
		if in.Large != nil || !in.IsManifest() {
			c.set("Content-Type", html)
		}
		c.set("Content-Length", "0")
	}
	c.w.WriteHeader(status)
	return nil
}
