package store

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
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

// A snapshot of any bytes, its checksum right, is refused or read; opening the
// store does not fail.
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
		opt := onDiskOptions(t)
		own := filepath.Join(opt.Dir, subdirectory)
		os.MkdirAll(own, 0o700)
		os.WriteFile(filepath.Join(own, formatFile), []byte(formatText), 0o600)
		b = append(bytes.Clone(front), b...)
		b = binary.LittleEndian.AppendUint32(b, checksum(b))
		number := binary.LittleEndian.Uint32(b[8:])
		os.WriteFile(snapshotPath(own, number), b, 0o600)
		os.WriteFile(journalPath(own, number), nil, 0o600)
		s := open(t, opt)
		put(t, s, key(1), "h", "body")
		if e := s.Get(key(1)); e == nil {
			t.Error("nothing is kept")
		}
	})
}
