package storagetest

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"memstore.dev/memstore/storage"
)

// verbs are all that can be asked about a path that should be refused.
func (s *suite) verbs(ctx context.Context, p storage.Path) map[string]func() error {
	verbs := map[string]func() error{
		"Stat":   func() error { _, err := s.b.Stat(ctx, p); return err },
		"Update": func() error { _, err := s.b.Update(ctx, storage.Info{Path: p}, storage.Cond{}); return err },
		"Remove": func() error { return s.b.Remove(ctx, p, storage.Cond{}) },
	}
	if p.IsObject() {
		verbs["Open"] = func() error {
			r, _, err := s.b.Open(ctx, p, storage.All)
			if err == nil {
				r.Close()
			}
			return err
		}
	} else {
		verbs["List"] = func() error { _, err := list(ctx, s.b, p, storage.Query{}); return err }
	}
	return verbs
}

func (s *suite) testMissing() {
	create := func(p storage.Path) error {
		w, err := s.b.Create(s.ctx, storage.Info{Path: p})
		if err == nil {
			w.Close()
		}
		return err
	}
	refuse := func(p storage.Path) {
		for name, verb := range s.verbs(s.ctx, p) {
			s.wantErr(name+" of missing "+p.String(), verb(), fs.ErrNotExist)
		}
	}
	refuse(in())
	refuse(in("c"))
	refuse(in("c", "o"))
	_, err := s.b.Make(s.ctx, in("c"), nil)
	s.wantErr("Make of a container in no account", err, fs.ErrNotExist)
	s.wantErr("Create in no account", create(in("c", "o")), fs.ErrNotExist)

	s.container(in())
	refuse(in("c"))
	refuse(in("c", "o"))
	s.wantErr("Create in no container", create(in("c", "o")), fs.ErrNotExist)

	s.container(in("c"))
	refuse(in("c", "o"))
	s.put(in("c", "o"), nil)
	refuse(in("c", "o/"))
	refuse(in("c", "O"))
	refuse(storage.Path{Account: "AUTH_other", Container: "c", Object: "o"})

	// What was is missing too.
	s.remove(in("c", "o"))
	refuse(in("c", "o"))
	s.remove(in("c"))
	refuse(in("c"))
	refuse(in("c", "o"))
	s.wantErr("Create in a removed container", create(in("c", "o")), fs.ErrNotExist)
	s.remove(in())
	refuse(in())
}

// testNonsense asks of paths what makes no sense for their depth.
func (s *suite) testNonsense() {
	s.container(in("c"))
	s.put(in("c", "o"), []byte("bytes"))
	fails := func(what string, err error) {
		if err == nil {
			s.Errorf("%s did not fail", what)
		}
	}
	for _, p := range []storage.Path{in(), in("c"), {}, {Account: "AUTH_test", Object: "o"}} {
		r, _, err := s.b.Open(s.ctx, p, storage.All)
		if err == nil {
			r.Close()
		}
		fails("Open of "+p.String(), err)
		_, err = write(s.ctx, s.b, storage.Info{Path: p}, []byte("x"), storage.Cond{})
		fails("Create of "+p.String(), err)
	}
	_, err := list(s.ctx, s.b, in("c", "o"), storage.Query{})
	fails("List of an object", err)
	for _, p := range []storage.Path{in("c", "o"), in("c", "new"), {}, {Account: "AUTH_test", Object: "o"}} {
		_, err = s.b.Make(s.ctx, p, nil)
		fails("Make of "+p.String(), err)
	}
	s.wantNames(in("c"), []string{"o"})
	s.wantObject(in("c", "o"), []byte("bytes"))
}

// testCancelled asks in a context that has ended.
func (s *suite) testCancelled() {
	s.container(in("c"))
	s.put(in("c", "o"), []byte("bytes"))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for _, p := range []storage.Path{in(), in("c"), in("c", "o")} {
		for name, verb := range s.verbs(ctx, p) {
			s.wantErr(name+" of "+p.String()+" in an ended context", verb(), context.Canceled)
		}
	}
	_, err := s.b.Make(ctx, in("new"), nil)
	s.wantErr("Make in an ended context", err, context.Canceled)
	_, err = write(ctx, s.b, storage.Info{Path: in("c", "new")}, []byte("x"), storage.Cond{})
	s.wantErr("put in an ended context", err, context.Canceled)

	s.wantNames(in(), []string{"c"})
	s.wantNames(in("c"), []string{"o"})
	s.wantObject(in("c", "o"), []byte("bytes"))

	// A listing ends with its context, too.
	for i := range 100 {
		s.put(in("c", fmt.Sprint("more", i)), nil)
	}
	ctx, cancel = context.WithCancel(s.ctx)
	defer cancel()
	seen := 0
	for _, err := range s.b.List(ctx, in("c"), storage.Query{}) {
		if seen++; err != nil {
			s.wantErr("List in a context that ends", err, context.Canceled)
			return
		}
		cancel()
	}
	s.Errorf("a listing went on to its end, %d entries, after its context had ended", seen)
}

func (s *suite) testMake() {
	meta := storage.Meta{"X-Container-Meta-Color": "red"}
	for _, p := range []storage.Path{in(), in("c")} {
		created, err := s.b.Make(s.ctx, p, meta)
		if !created || err != nil {
			s.Fatalf("first Make(%q) = %v, %v", p, created, err)
		}
		first := s.stat(p)
		if !sameMeta(first.Meta, meta) || first.Version == 0 || first.Created.IsZero() || !first.ModTime.Equal(first.Created) {
			s.Errorf("Make(%q) made %+v", p, first)
		}
		created, err = s.b.Make(s.ctx, p, storage.Meta{"X-Container-Meta-Color": "blue", "X-New": "1"})
		if created || err != nil {
			s.Fatalf("second Make(%q) = %v, %v; want false, nil", p, created, err)
		}
		if again := s.stat(p); !sameMeta(again.Meta, meta) || again.Version != first.Version || !again.ModTime.Equal(first.ModTime) {
			s.Errorf("second Make(%q) changed %+v to %+v", p, first, again)
		}
	}
	s.wantUsage(in(), 1, 0, 0)
	s.put(in("c", "o"), []byte("bytes"))
	if created, err := s.b.Make(s.ctx, in("c"), nil); created || err != nil {
		s.Fatalf("Make of a container in use = %v, %v", created, err)
	}
	s.wantObject(in("c", "o"), []byte("bytes"))
	s.wantUsage(in("c"), 0, 1, 5)
	s.wantUsage(in(), 1, 1, 5)
}

func (s *suite) testRemove() {
	s.container(in("c"))
	s.container(in("empty"))
	s.put(in("c", "o"), []byte("bytes"))
	s.wantErr("Remove of an account in use", s.b.Remove(s.ctx, in(), storage.Cond{}), storage.ErrNotEmpty)
	s.wantErr("Remove of a container in use", s.b.Remove(s.ctx, in("c"), storage.Cond{}), storage.ErrNotEmpty)
	s.remove(in("empty"))
	s.wantObject(in("c", "o"), []byte("bytes"))
	s.remove(in("c", "o"))
	s.wantErr("Remove of an account with an empty container", s.b.Remove(s.ctx, in(), storage.Cond{}), storage.ErrNotEmpty)

	// What is made again is new.
	if _, err := s.b.Update(s.ctx, storage.Info{Path: in("c"), Meta: storage.Meta{"X-Container-Meta-A": "1"}}, storage.Cond{}); err != nil {
		s.Fatal(err)
	}
	old := s.stat(in("c"))
	s.remove(in("c"))
	s.container(in("c"))
	if again := s.stat(in("c")); len(again.Meta) != 0 || again.Version <= old.Version || again.Objects != 0 || again.Size != 0 {
		s.Errorf("a container made again is %+v", again)
	}
	s.wantNames(in("c"), nil)
	s.remove(in("c"))
	s.remove(in())
	s.container(in())
	s.wantUsage(in(), 0, 0, 0)
}

func (s *suite) testUpdate() {
	s.container(in("c"))
	due := time.Now().Add(time.Hour).Truncate(time.Second)
	put := s.putInfo(storage.Info{
		Path: in("c", "o"), Type: "text/plain", DeleteAt: due,
		Meta: storage.Meta{"X-Object-Meta-A": "1", "Content-Encoding": "gzip"},
	}, []byte("bytes"))

	update := func(in storage.Info) storage.Info {
		s.Helper()
		got, err := s.b.Update(s.ctx, in, storage.Cond{})
		if err != nil {
			s.Fatalf("Update(%+v): %v", in, err)
		}
		if now := s.stat(in.Path); !equalInfo(got, now) {
			s.Fatalf("Update answered %+v, but there is %+v", got, now)
		}
		return got
	}
	// Of an object: everything a client may say is replaced, nothing else is.
	got := update(storage.Info{Path: in("c", "o"), Meta: storage.Meta{"X-Object-Meta-B": "2"}, Size: 99, ETag: "lies", Version: 7})
	want := put
	want.Meta, want.DeleteAt = storage.Meta{"X-Object-Meta-B": "2"}, time.Time{}
	want.Version, want.ModTime = got.Version, got.ModTime
	if !equalInfo(got, want) || got.Version <= put.Version || got.ModTime.Before(put.ModTime) {
		s.Errorf("Update made %+v\nof %+v", got, put)
	}
	got = update(storage.Info{Path: in("c", "o"), Type: "image/png", DeleteAt: due})
	if got.Type != "image/png" || !got.DeleteAt.Equal(due) || len(got.Meta) != 0 {
		s.Errorf("Update of type and DeleteAt made %+v", got)
	}
	s.wantObject(in("c", "o"), []byte("bytes"))

	// Of containers and accounts: the totals stay.
	for _, p := range []storage.Path{in("c"), in()} {
		before := s.stat(p)
		got := update(storage.Info{Path: p, Meta: storage.Meta{"X-Meta": "new"}, Size: 99, Objects: 99, Containers: 99})
		want := before
		want.Meta, want.Version, want.ModTime = storage.Meta{"X-Meta": "new"}, got.Version, got.ModTime
		if !equalInfo(got, want) || got.Version <= before.Version {
			s.Errorf("Update made %+v\nof %+v", got, before)
		}
		if got := update(storage.Info{Path: p}); len(got.Meta) != 0 {
			s.Errorf("Update of %q with no Meta left %v", p, got.Meta)
		}
	}
	s.wantNames(in("c"), []string{"o"})
}

func (s *suite) testVersions() {
	s.container(in("c"))
	s.container(in("d"))
	last := max(s.stat(in()).Version, s.stat(in("c")).Version, s.stat(in("d")).Version)
	grown := func(what string, version uint64) {
		s.Helper()
		if version <= last {
			s.Errorf("%s has version %d, and %d was given before", what, version, last)
		}
		last = max(last, version)
	}
	container := s.stat(in("c")).Version
	for range 3 {
		grown("a put", s.put(in("c", "o"), []byte("same")).Version)
		got, err := s.b.Update(s.ctx, storage.Info{Path: in("c", "o")}, storage.Cond{})
		if err != nil {
			s.Fatal(err)
		}
		grown("an update", got.Version)
		if stat := s.stat(in("c", "o")); stat.Version != got.Version {
			s.Errorf("Stat has version %d, Update answered %d", stat.Version, got.Version)
		}
		s.remove(in("c", "o"))
		grown("a put in another container", s.put(in("d", "o"), []byte("same")).Version)
	}
	if now := s.stat(in("c")).Version; now != container {
		s.Errorf("changes of objects changed the container's version from %d to %d", container, now)
	}
	got, err := s.b.Update(s.ctx, storage.Info{Path: in("c")}, storage.Cond{})
	if err != nil {
		s.Fatal(err)
	}
	grown("an update of a container", got.Version)
	if got, err = s.b.Update(s.ctx, storage.Info{Path: in()}, storage.Cond{}); err != nil {
		s.Fatal(err)
	}
	grown("an update of an account", got.Version)
}

func (s *suite) testModTime() {
	s.container(in("c"))
	begin := time.Now()
	precise := func(in storage.Info) {
		s.Helper()
		for _, t := range []time.Time{in.ModTime, in.Created} {
			if t.IsZero() || !t.Equal(t.Truncate(10*time.Microsecond)) {
				s.Errorf("%q has time %v, want a multiple of 10 µs", in.Path, t.Format(time.RFC3339Nano))
			}
		}
	}
	var last storage.Info
	for i := range 50 {
		put := s.put(in("c", "o"), []byte("x"))
		precise(put)
		if put.ModTime.Before(last.ModTime) || !put.Created.Equal(put.ModTime) {
			s.Fatalf("put %d has times %v and %v, the one before was of %v", i, put.Created, put.ModTime, last.ModTime)
		}
		updated, err := s.b.Update(s.ctx, storage.Info{Path: in("c", "o")}, storage.Cond{})
		if err != nil {
			s.Fatal(err)
		}
		precise(updated)
		if updated.ModTime.Before(put.ModTime) || !updated.Created.Equal(put.Created) {
			s.Fatalf("an update changed times %v and %v to %v and %v", put.Created, put.ModTime, updated.Created, updated.ModTime)
		}
		last = updated
	}
	if last.ModTime.Before(begin.Add(-time.Second)) || last.ModTime.After(time.Now().Add(time.Second)) {
		s.Errorf("ModTime is %v, now is %v", last.ModTime, time.Now())
	}
	precise(s.stat(in("c")))
	precise(s.stat(in()))

	given := time.Date(2001, 2, 3, 4, 5, 6, 789_123_456, time.UTC)
	put := s.putInfo(storage.Info{Path: in("c", "old"), ModTime: given}, []byte("x"))
	if want := given.Truncate(10 * time.Microsecond); !put.ModTime.Equal(want) || !s.stat(in("c", "old")).ModTime.Equal(want) {
		s.Errorf("an object put with ModTime %v has %v, want %v", given, put.ModTime, want)
	}
}

func (s *suite) testMetaIsCopied() {
	meta := func() storage.Meta { return storage.Meta{"X-Object-Meta-A": "1"} }
	spoil := func(m storage.Meta) {
		if m != nil {
			m["X-Object-Meta-A"], m["X-Object-Meta-Evil"] = "spoilt", "1"
		}
	}
	check := func(after string, p storage.Path) {
		s.Helper()
		if got := s.stat(p).Meta; !sameMeta(got, meta()) {
			s.Fatalf("after spoiling the Meta of %s, %q has %v", after, p, got)
		}
	}
	for _, p := range []storage.Path{in(), in("c")} {
		m := meta()
		if _, err := s.b.Make(s.ctx, p, m); err != nil {
			s.Fatal(err)
		}
		spoil(m)
		check("Make", p)
	}
	m := meta()
	put := s.putInfo(storage.Info{Path: in("c", "o"), Meta: m}, []byte("x"))
	spoil(m)
	check("Commit", in("c", "o"))
	spoil(put.Meta)
	check("Commit's answer", in("c", "o"))
	for _, p := range []storage.Path{in(), in("c"), in("c", "o")} {
		spoil(s.stat(p).Meta)
		check("Stat", p)
		m := meta()
		updated, err := s.b.Update(s.ctx, storage.Info{Path: p, Meta: m}, storage.Cond{})
		if err != nil {
			s.Fatal(err)
		}
		spoil(m)
		check("Update", p)
		spoil(updated.Meta)
		check("Update's answer", p)
	}
	for _, p := range []storage.Path{in(), in("c")} {
		for _, in := range s.list(p, storage.Query{Meta: true}) {
			if !sameMeta(in.Meta, meta()) {
				s.Errorf("listed with Meta %v, want %v", in.Meta, meta())
			}
			spoil(in.Meta)
			check("List", in.Path)
		}
	}
	r, opened, err := s.b.Open(s.ctx, in("c", "o"), storage.All)
	if err != nil {
		s.Fatal(err)
	}
	r.Close()
	if !sameMeta(opened.Meta, meta()) {
		s.Errorf("opened with Meta %v, want %v", opened.Meta, meta())
	}
	spoil(opened.Meta)
	check("Open", in("c", "o"))
}

// equalInfo compares all but the spelling of times and of no Meta.
func equalInfo(a, b storage.Info) bool {
	return a.Path == b.Path && a.Version == b.Version &&
		a.Size == b.Size && a.Objects == b.Objects && a.Containers == b.Containers &&
		a.ETag == b.ETag && a.Type == b.Type && a.Subdir == b.Subdir && sameMeta(a.Meta, b.Meta) &&
		a.Created.Equal(b.Created) && a.ModTime.Equal(b.ModTime) && a.DeleteAt.Equal(b.DeleteAt)
}
