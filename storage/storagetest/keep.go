package storagetest

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"memstore.dev/memstore/storage"
)

// keepAs is a Keep that puts what is there elsewhere.
func keepAs(p storage.Path) *storage.Keep {
	return &storage.Keep{Old: func(old storage.Info) storage.Info {
		old.Path, old.DeleteAt, old.Meta = p, time.Time{}, storage.Meta{"X-Object-Meta-Was": old.Path.Object}
		return old
	}}
}

// testKeep replaces and removes objects that are to be kept.
func (s *suite) testKeep() {
	s.container(in("c"))
	s.container(in("old"))
	p := in("c", "o")
	large := content(1, 100_000)
	first := s.put(p, large)
	kept := func(name string, was storage.Info, data []byte) {
		s.Helper()
		got := s.wantObject(in("old", name), data)
		if !got.Created.Equal(was.Created) || !got.ModTime.Equal(was.ModTime) || got.Type != was.Type ||
			got.Version == was.Version || got.Meta["X-Object-Meta-Was"] != p.Object || !got.DeleteAt.IsZero() {
			s.Errorf("%+v was kept as %+v", was, got)
		}
	}
	second, err := write(s.ctx, s.b, storage.Info{Path: p, Type: "b"}, []byte("second"), storage.Cond{Keep: keepAs(in("old", "1"))})
	if errors.Is(err, errors.ErrUnsupported) {
		s.Skip("keeps nothing")
	}
	if err != nil {
		s.Fatal(err)
	}
	s.wantObject(p, []byte("second"))
	kept("1", first, large)
	s.wantUsage(in("c"), 0, 1, 6)
	s.wantUsage(in("old"), 0, 1, 100_000)
	s.wantUsage(in(), 2, 2, 100_006)

	// A copy, and a move, take its place as well; what is where it goes makes room.
	s.put(in("c", "other"), []byte("other"))
	copied, err := s.b.(storage.Copier).Copy(s.ctx, storage.Info{Path: in("c", "other")}, storage.Info{Path: p}, storage.Cond{Keep: keepAs(in("old", "2"))})
	if errors.Is(err, errors.ErrUnsupported) {
		return // the rest is about powers that are not there
	}
	if err != nil {
		s.Fatal(err)
	}
	kept("2", second, []byte("second"))
	if _, err := s.b.(storage.Mover).Move(s.ctx, in("old", "1"), p, storage.Cond{Keep: keepAs(in("old", "2"))}); err != nil {
		s.Fatal(err)
	}
	kept("2", copied, []byte("other"))
	s.wantObject(p, large)
	s.wantUsage(in("c"), 0, 2, 100_005)
	s.wantUsage(in("old"), 0, 1, 5)
	s.wantUsage(in(), 2, 3, 100_010)

	s.testKeepRemoved(p)
	s.testKeepRefused(p)
}

// testKeepRemoved removes what is to be kept, with and without a mark.
func (s *suite) testKeepRemoved(p storage.Path) {
	s.putInfo(storage.Info{Path: p, DeleteAt: time.Now().Add(time.Hour).Truncate(time.Second)}, []byte("last"))
	var at time.Time
	c := storage.Cond{Keep: keepAs(in("old", "3"))}
	c.Keep.Mark = func(t time.Time) storage.Info {
		at = t
		return storage.Info{Path: in("old", "mark"), Type: "application/x-deleted", Meta: storage.Meta{"X-Object-Meta-A": "b"}}
	}
	was := s.stat(p)
	if err := s.b.Remove(s.ctx, p, c); err != nil {
		s.Fatal(err)
	}
	s.wantObject(in("old", "3"), []byte("last"))
	mark := s.wantObject(in("old", "mark"), nil)
	if !mark.Created.Equal(at) || !mark.ModTime.Equal(at) || !at.After(was.Created) || mark.Type != "application/x-deleted" || mark.Meta["X-Object-Meta-A"] != "b" {
		s.Errorf("removed at %v, what was of %v, with the mark %+v", at, was.Created, mark)
	}
	s.wantNames(in("c"), []string{"other"})
	s.wantNames(in("old"), []string{"2", "3", "mark"})
	s.wantUsage(in(), 2, 4, 14)

	// What is not there leaves its mark, too, but only where one is asked for.
	before := at
	if err := s.b.Remove(s.ctx, p, c); err != nil || !at.After(before) {
		s.Errorf("removal with a mark of what is not there: %v, at %v after %v", err, at, before)
	}
	s.wantErr("removal of what is not there", s.b.Remove(s.ctx, p, storage.Cond{Keep: keepAs(in("old", "no"))}), fs.ErrNotExist)
	s.wantErr("removal with a mark of what is in no container", s.b.Remove(s.ctx, in("none", "o"), c), fs.ErrNotExist)
	s.wantErr("removal with a mark of another version", s.b.Remove(s.ctx, p, storage.Cond{Version: 1 << 62, Keep: c.Keep}), storage.ErrPrecondition)

	// Old is asked about what expired, and may let go of it.
	s.putInfo(storage.Info{Path: p, DeleteAt: time.Unix(1, 0)}, []byte("due"))
	asked := false
	let := &storage.Keep{Old: func(old storage.Info) storage.Info { asked = old.Expired(time.Now()); return storage.Info{} }}
	if _, err := write(s.ctx, s.b, storage.Info{Path: p}, []byte("new"), storage.Cond{Keep: let}); err != nil || !asked {
		s.Errorf("put over what expired: %v; asked %v", err, asked)
	}
	s.wantUsage(in(), 2, 5, 17)
}

// testKeepRefused has changes refused that would keep something: then nothing
// has changed.
func (s *suite) testKeepRefused(p storage.Path) {
	names := func() []string {
		var list []string
		for _, c := range []string{"c", "old"} {
			for _, entry := range s.list(in(c), storage.Query{}) {
				list = append(list, entry.Path.String())
			}
		}
		return list
	}
	before := names()
	missing := storage.Cond{Keep: keepAs(in("none", "1"))}
	_, err := write(s.ctx, s.b, storage.Info{Path: p}, []byte("never"), missing)
	s.wantErr("put with nowhere to keep what is there", err, storage.ErrNoArchive)
	s.wantErr("removal with nowhere to keep what is there", s.b.Remove(s.ctx, p, missing), storage.ErrNoArchive)
	missing.Keep = &storage.Keep{Mark: func(time.Time) storage.Info { return storage.Info{Path: in("none", "1")} }}
	s.wantErr("removal with nowhere for its mark", s.b.Remove(s.ctx, p, missing), storage.ErrNoArchive)
	_, err = write(s.ctx, s.b, storage.Info{Path: p}, []byte("never"), storage.Cond{Absent: true, Keep: keepAs(in("old", "never"))})
	s.wantErr("put where nothing must be", err, storage.ErrPrecondition)

	// What is kept stays in the account, so an overwrite is growth there.
	full := storage.Cond{Quota: &storage.Quota{ContainerBytes: -1, ContainerObjects: -1, AccountBytes: 18}, Keep: keepAs(in("old", "never"))}
	_, err = write(s.ctx, s.b, storage.Info{Path: p}, []byte("no"), full)
	s.wantErr("put over the quota together with what is kept", err, storage.ErrQuota)
	if after := names(); !slices.Equal(before, after) {
		s.Errorf("after changes that were refused there are %q, want %q", after, before)
	}
	s.wantObject(p, []byte("new"))
}
