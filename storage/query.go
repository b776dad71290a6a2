package storage

import "bytes"

// A Query narrows a List. The zero Query lists everything.
type Query struct {
	Prefix    string // only names beginning so
	Delimiter string // roll names up that have it after the Prefix; may be several bytes
	Marker    string // only names after it, in the order of the listing; exclusive
	EndMarker string // only names before it; exclusive
	Reverse   bool   // from the last name to the first
	Limit     int    // at most so many entries, subdirs included; 0 for no limit
	Meta      bool   // the entries have their Meta; without, only MetaKind need be in it
}

// A Cursor walks a set of names in byte order. Each method reports whether
// there is a name where it went; only then may Name be called, whose result
// lasts until the next move. After a false, only a Seek may follow.
type Cursor interface {
	SeekGE(name string) bool // to the first name >= name
	SeekLT(name string) bool // to the last name < name; "" means the very last
	Next() bool
	Prev() bool
	Name() []byte
}

// Page walks c and yields, in order, the entries of the listing that q asks
// for: names, and subdirs, which are names cut off behind the first Delimiter
// after the Prefix and stand for all that begin so (also for a name equal to
// them). When it yields a name, c stands on it. It stops when yield returns
// false. Subdirs are skipped by a seek, so the cost of a page grows with the
// entries it yields, not with the names they stand for.
//
// As in Swift a marker cuts names off before they are rolled up, so a subdir
// appears if one of its names is between the markers; but a subdir equal to
// the lower marker (Marker, or with Reverse EndMarker) does not. An empty
// marker is none.
func (q Query) Page(c Cursor, yield func(name []byte, subdir bool) bool) {
	lower, upper := q.Marker, q.EndMarker // both exclusive; "" for none
	if q.Reverse {
		lower, upper = upper, lower
	}
	prefix, delimiter := []byte(q.Prefix), []byte(q.Delimiter)
	inside := func(name []byte) bool {
		return bytes.HasPrefix(name, prefix) &&
			(lower == "" || string(name) > lower) && (upper == "" || string(name) < upper)
	}
	var ok bool
	if q.Reverse {
		ok = seekBelow(c, q.Prefix, upper)
	} else {
		ok = c.SeekGE(max(q.Prefix, lower))
		if ok && lower != "" && string(c.Name()) == lower {
			ok = c.Next()
		}
	}
	for n := 0; ok && inside(c.Name()) && (q.Limit <= 0 || n < q.Limit); {
		name := c.Name()
		if len(delimiter) > 0 {
			if i := bytes.Index(name[len(prefix):], delimiter); i >= 0 {
				sub := string(name[:len(prefix)+i+len(delimiter)])
				if sub != lower {
					n++
					if !yield([]byte(sub), true) {
						return
					}
				}
				if q.Reverse {
					ok = c.SeekLT(sub)
				} else if next, any := successor(sub); any {
					ok = c.SeekGE(next)
				} else {
					ok = false
				}
				continue
			}
		}
		n++
		if !yield(name, false) {
			return
		}
		if q.Reverse {
			ok = c.Prev()
		} else {
			ok = c.Next()
		}
	}
}

// seekBelow goes to the last name that is below upper (if there is one) and
// not above all names with the prefix.
func seekBelow(c Cursor, prefix, upper string) bool {
	end, any := successor(prefix)
	if any && (upper == "" || end < upper) {
		return c.SeekLT(end)
	}
	return c.SeekLT(upper)
}

// successor is the least string greater than every string that begins with s,
// and false if there is none: s is empty or all of 0xff bytes.
func successor(s string) (string, bool) {
	b := []byte(s)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return string(b[:i+1]), true
		}
	}
	return "", false
}
