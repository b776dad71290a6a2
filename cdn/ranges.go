package cdn

import (
	"slices"
	"strconv"
	"strings"
)

// A span is a piece of a body: n bytes from off.
type span struct{ off, n int64 }

func (s span) end() int64 { return s.off + s.n }

// maxRanges is how many ranges of a request are answered, after those that
// touch were joined. More are some attack, or better served by the whole.
const maxRanges = 8

// parseRange reads a Range as spec, as many members as it may have, each as it
// is written: off < 0 is the last n bytes, n < 0 is all from off. Nil is no
// range in bytes, which is to be ignored.
func parseRange(s string) []span {
	unit, s, ok := strings.Cut(s, "=")
	if !ok || !strings.EqualFold(strings.Trim(unit, " \t"), "bytes") {
		return nil
	}
	var spans []span
	for part := range strings.SplitSeq(s, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		from, to, ok := strings.Cut(part, "-")
		if !ok || len(spans) >= 1024 {
			return nil
		}
		from, to = strings.TrimRight(from, " \t"), strings.TrimLeft(to, " \t")
		first, last := digits(from), digits(to)
		switch {
		case from == "" && last >= 0:
			spans = append(spans, span{-1, last})
		case first >= 0 && to == "":
			spans = append(spans, span{first, -1})
		case first >= 0 && last >= first:
			spans = append(spans, span{first, last - first + 1})
		default:
			return nil
		}
	}
	return spans
}

// digits reads a number, or returns -1.
func digits(s string) int64 {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > 1<<62 {
		return -1
	}
	return n
}

// fit gives spans their place in a body of size bytes, joins those that touch
// or overlap, and leaves out what lies behind the end. None left means that
// nothing can be given (416); ok is false if the whole is the better answer.
func fit(spans []span, size int64) (fitting []span, ok bool) {
	for _, s := range spans {
		switch {
		case s.off < 0:
			s.n = min(s.n, size)
			s.off = size - s.n
		case s.off >= size:
			continue
		case s.n < 0 || s.n > size-s.off:
			s.n = size - s.off
		}
		if s.n > 0 {
			fitting = append(fitting, s)
		}
	}
	if len(fitting) < 2 {
		return fitting, true
	}
	sorted := slices.SortedFunc(slices.Values(fitting), func(a, b span) int {
		if a.off != b.off {
			return int(min(max(a.off-b.off, -1), 1))
		}
		return int(min(max(b.n-a.n, -1), 1))
	})
	joined, total := sorted[:1], int64(0)
	for _, s := range sorted[1:] {
		last := &joined[len(joined)-1]
		if s.off <= last.end() {
			last.n = max(last.end(), s.end()) - last.off
			continue
		}
		joined = append(joined, s)
	}
	for _, s := range joined {
		total += s.n
	}
	if len(joined) == len(fitting) {
		joined = fitting // disjoint: in the order they were asked for
	}
	return joined, len(joined) <= maxRanges && total < size
}

// contentRange reads a Content-Range of bytes; size is -1 if it is not told.
func contentRange(s string) (piece span, size int64, ok bool) {
	s, found := strings.CutPrefix(strings.ToLower(strings.Trim(s, " \t")), "bytes ")
	if !found {
		return span{}, 0, false
	}
	bounds, whole, found := strings.Cut(strings.TrimLeft(s, " "), "/")
	if !found {
		return span{}, 0, false
	}
	from, to, found := strings.Cut(bounds, "-")
	first, last := digits(from), digits(to)
	if !found || first < 0 || last < first {
		return span{}, 0, false
	}
	size = -1
	if whole != "*" {
		if size = digits(whole); size <= last {
			return span{}, 0, false
		}
	}
	return span{first, last - first + 1}, size, true
}

// appendContentRange writes the value of a Content-Range.
func appendContentRange(b []byte, s span, size int64) []byte {
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, s.off, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.end()-1, 10)
	b = append(b, '/')
	return strconv.AppendInt(b, size, 10)
}
