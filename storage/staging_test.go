package storage_test

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

func random(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return b
}

func md5Of(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func stage(t *testing.T, s *storage.Store, key string) *storage.Staging {
	t.Helper()
	u, err := s.Stage(t.Context(), storage.Info{Path: object, Size: -1}, key, storage.Cond{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func writeAt(t *testing.T, u *storage.Staging, b []byte, off int64) {
	t.Helper()
	if n, err := u.WriteAt(b, off); n != len(b) || err != nil {
		t.Fatalf("WriteAt of %d bytes at %d = %d, %v", len(b), off, n, err)
	}
}

// wantCommit commits, and holds what appears against want.
func wantCommit(t *testing.T, s *storage.Store, u *storage.Staging, want []byte) storage.Info {
	t.Helper()
	in, err := u.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.ETag != md5Of(want) || in.Size != int64(len(want)) {
		t.Fatalf("committed %d bytes with ETag %s, want %d with %s", in.Size, in.ETag, len(want), md5Of(want))
	}
	if got := read(t, s, object); got != string(want) {
		t.Fatalf("what was committed differs from what was written")
	}
	return in
}

func TestStagingTakesBytesInAnyOrder(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		var told []storage.Change
		s.Watch(func(c storage.Change) { told = append(told, c) })
		for _, size := range []int{0, 1, 100_000, 256 << 10, 5<<20 + 3} {
			want := random(size)
			const piece = 32 << 10
			for name, shuffle := range map[string]bool{"in order": false, "shuffled": true} {
				offsets := []int{}
				for off := 0; off < size; off += piece {
					offsets = append(offsets, off)
				}
				if shuffle {
					rand.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
				}
				u := stage(t, s, "")
				next := make(chan int, len(offsets))
				for _, off := range offsets {
					next <- off
				}
				close(next)
				var writers sync.WaitGroup
				for range 8 {
					writers.Go(func() {
						for off := range next {
							if _, err := u.WriteAt(want[off:min(off+piece, size)], int64(off)); err != nil {
								t.Error(err)
							}
						}
					})
				}
				writers.Wait()
				if !u.Whole() {
					t.Errorf("%d bytes written %s are not whole", size, name)
				}
				if in := wantCommit(t, s, u, want); in.Type != "image/jpeg" {
					t.Errorf("the type of a .jpg is %q", in.Type)
				}
			}
		}
		if len(told) != 10 || told[9].Op != storage.OpPut || told[9].Path != object {
			t.Errorf("ten commits were told as %d changes, the last %+v", len(told), told[len(told)-1])
		}
	})
}

func TestStagingMayBeChangedUntilTheCommit(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		want := random(3 << 20)
		u := stage(t, s, "")
		writeAt(t, u, want, 0)
		// The hash has passed these.
		copy(want, "rewritten")
		writeAt(t, u, []byte("rewritten"), 0)
		copy(want[2<<20:], "again")
		writeAt(t, u, []byte("again"), 2<<20)
		got := make([]byte, 9)
		if n, err := u.ReadAt(got, 0); n != 9 || err != nil || string(got) != "rewritten" {
			t.Errorf("ReadAt = %d, %v, %q", n, err, got)
		}
		if err := u.Truncate(2<<20 + 2); err != nil {
			t.Fatal(err)
		}
		want = append(want[:2<<20+2], make([]byte, 1000)...)
		if err := u.Truncate(int64(len(want))); err != nil {
			t.Fatal(err)
		}
		if u.Whole() {
			t.Error("a stage made longer by Truncate says that all was written")
		}
		wantCommit(t, s, u, want)

		// Begun anew by Truncate, it begins anew in everything.
		u = stage(t, s, "")
		writeAt(t, u, want, 0)
		if err := u.Truncate(0); err != nil {
			t.Fatal(err)
		}
		writeAt(t, u, []byte("short"), 0)
		wantCommit(t, s, u, []byte("short"))
	})
}

func TestStagingRandomly(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		for seed := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, 1))
			var want []byte
			u := stage(t, s, "")
			for range 40 {
				if r.IntN(6) == 0 {
					size := r.IntN(2 << 20)
					if err := u.Truncate(int64(size)); err != nil {
						t.Fatal(err)
					}
					want = append(want, make([]byte, max(size-len(want), 0))...)[:size]
					continue
				}
				off, n := r.IntN(2<<20), r.IntN(400<<10)
				part := random(n)
				writeAt(t, u, part, int64(off))
				if n > 0 {
					want = append(want, make([]byte, max(off+n-len(want), 0))...)
					copy(want[off:], part)
				}
			}
			wantCommit(t, s, u, want)
		}
	})
}

func TestStagingRefuses(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		u := stage(t, s, "")
		for _, off := range []int64{-1, 2 << 30, 1 << 62, 1<<63 - 1} {
			if n, err := u.WriteAt([]byte("xx"), off); n != 0 || err == nil {
				t.Errorf("WriteAt(%d) = %d, %v", off, n, err)
			}
		}
		want(t, u.Truncate(1<<62), storage.ErrTooLarge)
		if err := u.Truncate(-1); err == nil {
			t.Error("Truncate(-1) did not fail")
		}
		_, err := s.Stage(t.Context(), storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: "none", Object: "o"}}, "", storage.Cond{})
		want(t, err, fs.ErrNotExist)
		_, err = s.Stage(t.Context(), storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: "pics", Object: "\xff"}}, "", storage.Cond{})
		want(t, err, fs.ErrInvalid)
		u.Info.ETag = md5Of([]byte("other"))
		writeAt(t, u, []byte("bytes"), 0)
		_, err = u.Commit(t.Context())
		want(t, err, storage.ErrChecksum)
		u.Info.ETag, u.Info.Meta = "", storage.Meta{"X-Object-Meta-": "x"}
		_, err = u.Commit(t.Context())
		want(t, err, fs.ErrInvalid)
		u.Info.Meta = nil
		wantCommit(t, s, u, []byte("bytes"))
		_, err = u.WriteAt([]byte("x"), 0)
		want(t, err, fs.ErrClosed)

		_, err = s.Stage(t.Context(), storage.Info{Path: object}, "", storage.Cond{Absent: true})
		want(t, err, storage.ErrPrecondition)
		late, err := s.Stage(t.Context(), storage.Info{Path: storage.Path{Account: "AUTH_ann", Container: "pics", Object: "late"}}, "", storage.Cond{Absent: true})
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		mustPut(t, s, late.Info.Path, "first")
		_, err = late.Commit(t.Context())
		want(t, err, storage.ErrPrecondition)
	})
}

func TestStagingGrowsWithinTheQuota(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		if err := s.Merge(t.Context(), container, storage.Meta{storage.MetaContainerQuotaBytes: "100"}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, object, strings.Repeat("o", 30))
		other := storage.Path{Account: "AUTH_ann", Container: "pics", Object: "other"}
		mustPut(t, s, other, strings.Repeat("o", 40))
		u := stage(t, s, "") // 60 bytes may be in place of the 30
		writeAt(t, u, make([]byte, 60), 0)
		_, err := u.WriteAt([]byte("x"), 60)
		want(t, err, storage.ErrQuota)
		want(t, u.Truncate(61), storage.ErrQuota)
		if err := s.Remove(t.Context(), other, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		writeAt(t, u, make([]byte, 40), 60)
		used, most, err := s.Usage(t.Context(), container)
		if used != 30 || most != 100 || err != nil {
			t.Errorf("Usage = %d, %d, %v, want 30 of 100", used, most, err)
		}
		mustPut(t, s, other, "o")
		_, err = u.Commit(t.Context())
		want(t, err, storage.ErrQuota)
	})
}

func TestStagingIsKeptWithinTheQuota(t *testing.T) {
	s := newStore(t, memory.New())
	if err := s.Merge(t.Context(), container, storage.Meta{storage.MetaContainerQuotaBytes: "100"}); err != nil {
		t.Fatal(err)
	}
	keep := func(key string, size int) error {
		u := stage(t, s, key)
		writeAt(t, u, make([]byte, size), 0)
		return u.Keep()
	}
	for key, size := range map[string]int{"a": 60, "b": 40} {
		if err := keep(key, size); err != nil {
			t.Fatal(err)
		}
	}
	want(t, keep("c", 1), storage.ErrQuota)
	if err := keep("a", 60); err != nil { // what was kept before may be kept again
		t.Fatal(err)
	}
}

func TestStagingIsKeptWithItsHash(t *testing.T) {
	b := &storagetest.Faulty{Backend: memory.New()}
	s := newStore(t, b)
	data := random(6 << 20)
	const cut = 4<<20 + 12345
	u := stage(t, s, "key")
	if u.Resumed() {
		t.Error("a new stage says that it was kept")
	}
	u.SetNote([]byte("mine"))
	writeAt(t, u, data[:cut], 0)
	writeAt(t, u, data[cut+1000:], cut+1000) // behind a gap, so it cannot be told of as having come
	if err := u.Keep(); err != nil {
		t.Fatal(err)
	}
	for k, err := range s.Staged(t.Context(), "") {
		if err != nil || k.Key != "key" || k.Size != cut || string(k.Note) != "mine" || k.Open {
			t.Errorf("kept as %+v, %v", k, err)
		}
	}
	before := b.Calls(storagetest.ReadAt)
	u = stage(t, s, "key")
	if !u.Resumed() || string(u.Note()) != "mine" || u.Size() != cut {
		t.Errorf("resumed %v, with note %q and %d bytes", u.Resumed(), u.Note(), u.Size())
	}
	writeAt(t, u, data[cut:], cut)
	wantCommit(t, s, u, data)
	if again := b.Calls(storagetest.ReadAt) - before; again > int64(len(data)-cut)+512<<10 {
		t.Errorf("%d bytes were read to hash %d more", again, len(data)-cut)
	}

	// The same goes for appending to what was committed.
	before = b.Calls(storagetest.ReadAt)
	u = stage(t, s, "")
	if in, err := u.Load(t.Context(), object); err != nil || in.Size != int64(len(data)) {
		t.Fatalf("Load = %+v, %v", in, err)
	}
	writeAt(t, u, []byte("more"), int64(len(data)))
	wantCommit(t, s, u, append(slices.Clone(data), "more"...))
	if again := b.Calls(storagetest.ReadAt) - before; again > 512<<10 {
		t.Errorf("%d bytes were read to hash 4 more", again)
	}
	u = stage(t, s, "")
	if _, err := u.Load(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	writeAt(t, u, []byte("less"), 0)
	copy(data, "less")
	wantCommit(t, s, u, append(data, "more"...))
}

func TestStagingSurvivesFaults(t *testing.T) {
	b := &storagetest.Faulty{Backend: memory.New()}
	s := newStore(t, b)
	data := random(2 << 20)
	broken := errors.New("broken")

	// What could not be read to be hashed is read again at the commit.
	b.Inject(storagetest.Fault{On: storagetest.ReadAt, Skip: 300 << 10, Times: 1, Err: broken})
	u := stage(t, s, "key")
	writeAt(t, u, data, 0)
	if _, err := u.Commit(t.Context()); err != nil {
		want(t, err, broken)
		wantCommit(t, s, u, data)
	} else if got := read(t, s, object); got != string(data) {
		t.Error("committed other bytes")
	}

	for _, verb := range []storagetest.Verb{storagetest.Commit, storagetest.Keep} {
		b.Inject(storagetest.Fault{On: verb, Times: 1, Err: broken})
		u := stage(t, s, "key")
		writeAt(t, u, data, 0)
		if verb == storagetest.Commit {
			_, err := u.Commit(t.Context())
			want(t, err, broken)
		} else {
			want(t, u.Keep(), broken)
		}
		if err := u.Keep(); err != nil {
			t.Fatal(err)
		}
		wantCommit(t, s, stage(t, s, "key"), data)
	}
}

func TestStagingIsTakenOverAndSwept(t *testing.T) {
	s := newStore(t, memory.New())
	want(t, s.TakeOver("key"), fs.ErrNotExist)
	u := stage(t, s, "key")
	writeAt(t, u, []byte("half"), 0)
	u.SetNote([]byte("note"))
	_, err := s.Stage(t.Context(), storage.Info{Path: object}, "key", storage.Cond{})
	want(t, err, fs.ErrExist)
	for k, err := range s.Staged(t.Context(), "key") {
		if err != nil || !k.Open || string(k.Note) != "note" {
			t.Errorf("an open stage is told as %+v, %v", k, err)
		}
	}
	if err := s.TakeOver("key"); err != nil {
		t.Fatal(err)
	}
	_, err = u.WriteAt([]byte("x"), 4)
	want(t, err, storage.ErrTakenOver)
	_, err = u.Commit(t.Context())
	want(t, err, storage.ErrTakenOver)
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	u = stage(t, s, "key")
	writeAt(t, u, []byte("done"), 4)
	wantCommit(t, s, u, []byte("halfdone"))

	for _, key := range []string{"a", "b", "open"} {
		u := stage(t, s, key)
		writeAt(t, u, []byte("x"), 0)
		if key != "open" {
			if err := u.Keep(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := s.SweepStaged(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("SweepStaged of what is young = %d, %v", n, err)
	}
	if n, err := s.SweepStaged(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("SweepStaged = %d, %v, want 2", n, err)
	}
}

func TestStagingWithoutThePowerCannotBeKept(t *testing.T) {
	s := newStore(t, plain{memory.New()})
	u := stage(t, s, "key")
	writeAt(t, u, []byte("x"), 0)
	want(t, u.Keep(), errors.ErrUnsupported)
	wantCommit(t, s, u, []byte("x"))
	want(t, s.Forget(t.Context(), "key"), fs.ErrNotExist)
	for k := range s.Staged(t.Context(), "") {
		t.Errorf("%+v is kept", k)
	}
}

func TestMoveTree(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		in := func(container, object string) storage.Path {
			return storage.Path{Account: "AUTH_ann", Container: container, Object: object}
		}
		var want_ []string
		for i := range 1100 {
			p := in("pics", fmt.Sprintf("a/%04d", i))
			mustPut(t, s, p, p.Object)
			want_ = append(want_, fmt.Sprintf("b/%04d", i))
		}
		var told []storage.Change
		s.Watch(func(c storage.Change) { told = append(told, c) })
		heard := func(op storage.Op, p storage.Path) bool { // of the object, or of a tree that it is in
			return slices.ContainsFunc(told, func(c storage.Change) bool {
				return c.Op == op && (c.Path == p || c.Tree && c.Path.Parent() == p.Parent() && strings.HasPrefix(p.Object, c.Path.Object))
			})
		}
		if n, err := s.MoveTree(t.Context(), in("pics", "a/"), in("pics", "b/")); n != 1100 || err != nil {
			t.Fatalf("MoveTree = %d, %v", n, err)
		}
		names := func(c string) (names []string) {
			for e, err := range s.List(t.Context(), in(c, ""), storage.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, e.Path.Object)
			}
			return names
		}
		if got := names("pics"); !slices.Equal(got, want_) {
			t.Errorf("%d objects are at the new place", len(got))
		}
		if len(told) != 2 && len(told) != 2200 || !heard(storage.OpRemove, in("pics", "a/0007")) ||
			!heard(storage.OpPut, in("pics", "b/0007")) || heard(storage.OpPut, in("pics", "a/0007")) {
			t.Errorf("the move of 1100 objects was told as %d changes", len(told))
		}
		if n, err := s.MoveTree(t.Context(), in("pics", ""), in("images", "")); n != 1100 || err != nil {
			t.Fatalf("MoveTree of a container = %d, %v", n, err)
		}
		if got := names("images"); !slices.Equal(got, want_) {
			t.Errorf("%d objects are in the renamed container", len(got))
		}
		for _, c := range []struct {
			from, to storage.Path
			want     error
		}{
			{in("pics", ""), in("x", ""), fs.ErrNotExist},
			{in("images", "none/"), in("images", "x/"), fs.ErrNotExist},
			{in("images", "b/"), in("images", "b/c/"), fs.ErrInvalid},
			{in("images", "b/"), in("images", "b/0007"), fs.ErrInvalid},
			{in("images", "b/"), in("images", strings.Repeat("n", 1021)), fs.ErrInvalid},
			{in("images", "b/"), in("images", ""), fs.ErrInvalid},
		} {
			_, err := s.MoveTree(t.Context(), c.from, c.to)
			want(t, err, c.want)
		}
		if _, err := s.Make(t.Context(), in("small", ""), storage.Meta{storage.MetaContainerQuotaCount: "1099"}); err != nil {
			t.Fatal(err)
		}
		_, err := s.MoveTree(t.Context(), in("images", "b/"), in("small", "b/"))
		want(t, err, storage.ErrQuota)
		mustPut(t, s, in("images", "c/taken"), "x")
		_, err = s.MoveTree(t.Context(), in("images", "b/"), in("images", "c/"))
		want(t, err, fs.ErrExist)
	})
}

func BenchmarkStaging(b *testing.B) {
	data := make([]byte, 32<<10)
	s := storage.New(memory.New())
	if _, err := s.Make(b.Context(), container, nil); err != nil {
		b.Fatal(err)
	}
	const size = 64 << 20
	b.SetBytes(size)
	for b.Loop() {
		u, err := s.Stage(b.Context(), storage.Info{Path: object, Size: -1}, "", storage.Cond{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(io.NewOffsetWriter(u, 0), io.LimitReader(zeros{}, size), data); err != nil {
			b.Fatal(err)
		}
		if _, err := u.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
		u.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
