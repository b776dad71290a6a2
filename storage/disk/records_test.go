package disk

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

var someMeta = storage.Meta{"X-Object-Meta-Color": "blue", "X-Object-Meta-Empty": "", "Cache-Control": "no-store"}

func someRows() map[string]row {
	return map[string]row{
		"plain":   {version: 7, blob: 9, size: 1 << 40, etag: "d41d8cd98f00b204e9800998ecf8427e", created: 1, modified: 2, typ: "text/plain", meta: someMeta},
		"expires": {version: 1 << 63, etag: "D41D8CD98F00B204E9800998ECF8427E", expires: true, deleteAt: -5},
		"zero":    {},
	}
}

func someFooter() *footer {
	return &footer{
		id: 77, size: 3<<blockShift + 5, shift: blockShift, blocks: []uint32{1, 2, 3, 4}, sum: [md5Size]byte{1, 2, 3},
		put: salvaged{
			path: storage.Path{Account: "AUTH_a", Container: "c", Object: "a//b\x01"}, etag: "weird-2",
			created: 99, expires: true, deleteAt: 5, typ: "a/b", meta: someMeta,
		},
	}
}

func someStage() *keptStage {
	return &keptStage{
		id: 5, path: storage.Path{Account: "AUTH_a", Container: "c", Object: "a//b\x01"}, size: 1<<blockShift + 7, at: 99,
		note: []byte("note \x00"), sums: []uint32{1, 1 << 31},
	}
}

func someMoved() *movedEntry {
	return &movedEntry{
		at: 7, from: storage.Path{Account: "a", Container: "b", Object: "c/"}, to: storage.Path{Account: "a", Container: "d", Object: "e/"},
		names: []string{"", "x", "y/z"},
	}
}

func someRelocation() *relocation {
	return &relocation{fromKey: rowKey(1, "a/"), toKey: rowKey(2, "b")}
}

func TestRecordsComeBack(t *testing.T) {
	for name, want := range someRows() {
		got, err := decodeRow(want.encode(), true, "")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("row %s comes back as %+v, %v", name, got, err)
		}
	}
	r := record{id: 1, version: 2, created: -3, modified: 4, meta: someMeta}
	if got, err := decodeRecord(r.encode()); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("record comes back as %+v, %v", got, err)
	}
	s := state{version: 1, next: 2, clock: 3, watermark: 4, forgotten: 5}
	if got, err := decodeState(s.encode()); err != nil || got != s {
		t.Errorf("state comes back as %+v, %v", got, err)
	}
	b := blob{home: homeFile, size: 5, refs: 3, sum: [md5Size]byte{9}}
	if got, err := decodeBlob(b.encode()); err != nil || got != b {
		t.Errorf("blob comes back as %+v, %v", got, err)
	}
	c := storage.Change{Op: storage.OpUpdate, Path: storage.Path{Account: "a", Container: "b", Object: "c"}, Time: tickTime(ticks(time.Now()))}
	if got, err := decodeChange(encodeChange(&c)); err != nil || got != c {
		t.Errorf("change comes back as %+v, %v", got, err)
	}
	c.Op, c.Tree = storage.OpDrop, true
	if got, err := decodeChange(encodeChange(&c)); err != nil || got != c {
		t.Errorf("announcement comes back as %+v, %v", got, err)
	}
	k := someStage()
	if got, err := decodeStage(k.encode()); err != nil || !reflect.DeepEqual(&got, k) {
		t.Errorf("kept stage comes back as %+v, %v", got, err)
	}
	e := someMoved()
	if got, err := decodeMoved(e.encode()); err != nil || !reflect.DeepEqual(&got, e) {
		t.Errorf("moved comes back as %+v, %v", got, err)
	}
	m := someRelocation()
	if got, err := decodeRelocation(m.encode()); err != nil || !reflect.DeepEqual(&got, m) {
		t.Errorf("relocation comes back as %+v, %v", got, err)
	}
	f := someFooter()
	if got, err := decodeFooter(f.encode(), true); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("footer comes back as %+v, %v", got, err)
	}
}

// TestRecordsCutShort: no part of a record is taken for a whole one.
func TestRecordsCutShort(t *testing.T) {
	r := someRows()["plain"]
	whole := r.encode()
	for n := range whole {
		if got, err := decodeRow(whole[:n], true, ""); err == nil {
			t.Fatalf("%d of %d bytes are taken for the row %+v", n, len(whole), got)
		}
	}
	if _, err := decodeRow(append(whole, 0), true, ""); err == nil {
		t.Error("a row with a byte too many is taken")
	}
	for what, err := range map[string]func([]byte) error{
		string(someStage().encode()):      func(b []byte) error { _, err := decodeStage(b); return err },
		string(someMoved().encode()):      func(b []byte) error { _, err := decodeMoved(b); return err },
		string(someRelocation().encode()): func(b []byte) error { _, err := decodeRelocation(b); return err },
	} {
		for n := range what {
			if n != len(what) && err([]byte(what[:n])) == nil {
				t.Errorf("%d of %d bytes are taken for %x", n, len(what), what)
			}
		}
	}
	foot := someFooter().encode()
	for n := range foot {
		if _, err := decodeFooter(foot[:n], false); err == nil {
			t.Fatalf("%d of %d bytes are taken for a footer", n, len(foot))
		}
		flipped := bytes.Clone(foot)
		flipped[n] ^= 0x10
		if _, err := decodeFooter(flipped, false); err == nil {
			t.Fatalf("a footer with byte %d of %d flipped is taken", n, len(foot))
		}
	}
}

// again checks that what a decoder makes of bytes it also makes of the bytes
// it would write itself.
func again[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	v, err := decode(b)
	if err != nil {
		return
	}
	w, err := decode(encode(v))
	if err != nil || !reflect.DeepEqual(v, w) {
		t.Errorf("%x is %+v, which is written so that it reads %+v, %v", b, v, w, err)
	}
}

func FuzzRow(f *testing.F) {
	for _, r := range someRows() {
		f.Add(r.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, func(b []byte) (row, error) { return decodeRow(b, true, "") }, func(r row) []byte { return r.encode() })
	})
}

func FuzzRecords(f *testing.F) {
	r := record{id: 1, version: 2, created: -3, modified: 4, meta: someMeta}
	f.Add(r.encode())
	f.Add(totals{1, 2, 3}.encode())
	f.Add((&state{1, 2, 3, 4, 5}).encode())
	f.Add((&scrubState{1, 2}).encode())
	f.Add((&blob{home: homeInline, size: 3, refs: 1}).encode())
	f.Add(encodeChange(&storage.Change{Op: storage.OpPut, Path: storage.Path{Account: "a"}}))
	f.Add([]byte("\x01\xf8\x82\u0082\x82\x82\x82\x82\x8c\x820\x00\x00\x01\x00")) // a change of a time before all years
	f.Add(encodePlace(storage.Path{Account: "a", Container: "b"}))
	f.Add(encodeInline([]byte("content")))
	f.Add(someStage().encode())
	f.Add(someMoved().encode())
	f.Add(someRelocation().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, decodeRecord, func(r record) []byte { return r.encode() })
		again(t, b, decodeTotals, totals.encode)
		again(t, b, decodeState, func(s state) []byte { return s.encode() })
		again(t, b, decodeScrub, func(s scrubState) []byte { return s.encode() })
		again(t, b, decodeBlob, func(s blob) []byte { return s.encode() })
		again(t, b, decodeChange, func(c storage.Change) []byte { return encodeChange(&c) })
		again(t, b, decodePlace, encodePlace)
		again(t, b, decodeInline, encodeInline)
		again(t, b, decodeStage, func(k keptStage) []byte { return k.encode() })
		again(t, b, decodeMoved, func(e movedEntry) []byte { return e.encode() })
		again(t, b, decodeRelocation, func(m relocation) []byte { return m.encode() })
	})
}

func FuzzFooter(f *testing.F) {
	f.Add(someFooter().encode())
	f.Add((&footer{shift: 1}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (*footer, error) { return decodeFooter(b, true) }
		again(t, b, read, (*footer).encode)
		// The checksum at its end keeps a fuzzer from what is behind it.
		again(t, sealFooter(b[:max(0, len(b)-footerTail)]), read, (*footer).encode)
	})
}
