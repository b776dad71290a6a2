package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// A kind of path, and the headers that are kept with it.
type kind struct {
	meta   string            // what the names of users' metadata begin with
	remove string            // what asks for the removal of one begins with; "" where nothing does
	kept   map[string]string // other headers, and the name each is kept under
	owner  map[string]bool   // which of all these are for owners only
}

// These tables say, both ways, which headers are part of an account, of a
// container and of an object. What is in none of them neither gets in nor out,
// least of all what the Store and the guard keep for themselves ("Sysmeta") or
// Swift's servers say to each other ("X-Backend-…", "X-Timestamp").
var (
	accounts = &kind{
		meta:   "X-Account-Meta-",
		remove: "X-Remove-Account-Meta-",
		kept: map[string]string{
			"X-Account-Access-Control":      auth.MetaAccountACL,
			"X-Account-Rfc-Compliant-Etags": metaAccountETags,
		},
		owner: map[string]bool{
			"X-Account-Access-Control":    true,
			"X-Account-Meta-Temp-Url-Key": true, "X-Account-Meta-Temp-Url-Key-2": true,
		},
	}
	containers = &kind{
		meta:   "X-Container-Meta-",
		remove: "X-Remove-Container-Meta-",
		kept: map[string]string{
			auth.MetaContainerRead:  auth.MetaContainerRead,
			auth.MetaContainerWrite: auth.MetaContainerWrite,
			metaSyncTo:              metaSyncTo,
			metaSyncKey:             metaSyncKey,

			"X-Container-Rfc-Compliant-Etags": metaContainerETags,
		},
		owner: map[string]bool{
			auth.MetaContainerRead: true, auth.MetaContainerWrite: true,
			metaSyncTo: true, metaSyncKey: true,
			"X-Container-Meta-Temp-Url-Key": true, "X-Container-Meta-Temp-Url-Key-2": true,
		},
	}
	objects = &kind{
		meta: "X-Object-Meta-",
		kept: map[string]string{
			"Cache-Control":       "Cache-Control",
			"Content-Disposition": "Content-Disposition",
			"Content-Encoding":    "Content-Encoding",
			"Content-Language":    "Content-Language",
			"Expires":             "Expires",
			"X-Robots-Tag":        "X-Robots-Tag",
			storage.MetaManifest:  storage.MetaManifest,
		},
	}
)

// fromHeader reads from the request the metadata that it sets, and for accounts and
// containers, with an empty value, that which it removes. What only the
// owner may set is passed over when somebody else sends it.
func (k *kind) fromHeader(h http.Header, owner bool) (storage.Meta, error) {
	var m, removed storage.Meta
	put := func(m *storage.Meta, key, value string) {
		if *m == nil {
			*m = make(storage.Meta, 8)
		}
		(*m)[key] = value
	}
	for key, values := range h {
		if len(values[0]) > storage.MaxHeaderValue {
			return nil, badRequest("Header value too long: " + key[:min(len(key), storage.MaxMetaName)])
		}
		if k.owner[key] && !owner {
			continue
		}
		if strings.HasPrefix(key, k.meta) {
			put(&m, key, joined(values))
		} else if name, ok := k.kept[key]; ok {
			value := joined(values)
			if k != objects && !utf8.ValidString(value) {
				return nil, &refusal{status: http.StatusBadRequest, text: "Metadata must be valid UTF-8"}
			}
			put(&m, name, value)
		} else if k.remove != "" && strings.HasPrefix(key, "X-Remove-") {
			key = "X-" + strings.TrimPrefix(key, "X-Remove-")
			if k.owner[key] && !owner {
				continue
			}
			if strings.HasPrefix(key, k.meta) {
				put(&removed, key, "")
			} else if name, ok := k.kept[key]; ok {
				put(&removed, name, "")
			}
		}
	}
	for key := range removed {
		if _, ok := m[key]; !ok { // what is set and removed at once is set
			put(&m, key, "")
		}
	}
	return m, nil
}

// joined is a header that may have been sent in several lines, or in none.
func joined(values []string) string {
	return strings.Join(values, ",") // which makes nothing new of a single one
}

// tell sets the headers of the response for what is kept with a path, as far
// as the one who asks may see it.
func (c *call) tell(k *kind, m storage.Meta) {
	if len(m) == 0 {
		return
	}
	owner, asked := false, false
	for key, value := range m {
		if !strings.HasPrefix(key, k.meta) {
			if key = k.shown(key); key == "" {
				continue
			}
		}
		if k.owner[key] {
			if !asked {
				owner, asked = c.g.Owner(c.ctx, c.path.Account), true
			}
			if !owner {
				continue
			}
		}
		c.set(key, value)
	}
}

// shown is the header that what is kept under a name goes out as, "" if it
// does not.
func (k *kind) shown(name string) string {
	if k.kept[name] == name {
		return name
	}
	for header, kept := range k.kept {
		if kept == name {
			return header
		}
	}
	return ""
}

// describe sets the headers that GET and HEAD of an object have in common.
func (c *call) describe(in *storage.Info) {
	c.set("Content-Type", in.Type)
	c.tell(objects, in.Meta)
	if !in.DeleteAt.IsZero() {
		c.set("X-Delete-At", strconv.FormatInt(in.DeleteAt.Unix(), 10))
	}
	c.set("Etag", in.ETag)
	c.describeLarge(in)
	c.describeLink(in)
	c.describeVersion(in)
	c.set("Last-Modified", httpDate(in.ModTime))
	c.set("X-Timestamp", timestamp(in.ModTime))
	c.w.Header()["Accept-Ranges"] = acceptRanges
}

var acceptRanges = []string{"bytes"}

// httpDate is a time as Last-Modified has it: rounded up to a whole second, so
// that nothing is ever newer than it says.
func httpDate(t time.Time) string {
	var room [len(http.TimeFormat)]byte
	return string(ceil(t).AppendFormat(room[:0], http.TimeFormat))
}

func ceil(t time.Time) time.Time {
	up := t.UTC().Truncate(time.Second)
	if up.Before(t) {
		up = up.Add(time.Second)
	}
	return up
}

// timestamp is a time as X-Timestamp has it: decimal seconds, five places.
func timestamp(t time.Time) string {
	var room [24]byte
	b := strconv.AppendInt(room[:0], t.Unix(), 10)
	b = append(b, '.')
	return string(appendPadded(b, t.Nanosecond()/10_000, 5))
}

// appendPadded appends a number that is not negative with leading zeros, up to
// a width of six.
func appendPadded(b []byte, n, width int) []byte {
	room := [6]byte{}
	for i := width - 1; i >= 0; i-- {
		room[i] = byte('0' + uint(n)%10)
		n = int(uint(n) / 10)
	}
	return append(b, room[:width]...)
}

// expiry reads when an object is to cease to be, zero for never.
// X-Delete-After, in seconds from now, goes before X-Delete-At.
func expiry(h http.Header, now time.Time) (time.Time, error) {
	const end = 9999999999 // of time, says Swift
	name, from := "X-Delete-After", now.Unix()
	v := h[name]
	if v == nil {
		name, from = "X-Delete-At", 0
		if v = h[name]; v == nil {
			return time.Time{}, nil
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v[0]), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // a number too large is the largest there is
		return time.Time{}, badRequest("Non-integer " + name)
	}
	at := from + min(n, end)
	if at <= now.Unix() {
		return time.Time{}, badRequest(name + " in past")
	}
	return time.Unix(min(at, end), 0), nil
}

// contentType reads the type of an upload, "" if it is to be guessed.
func contentType(h http.Header) (string, error) {
	v := h.Get("Content-Type")
	if v == "" || truth(h.Get("X-Detect-Content-Type")) {
		return "", nil
	}
	return v, checkType(v)
}

// checkType refuses what cannot be a type, or has parameters that Swift keeps
// for its own use.
func checkType(v string) error {
	if !utf8.ValidString(v) {
		return badRequest("Invalid Content-Type")
	}
	if _, params, ok := strings.Cut(v, ";"); ok {
		for param := range strings.SplitSeq(params, ";") {
			if strings.HasPrefix(strings.TrimLeft(param, " \t"), "swift_") {
				return &refusal{status: http.StatusBadRequest, text: "Invalid Content-Type, swift_* is not a valid parameter name."}
			}
		}
	}
	return nil
}

// truth reads a value that says yes or no, as Swift's configuration and
// parameters have them.
func truth(s string) bool {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	}
	return false
}

// digits reports whether s is a number without sign.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
