package storagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/storage"
)

// testTotals lets sixteen writers change the same few names in every way, and
// then counts.
func (s *suite) testTotals() {
	containers := []string{"a", "b", "c"}
	s.container(in())
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for range 60 {
				p := in(containers[r.IntN(len(containers))], fmt.Sprint(r.IntN(8)))
				if err := s.randomChange(r, p, in(containers[r.IntN(len(containers))], fmt.Sprint(r.IntN(8)))); err != nil {
					s.Errorf("a change of %q: %v", p, err)
				}
			}
		})
	}
	all.Wait()
	s.wantTotals(in())
	for _, c := range s.list(in(), storage.Query{}) {
		for _, o := range s.list(c.Path, storage.Query{}) {
			s.read(o.Path)
			s.remove(o.Path)
		}
		s.wantUsage(c.Path, 0, 0, 0)
		s.remove(c.Path)
	}
	s.wantUsage(in(), 0, 0, 0)
}

// randomChange makes one of the changes that can be made to p, and returns the
// errors that must not be.
func (s *suite) randomChange(r *rand.Rand, p, other storage.Path) error {
	var err error
	switch r.IntN(8) {
	case 0, 1, 2:
		size := []int{0, 1, 1000, 20_000, 70_000}[r.IntN(5)]
		_, err = write(s.ctx, s.b, storage.Info{Path: p}, content(r.Uint64(), size), storage.Cond{})
	case 3:
		err = s.b.Remove(s.ctx, p, storage.Cond{})
	case 4:
		_, err = s.b.Update(s.ctx, storage.Info{Path: p, Meta: storage.Meta{"A": "1"}}, storage.Cond{})
	case 5:
		err = s.b.Remove(s.ctx, p.Parent(), storage.Cond{})
	case 6:
		if c, ok := s.b.(storage.Copier); ok {
			_, err = c.Copy(s.ctx, storage.Info{Path: other}, storage.Info{Path: p}, storage.Cond{})
		}
	case 7:
		if m, ok := s.b.(storage.Mover); ok {
			_, err = m.Move(s.ctx, other, p, storage.Cond{})
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		_, err = s.b.Make(s.ctx, p.Parent(), nil)
	}
	if isAny(err, storage.ErrNotEmpty, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (s *suite) testConditions() {
	s.container(in("c"))
	p := in("c", "o")
	put := func(c storage.Cond) error {
		_, err := write(s.ctx, s.b, storage.Info{Path: p}, []byte("new"), c)
		return err
	}
	// Over nothing.
	s.wantErr("put over a version of nothing", put(storage.Cond{Version: 1}), storage.ErrPrecondition)
	if err := s.b.Remove(s.ctx, p, storage.Cond{Version: 1}); !isAny(err, fs.ErrNotExist, storage.ErrPrecondition) {
		s.Errorf("Remove of a version of nothing: error %v", err)
	}
	if _, err := s.b.Update(s.ctx, storage.Info{Path: p}, storage.Cond{Version: 1}); !isAny(err, fs.ErrNotExist, storage.ErrPrecondition) {
		s.Errorf("Update of a version of nothing: error %v", err)
	}
	s.wantNames(in("c"), nil)
	if err := put(storage.Cond{Absent: true}); err != nil {
		s.Fatalf("put where nothing was: %v", err)
	}

	// Over something.
	old := s.put(p, []byte("old"))
	s.wantErr("put of what is there", put(storage.Cond{Absent: true}), storage.ErrPrecondition)
	s.wantErr("put over another version", put(storage.Cond{Version: old.Version + 1}), storage.ErrPrecondition)
	s.wantErr("put over an older version", put(storage.Cond{Version: old.Version - 1}), storage.ErrPrecondition)
	s.wantErr("Remove of another version", s.b.Remove(s.ctx, p, storage.Cond{Version: old.Version + 1}), storage.ErrPrecondition)
	_, err := s.b.Update(s.ctx, storage.Info{Path: p, Meta: storage.Meta{"A": "1"}}, storage.Cond{Version: old.Version + 1})
	s.wantErr("Update of another version", err, storage.ErrPrecondition)
	if got := s.wantObject(p, []byte("old")); !equalInfo(got, old) {
		s.Errorf("refused changes made %+v of %+v", got, old)
	}
	updated, err := s.b.Update(s.ctx, storage.Info{Path: p}, storage.Cond{Version: old.Version})
	if err != nil {
		s.Fatalf("Update of this version: %v", err)
	}
	s.wantErr("put over the version of before an update", put(storage.Cond{Version: old.Version}), storage.ErrPrecondition)
	if err := put(storage.Cond{Version: updated.Version}); err != nil {
		s.Fatalf("put over this version: %v", err)
	}
	if err := s.b.Remove(s.ctx, p, storage.Cond{Version: s.stat(p).Version}); err != nil {
		s.Fatalf("Remove of this version: %v", err)
	}
	if err := put(storage.Cond{Absent: true}); err != nil {
		s.Fatalf("put where something was: %v", err)
	}

	// Judged at Commit, not at Create.
	s.remove(p)
	w, err := s.b.Create(s.ctx, storage.Info{Path: p})
	if err != nil {
		s.Fatal(err)
	}
	defer w.Close()
	s.put(p, []byte("first"))
	_, err = w.Commit(s.ctx, storage.Info{ETag: etag(nil)}, storage.Cond{Absent: true})
	s.wantErr("Commit where something has come since Create", err, storage.ErrPrecondition)
	s.wantObject(p, []byte("first"))

	// Of containers and accounts.
	s.container(in("empty"))
	for _, p := range []storage.Path{in("empty"), in()} {
		version := s.stat(p).Version
		_, err := s.b.Update(s.ctx, storage.Info{Path: p, Meta: storage.Meta{"A": "1"}}, storage.Cond{Version: version + 1})
		s.wantErr("Update of another version of "+p.String(), err, storage.ErrPrecondition)
		if got := s.stat(p); len(got.Meta) != 0 || got.Version != version {
			s.Errorf("a refused update made %+v", got)
		}
		if _, err := s.b.Update(s.ctx, storage.Info{Path: p}, storage.Cond{Version: version}); err != nil {
			s.Errorf("Update of this version of %q: %v", p, err)
		}
	}
	s.wantErr("Remove of another version of a container",
		s.b.Remove(s.ctx, in("empty"), storage.Cond{Version: s.stat(in("empty")).Version + 1}), storage.ErrPrecondition)
	if err := s.b.Remove(s.ctx, in("empty"), storage.Cond{Version: s.stat(in("empty")).Version}); err != nil {
		s.Errorf("Remove of this version of a container: %v", err)
	}
}

// testRaces has many ask for what only one can have.
func (s *suite) testRaces() {
	s.container(in("c"))
	const runners = 16
	race := func(what string, change func(i int) error, losing ...error) {
		s.Helper()
		var all sync.WaitGroup
		var won atomic.Int32
		start := make(chan struct{})
		for i := range runners {
			all.Go(func() {
				<-start
				if err := change(i); err == nil {
					won.Add(1)
				} else if !isAny(err, losing...) {
					s.Errorf("%s: a loser's error is %v", what, err)
				}
			})
		}
		close(start)
		if all.Wait(); won.Load() != 1 {
			s.Errorf("%s: %d of %d won", what, won.Load(), runners)
		}
	}
	for round := range 10 {
		p := in("c", fmt.Sprint(round))
		race("put if absent", func(i int) error {
			_, err := write(s.ctx, s.b, storage.Info{Path: p}, content(uint64(i), 10+20_000*(round%2)), storage.Cond{Absent: true})
			return err
		}, storage.ErrPrecondition)
		version := s.stat(p).Version
		race("put over a version", func(i int) error {
			_, err := write(s.ctx, s.b, storage.Info{Path: p}, content(uint64(i), 10), storage.Cond{Version: version})
			return err
		}, storage.ErrPrecondition)
		version = s.stat(p).Version
		race("update of a version", func(i int) error {
			_, err := s.b.Update(s.ctx, storage.Info{Path: p, Meta: storage.Meta{"I": fmt.Sprint(i)}}, storage.Cond{Version: version})
			return err
		}, storage.ErrPrecondition)
		race("removal", func(int) error { return s.b.Remove(s.ctx, p, storage.Cond{}) }, fs.ErrNotExist)
		race("making", func(int) error {
			created, err := s.b.Make(s.ctx, in(fmt.Sprint("new", round)), nil)
			if err == nil && !created {
				err = fs.ErrExist
			}
			return err
		}, fs.ErrExist)
	}
	s.wantTotals(in())

	// An object cannot slip into a container as it goes.
	for round := range 20 {
		p := in(fmt.Sprint("going", round), "o")
		s.container(p)
		var put, gone error
		var both sync.WaitGroup
		both.Go(func() { _, put = write(s.ctx, s.b, storage.Info{Path: p}, nil, storage.Cond{}) })
		both.Go(func() { gone = s.b.Remove(s.ctx, p.Parent(), storage.Cond{}) })
		both.Wait()
		switch {
		case put == nil && errors.Is(gone, storage.ErrNotEmpty):
			s.wantObject(p, nil)
		case gone == nil && errors.Is(put, fs.ErrNotExist):
			_, err := s.b.Stat(s.ctx, p)
			s.wantErr("Stat in a container that is gone", err, fs.ErrNotExist)
		default:
			s.Errorf("a put and the container's removal: %v and %v", put, gone)
		}
	}
	s.wantTotals(in())
}

func (s *suite) testQuota() {
	s.container(in("c"))
	s.container(in("d"))
	put := func(p storage.Path, size int, q storage.Quota) error {
		_, err := write(s.ctx, s.b, storage.Info{Path: p}, content(1, size), storage.Cond{Quota: &q})
		return err
	}
	none := storage.Quota{ContainerBytes: -1, ContainerObjects: -1, AccountBytes: -1}
	bytes := func(n int64) storage.Quota { q := none; q.ContainerBytes = n; return q }
	objects := func(n int64) storage.Quota { q := none; q.ContainerObjects = n; return q }
	account := func(n int64) storage.Quota { q := none; q.AccountBytes = n; return q }
	steps := []struct {
		what  string
		path  storage.Path
		size  int
		quota storage.Quota
		want  error
	}{
		{"no bounds", in("c", "a"), 100, none, nil},
		{"one byte too many", in("c", "b"), 51, bytes(150), storage.ErrQuota},
		{"full to the byte", in("c", "b"), 50, bytes(150), nil},
		{"nothing into a full container", in("c", "empty"), 0, bytes(150), nil},
		{"one object too many", in("c", "d"), 0, objects(3), storage.ErrQuota},
		{"an object more is allowed", in("c", "d"), 0, objects(4), nil},
		{"overwriting is no object more", in("c", "d"), 10, objects(4), nil},
		{"the same size over a bound", in("c", "a"), 100, bytes(10), nil},
		{"less, still over the bound", in("c", "a"), 90, bytes(10), nil},
		{"more, over the bound", in("c", "a"), 91, bytes(10), storage.ErrQuota},
		{"no bytes allowed at all", in("d", "a"), 1, bytes(0), storage.ErrQuota},
		{"no objects allowed at all", in("d", "a"), 0, objects(0), storage.ErrQuota},
		{"the account counts all containers", in("d", "a"), 51, account(200), storage.ErrQuota},
		{"the account full to the byte", in("d", "a"), 50, account(200), nil},
		{"the account over", in("c", "new"), 1, account(200), storage.ErrQuota},
		{"the account shrinks", in("c", "a"), 0, account(0), nil},
	}
	for _, step := range steps {
		err := put(step.path, step.size, step.quota)
		if step.want == nil && err != nil || step.want != nil && !errors.Is(err, step.want) {
			s.Errorf("%s: error %v, want %v", step.what, err, step.want)
		}
		s.wantTotals(in())
	}
	s.wantUsage(in("c"), 0, 4, 60)
	s.wantUsage(in("d"), 0, 1, 50)

	// Nor do updates and removals meet a bound.
	zero := storage.Quota{}
	if _, err := s.b.Update(s.ctx, storage.Info{Path: in("c", "a")}, storage.Cond{Quota: &zero}); err != nil {
		s.Errorf("Update over quota: %v", err)
	}
	if err := s.b.Remove(s.ctx, in("c", "a"), storage.Cond{Quota: &zero}); err != nil {
		s.Errorf("Remove over quota: %v", err)
	}

	// Many at once never go beyond, and fill what there is.
	s.container(in("full"))
	limit := none
	limit.ContainerObjects, limit.ContainerBytes = 10, 25_000
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 4 {
				if err := put(in("full", fmt.Sprint(g, "-", i)), 2000, limit); err != nil && !errors.Is(err, storage.ErrQuota) {
					s.Errorf("put within or beyond quota: %v", err)
				}
			}
		})
	}
	all.Wait()
	s.wantUsage(in("full"), 0, 10, 20_000)
	s.wantTotals(in())
}
