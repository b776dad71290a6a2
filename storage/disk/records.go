package disk

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"memstore.dev/memstore/storage"
)

// Every record begins with the version of its kind, which this code knows up
// to recordVersion. Numbers are varints, and strings have their length before
// them. A decoder believes no length it has not held against what is left.
const recordVersion = 1

var errRecord = errors.New("record cannot be read")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Times are kept in steps of 10 µs since 1970, the resolution of X-Timestamp.
// Any number of them is a time, and comes back from it.
func ticks(t time.Time) int64 { return t.Unix()*ticksPerSecond + int64(t.Nanosecond()/10_000) }

const ticksPerSecond = 100_000

func nowTicks() int64 { return ticks(time.Now()) }

func tickTime(n int64) time.Time {
	return time.Unix(n/ticksPerSecond, n%ticksPerSecond*10_000).UTC()
}

// A record describes an account or a container.
type record struct {
	id       uint64
	version  uint64
	created  int64 // ticks
	modified int64 // ticks
	meta     storage.Meta
}

func (r *record) encode() []byte {
	b := []byte{recordVersion}
	b = binary.AppendUvarint(b, r.id)
	b = binary.AppendUvarint(b, r.version)
	b = binary.AppendVarint(b, r.created)
	b = binary.AppendVarint(b, r.modified)
	return appendMeta(b, r.meta)
}

func decodeRecord(b []byte) (r record, err error) {
	d := decode(b)
	r.id, r.version = d.uvarint(), d.uvarint()
	r.created, r.modified = d.varint(), d.varint()
	r.meta = d.meta()
	return r, d.end()
}

// totals are what lies beneath an account or a container.
type totals struct{ containers, objects, bytes int64 }

func (t totals) encode() []byte {
	b := []byte{recordVersion}
	b = binary.AppendUvarint(b, uint64(t.containers))
	b = binary.AppendUvarint(b, uint64(t.objects))
	return binary.AppendUvarint(b, uint64(t.bytes))
}

func decodeTotals(b []byte) (t totals, err error) {
	d := decode(b)
	t.containers, t.objects, t.bytes = d.size(), d.size(), d.size()
	return t, d.end()
}

// A row describes an object.
type row struct {
	version  uint64
	blob     uint64 // 0 if there are no bytes
	size     int64
	etag     string
	created  int64 // ticks
	modified int64 // ticks
	expires  bool
	deleteAt int64 // second, if expires
	typ      string
	meta     storage.Meta
}

const (
	rowExpires = 1 << iota
	rowRawETag // the ETag is no MD5, and kept as a string
)

func (r *row) encode() []byte {
	b := make([]byte, 2, 64+len(r.typ)+metaSize(r.meta))
	b[0] = recordVersion
	b = binary.AppendUvarint(b, r.version)
	b = binary.AppendUvarint(b, r.blob)
	b = binary.AppendUvarint(b, uint64(r.size))
	b = binary.AppendVarint(b, r.created)
	b = binary.AppendVarint(b, r.modified)
	if r.expires {
		b[1] |= rowExpires
		b = binary.AppendVarint(b, r.deleteAt)
	}
	if sum, ok := parseMD5(r.etag); ok {
		b = append(b, sum[:]...)
	} else {
		b[1] |= rowRawETag
		b = appendString(b, r.etag)
	}
	b = appendString(b, r.typ)
	return appendMeta(b, r.meta)
}

// decodeRow reads a row; its Meta only if that is wanted, but for what every
// listing tells, which few rows have. typ is what the
// type may turn out to be, to save a copy of it.
func decodeRow(b []byte, meta bool, typ string) (r row, err error) {
	d := decode(b)
	flags := d.byte()
	r.version, r.blob, r.size = d.uvarint(), d.uvarint(), d.size()
	r.created, r.modified = d.varint(), d.varint()
	if flags&rowExpires != 0 {
		r.expires, r.deleteAt = true, d.varint()
	}
	if flags&rowRawETag != 0 {
		r.etag = d.string()
	} else {
		r.etag = hexMD5(d.bytes(md5Size))
	}
	if t := d.bytes(d.len()); string(t) == typ {
		r.typ = typ
	} else {
		r.typ = string(t)
	}
	if !meta {
		r.meta = d.metaKind()
		return r, d.err
	}
	r.meta = d.meta()
	return r, d.end()
}

func (r *row) expired(now time.Time) bool { return r.expires && now.Unix() >= r.deleteAt }

func (r *row) info(p storage.Path) storage.Info {
	in := storage.Info{
		Path: p, Version: r.version, Size: r.size, ETag: r.etag, Type: r.typ,
		Created: tickTime(r.created), ModTime: tickTime(r.modified), Meta: r.meta,
	}
	if r.expires {
		in.DeleteAt = time.Unix(r.deleteAt, 0).UTC()
	}
	return in
}

// setInfo takes what a client may choose.
func (r *row) setInfo(typ string, deleteAt time.Time, m storage.Meta) {
	r.typ, r.meta = typ, m
	r.expires, r.deleteAt = !deleteAt.IsZero(), 0
	if r.expires {
		r.deleteAt = deleteAt.Unix()
	}
}

// Where the bytes of a blob are.
const (
	homeInline  = 1 // in the index, under tableInline
	homeFile    = 2 // in a file of its own
	homeSegment = 3 // reserved: in an append-only segment
)

// A blob is the bytes of one object or, once copied, of several.
type blob struct {
	home byte
	size int64
	refs uint64 // rows that name it
	sum  [md5Size]byte
}

func (r *blob) encode() []byte {
	b := append(make([]byte, 0, 40), recordVersion, r.home)
	b = binary.AppendUvarint(b, uint64(r.size))
	b = binary.AppendUvarint(b, r.refs)
	return append(b, r.sum[:]...)
}

func decodeBlob(b []byte) (r blob, err error) {
	d := decode(b)
	r.home, r.size, r.refs = d.byte(), d.size(), d.uvarint()
	copy(r.sum[:], d.bytes(md5Size))
	if err := d.end(); err != nil {
		return r, err
	}
	if r.home != homeInline && r.home != homeFile {
		return r, errRecord
	}
	return r, nil
}

const inlineHead = 5 // version and checksum before inline bytes

func encodeInline(data []byte) []byte {
	b := append(make([]byte, 0, inlineHead+len(data)), recordVersion)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(data, castagnoli))
	return append(b, data...)
}

// decodeInline returns the bytes, which are part of b, if they are what was
// stored.
func decodeInline(b []byte) ([]byte, error) {
	if len(b) < inlineHead || b[0] != recordVersion {
		return nil, errRecord
	}
	if binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[inlineHead:], castagnoli) {
		return nil, errBlock
	}
	return b[inlineHead:], nil
}

// state is the engine's own counters, written with every change.
type state struct {
	version   uint64 // the latest given out
	next      uint64 // the next id of an account, container or blob
	clock     int64  // the latest time given out, in ticks
	watermark uint64 // below it, every file has its blob, or is being reclaimed
	forgotten uint64 // the journal does not reach back to this version
}

func (s *state) encode() []byte {
	b := []byte{recordVersion}
	b = binary.AppendUvarint(b, s.version)
	b = binary.AppendUvarint(b, s.next)
	b = binary.AppendVarint(b, s.clock)
	b = binary.AppendUvarint(b, s.watermark)
	return binary.AppendUvarint(b, s.forgotten)
}

func decodeState(b []byte) (s state, err error) {
	d := decode(b)
	s.version, s.next, s.clock = d.uvarint(), d.uvarint(), d.varint()
	s.watermark, s.forgotten = d.uvarint(), d.uvarint()
	return s, d.end()
}

// opTree marks an operation on all that begins with the path.
const opTree = 0x80

func encodeChange(c *storage.Change) []byte {
	op := byte(c.Op)
	if c.Tree {
		op |= opTree
	}
	b := []byte{recordVersion, op}
	b = binary.AppendVarint(b, ticks(c.Time))
	b = appendString(b, c.Path.Account)
	b = appendString(b, c.Path.Container)
	return appendString(b, c.Path.Object)
}

func decodeChange(b []byte) (c storage.Change, err error) {
	d := decode(b)
	op := d.byte()
	c.Op, c.Tree = storage.Op(op&^opTree), op&opTree != 0
	c.Time = tickTime(d.varint())
	c.Path = storage.Path{Account: d.string(), Container: d.string(), Object: d.string()}
	return c, d.end()
}

func encodePlace(p storage.Path) []byte {
	return appendString(appendString([]byte{recordVersion}, p.Account), p.Container)
}

func decodePlace(b []byte) (p storage.Path, err error) {
	d := decode(b)
	p.Account, p.Container = d.string(), d.string()
	return p, d.end()
}

const md5Size = 16

// parseMD5 reads an MD5 in lower-case hex, the only form that can be given
// back from its bytes.
func parseMD5(s string) (sum [md5Size]byte, ok bool) {
	if len(s) != 2*md5Size {
		return sum, false
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return sum, false
	}
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'F' {
			return sum, false
		}
	}
	return sum, true
}

func hexMD5(sum []byte) string {
	var b [2 * md5Size]byte
	return string(b[:hex.Encode(b[:], sum)])
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func metaSize(m storage.Meta) int {
	n := 4
	for k, v := range m {
		n += len(k) + len(v) + 4
	}
	return n
}

func appendMeta(b []byte, m storage.Meta) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	if len(m) == 0 {
		return b
	}
	for _, k := range slices.Sorted(maps.Keys(m)) { // equal metadata, equal bytes
		b = appendString(appendString(b, k), m[k])
	}
	return b
}

// A decoder reads a record from front to back. After the first thing that is
// not there it returns zeros, and err tells.
type decoder struct {
	b   []byte
	err error
}

func decode(b []byte) *decoder {
	d := &decoder{b: b}
	if d.byte() != recordVersion {
		d.fail()
	}
	return d
}

func (d *decoder) fail() { d.b, d.err = nil, errRecord }

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// size reads a number that cannot be negative.
func (d *decoder) size() int64 {
	v := d.uvarint()
	if v > 1<<62 {
		d.fail()
		return 0
	}
	return int64(v)
}

// len reads the length of what follows.
func (d *decoder) len() int {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return make([]byte, min(n, md5Size))
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// metaKind reads of a row's metadata storage.MetaKind alone, and nothing behind
// it. Names are in order.
func (d *decoder) metaKind() storage.Meta {
	for range d.uvarint() {
		name := d.bytes(d.len())
		if d.err != nil || string(name) > storage.MetaKind {
			break
		}
		value := d.bytes(d.len())
		if string(name) == storage.MetaKind {
			return storage.Meta{storage.MetaKind: string(value)}
		}
	}
	return nil
}

func (d *decoder) string() string { return string(d.bytes(d.len())) }

func (d *decoder) meta() storage.Meta {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(d.b)/2) { // each takes two lengths at least
		d.fail()
		return nil
	}
	m := make(storage.Meta, n)
	for range n {
		k := d.string()
		m[k] = d.string()
	}
	if d.err != nil {
		return nil
	}
	return m
}
