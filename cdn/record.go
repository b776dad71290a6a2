package cdn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A response is what is kept of one: all but its body. It is the head of an
// entry, decoded, and immutable.
type response struct {
	status   int
	header   http.Header   // end to end, without Age
	received time.Time     // response_time of RFC 9111, section 4.2.3
	age0     time.Duration // corrected_initial_age, likewise
	body     uint64        // which body it is, of all that came under its key
	born     uint64        // the purge generation when the origin was asked
	epoch    uint64        // likewise, of the index it is found through
	softened bool          // purged softly since
	expires  time.Time     // Profile.Expires
	sliced   *version      // the body is in slices; nil: it is the entry's
	piece    *piece206     // the body is a piece of another, which 206 is the status of

	// What follows from the header.
	directives
	explicit time.Duration // the lifetime it states, or unset
	etag     string
	modified time.Time
	date     time.Time
	length   int64 // Content-Length, or -1

	memo    atomic.Pointer[moment]
	encoded *encodings // nil where the body is not to be encoded
}

// A version is the body of a large object: one strong ETag, one length. Its
// slices are entries of their own, found by id, which is drawn anew for each
// version.
type version struct {
	id   [16]byte
	size int64
}

// A piece206 is what part of a body is kept, and how long the whole is.
type piece206 struct {
	span
	size int64
}

// An index is what is kept for a resource of which there are several responses.
// They are found by keys made of nonce, so that all are gone when it is.
type index struct {
	nonce [16]byte
	epoch uint64     // responses of earlier ones were purged softly
	specs [][]string // the lists of field names that Vary had, latest first
}

// maxSpecs is how many different Vary a resource may have. One that has more is
// not worth the search.
const maxSpecs = 8

// newResponse is what came from the origin, which was asked at began.
func newResponse(status int, h http.Header, began, received time.Time, born uint64) *response {
	r := &response{status: status, header: endToEnd(h), received: received, body: uint64(received.UnixNano()), born: born}
	if len(r.header["Date"]) == 0 {
		r.header["Date"] = []string{received.UTC().Format(http.TimeFormat)}
	}
	r.derive()
	r.age0 = initialAge(h, r.date, began, received)
	delete(r.header, "Age")
	for _, name := range slices.Concat(r.noCacheFields, r.privateFields) {
		if name != "Date" {
			delete(r.header, name)
		}
	}
	return r
}

// copy is r, for a change to it.
func (r *response) copy() *response {
	return &response{status: r.status, header: r.header, received: r.received, body: r.body, age0: r.age0, born: r.born, epoch: r.epoch,
		softened: r.softened, expires: r.expires, sliced: r.sliced, piece: r.piece, directives: r.directives, explicit: r.explicit,
		etag: r.etag, modified: r.modified, date: r.date, length: r.length, encoded: r.encoded}
}

// derive works out what follows from the header.
func (r *response) derive() {
	h := r.header
	r.length = -1
	if v := h["Content-Length"]; len(v) > 0 {
		r.length = digits(v[0])
	}
	if v := h["Etag"]; len(v) > 0 {
		r.etag = v[0]
	}
	if v := h["Last-Modified"]; len(v) > 0 {
		r.modified, _ = parseTime(v[0])
	}
	r.date = r.received
	if v := h["Date"]; len(v) > 0 {
		if t, err := parseTime(v[0]); err == nil {
			r.date = t
		}
	}
	var targeted bool
	r.directives, targeted = responseDirectives(h)
	r.explicit = explicitLife(h, &r.directives, targeted, r.date)
	r.encoded = newEncodings(r)
}

// The first byte of a head says what it is; a head that begins with another was
// written by another version, and is as good as none.
const (
	headResponse = 0x13
	headIndex    = 0x12
)

func (r *response) encode() []byte {
	b := make([]byte, 0, 512)
	b = append(b, headResponse)
	b = binary.AppendUvarint(b, uint64(r.status))
	b = binary.AppendVarint(b, r.received.UnixNano())
	b = binary.AppendVarint(b, int64(r.age0))
	b = binary.AppendUvarint(b, r.body)
	b = binary.AppendUvarint(b, r.born)
	b = binary.AppendUvarint(b, r.epoch)
	b = append(b, flag(r.softened))
	expires := int64(0)
	if !r.expires.IsZero() {
		expires = r.expires.UnixNano()
	}
	b = binary.AppendVarint(b, expires)
	b = append(b, flag(r.sliced != nil))
	if r.sliced != nil {
		b = append(b, r.sliced.id[:]...)
		b = binary.AppendUvarint(b, uint64(r.sliced.size))
	}
	b = append(b, flag(r.piece != nil))
	if r.piece != nil {
		b = binary.AppendUvarint(b, uint64(r.piece.off))
		b = binary.AppendUvarint(b, uint64(r.piece.n))
		b = binary.AppendUvarint(b, uint64(r.piece.size))
	}
	b = binary.AppendUvarint(b, uint64(len(r.header)))
	for name, values := range r.header {
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendString(b, v)
		}
	}
	return b
}

func (x *index) encode() []byte {
	b := append(make([]byte, 0, 128), headIndex)
	b = append(b, x.nonce[:]...)
	b = binary.AppendUvarint(b, x.epoch)
	b = binary.AppendUvarint(b, uint64(len(x.specs)))
	for _, spec := range x.specs {
		b = binary.AppendUvarint(b, uint64(len(spec)))
		for _, name := range spec {
			b = appendString(b, name)
		}
	}
	return b
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errHead = errors.New("cdn: a head that cannot be read")

// decodeHead reads what encode wrote: one of response and index is not nil.
func decodeHead(head []byte) (r *response, x *index, err error) {
	d := decoder{b: head}
	switch d.byte() {
	case headResponse:
		r = &response{status: int(d.uvarint()), received: time.Unix(0, d.varint())}
		r.age0 = time.Duration(d.varint())
		r.body = d.uvarint()
		r.born, r.epoch, r.softened = d.uvarint(), d.uvarint(), d.byte() == 1
		if at := d.varint(); at != 0 {
			r.expires = time.Unix(0, at)
		}
		if d.byte() == 1 {
			r.sliced = new(version)
			copy(r.sliced.id[:], d.take(16))
			r.sliced.size = int64(d.uvarint())
		}
		if d.byte() == 1 {
			r.piece = &piece206{span{int64(d.uvarint()), int64(d.uvarint())}, int64(d.uvarint())}
		}
		n := d.count()
		r.header = make(http.Header, n+2)
		for range n {
			name := d.string()
			values := make([]string, d.count())
			for i := range values {
				values[i] = d.string()
			}
			r.header[name] = values
		}
		if !d.bad {
			r.derive()
		}
	case headIndex:
		x = new(index)
		copy(x.nonce[:], d.take(16))
		x.epoch = d.uvarint()
		x.specs = make([][]string, d.count())
		for i := range x.specs {
			x.specs[i] = make([]string, d.count())
			for j := range x.specs[i] {
				x.specs[i][j] = d.string()
			}
		}
	default:
		return nil, nil, errHead
	}
	if d.bad || len(d.b) > 0 {
		return nil, nil, errHead
	}
	return r, x, nil
}

// A decoder reads what was appended; what is not there reads as zero, and is
// remembered.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(max(n, -1))
	d.bad = d.bad || n <= 0
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.take(max(n, -1))
	d.bad = d.bad || n <= 0
	return v
}

// count is a uvarint of things that take a byte or more each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, n = true, 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.take(d.count())) }

// A head decoded before. A hit must not pay for that again.
type decoded struct {
	key      store.Key
	head     []byte
	response *response
	index    *index
}

// heads remembers decoded heads by key, one to a slot.
type heads [1 << 14]atomic.Pointer[decoded]

func (h *heads) decode(k store.Key, e *store.Entry) *decoded {
	head := e.Head()
	slot := &h[binary.LittleEndian.Uint16(k[:])%uint16(len(h))]
	if d := slot.Load(); d != nil && d.key == k && bytes.Equal(d.head, head) {
		return d
	}
	r, x, err := decodeHead(head)
	if err != nil {
		return nil
	}
	d := &decoded{key: k, head: head, response: r, index: x}
	slot.Store(d)
	return d
}

// A moment is what changes from second to second in the header of a hit.
type moment struct {
	unix        int64
	age, status []string
}

// moment is that of now, made once a second.
func (r *response) moment(now time.Time, name string, age, life time.Duration) *moment {
	m := r.memo.Load()
	if unix := now.Unix(); m == nil || m.unix != unix {
		b := append(make([]byte, 0, 64), name...)
		b = append(b, "; hit; ttl="...)
		b = strconv.AppendInt(b, int64((life-age)/time.Second), 10)
		m = &moment{unix: unix, age: []string{strconv.FormatInt(int64(age/time.Second), 10)}, status: []string{string(b)}}
		if before := r.header["Cache-Status"]; len(before) > 0 {
			m.status = append(slices.Clone(before), m.status...)
		}
		r.memo.Store(m)
	}
	return m
}
