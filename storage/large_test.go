package storage_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// segment is an object of a number of bytes, all of one letter.
func segment(t *testing.T, s *storage.Store, name string, n int) storage.Segment {
	t.Helper()
	p := container
	p.Object = name
	in := mustPut(t, s, p, strings.Repeat(name[len(name)-1:], n))
	return storage.SegmentOf(in)
}

func part(g storage.Segment, first, last int64) storage.Segment {
	g.Part, g.First, g.Last = true, first, last
	return g
}

func sumOf(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func manifest(t *testing.T, s *storage.Store, name string, segments ...storage.Segment) storage.Info {
	t.Helper()
	p := container
	p.Object = name
	in, err := s.PutManifest(t.Context(), storage.Info{Path: p, Type: "text/plain"}, segments, storage.Cond{})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestStaticLargeObject(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		a, b := segment(t, s, "seg/a", 5), segment(t, s, "seg/b", 7)
		in := manifest(t, s, "big", a, part(b, 1, 3), storage.Segment{Data: []byte("data")}, b)
		const content = "aaaaa" + "bbb" + "data" + "bbbbbbb"
		etag := sumOf(a.ETag + b.ETag + ":1-3;" + sumOf("data") + b.ETag)
		p := in.Path
		for _, look := range []struct {
			by string
			do func() (storage.Info, error)
		}{
			{"PutManifest", func() (storage.Info, error) { return in, nil }},
			{"Stat", func() (storage.Info, error) { return s.Stat(t.Context(), p) }},
			{"List", func() (storage.Info, error) {
				for in, err := range s.List(t.Context(), container, storage.Query{Prefix: "big"}) {
					return in, err
				}
				return storage.Info{}, fs.ErrNotExist
			}},
			{"Open", func() (storage.Info, error) {
				r, in, err := s.Open(t.Context(), p, storage.All)
				if err == nil {
					r.Close()
				}
				return in, err
			}},
		} {
			in, err := look.do()
			if err != nil || in.Size != int64(len(content)) || in.ETag != etag || in.Large == nil || !in.Large.Static || in.Type != "text/plain" {
				t.Errorf("%s = %+v, %v; want %d bytes with ETag %s", look.by, in, err, len(content), etag)
			}
		}
		if got := read(t, s, p); got != content {
			t.Errorf("content = %q, want %q", got, content)
		}
		for offset := range len(content) {
			for _, length := range []int{1, 4, 100} {
				r, _, err := s.Open(t.Context(), p, storage.Range{Offset: int64(offset), Length: int64(length)})
				if err != nil {
					t.Fatal(err)
				}
				if err := iotest.TestReader(r, []byte(content[offset:min(offset+length, len(content))])); err != nil {
					t.Errorf("from %d, %d bytes: %v", offset, length, err)
				}
				r.Close()
			}
		}
		_, whole, err := s.Open(t.Context(), p, storage.Range{Offset: int64(len(content)), Length: 1})
		if want(t, err, storage.ErrRange); whole.Size != int64(len(content)) {
			t.Errorf("size beside ErrRange = %d, want that of the whole", whole.Size)
		}

		stored, err := s.Stat(storage.AsStored(t.Context()), p)
		if err != nil || stored.Large != nil || !stored.IsManifest() || stored.Size != in.Large.ManifestSize || stored.ETag != in.Large.ManifestETag {
			t.Errorf("as it is stored: %+v, %v", stored, err)
		}
		box, err := s.Stat(t.Context(), container)
		if err != nil || box.Size != 12+stored.Size {
			t.Errorf("the container has %d bytes, %v; want those stored, %d", box.Size, err, 12+stored.Size)
		}
		segments, _, err := s.Manifest(t.Context(), p)
		if err != nil || len(segments) != 4 || segments[1].First != 1 || segments[1].Last != 3 || string(segments[2].Data) != "data" {
			t.Errorf("Manifest = %+v, %v", segments, err)
		}
		_, _, err = s.Manifest(t.Context(), a.Path)
		want(t, err, storage.ErrNoManifest)
	})
}

func TestLargeObjectStaysWhatItIs(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		a := segment(t, s, "seg/a", 5)
		in := manifest(t, s, "big", a, a)
		if _, err := s.Update(t.Context(), storage.Info{Path: in.Path, Meta: storage.Meta{"X-Object-Meta-A": "b"}}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, in.Path); got != "aaaaaaaaaa" {
			t.Errorf("after Update: %q", got)
		}
		moved := container
		moved.Object = "moved"
		if _, err := s.Move(t.Context(), in.Path, moved, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		now, err := s.Stat(t.Context(), moved)
		if err != nil || now.Large == nil || now.Meta["X-Object-Meta-A"] != "b" || read(t, s, moved) != "aaaaaaaaaa" {
			t.Errorf("after Move: %+v, %v", now, err)
		}

		// A copy of the content is an object like any other, whatever metadata
		// comes along; one of what is stored is a large one.
		copied := container
		copied.Object = "copied"
		next := now
		next.Path = copied
		if in, err := s.Copy(t.Context(), now, next, storage.Cond{}); err != nil || in.ETag != sumOf("aaaaaaaaaa") {
			t.Fatalf("Copy = %+v, %v", in, err)
		}
		if in, err := s.Stat(t.Context(), copied); err != nil || in.Large != nil || in.Size != 10 || in.IsManifest() {
			t.Errorf("the copy is %+v, %v", in, err)
		}
		if _, err := s.Copy(storage.AsStored(t.Context()), storage.Info{Path: moved}, storage.Info{Path: copied}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if in, err := s.Stat(t.Context(), copied); err != nil || in.Large == nil || read(t, s, copied) != "aaaaaaaaaa" {
			t.Errorf("the copy of the manifest is %+v, %v", in, err)
		}

		// Nobody makes one by metadata, and what is put in its place is none.
		body := "[]"
		if _, err := put(t, s, storage.Info{Path: copied, Size: int64(len(body)), Meta: maps.Clone(now.Meta)}, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), storage.Info{Path: copied, Meta: maps.Clone(now.Meta)}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, copied); got != body {
			t.Errorf("content = %q, want %q", got, body)
		}
	})
}

func TestLargeObjectsWithinEachOther(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		in := storage.Info{}
		g := segment(t, s, "seg/a", 30)
		for depth := range storage.MaxSegmentDepth {
			in = manifest(t, s, fmt.Sprint("level", depth), part(g, 1, g.Size-1), storage.Segment{Data: []byte{byte('0' + depth)}})
			g = storage.SegmentOf(in)
			if !g.Static {
				t.Fatal("a segment that is a large object does not say so")
			}
		}
		if got, want := read(t, s, in.Path), strings.Repeat("a", 20)+"0123456789"; got != want {
			t.Errorf("content = %q, want %q", got, want)
		}
		deeper := manifest(t, s, "deeper", g)
		_, _, err := s.Open(t.Context(), deeper.Path, storage.All)
		want(t, err, storage.ErrSegment)

		// One that was put in the place of a segment is not read for it.
		manifest(t, s, "level0", storage.SegmentOf(mustPut(t, s, object, "other")))
		_, _, err = s.Open(t.Context(), in.Path, storage.All)
		want(t, err, storage.ErrSegment)
	})
}

func TestSegmentsThatAreNotAsTheyWere(t *testing.T) {
	changes := map[string]func(*testing.T, *storage.Store, storage.Path) error{
		"removed": func(t *testing.T, s *storage.Store, p storage.Path) error {
			return s.Remove(t.Context(), p, storage.Cond{})
		},
		"replaced": func(t *testing.T, s *storage.Store, p storage.Path) error {
			mustPut(t, s, p, "other")
			return nil
		},
		"shortened": func(t *testing.T, s *storage.Store, p storage.Path) error {
			mustPut(t, s, p, "")
			return nil
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, s *storage.Store) {
				a, b := segment(t, s, "seg/a", 5), segment(t, s, "seg/b", 5)
				in := manifest(t, s, "big", a, b)
				if err := change(t, s, b.Path); err != nil {
					t.Fatal(err)
				}
				r, _, err := s.Open(t.Context(), in.Path, storage.All)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				got, err := io.ReadAll(r)
				if want(t, err, storage.ErrSegment); string(got) != "aaaaa" {
					t.Errorf("before that came %q", got)
				}
				_, whole, err := s.Open(t.Context(), in.Path, storage.Range{Offset: 5, Length: -1})
				if want(t, err, storage.ErrSegment); whole.Size != 10 {
					t.Errorf("the size beside the error is %d, want 10", whole.Size)
				}
			})
		})
	}
}

func TestDynamicLargeObject(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		b, a, c := segment(t, s, "seg/b", 3), segment(t, s, "seg/a", 2), segment(t, s, "seg/c", 0)
		p := container
		p.Object = "big"
		if _, err := put(t, s, storage.Info{Path: p, Meta: storage.Meta{storage.MetaManifest: container.Container + "/seg%2F"}}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		in, err := s.Stat(t.Context(), p)
		if err != nil || in.Size != 5 || in.ETag != sumOf(a.ETag+b.ETag+c.ETag) || in.Large == nil || in.Large.Static {
			t.Errorf("Stat = %+v, %v", in, err)
		}
		r, _, err := s.Open(t.Context(), p, storage.All)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := iotest.TestReader(r, []byte("aabbb")); err != nil {
			t.Error(err)
		}

		segment(t, s, "seg/d", 4)
		if got := read(t, s, p); got != "aabbbdddd" {
			t.Errorf("with one more: %q", got)
		}
		if got := read(t, s, manifest(t, s, "seg/e", a, a).Path); got != "aaaa" {
			t.Fatal(got)
		}
		if got := read(t, s, p); got != "aabbbddddaaaa" {
			t.Errorf("with a static one within: %q", got)
		}

		// Its metadata is what makes it one.
		if _, err := s.Update(t.Context(), storage.Info{Path: p}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, p); got != "" {
			t.Errorf("without %s: %q", storage.MetaManifest, got)
		}
		for value, kind := range map[string]error{"none/seg": fs.ErrNotExist, "none": nil, "/none": nil} {
			if _, err := s.Update(t.Context(), storage.Info{Path: p, Meta: storage.Meta{storage.MetaManifest: value}}, storage.Cond{}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Stat(t.Context(), p); kind == nil && err != nil || kind != nil && !strings.Contains(fmt.Sprint(err), "not exist") {
				t.Errorf("Stat of one whose segments are %q: %v", value, err)
			}
		}
	})
}

// counting counts what is open, and can be asked whether a name was opened.
type counting struct {
	storage.Backend
	open   atomic.Int64
	opened chan string
}

func (b *counting) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.Backend.Open(ctx, p, r)
	if err != nil {
		return rc, in, err
	}
	b.open.Add(1)
	select {
	case b.opened <- p.Object:
	default:
	}
	return &counted{rc, b}, in, nil
}

type counted struct {
	io.ReadCloser
	b *counting
}

func (c *counted) Close() error {
	c.b.open.Add(-1)
	return c.ReadCloser.Close()
}

func TestTheNextSegmentIsOpenedAhead(t *testing.T) {
	b := &counting{Backend: memory.New(), opened: make(chan string, 10)}
	s := newStore(t, b)
	in := manifest(t, s, "big", segment(t, s, "seg/a", 5), segment(t, s, "seg/b", 5), segment(t, s, "seg/c", 5))
	for _, end := range []string{"closed early", "read to the end"} {
		for len(b.opened) > 0 {
			<-b.opened // what the last round left
		}
		r, _, err := s.Open(t.Context(), in.Path, storage.All)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"big", "seg/a", "seg/b"} { // the second before any byte of the first is read
			select {
			case got := <-b.opened:
				if got != want {
					t.Fatalf("opened %q, want %q", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%q is not opened", want)
			}
		}
		if end == "read to the end" {
			if got, err := io.ReadAll(r); string(got) != "aaaaabbbbbccccc" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := b.open.Load(); n != 0 {
			t.Errorf("%s: %d readers are left open", end, n)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("a closed reader reads")
		}
	}
}

func TestStagingTakesTheContentOfALargeObject(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		a := segment(t, s, "seg/a", 5)
		in := manifest(t, s, "big", a, a)
		up, err := s.Stage(t.Context(), storage.Info{Path: in.Path}, "", storage.Cond{})
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		if _, err := up.Load(t.Context(), in.Path); err != nil {
			t.Fatal(err)
		}
		writeAt(t, up, []byte("end"), 10)
		up.Info.Meta = in.Meta
		if _, err := up.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, in.Path); got != "aaaaaaaaaaend" {
			t.Errorf("content = %q", got)
		}
	})
}

// A dynamic large object one of whose segments is a link to itself.
func TestDynamicLargeObjectOfItself(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		segment(t, s, "seg/a", 2)
		link, large := container, container
		link.Object, large.Object = "seg/b", "big"
		if _, err := s.PutLink(t.Context(), storage.Info{Path: link}, storage.Link{Target: large}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		meta := storage.Meta{storage.MetaManifest: container.Container + "/seg/"}
		if _, err := put(t, s, storage.Info{Path: large, Size: 3, Meta: meta}, strings.NewReader("own")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if in, err := s.Stat(ctx, large); err != nil || in.Size != 5 {
			t.Fatalf("Stat = %+v, %v; want 5 bytes", in, err)
		}
		if got := read(t, s, large); got != "aaown" {
			t.Errorf("content = %q", got)
		}
	})
}

// Sizes that do not fit into 63 bits take a few hundred kilobytes to make, and
// must not turn negative.
func TestLargeObjectsTooLargeToCount(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		g := segment(t, s, "seg/a", 9)
		for level := range 6 {
			in := manifest(t, s, fmt.Sprint("seg/level", level), slices.Repeat([]storage.Segment{g}, storage.MaxSegments)...)
			g = storage.SegmentOf(in)
		}
		if g.Size != 9e18 {
			t.Fatalf("%d bytes, want 9e18", g.Size)
		}
		p := container
		p.Object = "big"
		_, err := s.PutManifest(t.Context(), storage.Info{Path: p}, []storage.Segment{g, g}, storage.Cond{})
		want(t, err, storage.ErrTooLarge)
		meta := storage.Meta{storage.MetaManifest: container.Container + "/seg/level"}
		if _, err := put(t, s, storage.Info{Path: p, Meta: meta}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		if in, err := s.Stat(t.Context(), p); err != nil || in.Size != 9009009009009009000 {
			t.Errorf("the sum is %d, %v", in.Size, err)
		}
		manifest(t, s, "seg/level7", part(g, 0, 9e17))
		_, err = s.Stat(t.Context(), p)
		want(t, err, storage.ErrTooLarge)
		for _, err := range s.List(t.Context(), container, storage.Query{}) {
			if err != nil {
				t.Errorf("listing: %v", err)
			}
		}
	})
}
