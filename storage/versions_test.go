package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// An attic is a Store with a container "c" that does with versions what m says,
// and "old", where they may go.
type attic struct {
	*testing.T
	s *storage.Store
}

func newAttic(t *testing.T, m storage.Meta) attic {
	a := attic{t, storage.New(memory.New())}
	for p, m := range map[storage.Path]storage.Meta{at("c"): m, at("old"): nil} {
		if _, err := a.s.Make(t.Context(), p, m); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func at(names ...string) storage.Path {
	p := storage.Path{Account: "AUTH_ann", Container: names[0]}
	if len(names) > 1 {
		p.Object = names[1]
	}
	return p
}

var enabled = storage.Meta{storage.MetaVersionsEnabled: "True"}

func (a attic) put(name, content string) storage.Info {
	a.Helper()
	up, err := a.s.Create(a.Context(), storage.Info{Path: at("c", name), Size: int64(len(content))}, storage.Cond{})
	if err != nil {
		a.Fatal(err)
	}
	defer up.Close()
	if _, err := io.WriteString(up, content); err != nil {
		a.Fatal(err)
	}
	in, err := up.Commit(a.Context())
	if err != nil {
		a.Fatal(err)
	}
	return in
}

func (a attic) read(ctx context.Context, p storage.Path) string {
	a.Helper()
	rc, _, err := a.s.Open(ctx, p, storage.All)
	if errors.Is(err, fs.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		a.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		a.Fatal(err)
	}
	return string(b)
}

// want checks what is told of all versions: the name, the size and "!" for the
// latest, or "-" for a marker.
func (a attic) want(q storage.VersionQuery, want ...string) []storage.Version {
	a.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := a.s.Versions(a.Context(), at("c"), q)
	if err != nil {
		a.Fatal(err)
	}
	var got []string
	for _, v := range list {
		s := v.Path.Object
		switch {
		case v.Subdir:
		case v.Type == storage.MarkerType:
			s += " -"
		default:
			s += fmt.Sprintf(" %d", v.Size)
		}
		if v.Latest {
			s += "!"
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		a.Errorf("versions of %+v: %q, want %q", q, got, want)
	}
	return list
}

func TestVersionsWithIDs(t *testing.T) {
	a := newAttic(t, enabled)
	first, second := a.put("o", "1"), a.put("o", "22")
	if first.VersionID() >= second.VersionID() || first.VersionID() == storage.NullVersion {
		t.Errorf("ids %s and then %s", first.VersionID(), second.VersionID())
	}
	marker, err := a.s.Delete(t.Context(), at("c", "o"), storage.Cond{})
	if err != nil || marker <= second.VersionID() {
		t.Fatalf("removal left %s after %s, %v", marker, second.VersionID(), err)
	}
	a.want(storage.VersionQuery{}, "o -!", "o 2", "o 1")
	a.want(storage.VersionQuery{MarkerID: second.VersionID(), Query: storage.Query{Marker: "o"}}, "o 1")
	for id, want := range map[string]string{first.VersionID(): "1", second.VersionID(): "22", marker: "(absent)", storage.NullVersion: "(absent)"} {
		if got := a.read(storage.OfVersion(t.Context(), id), at("c", "o")); got != want {
			t.Errorf("version %s reads %q, want %q", id, got, want)
		}
	}

	// Bytes count, and objects do not; nor is the hidden container to be seen.
	in, err := a.s.Stat(t.Context(), at("c"))
	if err != nil || in.Size != 3 || in.Objects != 0 {
		t.Errorf("the container has %d bytes, %d objects; %v", in.Size, in.Objects, err)
	}
	for _, q := range []storage.Query{{}, {Reverse: true}} {
		var names []string
		for in, err := range a.s.List(t.Context(), storage.Path{Account: "AUTH_ann"}, q) {
			if err != nil {
				t.Fatal(err)
			}
			if names = append(names, in.Path.Container); in.Path.Container == "c" && in.Size != 3 {
				t.Errorf("c is listed with %d bytes", in.Size)
			}
		}
		if slices.Sort(names); !slices.Equal(names, []string{"c", "old"}) {
			t.Errorf("containers %q", names)
		}
	}
	if err := a.s.Remove(t.Context(), at("c"), storage.Cond{}); !errors.Is(err, storage.ErrVersionsLeft) {
		t.Errorf("removal of the container: %v", err)
	}

	// A container takes its versions along under another name.
	if _, err := a.s.MoveTree(t.Context(), at("c"), at("d")); err != nil {
		t.Fatal(err)
	}
	if got := a.read(storage.OfVersion(t.Context(), first.VersionID()), at("d", "o")); got != "1" {
		t.Errorf("behind a renaming the first version reads %q", got)
	}
	if _, err := a.s.MoveTree(t.Context(), at("d"), at("c")); err != nil {
		t.Fatal(err)
	}

	restored, err := a.s.RestoreVersion(t.Context(), at("c", "o"), first.VersionID())
	if err != nil || restored.VersionID() != first.VersionID() {
		t.Errorf("restored %s: %s, %v", first.VersionID(), restored.VersionID(), err)
	}
	a.want(storage.VersionQuery{}, "o -", "o 2", "o 1!")
	for _, gone := range []struct{ id, current string }{
		{marker, first.VersionID()}, {first.VersionID(), storage.NullVersion}, {second.VersionID(), storage.NullVersion},
	} {
		if current, err := a.s.DeleteVersion(t.Context(), at("c", "o"), gone.id); err != nil || current != gone.current {
			t.Errorf("removal of version %s: then %s is current, %v; want %s", gone.id, current, err, gone.current)
		}
	}
	if err := a.s.Remove(t.Context(), at("c"), storage.Cond{}); err != nil {
		t.Error(err)
	}
	if in, err := a.s.Stat(t.Context(), storage.Path{Account: "AUTH_ann"}); err != nil || in.Containers != 1 || in.Size != 0 {
		t.Errorf("of the account there are left %d containers, %d bytes; %v", in.Containers, in.Size, err)
	}
}

// Names between which others might come are no trouble to the order of versions.
func TestVersionsOfNeighbours(t *testing.T) {
	a := newAttic(t, enabled)
	names := []string{"a", "a\x01", "a\x01\x01", "a\x01\x02", "a\x02", "a/b", "aa", "\x01"}
	for _, name := range names {
		a.put(name, "1")
		a.put(name, "22")
	}
	slices.Sort(names)
	var want []string
	for _, name := range names {
		want = append(want, name+" 2!", name+" 1")
	}
	a.want(storage.VersionQuery{}, want...)
	var paged []string
	for q := (storage.VersionQuery{Query: storage.Query{Limit: 3}}); ; {
		list, err := a.s.Versions(t.Context(), at("c"), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, v := range list {
			s := fmt.Sprintf("%s %d", v.Path.Object, v.Size)
			if v.Latest {
				s += "!"
			}
			paged = append(paged, s)
			q.Marker, q.MarkerID = v.Path.Object, v.ID
		}
	}
	if !slices.Equal(paged, want) {
		t.Errorf("page by page %q, want %q", paged, want)
	}
	a.want(storage.VersionQuery{Query: storage.Query{Prefix: "a\x01\x01"}}, "a\x01\x01 2!", "a\x01\x01 1")
	a.want(storage.VersionQuery{Query: storage.Query{Delimiter: "/", Prefix: "a/"}}, "a/b 2!", "a/b 1")
	a.want(storage.VersionQuery{Query: storage.Query{Delimiter: "/", Marker: "a\x02"}}, "a/", "aa 2!", "aa 1")
}

// What had an id keeps it, also when no more are given out; and what expires
// stays as a version.
func TestVersionsSuspendedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttic(t, enabled)
		up, err := a.s.Create(t.Context(), storage.Info{Path: at("c", "due"), DeleteAt: time.Now().Add(time.Minute)}, storage.Cond{})
		if err != nil {
			t.Fatal(err)
		}
		due, err := up.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first := a.put("o", "1")
		if err := a.s.Merge(t.Context(), at("c"), storage.Meta{storage.MetaVersionsEnabled: "False"}); err != nil {
			t.Fatal(err)
		}
		if in := a.put("o", "22"); in.VersionID() != storage.NullVersion {
			t.Errorf("with versions suspended an object has the id %s", in.VersionID())
		}
		a.put("o", "333")
		a.want(storage.VersionQuery{}, "due 0!", "o 3!", "o 1")
		if marker, err := a.s.Delete(t.Context(), at("c", "o"), storage.Cond{}); marker != "" || err != nil {
			t.Errorf("with versions suspended a removal left %q, %v", marker, err)
		}
		time.Sleep(time.Hour)
		if _, err := a.s.Sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		a.want(storage.VersionQuery{}, "due 0", "o 1")
		for name, id := range map[string]string{"due": due.VersionID(), "o": first.VersionID()} {
			if _, err := a.s.Stat(storage.OfVersion(t.Context(), id), at("c", name)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestVersionsInAnArchive(t *testing.T) {
	a := newAttic(t, storage.Meta{storage.MetaVersionsLocation: "old"})
	archive := func(want ...string) {
		t.Helper()
		var got []string
		for in, err := range a.s.List(t.Context(), at("old"), storage.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(in.Path.Object, "/")
			got = append(got, fmt.Sprintf("%s %d", name, in.Size))
		}
		if !slices.Equal(got, want) {
			t.Errorf("archive %q, want %q", got, want)
		}
	}
	remove := func(want string) {
		t.Helper()
		if err := a.s.Remove(t.Context(), at("c", "o"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		if got := a.read(t.Context(), at("c", "o")); got != want {
			t.Errorf("after a removal there is %q, want %q", got, want)
		}
	}
	a.put("o", "1")
	a.put("o", "22")
	a.put("o", "333")
	archive("001o 1", "001o 2")
	remove("22")
	archive("001o 1")
	remove("1")
	archive()
	remove("(absent)")
	if err := a.s.Merge(t.Context(), at("c"), storage.Meta{storage.MetaVersionsMode: storage.VersionsHistory}); err != nil {
		t.Fatal(err)
	}
	a.put("o", "4444")
	remove("(absent)")
	archive("001o 4", "001o 0")

	// Moving is removing here and putting there.
	a.put("o", "55555")
	if _, err := a.s.Move(t.Context(), at("c", "o"), at("c", "p"), storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	archive("001o 4", "001o 0", "001o 5", "001o 0")
}
