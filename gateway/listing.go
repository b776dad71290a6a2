package gateway

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// maxListing is the most entries one answer has.
const maxListing = 10000

// maxPassed is how many subdirs without an object of their name a listing by
// path may pass over. Each is a look into the store, for nothing.
const maxPassed = 10000

// A listing is what a client asks of a list.
type listing struct {
	storage.Query
	path  bool // only objects directly below the Prefix, no subdirs
	limit int  // of entries; Query's own has no word for none at all
}

// parseListing reads the parameters of a listing.
func parseListing(query string, objects bool) (listing, error) {
	l := listing{limit: maxListing}
	if query == "" {
		return l, nil
	}
	for _, p := range []struct {
		name  string
		value *string
	}{
		{"marker", &l.Marker}, {"end_marker", &l.EndMarker}, {"prefix", &l.Prefix}, {"delimiter", &l.Delimiter},
	} {
		var err error
		if *p.value, _, err = textParam(query, p.name); err != nil {
			if !objects { // Swift's words for accounts are these, but of another type
				return l, &refusal{status: http.StatusBadRequest, text: err.Error()}
			}
			return l, err
		}
	}
	if v, _, err := textParam(query, "limit"); err != nil {
		return l, err
	} else if digits(v) {
		n, err := strconv.Atoi(v)
		if err != nil || n > maxListing {
			return l, &refusal{status: http.StatusPreconditionFailed, text: "Maximum limit is " + strconv.Itoa(maxListing)}
		}
		l.limit = n
	}
	v, _, err := textParam(query, "reverse")
	if err != nil {
		return l, err
	}
	l.Reverse = truth(v)
	if !objects {
		return l, nil
	}
	if v, l.path, err = textParam(query, "path"); err != nil {
		return l, err
	}
	if l.path {
		// The way to list like a file system from before there were delimiters.
		l.Delimiter, l.Prefix = "/", v
		if v != "" {
			l.Prefix = strings.TrimRight(v, "/") + "/"
		}
	}
	return l, nil
}

// textParam reads a parameter that must be UTF-8.
func textParam(query, name string) (value string, ok bool, err error) {
	value, ok = param(query, name)
	if !utf8.ValidString(value) {
		return "", ok, badRequest(`"` + name + `" parameter not valid UTF-8`)
	}
	return value, ok, nil
}

// param finds a parameter in the query of a URL; the last one counts. What
// looks escaped but is not stays as it is, as with Python's urllib, which is
// why this is not url.ParseQuery.
func param(query, name string) (value string, ok bool) {
	for query != "" {
		var item string
		if item, query, _ = strings.Cut(query, "&"); item == "" {
			continue
		}
		key, v, _ := strings.Cut(item, "=")
		if key == name || strings.ContainsAny(key, "%+") && unescape(key) == name {
			value, ok = v, true
		}
	}
	return unescape(value), ok
}

func unescape(s string) string { return unquote(strings.ReplaceAll(s, "+", " ")) }

// buffers hold listings on their way to the client.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+16<<10); return &b }}

const flushAt = 48 << 10

// list sends the list of what lies beneath in.Path. A short one goes out in
// one piece with its length; a long one in chunks, while it is being read.
func (c *call) list(in *storage.Info, f format, l listing, there bool) error {
	room := buffers.Get().(*[]byte)
	defer buffers.Put(room)
	e := f.encoder(in.Path)
	b := e.begin((*room)[:0])
	if there && l.limit > 0 {
		var err error
		if b, err = c.rows(b, e, in.Path, l, f); err != nil {
			return err
		}
	}
	b = e.end(b)
	*room = b[:0]
	if c.w.status != 0 {
		_, err := c.w.Write(b)
		return storage.Wrap("list", in.Path, err)
	}
	c.head(f)
	c.set("Content-Length", strconv.Itoa(len(b)))
	if len(b) == 0 {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c.w.WriteHeader(http.StatusOK)
	_, err := c.w.Write(b)
	return storage.Wrap("list", in.Path, err)
}

// head sets the headers that say in which format a listing is.
func (c *call) head(f format) {
	c.set("Content-Type", f.contentType)
	c.notSniffed()
	if f.negotiated {
		c.vary("Accept")
	}
}

// rows appends the entries to b, and sends b whenever it is full.
func (c *call) rows(b []byte, e encoder, p storage.Path, l listing, f format) ([]byte, error) {
	l.Limit = l.limit
	if l.path {
		l.Limit = 0 // subdirs, which Query counts, are not shown
	}
	n, passed := 0, 0
	var entry storage.Info // one for all rows
	for in, err := range c.g.Store.List(c.ctx, p, l.Query) {
		if err != nil {
			return b, err
		}
		entry = in
		if l.path {
			show, err := c.asPath(&entry, l)
			if err != nil {
				return b, err
			}
			if !show {
				if passed++; passed > maxPassed {
					return b, errPassed
				}
				continue
			}
		}
		b = e.row(b, &entry)
		if len(b) >= flushAt {
			if c.w.status == 0 {
				c.head(f)
				c.w.WriteHeader(http.StatusOK)
			}
			if _, err := c.w.Write(b); err != nil {
				return b, storage.Wrap("list", p, err)
			}
			b = b[:0]
		}
		if n++; n == l.limit {
			break
		}
	}
	return b, nil
}

// errPassed says what to do instead, since a shorter answer would be taken for
// all there is.
var errPassed = badRequest("Too many names beneath the path are no objects; list with delimiter=/ instead.")

// asPath reports whether an entry belongs into a listing by path. A subdir
// does if there is an object of just that name: such objects stand for
// directories there.
func (c *call) asPath(entry *storage.Info, l listing) (bool, error) {
	name := entry.Path.Object
	if name == l.Prefix {
		return false, nil
	}
	if !entry.Subdir {
		return true, nil
	}
	lower, upper := l.Marker, l.EndMarker
	if l.Reverse {
		lower, upper = upper, lower
	}
	if lower != "" && name <= lower || upper != "" && name >= upper {
		return false, nil
	}
	in, err := c.g.Store.Stat(c.ctx, entry.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	*entry = in
	return err == nil, err
}
