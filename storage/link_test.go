package storage_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
)

func in(name string) storage.Path {
	return storage.Path{Account: container.Account, Container: container.Container, Object: name}
}

func link(t *testing.T, s *storage.Store, name string, l storage.Link) {
	t.Helper()
	if _, err := s.PutLink(t.Context(), storage.Info{Path: in(name)}, l, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
}

func TestLinks(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		target := mustPut(t, s, in("a name/with 100%"), "content")
		link(t, s, "soft", storage.Link{Target: target.Path})
		link(t, s, "hard", storage.Link{Target: target.Path, ETag: target.ETag})
		for _, name := range []string{"soft", "hard"} {
			now, err := s.Stat(t.Context(), in(name))
			if err != nil || now.Path != target.Path || now.Version != target.Version || now.Link != nil || !now.Linked {
				t.Errorf("Stat(%s) = %+v, %v; want the target", name, now, err)
			}
			if got := read(t, s, in(name)); got != "content" {
				t.Errorf("%s reads %q", name, got)
			}
			r, _, err := s.Open(t.Context(), in(name), storage.Range{Offset: 3, Length: 2})
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			_, whole, err := s.Open(t.Context(), in(name), storage.Range{Offset: 100, Length: 2})
			if want(t, err, storage.ErrRange); whole.Size != 7 {
				t.Errorf("size beside ErrRange = %d", whole.Size)
			}
			self, err := s.Stat(storage.Unfollowed(t.Context()), in(name))
			if err != nil || self.Link == nil || self.Link.Target != target.Path || self.Size != 0 || self.Path != in(name) {
				t.Errorf("%s itself is %+v, %v", name, self, err)
			}
		}
		if self, _ := s.Stat(storage.Unfollowed(t.Context()), in("hard")); self.Link.Size != 7 || self.Link.ETag != target.ETag {
			t.Errorf("the static one is %+v", self.Link)
		}
		for entry, err := range s.List(t.Context(), container, storage.Query{Prefix: "hard"}) {
			if err != nil || entry.Link == nil || entry.Link.ETag != target.ETag || entry.Size != 0 {
				t.Errorf("listed as %+v, %v", entry, err)
			}
		}

		// What happens to a link happens to the link.
		if _, err := s.Update(t.Context(), storage.Info{Path: in("soft"), Meta: storage.Meta{"X-Object-Meta-A": "b"}}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Move(t.Context(), in("soft"), in("moved"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, in("moved")); got != "content" {
			t.Errorf("moved, it reads %q", got)
		}
		if _, err := s.Copy(t.Context(), storage.Info{Path: in("moved")}, storage.Info{Path: in("copied")}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if self, err := s.Stat(storage.Unfollowed(t.Context()), in("copied")); err != nil || self.Link != nil || self.Size != 7 {
			t.Errorf("the copy is %+v, %v", self, err)
		}
		if err := s.Remove(t.Context(), in("moved"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, target.Path); got != "content" {
			t.Errorf("the target reads %q", got)
		}

		// Another target is no target of a static link.
		mustPut(t, s, target.Path, "other")
		for _, ctx := range []func() error{
			func() error { _, err := s.Stat(t.Context(), in("hard")); return err },
			func() error { _, _, err := s.Open(t.Context(), in("hard"), storage.All); return err },
		} {
			want(t, ctx(), storage.ErrLink)
		}
		_, err := s.PutLink(t.Context(), storage.Info{Path: in("x")}, storage.Link{Target: target.Path, ETag: target.ETag}, storage.Cond{})
		want(t, err, storage.ErrLink)
	})
}

func TestLinksToLinks(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		mustPut(t, s, in("o"), "content")
		link(t, s, "1", storage.Link{Target: in("o")})
		link(t, s, "2", storage.Link{Target: in("1")})
		link(t, s, "3", storage.Link{Target: in("2")})
		if got := read(t, s, in("2")); got != "content" {
			t.Errorf("by two links: %q", got)
		}
		_, err := s.Stat(t.Context(), in("3"))
		want(t, err, storage.ErrLink)
		link(t, s, "a", storage.Link{Target: in("b")})
		link(t, s, "b", storage.Link{Target: in("a")})
		_, _, err = s.Open(t.Context(), in("a"), storage.All)
		want(t, err, storage.ErrLink)

		link(t, s, "nowhere", storage.Link{Target: in("none")})
		_, err = s.Stat(t.Context(), in("nowhere"))
		want(t, err, fs.ErrNotExist)
		if met := (*storage.LinkError)(nil); !errors.As(err, &met) || met.Path != in("none") {
			t.Errorf("the error is %v, want one that tells where it came to", err)
		}
	})
}

func TestLinksAndLargeObjects(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		a := segment(t, s, "seg/a", 5)
		big := manifest(t, s, "big", a, a)
		link(t, s, "tobig", storage.Link{Target: big.Path})
		link(t, s, "held", storage.Link{Target: big.Path, ETag: big.Large.ManifestETag})
		for _, name := range []string{"tobig", "held"} {
			if now, err := s.Stat(t.Context(), in(name)); err != nil || now.Large == nil || now.Size != 10 || read(t, s, in(name)) != "aaaaaaaaaa" {
				t.Errorf("%s is %+v, %v", name, now, err)
			}
			r, _, err := s.Open(t.Context(), in(name), storage.Range{Offset: 8, Length: -1})
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
		if self, err := s.Stat(storage.Unfollowed(t.Context()), in("held")); err != nil || self.Link.Size != 10 || self.Link.LargeETag != big.ETag {
			t.Errorf("the link is %+v, %v", self.Link, err)
		}

		// A link may stand for a segment.
		link(t, s, "parts/1", storage.Link{Target: a.Path})
		mustPut(t, s, in("parts/2"), "bb")
		g := a
		g.Path = in("parts/1")
		if got := read(t, s, manifest(t, s, "oflinks", g).Path); got != "aaaaa" {
			t.Errorf("of a link: %q", got)
		}
		if _, err := put(t, s, storage.Info{Path: in("dynamic"), Meta: storage.Meta{storage.MetaManifest: container.Container + "/parts/"}}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, in("dynamic")); got != "aaaaabb" {
			t.Errorf("a dynamic one with a link in it: %q", got)
		}
	})
}
