package disk

import (
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
)

func TestSpareSegments(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := storage.New(b)
	at := func(container, object string) storage.Path {
		return storage.Path{Account: "AUTH_ann", Container: container, Object: object}
	}
	put := func(p storage.Path, m storage.Meta, size int) storage.Info {
		up, err := s.Create(t.Context(), storage.Info{Path: p, Meta: m, Size: int64(size)}, storage.Cond{})
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		if _, err := up.ReadFrom(strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
		in, err := up.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	for _, c := range []string{"films", "films_segments"} {
		if _, err := s.Make(t.Context(), at(c, ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	put(at("films", "plain"), nil, 5)
	var small, many []storage.Segment
	for _, name := range []string{"a/1", "a/2"} {
		small = append(small, storage.SegmentOf(put(at("films_segments", name), nil, 100_000)))
	}
	for range 300 { // a manifest that is a file of its own
		many = append(many, small...)
	}
	for name, segments := range map[string][]storage.Segment{"small": small[:1], "many": many} {
		if _, err := s.PutManifest(t.Context(), storage.Info{Path: at("films", name)}, segments, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	put(at("films", "dynamic"), storage.Meta{storage.MetaManifest: "films_segments/b%2F"}, 0)
	put(at("films_segments", "b/1"), nil, 7)
	put(at("films_segments", "c/1"), nil, 11)
	put(at("films_segments", "c/2"), nil, 13)

	spare := func() (n, size int64) {
		t.Helper()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Check(t.Context(), dir, CheckOptions{})
		if err != nil || len(r.Findings) > 0 {
			t.Fatalf("check: %v, %v", err, r.Findings)
		}
		if b, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		s = storage.New(b)
		return r.Spare, r.SpareBytes
	}
	if n, size := spare(); n != 2 || size != 24 {
		t.Errorf("%d spare segments of %d bytes, want the 2 of c/, of 24 bytes", n, size)
	}
	if err := s.Remove(t.Context(), at("films", "many"), storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	if n, size := spare(); n != 3 || size != 100_024 {
		t.Errorf("%d spare segments of %d bytes after a large object is gone, want 3 of 100024", n, size)
	}
	if _, err := b.Make(t.Context(), storage.Path{Account: ".encryption"}, nil); err != nil {
		t.Fatal(err)
	}
	if n, _ := spare(); n != 0 {
		t.Errorf("%d spare segments of a store whose metadata nobody here can read", n)
	}
}
