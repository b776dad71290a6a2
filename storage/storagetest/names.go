package storagetest

import (
	"slices"
	"strings"

	"memstore.dev/memstore/storage"
)

// strangeNames are names that a backend may stumble over: they look like
// paths, escapes, options or patterns, they differ only in case or in how
// Unicode spells them, they begin with one another, or sort around the slash.
var strangeNames = []string{
	"a", "aa", "ab", "a b", "a!b", "a-b", "a.b", "a/b", "a0b", "a/", "a//", "a//b", "a/b/", "a/b/c",
	"A", "Ab", "AB", ".", "..", "...", "../x", "a/../b", "a/./b", "./a", "/", "//", "/a", "//a", "/../",
	"%", "%%", "%2F", "%2f", "a%2Fb", "%00", "%zz", "a%20b", "+", "a+b", "?", "a?b=c", "#", "a#b", "&amp;", "<b>&\"'",
	" ", "  ", " a", "a ", "\t", "a\tb", "\n", "a\nb", "\r\n", "\x01", "\x1f", "\x7f", "a\x01", "\\", "C:\\x", ":", ";", ",",
	"*", "[a]", "{a}", "~", "$HOME", "`id`", "-rf", "--", "|", "!", "=", "nul", "con", ".hidden", ".meta", "index.html",
	"é", "e\u0301", "ß", "ẞ", "ſ", "İ", "ı", "日本語", "💾", "\u2028", "\u200d", "\ufeff", "\u0080", "\ufffd", "\U0010ffff",
	"1", "10", "2", "01", "-1", "1e3", "true", "null",
	strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("x", 1024),
	strings.Repeat("é", 512), strings.Repeat("💾", 256), strings.Repeat("/", 1024), strings.Repeat("../", 341),
}

// brokenNames are no UTF-8; a door refuses them, a backend need not care.
var brokenNames = []string{"\xff", "\xff\xff", "\xfe", "\x80", "a\xff", "a\xff\xff", "a\xffb", "\xc3", "\xed\xa0\x80"}

func (s *suite) testNames() {
	objects := append(slices.Clone(strangeNames), brokenNames...)
	containers := slices.DeleteFunc(slices.Clone(objects), func(name string) bool { return strings.Contains(name, "/") })
	slices.Sort(objects)
	slices.Sort(containers)

	// All of them side by side in one container, and one container for each.
	s.container(in("all"))
	for _, name := range objects {
		s.put(in("all", name), []byte("object "+name))
	}
	for _, name := range containers {
		p := storage.Path{Account: "AUTH_names", Container: name}
		s.container(p)
		p.Object = name
		s.put(p, []byte("in container "+name))
	}
	for _, name := range objects {
		s.wantObject(in("all", name), []byte("object "+name))
	}
	s.wantNames(in("all"), objects)
	s.wantNames(storage.Path{Account: "AUTH_names"}, containers)
	for _, name := range containers {
		p := storage.Path{Account: "AUTH_names", Container: name}
		s.wantUsage(p, 0, 1, int64(len("in container "+name)))
		s.wantNames(p, []string{name})
		p.Object = name
		s.wantObject(p, []byte("in container "+name))
	}

	// Metadata of one is not that of another; nor is the death of one.
	for i, name := range objects {
		update := storage.Info{Path: in("all", name), Meta: storage.Meta{"X-Object-Meta-Name": name}}
		if _, err := s.b.Update(s.ctx, update, storage.Cond{}); err != nil {
			s.Fatalf("Update(%q): %v", name, err)
		}
		if i+1 < len(objects) {
			if got := s.stat(in("all", objects[i+1])).Meta; len(got) != 0 {
				s.Fatalf("after Update of %q, %q has Meta %v", name, objects[i+1], got)
			}
		}
	}
	for i, name := range objects {
		if got := s.stat(in("all", name)).Meta["X-Object-Meta-Name"]; got != name {
			s.Fatalf("Meta of %q names %q", name, got)
		}
		s.remove(in("all", name))
		s.wantNames(in("all"), objects[i+1:])
	}
	s.wantUsage(in("all"), 0, 0, 0)
}

// testNeighbours puts the same names beneath accounts and containers whose
// names begin alike or could run into what follows them.
func (s *suite) testNeighbours() {
	type place struct{ account, container string }
	var places []place
	for _, account := range []string{"AUTH_A", "AUTH_AB", "AUTH_A\x01", "AUTH_A!", "AUTH_A\xff"} {
		for _, container := range []string{"c", "cc", "c\x01", "c!", "c\xff", "C"} {
			places = append(places, place{account, container})
		}
	}
	objects := []string{"\x01", "!", "c", "c/c", "\xff"}
	for i, at := range places {
		s.container(storage.Path{Account: at.account, Container: at.container})
		for j, name := range objects {
			s.put(storage.Path{Account: at.account, Container: at.container, Object: name}, content(uint64(i*100+j), i+1))
		}
	}
	slices.Sort(objects)
	for i, at := range places {
		p := storage.Path{Account: at.account, Container: at.container}
		s.wantNames(p, objects)
		s.wantUsage(p, 0, int64(len(objects)), int64(len(objects)*(i+1)))
	}
	s.wantNames(storage.Path{Account: "AUTH_A"}, []string{"C", "c", "c\x01", "c!", "cc", "c\xff"})

	// Emptying one empties no other.
	gone := places[0]
	for _, name := range objects {
		s.remove(storage.Path{Account: gone.account, Container: gone.container, Object: name})
	}
	s.remove(storage.Path{Account: gone.account, Container: gone.container})
	for _, at := range places[1:] {
		s.wantNames(storage.Path{Account: at.account, Container: at.container}, objects)
	}
}

// wantNames checks a listing in both directions, and page by page.
func (s *suite) wantNames(p storage.Path, want []string) {
	s.Helper()
	got := names(s.list(p, storage.Query{}))
	if !slices.Equal(got, want) {
		s.Fatalf("List(%q) has %q, want %q", p, got, want)
	}
	back := names(s.list(p, storage.Query{Reverse: true}))
	slices.Reverse(back)
	if !slices.Equal(back, want) {
		s.Fatalf("List(%q) in reverse has %q from the end, want %q", p, back, want)
	}
	var paged []string
	for q := (storage.Query{Limit: 7}); ; q.Marker = paged[len(paged)-1] {
		page := names(s.list(p, q))
		if paged = append(paged, page...); len(page) < 7 {
			break
		}
	}
	if !slices.Equal(paged, want) {
		s.Fatalf("List(%q) by sevens has %q, want %q", p, paged, want)
	}
}

// names are those of the entries of a listing.
func names(entries []storage.Info) []string {
	names := make([]string, 0, len(entries))
	for _, in := range entries {
		if in.Path.IsObject() {
			names = append(names, in.Path.Object)
		} else {
			names = append(names, in.Path.Container)
		}
	}
	return names
}
