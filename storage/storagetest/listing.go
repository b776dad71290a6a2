package storagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"memstore.dev/memstore/storage"
)

// trickyNames are few, but their prefixes, delimiters and neighbours meet in
// every way.
var trickyNames = []string{
	"a", "a!", "a/", "a//", "a//b", "a/a", "a/b", "a/b/c", "a/c", "a0", "aa", "a--b", "a-b--c", "a--", "/", "/a", "//a",
	"b", "b/", "b/a", "b\xff", "b\xff/\xff", "\xff", "\xff/", "\xff\xff", "\x01", "é/a",
}

func (s *suite) testListing() {
	s.container(in("c"))
	for i, name := range trickyNames {
		s.putInfo(storage.Info{
			Path: in("c", name), Type: fmt.Sprint("type/", i), Meta: storage.Meta{"X-Object-Meta-I": fmt.Sprint(i)},
		}, content(uint64(i), i))
	}
	// What surrounds the container must not show.
	for _, p := range []storage.Path{in("b", "a"), in("c\x01", "a"), in("c!", "a/b"), {Account: "AUTH_tess", Container: "c", Object: "z"}} {
		s.container(p)
		s.put(p, nil)
	}
	s.checkListings(in("c"), trickyNames,
		[]string{"", "a", "a/", "a-", "/", "b\xff", "\xff", "zz"},
		[]string{"", "/", "//", "--", "a", "\xff"},
		[]string{"", "a", "a/", "a/a", "a/b/", "a/zz", "b/", "\xff", "0"})
}

// What an object is beyond its bytes is told without being asked for, whatever
// metadata comes before it or behind.
func (s *suite) testListingTellsKinds() {
	s.container(in("c"))
	const kind = "static 5 0"
	for name, m := range map[string]storage.Meta{
		"alone":   {storage.MetaKind: kind},
		"between": {"Cache-Control": "no-cache", "X-Object-Meta-A": "b", storage.MetaKind: kind, "X-Robots-Tag": "none"},
		"none":    {"X-Object-Meta-A": "b", "X-Robots-Tag": "none"},
	} {
		s.putInfo(storage.Info{Path: in("c", name), Meta: m}, []byte("x"))
	}
	found, err := list(s.ctx, s.b, in("c"), storage.Query{})
	if err != nil || len(found) != 3 {
		s.Fatalf("List = %v, %v; want three entries", found, err)
	}
	for i, want := range []string{kind, kind, ""} {
		if got := found[i].Meta[storage.MetaKind]; got != want {
			s.Errorf("%s of %v = %q, want %q", storage.MetaKind, found[i].Path, got, want)
		}
	}
}

func (s *suite) testListingOfContainers() {
	names := []string{"a", "a-", "a-b", "a-b-c", "a--b", "aa", "b", "b-", "\xff", "\xff-", "\x01", "é-a"}
	s.container(in())
	for i, name := range names {
		s.container(in(name))
		if _, err := s.b.Update(s.ctx, storage.Info{Path: in(name), Meta: storage.Meta{"X-Container-Meta-I": name}}, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
		for j := range i % 4 {
			s.put(in(name, fmt.Sprint(j)), content(uint64(i), 10*i))
		}
	}
	s.container(storage.Path{Account: "AUTH_tess", Container: "other"})
	s.checkListings(in(), names,
		[]string{"", "a", "a-", "\xff", "zz"},
		[]string{"", "-", "--", "a"},
		[]string{"", "a", "a-", "a-b-", "b", "\xff"})
}

// checkListings holds every combination of parameters against the oracle.
func (s *suite) checkListings(p storage.Path, names, prefixes, delimiters, markers []string) {
	s.Helper()
	want := map[string]storage.Info{}
	for _, name := range names {
		q := p
		if p.IsAccount() {
			q.Container = name
		} else {
			q.Object = name
		}
		want[name] = s.stat(q)
	}
	for _, prefix := range prefixes {
		for _, delimiter := range delimiters {
			for _, marker := range markers {
				for _, end := range markers {
					for _, limit := range []int{0, 1, 3} {
						for _, reverse := range []bool{false, true} {
							q := storage.Query{
								Prefix: prefix, Delimiter: delimiter, Marker: marker, EndMarker: end,
								Reverse: reverse, Limit: limit, Meta: limit == 0,
							}
							s.checkListing(p, names, q, want)
						}
					}
				}
			}
		}
	}
}

// checkListing holds one listing against the oracle, and its entries against
// what Stat has said of them, if want is not nil.
func (s *suite) checkListing(p storage.Path, names []string, q storage.Query, want map[string]storage.Info) {
	s.Helper()
	listed := s.list(p, q)
	entries := entriesOf(listed)
	if oracle := Listing(names, q); !slices.Equal(entries, oracle) {
		s.Fatalf("List(%q, %+v)\nhas  %v\nwant %v", p, q, entries, oracle)
	}
	if want == nil {
		return
	}
	for i, in := range listed {
		stat := storage.Info{Subdir: true, Path: in.Path}
		if !in.Subdir {
			stat = want[entries[i].Name]
		}
		if in.Path.Parent() != p {
			s.Fatalf("List(%q) has an entry at %q", p, in.Path)
		}
		if !q.Meta {
			in.Meta, stat.Meta = nil, nil
		}
		if !equalInfo(in, stat) {
			s.Fatalf("List(%q, %+v) has %+v\nwhere Stat has %+v", p, q, in, stat)
		}
	}
}

// testListingRandom is testListing with names nobody thought of.
func (s *suite) testListingRandom() {
	round := 0
	name := rapid.StringOfN(rapid.SampledFrom([]rune("ab/-\x01é")), 0, 5, -1)
	rapid.Check(s.T, func(t *rapid.T) {
		round++
		c := &suite{T: s.T, b: s.b, ctx: s.ctx}
		p := in(fmt.Sprint("c", round))
		c.container(p)
		names := rapid.SliceOfNDistinct(name.Filter(func(n string) bool { return n != "" }), 0, 20, rapid.ID).Draw(t, "names")
		for _, name := range names {
			c.put(in(p.Container, name), nil)
		}
		marker := rapid.OneOf(name, rapid.SampledFrom(append(names, "")))
		for range 20 {
			q := storage.Query{
				Prefix:    rapid.StringOfN(rapid.SampledFrom([]rune("ab/-")), 0, 2, -1).Draw(t, "prefix"),
				Delimiter: rapid.SampledFrom([]string{"", "/", "-", "//", "ab", "/-", "é"}).Draw(t, "delimiter"),
				Marker:    marker.Draw(t, "marker"),
				EndMarker: marker.Draw(t, "end marker"),
				Reverse:   rapid.Bool().Draw(t, "reverse"),
				Limit:     rapid.SampledFrom([]int{0, 1, 2, 5, 100}).Draw(t, "limit"),
			}
			got, err := list(c.ctx, c.b, p, q)
			if err != nil {
				t.Fatalf("List(%+v): %v", q, err)
			}
			if got, want := entriesOf(got), Listing(names, q); !slices.Equal(got, want) {
				t.Fatalf("List(%+v) of %q\nhas  %v\nwant %v", q, names, got, want)
			}
		}
	})
}

// testListingSnapshot changes a container while it is listed: what is listed
// is what was there when the iteration began.
func (s *suite) testListingSnapshot() {
	s.container(in("c"))
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf("%03d", i))
		if _, err := write(s.ctx, s.b, storage.Info{Path: in("c", want[i])}, nil, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
	}
	for _, reverse := range []bool{false, true} {
		var got []string
		listing := s.b.List(s.ctx, in("c"), storage.Query{Reverse: reverse})
		// Not begun yet, so this is part of it.
		s.put(in("c", "500x"), nil)
		for entry, err := range listing {
			if err != nil {
				s.Fatal(err)
			}
			if got = append(got, entry.Path.Object); len(got) == 1 {
				// One before, one in the middle, one behind; some go, one changes.
				for _, name := range []string{"000x", "700x", "999x", " "} {
					s.put(in("c", name), []byte("new"))
				}
				s.remove(in("c", "600"))
				s.put(in("c", "601"), []byte("grown"))
			}
			if entry.Path.Object == "601" && entry.Size != 0 {
				s.Errorf("the listing has an object's size of after it began")
			}
		}
		wantNow := slices.Sorted(slices.Values(append([]string{"500x"}, want...)))
		if reverse {
			slices.Reverse(wantNow)
		}
		if !slices.Equal(got, wantNow) {
			s.Errorf("reverse=%v: a listing during changes has %d names, want the %d from when it began", reverse, len(got), len(wantNow))
		}
		for _, name := range []string{"000x", "500x", "700x", "999x", " "} {
			s.remove(in("c", name))
		}
		s.put(in("c", "600"), nil)
		s.put(in("c", "601"), nil)
	}

	// The same listing can be read again, and finds what is there by then.
	listing := s.b.List(s.ctx, in("c"), storage.Query{Prefix: "99"})
	count := func() (n int) {
		for _, err := range listing {
			if err != nil {
				s.Fatal(err)
			}
			n++
		}
		return n
	}
	if n := count(); n != 10 {
		s.Errorf("prefix 99 has %d names, want 10", n)
	}
	s.remove(in("c", "999"))
	if n := count(); n != 9 {
		s.Errorf("prefix 99 has %d names after a removal, want 9", n)
	}
	// And left at any point.
	for range listing {
		break
	}

	// It may end with its container, or live on, but it does not break.
	listing = s.b.List(s.ctx, in("c"), storage.Query{})
	var got []string
	for entry, err := range listing {
		if err != nil {
			s.Fatalf("a listing whose container goes away: %v", err)
		}
		if got = append(got, entry.Path.Object); len(got) == 1 {
			for _, name := range want[:999] {
				if err := s.b.Remove(s.ctx, in("c", name), storage.Cond{}); err != nil {
					s.Fatal(err)
				}
			}
			s.remove(in("c"))
		}
	}
	if !slices.Equal(got, want[:999]) {
		s.Errorf("a listing whose container went away has %d names, want the 999 from when it began", len(got))
	}
	for _, err := range listing {
		s.wantErr("the next one", err, fs.ErrNotExist)
	}
}

// FuzzPage holds storage.Query.Page against Listing. cursor makes a Cursor
// over sorted names.
func FuzzPage(f *testing.F, cursor func(sorted []string) storage.Cursor) {
	f.Add("a\na/b\na/c\nb", "", "/", "", "", false, 0)
	f.Add("a\na/b\na/c\nb", "a", "/", "a/", "b", true, 1)
	f.Add("a--b\na-b--c\n\xff\xff", "a-", "--", "", "a--", true, 2)
	f.Fuzz(func(t *testing.T, lines, prefix, delimiter, marker, end string, reverse bool, limit int) {
		names := slices.DeleteFunc(strings.Split(lines, "\n"), func(name string) bool { return name == "" })
		slices.Sort(names)
		names = slices.Compact(names)
		q := storage.Query{Prefix: prefix, Delimiter: delimiter, Marker: marker, EndMarker: end, Reverse: reverse, Limit: limit}
		got := []Entry{}
		c := cursor(names)
		q.Page(c, func(name []byte, subdir bool) bool {
			if !subdir && string(c.Name()) != string(name) {
				t.Errorf("when %q was yielded the cursor stood on %q", name, c.Name())
			}
			got = append(got, Entry{string(name), subdir})
			return true
		})
		if want := Listing(names, q); !slices.Equal(got, want) {
			t.Fatalf("Page(%+v) of %q\nhas  %v\nwant %v", q, names, got, want)
		}
	})
}

// wantTotals adds up what listings show and holds the totals against it.
func (s *suite) wantTotals(account storage.Path) {
	s.Helper()
	var containers, objects, size int64
	for _, c := range s.list(account, storage.Query{}) {
		containers++
		var n, bytes int64
		for _, o := range s.list(c.Path, storage.Query{}) {
			n++
			bytes += o.Size
		}
		if c.Objects != n || c.Size != bytes {
			s.Errorf("%q is listed with %d objects, %d bytes; its listing has %d, %d", c.Path, c.Objects, c.Size, n, bytes)
		}
		s.wantUsage(c.Path, 0, n, bytes)
		objects, size = objects+n, size+bytes
	}
	s.wantUsage(account, containers, objects, size)
}

// isAny reports whether err is of one of the kinds.
func isAny(err error, kinds ...error) bool {
	return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
}
