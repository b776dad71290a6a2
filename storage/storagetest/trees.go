package storagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// treeMover returns the power to move trees, nil if the backend lacks it.
func (s *suite) treeMover() storage.TreeMover {
	m, ok := s.b.(storage.TreeMover)
	if !ok {
		return nil
	}
	s.container(in("c"))
	s.container(in("d"))
	if _, err := m.MoveTree(s.ctx, in("c", "none/"), in("c", "else/")); errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return m
}

// testMoveTree moves prefixes, within and between containers.
func (s *suite) testMoveTree() {
	m := s.treeMover()
	if m == nil {
		return
	}
	future := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, name := range []string{"a", "a.txt", "a/", "a/1", "a/b/2", "a/b/\xff", "a0", "b/x"} {
		s.putInfo(storage.Info{
			Path: in("c", name), Type: "image/png", Meta: storage.Meta{"A": name},
			DeleteAt: future, ModTime: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC),
		}, []byte("in "+name))
	}
	// An object that is due is listed still, so it goes along.
	s.putInfo(storage.Info{Path: in("c", "a/due"), DeleteAt: time.Now().Add(-time.Minute).Truncate(time.Second)}, nil)
	s.put(in("d", "z"), []byte("z"))
	before := s.list(in("c"), storage.Query{Prefix: "a/", Meta: true})

	move := func(from, to storage.Path, want int64) {
		s.Helper()
		if n, err := m.MoveTree(s.ctx, from, to); n != want || err != nil {
			s.Fatalf("MoveTree(%q, %q) = %d, %v; want %d", from, to, n, err, want)
		}
		s.wantTotals(in())
	}
	s.heldOver("the move of its tree", in("c", "a/1"), []byte("in a/1"), func() {
		move(in("c", "a/"), in("c", "n/m/"), 5)
	})
	s.wantNames(in("c"), []string{"a", "a.txt", "a0", "b/x", "n/m/", "n/m/1", "n/m/b/2", "n/m/b/\xff", "n/m/due"})
	s.wantObject(in("c", "n/m/b/2"), []byte("in a/b/2"))
	_, err := s.b.Stat(s.ctx, in("c", "a/1"))
	s.wantErr("Stat of what was moved away", err, fs.ErrNotExist)
	s.wantErr("Stat of a moved object that is due", func() error { _, err := s.b.Stat(s.ctx, in("c", "n/m/due")); return err }(), fs.ErrNotExist)

	// Back by way of another container, all is as it was but the versions.
	move(in("c", "n/m/"), in("d", "é/"), 5)
	s.wantNames(in("d"), []string{"z", "é/", "é/1", "é/b/2", "é/b/\xff", "é/due"})
	move(in("d", "é/"), in("c", "a/"), 5)
	after := s.list(in("c"), storage.Query{Prefix: "a/", Meta: true})
	if len(after) != len(before) {
		s.Fatalf("%d objects came back of %d", len(after), len(before))
	}
	for i, old := range before {
		if after[i].Version <= old.Version {
			s.Errorf("moves changed the version of %q from %d to %d", old.Path, old.Version, after[i].Version)
		}
		old.Version = after[i].Version
		if !equalInfo(old, after[i]) {
			s.Errorf("three moves made %+v\nof %+v", after[i], old)
		}
	}

	refuse := func(from, to storage.Path, want error) {
		s.Helper()
		names := s.list(in("c"), storage.Query{})
		n, err := m.MoveTree(s.ctx, from, to)
		if want == nil && err == nil || n != 0 {
			s.Errorf("MoveTree(%q, %q) = %d, %v", from, to, n, err)
		} else if want != nil {
			s.wantErr(fmt.Sprintf("MoveTree(%q, %q)", from, to), err, want)
		}
		if again := s.list(in("c"), storage.Query{}); !slices.Equal(entriesOf(again), entriesOf(names)) {
			s.Errorf("a refused MoveTree changed a listing")
		}
	}
	refuse(in("c", "a/"), in("c", "b/"), fs.ErrExist)
	refuse(in("c", "a/"), in("c", "b"), fs.ErrExist)
	refuse(in("c", "none/"), in("c", "new/"), fs.ErrNotExist)
	refuse(in("c", "a/"), in("none", "a/"), fs.ErrNotExist)
	refuse(in("none", "a/"), in("c", "new/"), fs.ErrNotExist)
	refuse(in("c", "a/"), in("c", "a/within/"), nil)
	refuse(in("c", "a/"), in("c", "a/"), nil)
	refuse(in("c", "a/"), in("new"), nil)
	refuse(in("c"), in("c", "new/"), nil)
	refuse(in(), in("c"), nil)
	refuse(in("c"), storage.Path{Account: "AUTH_other", Container: "c"}, nil)
	s.wantTotals(in())
}

// testMoveContainer renames containers.
func (s *suite) testMoveContainer() {
	m := s.treeMover()
	if m == nil {
		return
	}
	s.remove(in("c"))
	meta := storage.Meta{"X-Container-Read": ".r:*"}
	if _, err := s.b.Make(s.ctx, in("c"), meta); err != nil {
		s.Fatal(err)
	}
	for _, name := range []string{"1", "a/2", "a/b/3"} {
		s.put(in("c", name), []byte(name))
	}
	for _, c := range []struct {
		from, to storage.Path
		want     error
	}{
		{in("c"), in("d"), fs.ErrExist},
		{in("c"), in("c"), fs.ErrExist},
		{in("none"), in("new"), fs.ErrNotExist},
	} {
		_, err := m.MoveTree(s.ctx, c.from, c.to)
		s.wantErr(fmt.Sprintf("MoveTree(%q, %q)", c.from, c.to), err, c.want)
	}
	old := s.stat(in("c"))
	if n, err := m.MoveTree(s.ctx, in("c"), in("e")); n != 3 || err != nil {
		s.Fatalf("MoveTree of a container = %d, %v", n, err)
	}
	if moved := s.stat(in("e")); !sameMeta(moved.Meta, meta) || !moved.Created.Equal(old.Created) || moved.Objects != 3 {
		s.Errorf("the container %+v became %+v", old, moved)
	}
	_, err := s.b.Stat(s.ctx, in("c"))
	s.wantErr("Stat of a container that was moved away", err, fs.ErrNotExist)
	s.wantNames(in("e"), []string{"1", "a/2", "a/b/3"})
	s.wantNames(in(), []string{"d", "e"})
	s.wantObject(in("e", "a/b/3"), []byte("a/b/3"))

	// An empty one moves as well.
	if n, err := m.MoveTree(s.ctx, in("d"), in("c")); n != 0 || err != nil {
		s.Fatalf("MoveTree of an empty container = %d, %v", n, err)
	}
	s.wantNames(in(), []string{"c", "e"})
	s.wantTotals(in())
}

// testMoveTreeWhole looks at a tree while it moves to and fro: it is never at
// two places, and never in part.
func (s *suite) testMoveTreeWhole() {
	m := s.treeMover()
	if m == nil {
		return
	}
	const size = 50
	for i := range size {
		s.put(in("c", fmt.Sprintf("a/%02d", i)), []byte("x"))
	}
	done := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		defer close(done)
		for range 20 {
			for _, way := range [][2]storage.Path{{in("c", "a/"), in("c", "z/")}, {in("c", "z/"), in("c", "a/")}} {
				if _, err := m.MoveTree(s.ctx, way[0], way[1]); err != nil {
					s.Errorf("MoveTree: %v", err)
					return
				}
			}
		}
	})
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		counts := map[string]int{}
		entries, err := list(s.ctx, s.b, in("c"), storage.Query{})
		if err != nil {
			s.Errorf("List: %v", err)
			break
		}
		for _, e := range entries {
			counts[e.Path.Object[:2]]++
		}
		if len(counts) != 1 || len(entries) != size {
			s.Errorf("while a tree of %d moves, its objects are listed at %v", size, counts)
			break
		}
	}
	mover.Wait()
}
