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

// testExpiry puts objects that are due already: they are absent to all but List.
func (s *suite) testExpiry() {
	s.container(in("c"))
	past := time.Now().Add(-time.Minute).Truncate(time.Second)
	future := time.Now().Add(time.Hour).Truncate(time.Second)
	p := in("c", "o")
	expire := func() {
		s.Helper()
		s.putInfo(storage.Info{Path: p, DeleteAt: past}, []byte("expired"))
	}
	gone := func(when string) {
		s.Helper()
		for name, verb := range s.verbs(s.ctx, p) {
			s.wantErr(name+" of an object expired "+when, verb(), fs.ErrNotExist)
		}
		s.wantNames(in("c"), []string{"o"})
		s.wantUsage(in("c"), 0, 1, 7)
	}
	expire()
	gone("from the start")
	if got := s.list(in("c"), storage.Query{})[0]; !got.DeleteAt.Equal(past) {
		s.Errorf("an expired object is listed with DeleteAt %v, want %v", got.DeleteAt, past)
	}
	s.wantErr("Remove of a container with an expired object", s.b.Remove(s.ctx, in("c"), storage.Cond{}), storage.ErrNotEmpty)

	// It does not stand in the way of a new one.
	put, err := write(s.ctx, s.b, storage.Info{Path: p, DeleteAt: future}, []byte("alive"), storage.Cond{Absent: true})
	if err != nil {
		s.Fatalf("put if absent over an expired object: %v", err)
	}
	s.wantObject(p, []byte("alive"))
	s.wantUsage(in("c"), 0, 1, 5)
	if !put.DeleteAt.Equal(future) || !s.stat(p).DeleteAt.Equal(future) {
		s.Errorf("put with DeleteAt %v answered %v", future, put.DeleteAt)
	}

	// Nor does its version count.
	expire()
	version := s.list(in("c"), storage.Query{})[0].Version
	_, err = write(s.ctx, s.b, storage.Info{Path: p}, []byte("x"), storage.Cond{Version: version})
	s.wantErr("put over the version of an expired object", err, storage.ErrPrecondition)

	// An update can bring the end, and put it off.
	s.put(p, []byte("mortal!"))
	for _, at := range []time.Time{future, {}, past} {
		if _, err := s.b.Update(s.ctx, storage.Info{Path: p, DeleteAt: at}, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
	}
	gone("by an update")

	if c, ok := s.b.(storage.Copier); ok {
		_, err := c.Copy(s.ctx, storage.Info{Path: p}, storage.Info{Path: in("c", "copy")}, storage.Cond{})
		if !errors.Is(err, errors.ErrUnsupported) {
			s.wantErr("Copy of an expired object", err, fs.ErrNotExist)
		}
	}
	if m, ok := s.b.(storage.Mover); ok {
		_, err := m.Move(s.ctx, p, in("c", "moved"), storage.Cond{})
		if !errors.Is(err, errors.ErrUnsupported) {
			s.wantErr("Move of an expired object", err, fs.ErrNotExist)
		}
	}
	gone("and copied")
}

func (s *suite) testCopy() {
	c, ok := s.b.(storage.Copier)
	if !ok {
		return
	}
	other := storage.Path{Account: "AUTH_other", Container: "c", Object: "copy"}
	for _, p := range []storage.Path{in("c"), in("d"), other} {
		s.container(p)
	}
	for i, size := range []int{0, 10, 100_000, 2 << 20} {
		data := content(uint64(i), size)
		from := s.putInfo(storage.Info{Path: in("c", "o"), Type: "text/plain", Meta: storage.Meta{"A": "1"}}, data)
		for _, p := range []storage.Path{in("c", "copy"), in("d", "o"), other, in("c", "o")} {
			to := storage.Info{
				Path: p, Type: "image/png", Meta: storage.Meta{"B": "2"},
				DeleteAt: time.Now().Add(time.Hour).Truncate(time.Second), Size: 1, ETag: "lies",
			}
			got, err := c.Copy(s.ctx, from, to, storage.Cond{})
			if errors.Is(err, errors.ErrUnsupported) {
				return
			}
			if err != nil {
				s.Fatalf("Copy to %q: %v", p, err)
			}
			if got.Path != p || got.ETag != from.ETag || got.Size != from.Size || got.Type != to.Type || !sameMeta(got.Meta, to.Meta) ||
				!got.DeleteAt.Equal(to.DeleteAt) || got.Version <= from.Version || got.ModTime.Before(from.ModTime) {
				s.Errorf("Copy of %+v\nto %+v\nmade %+v", from, to, got)
			}
			to.Meta["B"], got.Meta["B"] = "spoilt", "spoilt"
			stat := s.wantObject(p, data)
			if !sameMeta(stat.Meta, storage.Meta{"B": "2"}) {
				s.Errorf("the copy at %q has Meta %v", p, stat.Meta)
			}
			s.checkRange(stat, data, storage.Range{Offset: -3, Length: 2})
		}
		s.wantTotals(in())
		s.wantTotals(storage.Path{Account: "AUTH_other"})

		// A copy lives on without what it was copied from, and the other way round.
		s.put(in("c", "o"), []byte("overwritten"))
		s.wantObject(in("c", "copy"), data)
		s.remove(in("c", "o"))
		s.remove(in("c", "copy"))
		s.heldOver("removal of the last copy but one", other, data, func() { s.remove(in("d", "o")) })
		s.heldOver("removal of the last copy", other, data, func() { s.remove(other) })
	}

	from := s.put(in("c", "o"), content(9, 100))
	copy := func(from storage.Info, to storage.Path, cond storage.Cond) error {
		_, err := c.Copy(s.ctx, from, storage.Info{Path: to}, cond)
		return err
	}
	stale := from
	stale.Version--
	s.wantErr("Copy of another version", copy(stale, in("c", "copy"), storage.Cond{}), storage.ErrPrecondition)
	s.wantErr("Copy of nothing", copy(storage.Info{Path: in("c", "none")}, in("c", "copy"), storage.Cond{}), fs.ErrNotExist)
	s.wantErr("Copy into nothing", copy(from, in("none", "copy"), storage.Cond{}), fs.ErrNotExist)
	s.wantErr("Copy over something if absent", copy(from, in("c", "o"), storage.Cond{Absent: true}), storage.ErrPrecondition)
	s.wantErr("Copy over another version", copy(from, in("c", "o"), storage.Cond{Version: from.Version + 1}), storage.ErrPrecondition)
	quota := storage.Quota{ContainerBytes: 199, ContainerObjects: -1, AccountBytes: -1}
	s.wantErr("Copy beyond the quota", copy(from, in("c", "copy"), storage.Cond{Quota: &quota}), storage.ErrQuota)
	if err := copy(from, in("d", "copy"), storage.Cond{Quota: &quota, Absent: true}); err != nil {
		s.Errorf("Copy within the quota of the other container: %v", err)
	}
	for _, p := range []storage.Path{in("c"), in()} {
		if err := copy(from, p, storage.Cond{}); err == nil {
			s.Errorf("Copy to %q did not fail", p)
		}
		if err := copy(storage.Info{Path: p}, in("c", "copy"), storage.Cond{}); err == nil {
			s.Errorf("Copy of %q did not fail", p)
		}
	}
	s.wantNames(in("c"), []string{"o"})
	s.wantObject(in("c", "o"), content(9, 100))
	s.wantTotals(in())
}

func (s *suite) testMove() {
	m, ok := s.b.(storage.Mover)
	if !ok {
		return
	}
	s.container(in("c"))
	s.container(in("d"))
	move := func(from, to storage.Path, c storage.Cond) error { _, err := m.Move(s.ctx, from, to, c); return err }
	for i, size := range []int{0, 10, 100_000, 2 << 20} {
		data := content(uint64(i), size)
		at := s.putInfo(storage.Info{
			Path: in("c", "a"), Type: "image/png", Meta: storage.Meta{"A": "1"},
			DeleteAt: time.Now().Add(time.Hour).Truncate(time.Second),
			ModTime:  time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC),
		}, data)
		s.put(in("d", "taken"), []byte("in the way"))
		for _, p := range []storage.Path{in("c", "b"), in("d", "b"), in("d", "taken"), in("d", "taken"), in("c", "a")} {
			got, err := m.Move(s.ctx, at.Path, p, storage.Cond{})
			if errors.Is(err, errors.ErrUnsupported) {
				return
			}
			if err != nil {
				s.Fatalf("Move of %q to %q: %v", at.Path, p, err)
			}
			want := at
			want.Path, want.Version = p, got.Version
			if stat := s.wantObject(p, data); !equalInfo(got, want) || !equalInfo(stat, want) {
				s.Fatalf("Move of %+v\nto %q made %+v", at, p, stat)
			}
			if at.Path != p {
				if got.Version <= at.Version {
					s.Errorf("Move changed version %d to %d", at.Version, got.Version)
				}
				_, err := s.b.Stat(s.ctx, at.Path)
				s.wantErr("Stat of where the object was", err, fs.ErrNotExist)
			}
			at = got
			s.wantTotals(in())
		}
		s.heldOver("a move", at.Path, data, func() {
			if err := move(at.Path, in("d", "taken"), storage.Cond{}); err != nil {
				s.Fatal(err)
			}
		})
	}
	at := s.put(in("c", "a"), content(9, 100))
	s.put(in("d", "b"), content(8, 10))
	s.wantErr("Move of nothing", move(in("c", "none"), in("c", "b"), storage.Cond{}), fs.ErrNotExist)
	s.wantErr("Move into nothing", move(at.Path, in("none", "b"), storage.Cond{}), fs.ErrNotExist)
	s.wantErr("Move over something if absent", move(at.Path, in("d", "b"), storage.Cond{Absent: true}), storage.ErrPrecondition)
	quota := storage.Quota{ContainerBytes: 50, ContainerObjects: -1, AccountBytes: 0}
	s.wantErr("Move beyond the quota", move(at.Path, in("d", "b"), storage.Cond{Quota: &quota}), storage.ErrQuota)
	for _, p := range []storage.Path{in("c"), in()} {
		if move(at.Path, p, storage.Cond{}) == nil || move(p, in("c", "b"), storage.Cond{}) == nil {
			s.Errorf("Move to or of %q did not fail", p)
		}
	}
	s.wantNames(in("c"), []string{"a"})
	s.wantObject(at.Path, content(9, 100))

	for _, step := range []struct{ from, typ, to, want string }{
		{"page.html.part", storage.TypeByName("page.html.part"), "page.html", "text/html"},
		{"look.css", "text/css", "look", "application/octet-stream"},
		{"said.png", "image/x-own", "said.html", "image/x-own"},
	} {
		was := s.putInfo(storage.Info{Path: in("c", step.from), Type: step.typ, Meta: storage.Meta{"A": "1"}}, content(7, 10))
		got, err := m.Move(s.ctx, was.Path, in("d", step.to), storage.Cond{Retype: true})
		want := was
		want.Path, want.Version, want.Type = in("d", step.to), got.Version, step.want
		if stat := s.wantObject(want.Path, content(7, 10)); err != nil || !equalInfo(got, want) || !equalInfo(stat, want) {
			s.Errorf("Move of %+v\nto %q made %+v, %v", was, step.to, stat, err)
		}
	}
	s.wantObject(in("d", "b"), content(8, 10))
	if err := move(at.Path, in("c", "b"), storage.Cond{Quota: &quota, Absent: true}); err != nil {
		s.Errorf("Move within a container over its quota: %v", err)
	}
	s.wantTotals(in())
}

func (s *suite) testExpire() {
	e, ok := s.b.(storage.Expirer)
	if !ok {
		return
	}
	s.container(in("c"))
	s.container(in("d"))
	s.container(storage.Path{Account: "AUTH_other", Container: "c"})
	now := time.Now().Truncate(time.Second)
	if _, err := e.Expire(s.ctx, now, 1); errors.Is(err, errors.ErrUnsupported) {
		return
	}
	at := func(p storage.Path, t time.Time) {
		s.putInfo(storage.Info{Path: p, DeleteAt: t}, content(1, 100))
	}
	// In the order of due dates, but not of names.
	due := []storage.Path{in("d", "z"), in("c", "y"), {Account: "AUTH_other", Container: "c", Object: "x"}, in("c", "w"), in("c", "a")}
	for i, p := range due {
		at(p, now.Add(time.Duration(i-100)*time.Second))
	}
	at(in("c", "later"), now.Add(time.Hour))
	at(in("c", "never"), time.Time{})
	at(in("c", "saved"), now.Add(time.Hour))
	s.put(in("c", "saved"), []byte("put again"))
	at(in("c", "removed"), now.Add(time.Hour))
	s.remove(in("c", "removed"))
	at(in("c", "put off"), now.Add(time.Hour))
	if _, err := s.b.Update(s.ctx, storage.Info{Path: in("c", "put off"), DeleteAt: now.Add(2 * time.Hour)}, storage.Cond{}); err != nil {
		s.Fatal(err)
	}
	expire := func(now time.Time, max int, want ...storage.Path) {
		s.Helper()
		got, err := e.Expire(s.ctx, now, max)
		if err != nil || !slices.Equal(got, want) {
			s.Errorf("Expire(%v, %d) = %q, %v; want %q", now, max, got, err, want)
		}
		s.wantTotals(in())
	}
	expire(now.Add(-101*time.Second), 10)
	expire(now.Add(-99*time.Second), 10, due[:2]...)
	expire(now, 1, due[2])
	expire(now, 100, due[3:]...)
	expire(now, 100)
	s.wantNames(in("c"), []string{"later", "never", "put off", "saved"})
	expire(now.Add(time.Hour), 100, in("c", "later"))
	expire(now.Add(2*time.Hour), 100, in("c", "put off"))
	expire(now.Add(1000*time.Hour), 100)
	s.wantNames(in("c"), []string{"never", "saved"})
	s.wantObject(in("c", "saved"), []byte("put again"))
	s.wantNames(in("d"), nil)

	// A copy and a moved object have their own ends.
	if c, ok := s.b.(storage.Copier); ok {
		at(in("c", "o"), now.Add(time.Hour))
		_, err := c.Copy(s.ctx, storage.Info{Path: in("c", "o")}, storage.Info{Path: in("d", "copy")}, storage.Cond{})
		if !errors.Is(err, errors.ErrUnsupported) {
			expire(now.Add(2*time.Hour), 100, in("c", "o"))
			s.wantObject(in("d", "copy"), content(1, 100))
		}
	}
	if m, ok := s.b.(storage.Mover); ok {
		at(in("c", "o"), now.Add(time.Hour))
		_, err := m.Move(s.ctx, in("c", "o"), in("d", "moved"), storage.Cond{})
		if !errors.Is(err, errors.ErrUnsupported) {
			expire(now.Add(2*time.Hour), 100, in("d", "moved"))
		}
	}
}

// testJournal makes changes and reads about them.
func (s *suite) testJournal() {
	j, ok := s.b.(storage.Journal)
	if !ok {
		return
	}
	for _, err := range j.Changes(s.ctx, 0) {
		if errors.Is(err, errors.ErrUnsupported) {
			return // a wrapper around a backend without one
		}
		break
	}
	changes := func(after uint64) (changes []storage.Change) {
		s.Helper()
		for c, err := range j.Changes(s.ctx, after) {
			if err != nil {
				s.Fatalf("Changes(%d): %v", after, err)
			}
			changes = append(changes, c)
		}
		for i := range changes {
			if changes[i].Version <= after || i > 0 && changes[i].Version <= changes[i-1].Version {
				s.Fatalf("Changes(%d) is not in order: %+v", after, changes)
			}
		}
		return changes
	}
	s.container(in())
	var cursor uint64
	if first := changes(0); len(first) != 1 || first[0].Op != storage.OpPut || first[0].Path != in() {
		s.Fatalf("the journal of one account begins with %+v", first)
	} else {
		cursor = first[0].Version
	}

	begin := time.Now().Add(-time.Second)
	type entry struct {
		op      storage.Op
		path    storage.Path
		version uint64 // 0 if nobody told
	}
	var want []entry
	s.container(in("c"))
	want = append(want, entry{storage.OpPut, in("c"), s.stat(in("c")).Version})
	s.container(in("c")) // no change
	put := s.put(in("c", "o"), []byte("x"))
	want = append(want, entry{storage.OpPut, in("c", "o"), put.Version})
	for _, p := range []storage.Path{in("c", "o"), in("c"), in()} {
		in, err := s.b.Update(s.ctx, storage.Info{Path: p}, storage.Cond{})
		if err != nil {
			s.Fatal(err)
		}
		want = append(want, entry{storage.OpUpdate, p, in.Version})
	}
	put = s.put(in("c", "o"), []byte("y"))
	want = append(want, entry{storage.OpPut, in("c", "o"), put.Version})
	// What fails is no change.
	write(s.ctx, s.b, storage.Info{Path: in("c", "o")}, nil, storage.Cond{Absent: true})
	s.b.Remove(s.ctx, in("c"), storage.Cond{})
	s.b.Remove(s.ctx, in("c", "none"), storage.Cond{})
	if c, ok := s.b.(storage.Copier); ok {
		copied, err := c.Copy(s.ctx, put, storage.Info{Path: in("c", "copy")}, storage.Cond{})
		if err == nil {
			want = append(want, entry{storage.OpPut, in("c", "copy"), copied.Version})
			s.remove(in("c", "copy"))
			want = append(want, entry{storage.OpRemove, in("c", "copy"), 0})
		}
	}
	s.putInfo(storage.Info{Path: in("c", "mortal"), DeleteAt: time.Now().Add(-time.Hour).Truncate(time.Second)}, nil)
	want = append(want, entry{storage.OpPut, in("c", "mortal"), 0})
	if e, ok := s.b.(storage.Expirer); ok {
		if _, err := e.Expire(s.ctx, time.Now(), 10); err == nil {
			want = append(want, entry{storage.OpRemove, in("c", "mortal"), 0})
		}
	}
	s.remove(in("c", "o"))
	want = append(want, entry{storage.OpRemove, in("c", "o"), 0})

	got := changes(cursor)
	if len(got) != len(want) {
		s.Fatalf("the journal has %d changes, want %d:\n%+v\n%+v", len(got), len(want), got, want)
	}
	for i, w := range want {
		g := got[i]
		if g.Op != w.op || g.Path != w.path || w.version != 0 && g.Version != w.version {
			s.Errorf("change %d is %+v, want %+v", i, g, w)
		}
		if g.Time.Before(begin) || g.Time.After(time.Now().Add(time.Second)) {
			s.Errorf("change %d has time %v", i, g.Time)
		}
	}
	// From any point, and from the end.
	for i, g := range got {
		if rest := changes(g.Version); len(rest) != len(got)-i-1 {
			s.Errorf("Changes(%d) has %d changes, want %d", g.Version, len(rest), len(got)-i-1)
		}
	}
	for range j.Changes(s.ctx, cursor) {
		break // left early
	}

	// A move is the end of one object and a change of another.
	cursor = got[len(got)-1].Version
	if m, ok := s.b.(storage.Mover); ok {
		s.put(in("c", "a"), []byte("x"))
		moved, err := m.Move(s.ctx, in("c", "a"), in("c", "b"), storage.Cond{})
		if err == nil {
			found := map[entry]bool{}
			for _, c := range changes(cursor)[1:] {
				if c.Op == storage.OpRemove {
					c.Version = 0
				}
				found[entry{c.Op, c.Path, c.Version}] = true
			}
			if len(found) != 2 || !found[entry{storage.OpRemove, in("c", "a"), 0}] || !found[entry{storage.OpPut, in("c", "b"), moved.Version}] {
				s.Errorf("a move is told as %+v", found)
			}
		}
	}
	s.journalUnderLoad(changes)
}

// journalUnderLoad writes from all sides: each change is told once, and one
// who follows with a cursor misses none, although versions are given out while
// he reads.
func (s *suite) journalUnderLoad(changes func(uint64) []storage.Change) {
	all := changes(0)
	cursor := all[len(all)-1].Version
	var writers sync.WaitGroup
	var mu sync.Mutex
	written := map[uint64]storage.Path{}
	for g := range 8 {
		writers.Go(func() {
			for i := range 25 {
				p := in("c", fmt.Sprint("load", g, i%5))
				put, err := write(s.ctx, s.b, storage.Info{Path: p}, nil, storage.Cond{})
				if err != nil {
					s.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				written[put.Version] = p
				mu.Unlock()
			}
		})
	}
	told := map[uint64]storage.Path{}
	follow := func() {
		for _, c := range changes(cursor) {
			told[c.Version], cursor = c.Path, c.Version
		}
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for following := true; following; {
		select {
		case <-done:
			following = false
		default:
		}
		follow()
	}
	if len(told) != len(written) {
		s.Errorf("a follower was told %d changes, %d were made", len(told), len(written))
	}
	for version, p := range written {
		if told[version] != p {
			s.Errorf("version %d was a put of %q, the follower was told %q", version, p, told[version])
		}
	}
}
