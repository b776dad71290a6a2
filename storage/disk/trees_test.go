package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/storage"
)

// plant puts so many objects under a prefix, some of which expire, and returns
// their names behind it.
func plant(t testing.TB, b *Backend, prefix string, n int) (names []string) {
	t.Helper()
	err := b.submit(t.Context(), n*128, func(t *tx) error {
		for i := range n {
			name := fmt.Sprintf("%06d", i)
			names = append(names, name)
			s, err := t.slot(path(prefix+name), 0, storage.Cond{})
			if err != nil {
				return err
			}
			r := &row{etag: "d41d8cd98f00b204e9800998ecf8427e", typ: "text/plain", meta: storage.Meta{"N": name}}
			if i%10 == 3 {
				r.expires, r.deleteAt = true, 4_000_000_000+int64(i)
			}
			t.put(s, r, storage.Info{ModTime: time.Unix(int64(i), 0)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantTree checks that all of a tree is at one place, and nothing at the other.
func wantTree(t testing.TB, b *Backend, names []string, at, gone storage.Path) {
	t.Helper()
	for _, p := range []storage.Path{at, gone} {
		for _, reverse := range []bool{false, true} {
			want := slices.Clone(names)
			if p == gone {
				want = nil
			} else if reverse {
				slices.Reverse(want)
			}
			var got []string
			for in, err := range b.List(t.Context(), p.Parent(), storage.Query{Prefix: p.Object, Reverse: reverse}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, in.Path.Object[len(p.Object):])
			}
			if !slices.Equal(got, want) {
				t.Fatalf("at %s (reverse: %v) are %d objects, want %d", p, reverse, len(got), len(want))
			}
		}
	}
	one := at
	one.Object += names[len(names)/2]
	if _, err := b.Stat(t.Context(), one); err != nil {
		t.Errorf("Stat where it is: %v", err)
	}
	one = gone
	one.Object += names[len(names)/2]
	if _, err := b.Stat(t.Context(), one); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat where it is not: %v", err)
	}
}

func makeContainer(t testing.TB, b *Backend, name string) storage.Path {
	t.Helper()
	p := storage.Path{Account: path().Account, Container: name}
	if _, err := b.Make(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMoveLargeTree: one that takes many turns moves as a small one does.
func TestMoveLargeTree(t *testing.T) {
	n := 2*moveAtOnce + 1
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	to := makeContainer(t, b, "d")
	to.Object = "there/"
	names := plant(t, b, "a/", n)
	plant(t, b, "a0", 3)
	before, err := b.Stat(t.Context(), path("a/000013"))
	if err != nil {
		t.Fatal(err)
	}
	if moved, err := b.MoveTree(t.Context(), path("a/"), to); moved != int64(n) || err != nil {
		t.Fatalf("MoveTree = %d, %v", moved, err)
	}
	wantTree(t, b, names, to, path("a/"))
	to.Object += "000013"
	after, err := b.Stat(t.Context(), to)
	if err != nil || after.Version <= before.Version {
		t.Errorf("it was of version %d, and is of %d, %v", before.Version, after.Version, err)
	}
	before.Path, before.Version = after.Path, after.Version
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("%+v became %+v", before, after)
	}
	for container, want := range map[string]int64{"c": 3, "d": int64(n)} {
		if in, err := b.Stat(t.Context(), storage.Path{Account: to.Account, Container: container}); in.Objects != want || err != nil {
			t.Errorf("%s has %d objects, %v; want %d", container, in.Objects, err, want)
		}
	}
	put(t, b, path("a/new"), []byte("x"))
	if _, err := b.MoveTree(t.Context(), to, path("a/")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("MoveTree to where something is: %v", err)
	}
	gone, err := b.Expire(t.Context(), time.Unix(4_000_000_023, 0), 10)
	if err != nil || len(gone) != 3 || !strings.HasPrefix(gone[0].Object, "there/") {
		t.Errorf("Expire = %v, %v", gone, err)
	}
	b.Close()
	if r := wantClean(t, dir); r.Leftovers != 0 {
		t.Errorf("%d leftovers", r.Leftovers)
	}
}

// under has a tree half relocated, calls f, and then ends that as told.
func under(t testing.TB, b *Backend, from, to storage.Path, f func(m *relocation), arrive bool) error {
	t.Helper()
	m := new(relocation)
	var carried moved
	err := b.await(&change{ctx: t.Context(), alone: true, apply: func(t *tx) error { return t.depart(m, from, to) }})
	if err != nil {
		t.Fatal(err)
	}
	if carried, err = b.carry(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f(m)
	if !arrive {
		b.turnBack(m)
		return nil
	}
	return b.await(&change{ctx: t.Context(), alone: true, apply: func(t *tx) error { return t.arrive(m, from, to, carried) }})
}

// wantParked returns when so many changes wait.
func wantParked(t testing.TB, b *Backend, n int) {
	t.Helper()
	for parked := 0; parked < n; runtime.Gosched() {
		if err := b.submit(t.Context(), 0, func(t *tx) error { parked = len(t.b.parked); return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhileTreeMoves: changes beneath wait, all others do not, and what is read
// is where it was.
func TestWhileTreeMoves(t *testing.T) {
	for _, arrive := range []bool{true, false} {
		t.Run(fmt.Sprint(arrive), func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, small(t))
			place(t, b)
			empty := makeContainer(t, b, "e")
			from, to := path("a/"), empty
			to.Object = "z/"
			names := plant(t, b, "a/", 3*relocateAtOnce/2)
			plant(t, b, "a0", 1)
			var waiting sync.WaitGroup
			results := make(map[string]error)
			var mu sync.Mutex
			err := under(t, b, from, to, func(*relocation) {
				wantTree(t, b, names, from, to)
				for name, change := range map[string]func() error{
					"put at the source": func() error {
						_, err := write(context.Background(), b, path("a/000007"), []byte("new"), "")
						return err
					},
					"remove at the source": func() error { return b.Remove(context.Background(), path("a/000008"), storage.Cond{}) },
					"put at the target": func() error {
						_, err := write(context.Background(), b, storage.Path{Account: to.Account, Container: "e", Object: "z/new"}, nil, "")
						return err
					},
					"update at the source": func() error {
						_, err := b.Update(context.Background(), storage.Info{Path: path("a/000009")}, storage.Cond{})
						return err
					},
					"move of a tree within": func() error {
						_, err := b.MoveTree(context.Background(), path("a/0001"), path("y/"))
						return err
					},
					"rename of a container": func() error {
						_, err := b.MoveTree(context.Background(), empty, storage.Path{Account: to.Account, Container: "f"})
						return err
					},
					"remove of a container": func() error { return b.Remove(context.Background(), empty, storage.Cond{}) },
				} {
					waiting.Go(func() {
						err := change()
						mu.Lock()
						defer mu.Unlock()
						results[name] = err
					})
				}
				wantParked(t, b, 7)
				// None of these waits, and expiry takes what it can get.
				put(t, b, path("b"), []byte("x"))
				if err := b.Remove(t.Context(), path("a0000000"), storage.Cond{}); err != nil {
					t.Error(err)
				}
				if gone, err := b.Expire(t.Context(), time.Unix(5_000_000_000, 0), 10); len(gone) != 0 || err != nil {
					t.Errorf("Expire = %v, %v", gone, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(results) > 0 {
					t.Errorf("did not wait: %v", results)
				}
			}, arrive)
			if err != nil {
				t.Fatal(err)
			}
			waiting.Wait()
			if err := results["put at the source"]; err != nil {
				t.Errorf("put at the source: %v", err)
			}
			wantErr := map[bool]error{true: fs.ErrNotExist}[arrive] // as the object is elsewhere
			if err := results["update at the source"]; !errors.Is(err, wantErr) {
				t.Errorf("update at the source: %v, want %v", err, wantErr)
			}
			b.Close()
			if r := wantClean(t, dir); r.Leftovers != 0 {
				t.Errorf("%d leftovers", r.Leftovers)
			}
		})
	}
}

// TestTreeUndone: a store that ends while a tree moves has it where it was, and
// so has a snapshot of that moment.
func TestTreeUndone(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "b")
	b := open(t, dir, small(t))
	place(t, b)
	names := plant(t, b, "a/", 5000)
	from, to := path("a/"), path("z/")
	var late sync.WaitGroup
	var lateErr error
	under(t, b, from, to, func(*relocation) {
		s, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if r := wantClean(t, s.Dir); r.Leftovers != 1 || r.Objects != 5000 {
			t.Errorf("check of a snapshot: %+v", r)
		}
		if err := Backup(t.Context(), s.Dir, backup, nil); err != nil {
			t.Fatal(err)
		}
		late.Go(func() { _, lateErr = write(context.Background(), b, path("a/late"), nil, "") })
		wantParked(t, b, 1)
		b.Close()
	}, false)
	late.Wait()
	if !errors.Is(lateErr, storage.ErrUnavailable) {
		t.Errorf("who waited when the store closed: %v, want ErrUnavailable", lateErr)
	}
	for _, dir := range []string{dir, backup} {
		if r := wantClean(t, dir); r.Leftovers != 1 || r.Objects != 5000 {
			t.Errorf("check: %+v", r)
		}
		b := open(t, dir, small(t))
		wantTree(t, b, names, from, to)
		if n, err := b.MoveTree(t.Context(), from, to); n != 5000 || err != nil {
			t.Fatalf("MoveTree = %d, %v", n, err)
		}
		wantTree(t, b, names, to, from)
		b.Close()
		if r := wantClean(t, dir); r.Leftovers != 0 {
			t.Errorf("%d leftovers", r.Leftovers)
		}
	}
}

// TestNoRoomForTree: a large move for which there is no room is undone.
func TestNoRoomForTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that the disk is not asked again meanwhile
		b := open(t, t.TempDir(), small(t))
		place(t, b)
		names := plant(t, b, "a/", moveAtOnce+1)
		b.space.mu.Lock()
		b.space.asked, b.space.since, b.space.free = time.Now(), 0, b.space.reserve+100_000
		b.space.mu.Unlock()
		if _, err := b.MoveTree(t.Context(), path("a/"), path("z/")); !errors.Is(err, storage.ErrNoSpace) {
			t.Errorf("MoveTree: %v, want ErrNoSpace", err)
		}
		wantTree(t, b, names, path("a/"), path("z/"))
		put(t, b, path("z/free"), nil) // nothing waits for it
		b.Close()
	})
}

// TestMovedJournal: each object that moved is told of twice, from any version
// on, as far back as the journal reaches.
func TestMovedJournal(t *testing.T) {
	for _, large := range []bool{false, true} {
		t.Run(fmt.Sprint(large), func(t *testing.T) {
			o := small(t)
			if large {
				o.JournalKeep = 1000
			}
			b := open(t, t.TempDir(), o)
			place(t, b)
			n := 2500
			if large {
				n = moveAtOnce + 10
			}
			names := plant(t, b, "a/", n)
			begin := b.state.version
			if _, err := b.MoveTree(t.Context(), path("a/"), path("z/")); err != nil {
				t.Fatal(err)
			}
			end := put(t, b, path("z/end"), nil).Version
			if large {
				begin = end - 1001
			}
			for _, after := range []uint64{begin, begin + 1, begin + 2, end - 3, end - 2, end - 1} {
				next := after
				for c, err := range b.Changes(t.Context(), after) {
					if err != nil {
						t.Fatalf("Changes(%d): %v", after, err)
					}
					next++
					if c.Version != next {
						t.Fatalf("after version %d comes %d", next-1, c.Version)
					}
					want := storage.Change{Op: storage.OpPut, Path: path("z/end")}
					if back := end - c.Version; back > 0 {
						name := names[n-1-int(back-1)/2]
						want = storage.Change{Op: storage.OpPut, Path: path("z/" + name)}
						if back%2 == 0 {
							want = storage.Change{Op: storage.OpRemove, Path: path("a/" + name)}
						}
					}
					if c.Op != want.Op || c.Path != want.Path || time.Since(c.Time).Abs() > time.Minute {
						t.Fatalf("change %d of %d is %+v, want %+v", c.Version, end, c, want)
					}
				}
				if next != end {
					t.Errorf("Changes(%d) ends with %d, want %d", after, next, end)
				}
			}
			for _, err := range b.Changes(t.Context(), 0) {
				if large != errors.Is(err, storage.ErrGap) {
					t.Errorf("Changes(0): %v", err)
				}
				break
			}
			if in, err := b.Stat(t.Context(), path("z/"+names[0])); err != nil || !large && in.Version != begin+2 {
				t.Errorf("the first that moved is of version %d, %v, want %d", in.Version, err, begin+2)
			}
		})
	}
}

// TestExpiryInRenamedContainer: the entry of an object names a container that
// is another by now, or none.
func TestExpiryInRenamedContainer(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	plant(t, b, "a/", 14)
	moved := storage.Path{Account: path().Account, Container: "moved"}
	if n, err := b.MoveTree(t.Context(), path(), moved); n != 14 || err != nil {
		t.Fatal(n, err)
	}
	b.Close()
	wantClean(t, dir)
	b = open(t, dir, small(t))
	makeContainer(t, b, "c")
	if n := len(plant(t, b, "a/", 4)); n != 4 { // one of which expires likewise
		t.Fatal(n)
	}
	gone, err := b.Expire(t.Context(), time.Unix(5_000_000_000, 0), 10)
	if err != nil || len(gone) != 3 {
		t.Fatalf("Expire = %v, %v", gone, err)
	}
	for container, want := range map[string]int64{"c": 3, "moved": 12} {
		if in, err := b.Stat(t.Context(), storage.Path{Account: moved.Account, Container: container}); in.Objects != want || err != nil {
			t.Errorf("%s has %d objects, %v; want %d", container, in.Objects, err, want)
		}
	}
	b.Close()
	wantClean(t, dir)
}

// BenchmarkMoveTree is also told how long others wait for it at most.
func BenchmarkMoveTree(b *testing.B) {
	for _, n := range []int{1000, 20_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := benchStore(b, Options{})
			err := s.submit(b.Context(), n*128, func(t *tx) error {
				for i := range n {
					slot, err := t.slot(storage.Path{Account: "a", Container: "c", Object: fmt.Sprintf("x/dir%03d/object%08d", i%1000, i)}, 0, storage.Cond{})
					if err != nil {
						return err
					}
					t.put(slot, &row{etag: "d41d8cd98f00b204e9800998ecf8427e", typ: "application/octet-stream"}, storage.Info{})
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			stop, longest := make(chan struct{}), time.Duration(0)
			var other sync.WaitGroup
			other.Go(func() {
				for i := int64(0); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					begin := time.Now()
					if _, err := write(context.Background(), s, object(i%100), []byte("x"), ""); err != nil {
						b.Error(err)
						return
					}
					longest = max(longest, time.Since(begin))
				}
			})
			from, to := storage.Path{Account: "a", Container: "c", Object: "x/"}, storage.Path{Account: "a", Container: "c", Object: "y/z/"}
			for b.Loop() {
				if moved, err := s.MoveTree(b.Context(), from, to); moved != int64(n) || err != nil {
					b.Fatal(moved, err)
				}
				from, to = to, from
			}
			close(stop)
			other.Wait()
			b.ReportMetric(float64(longest.Milliseconds()), "ms-others-wait")
		})
	}
}
