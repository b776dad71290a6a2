package cdn

import (
	"slices"
	"strconv"
)

// A status is what Cache-Status says of an answer (RFC 9211).
type status struct {
	hit       bool
	stored    bool
	collapsed bool
	stale     bool   // what was served had outlived its lifetime; for statistics
	forward   string // why the origin was asked
	code      int    // what it answered, if not the same
	detail    string
}

// field makes the members of Cache-Status, after those of caches nearer to the
// origin.
func (s *status) field(name string, before []string) []string {
	b := append(make([]byte, 0, 64), name...)
	if s.hit {
		b = append(b, "; hit"...)
	}
	if s.forward != "" {
		b = append(append(b, "; fwd="...), s.forward...)
	}
	if s.code != 0 {
		b = strconv.AppendInt(append(b, "; fwd-status="...), int64(s.code), 10)
	}
	if s.stored {
		b = append(b, "; stored"...)
	}
	if s.collapsed {
		b = append(b, "; collapsed"...)
	}
	if s.detail != "" {
		b = append(append(b, "; detail="...), s.detail...)
	}
	return append(slices.Clone(before), string(b))
}

// reason says why the origin has to be asked, with f kept or nothing.
func (x *exchange) reason(f *found) string {
	switch {
	case f == nil && x.index != nil:
		return "vary-miss"
	case f == nil:
		return "uri-miss"
	case x.asked:
		return "request"
	}
	return "stale"
}
