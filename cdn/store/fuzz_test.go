package store

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"testing"
)

// Whatever bytes are on the disk, even with a checksum that is right, nothing
// worse happens than that there is no record; and one that is, is what was
// written.
func FuzzRecord(f *testing.F) {
	rec := record{key: key(7), seq: 9, size: 70_000, length: 70_300, kind: kindInline, head: []byte("head"), table: []uint32{1, 2}}
	f.Add(rec.append(nil, 5), uint64(5))
	rec = record{key: key(7), seq: 9, size: 70_000, length: 96, kind: kindSpread, extents: []extent{{1, 2, 70_000}}, table: []uint32{1, 2}}
	f.Add(rec.append(nil, 5), uint64(5))
	f.Fuzz(func(t *testing.T, b []byte, nonce uint64) {
		if c, ok := peekRecord(b, nonce); ok && c.meta <= int64(len(b)) {
			binary.LittleEndian.PutUint32(b[4:], checksum(b[8:c.meta]))
		}
		r, ok := parseRecord(b, nonce)
		if !ok || r.kind == kindData {
			return
		}
		again, ok := parseRecord(r.append(nil, nonce), nonce)
		if !ok || !reflect.DeepEqual(r, again) {
			t.Errorf("%+v reads as %+v, %v", r, again, ok)
		}
	})
}

// A snapshot of any bytes, its checksum right, is refused or read.
func FuzzSnapshot(f *testing.F) {
	opt := onDiskOptions(f)
	s := open(f, opt)
	for i := range 5 {
		fillIn(s, key(i), []byte("h"), content(uint64(i), i*20_000), true)
	}
	s.Close()
	names := files(f, opt, "index-")
	b, err := os.ReadFile(names[len(names)-1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[28 : len(b)-4])
	front := b[:28]
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(bytes.Clone(front), b...)
		b = binary.LittleEndian.AppendUint32(b, checksum(b))
		st, err := parseSnapshot(b, binary.LittleEndian.Uint32(b[8:]))
		if err != nil {
			return
		}
		d := &disk{s: open(t, Options{})}
		d.table.Store(&map[uint32]*segment{})
		if err := d.readPlaces(st); err == nil && d.s.records() > 0 {
			t.Error("entries of segments that are not there")
		}
	})
}
