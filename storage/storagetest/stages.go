package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// stager returns the power to stage, nil if the backend lacks it.
func (s *suite) stager() storage.Stager {
	st, ok := s.b.(storage.Stager)
	if !ok {
		return nil
	}
	s.container(in("c"))
	g, err := st.Stage(s.ctx, in("c", "probe"), "")
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		s.Fatalf("Stage: %v", err)
	}
	g.Close()
	return st
}

// stage opens a stage that must open, and closes it when the test ends.
func (s *suite) stage(st storage.Stager, p storage.Path, key string) storage.Stage {
	s.Helper()
	g, err := st.Stage(s.ctx, p, key)
	if err != nil {
		s.Fatalf("Stage(%q, %q): %v", p, key, err)
	}
	s.Cleanup(func() { g.Close() })
	return g
}

func (s *suite) writeAt(g storage.Stage, data []byte, off int64) {
	s.Helper()
	if n, err := g.WriteAt(data, off); n != len(data) || err != nil {
		s.Fatalf("WriteAt of %d bytes at %d = %d, %v", len(data), off, n, err)
	}
}

// wantStage checks what a stage holds.
func (s *suite) wantStage(g storage.Stage, want []byte) {
	s.Helper()
	if g.Size() != int64(len(want)) {
		s.Fatalf("Size of a stage = %d, want %d", g.Size(), len(want))
	}
	got := make([]byte, len(want)+1)
	n, err := g.ReadAt(got, 0)
	if n != len(want) || err != io.EOF || !bytes.Equal(got[:n], want) {
		s.Fatalf("a stage reads %s, %v; want %s", brief(got[:n]), err, brief(want))
	}
}

func (s *suite) staged(st storage.Stager, prefix string) (kept []storage.Kept) {
	s.Helper()
	for k, err := range st.Staged(s.ctx, prefix) {
		if err != nil {
			s.Fatalf("Staged(%q): %v", prefix, err)
		}
		kept = append(kept, k)
	}
	return kept
}

func (s *suite) wantStaged(st storage.Stager, prefix string, want ...string) []storage.Kept {
	s.Helper()
	kept, keys := s.staged(st, prefix), []string{}
	for _, k := range kept {
		keys = append(keys, k.Key)
	}
	if !slices.Equal(keys, append([]string{}, want...)) {
		s.Fatalf("Staged(%q) has the keys %q, want %q", prefix, keys, want)
	}
	return kept
}

// testStage writes a stage in every order there is, and makes an object of it.
func (s *suite) testStage() {
	st := s.stager()
	if st == nil {
		return
	}
	for i, size := range []int{0, 1, 100, 16 << 10, 70_000, 3 << 20} {
		want := content(uint64(i), size)
		for name, offsets := range orders(size) {
			p := in("c", name)
			g := s.stage(st, p, "")
			if g.Note() != nil {
				s.Errorf("a new stage has the note %q", g.Note())
			}
			for _, off := range offsets {
				s.writeAt(g, want[off:min(off+piece, size)], int64(off))
			}
			s.wantStage(g, want)
			in := storage.Info{
				Path: p, ETag: etag(want), Type: "image/png", Meta: storage.Meta{"X-Object-Meta-A": "1"},
				DeleteAt: time.Now().Add(time.Hour).Truncate(time.Second), Size: 7,
			}
			got, err := g.Commit(s.ctx, in, storage.Cond{})
			if err != nil {
				s.Fatalf("Commit of %d bytes written %s: %v", size, name, err)
			}
			if got.Path != p || got.Size != int64(size) || got.ETag != in.ETag || got.Type != in.Type || got.Version == 0 ||
				!sameMeta(got.Meta, in.Meta) || !got.DeleteAt.Equal(in.DeleteAt) {
				s.Errorf("Commit of %+v answered %+v", in, got)
			}
			if stat := s.wantObject(p, want); !equalInfo(stat, got) {
				s.Errorf("Commit answered %+v, Stat %+v", got, stat)
			}
			s.checkRange(got, want, storage.Range{Offset: -3, Length: 2})
			if err := g.Close(); err != nil {
				s.Errorf("Close after Commit: %v", err)
			}
			s.wantObject(p, want)
		}
	}
	s.wantTotals(in())
}

// piece is what testStage writes at a time.
const piece = 10_000

func orders(size int) map[string][]int {
	forward := []int{}
	for off := 0; off < size; off += piece {
		forward = append(forward, off)
	}
	backward := slices.Clone(forward)
	slices.Reverse(backward)
	shuffled := slices.Clone(forward)
	rand.New(rand.NewPCG(1, uint64(size))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return map[string][]int{"forward": forward, "backward": backward, "shuffled": shuffled, "twice": append(shuffled, forward...)}
}

// testStageShape changes the size of a stage, and reads where nothing was
// written.
func (s *suite) testStageShape() {
	st := s.stager()
	if st == nil {
		return
	}
	p := in("c", "o")
	g := s.stage(st, p, "")
	s.wantStage(g, nil)
	s.writeAt(g, []byte("tail"), 50_000)
	want := append(make([]byte, 50_000), "tail"...)
	s.wantStage(g, want)
	s.writeAt(g, nil, 60_000)
	s.writeAt(g, []byte("head"), 0)
	copy(want, "head")
	s.wantStage(g, want)
	truncate := func(size int64) {
		s.Helper()
		if err := g.Truncate(size); err != nil {
			s.Fatalf("Truncate(%d): %v", size, err)
		}
	}
	// What is cut off does not come back.
	truncate(2)
	s.wantStage(g, []byte("he"))
	truncate(40_000)
	want = append([]byte("he"), make([]byte, 39_998)...)
	s.wantStage(g, want)
	if _, err := g.WriteAt([]byte("x"), -1); err == nil {
		s.Error("WriteAt of a negative offset did not fail")
	}
	if g.Truncate(-1) == nil {
		s.Error("Truncate to a negative size did not fail")
	}
	got := make([]byte, 10)
	if n, err := g.ReadAt(got, 39_995); n != 5 || err != io.EOF {
		s.Errorf("ReadAt over the end = %d, %v, want 5, EOF", n, err)
	}
	if n, err := g.ReadAt(got, 40_000); n != 0 || err != io.EOF {
		s.Errorf("ReadAt at the end = %d, %v, want 0, EOF", n, err)
	}
	if _, err := g.Commit(s.ctx, storage.Info{Path: p, ETag: etag(want)}, storage.Cond{}); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	s.wantObject(p, want)
}

// testStageApart looks for what must not be seen: a stage before its commit,
// and one that was given up.
func (s *suite) testStageApart() {
	st := s.stager()
	if st == nil {
		return
	}
	p := in("c", "o")
	old := content(1, 30_000)
	commit := func(g storage.Stage, data []byte, c storage.Cond) error {
		s.writeAt(g, data, 0)
		_, err := g.Commit(s.ctx, storage.Info{Path: p, ETag: etag(data)}, c)
		return err
	}
	s.writeAt(s.stage(st, p, ""), old, 0)
	s.writeAt(s.stage(st, p, "key"), old, 0)
	_, err := s.b.Stat(s.ctx, p)
	s.wantErr("Stat of what is staged", err, fs.ErrNotExist)
	s.wantNames(in("c"), nil)
	s.wantUsage(in("c"), 0, 0, 0)

	put := s.put(p, old)
	s.heldOver("a commit of a stage", p, old, func() {
		if err := commit(s.stage(st, p, ""), content(2, 40_000), storage.Cond{}); err != nil {
			s.Fatal(err)
		}
	})
	s.wantObject(p, content(2, 40_000))

	// A condition is judged at the commit, and leaves the stage to try again.
	g := s.stage(st, p, "")
	s.wantErr("Commit if absent", commit(g, old, storage.Cond{Absent: true}), storage.ErrPrecondition)
	s.wantErr("Commit over another version", commit(g, old, storage.Cond{Version: put.Version}), storage.ErrPrecondition)
	quota := &storage.Quota{ContainerBytes: 40_000, ContainerObjects: 1, AccountBytes: -1}
	s.wantErr("Commit beyond the quota", commit(s.stage(st, p, ""), content(3, 40_001), storage.Cond{Quota: quota}), storage.ErrQuota)
	s.wantObject(p, content(2, 40_000))
	if err := commit(g, old, storage.Cond{Quota: quota}); err != nil {
		s.Errorf("Commit after a failed one: %v", err)
	}
	s.wantObject(p, old)

	// An ended stage takes nothing, and gives nothing.
	for what, end := range map[string]func(storage.Stage) error{
		"Close":  storage.Stage.Close,
		"Commit": func(g storage.Stage) error { return commit(g, old, storage.Cond{}) },
		"Keep":   func(g storage.Stage) error { return g.Keep(nil) },
	} {
		g := s.stage(st, p, "ended by "+what)
		s.writeAt(g, old, 0)
		if err := end(g); err != nil {
			s.Fatalf("%s: %v", what, err)
		}
		if _, err := g.WriteAt(old, 0); err == nil {
			s.Errorf("WriteAt after %s did not fail", what)
		}
		if _, err := g.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
			s.Errorf("ReadAt after %s: %v", what, err)
		}
		if _, err := g.Commit(s.ctx, storage.Info{Path: p, ETag: etag(old)}, storage.Cond{}); err == nil {
			s.Errorf("Commit after %s did not fail", what)
		}
		if g.Keep(nil) == nil {
			s.Errorf("Keep after %s did not fail", what)
		}
	}

	// A container that was removed meanwhile takes nothing anymore.
	s.container(in("gone"))
	g = s.stage(st, in("gone", "o"), "")
	s.remove(in("gone"))
	_, err = g.Commit(s.ctx, storage.Info{Path: in("gone", "o"), ETag: etag(nil)}, storage.Cond{})
	s.wantErr("Commit into a removed container", err, fs.ErrNotExist)
	_, err = st.Stage(s.ctx, in("gone", "o"), "k")
	s.wantErr("Stage in a missing container", err, fs.ErrNotExist)
	for _, p := range []storage.Path{in(), in("c")} {
		if _, err := st.Stage(s.ctx, p, ""); err == nil {
			s.Errorf("Stage at %q did not fail", p)
		}
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = st.Stage(ended, p, "")
	s.wantErr("Stage when cancelled", err, context.Canceled)
	s.wantTotals(in())
}

// testStageKept keeps stages, and finds them again.
func (s *suite) testStageKept() {
	st := s.stager()
	if st == nil {
		return
	}
	p := in("c", "o")
	data := content(1, 100_000)
	before := time.Now().Add(-time.Second)
	keep := func(key string, data, note []byte) {
		s.Helper()
		g := s.stage(st, p, key)
		s.writeAt(g, data, 0)
		if err := g.Keep(note); err != nil {
			s.Fatalf("Keep under %q: %v", key, err)
		}
		if err := g.Close(); err != nil {
			s.Errorf("Close after Keep: %v", err)
		}
	}
	keep("ann/b", data[:60_000], []byte("note \x00 of b"))
	keep("ann/a\x00/", nil, nil)
	keep("bob/b", data[:1], []byte("of bob"))
	s.wantNames(in("c"), nil)
	s.wantStaged(st, "", "ann/a\x00/", "ann/b", "bob/b")
	s.wantStaged(st, "carl")
	kept := s.wantStaged(st, "ann/b", "ann/b")[0]
	if kept.Path != p || kept.Size != 60_000 || kept.Open || string(kept.Note) != "note \x00 of b" ||
		kept.ModTime.Before(before) || kept.ModTime.After(time.Now().Add(time.Second)) {
		s.Errorf("what is kept is told as %+v", kept)
	}

	// Open, a key is nobody else's, and is told of with its size of the moment.
	g := s.stage(st, p, "ann/b")
	if string(g.Note()) != "note \x00 of b" {
		s.Errorf("the note of what was kept is %q", g.Note())
	}
	s.wantStage(g, data[:60_000])
	_, err := st.Stage(s.ctx, p, "ann/b")
	s.wantErr("Stage of an open key", err, fs.ErrExist)
	s.wantErr("Forget of an open key", st.Forget(s.ctx, "ann/b"), fs.ErrExist)
	s.writeAt(g, data[60_000:80_000], 60_000)
	if kept := s.wantStaged(st, "ann/b", "ann/b")[0]; kept.Size != 80_000 || !kept.Open {
		s.Errorf("an open stage of 80000 bytes is told as %+v", kept)
	}
	if err := g.Keep([]byte("again")); err != nil {
		s.Fatal(err)
	}
	g = s.stage(st, p, "ann/b")
	s.wantStage(g, data[:80_000])
	s.writeAt(g, data[80_000:], 80_000)
	if _, err := g.Commit(s.ctx, storage.Info{Path: p, ETag: etag(data)}, storage.Cond{}); err != nil {
		s.Fatal(err)
	}
	s.wantObject(p, data)
	s.wantStaged(st, "ann/", "ann/a\x00/")

	// What is closed or forgotten is gone, though it was kept before.
	g = s.stage(st, p, "bob/b")
	s.wantStage(g, data[:1])
	g.Close()
	s.wantStaged(st, "bob")
	if err := st.Forget(s.ctx, "ann/a\x00/"); err != nil {
		s.Errorf("Forget: %v", err)
	}
	s.wantErr("Forget of nothing", st.Forget(s.ctx, "ann/a\x00/"), fs.ErrNotExist)
	s.wantStaged(st, "")
	g = s.stage(st, p, "ann/a\x00/")
	s.wantStage(g, nil)
	if g.Note() != nil {
		s.Errorf("what was forgotten has the note %q", g.Note())
	}
	if g := s.stage(st, p, ""); g.Keep(nil) == nil {
		s.Error("Keep without a key did not fail")
	}
	s.wantTotals(in())
}

// testStageLoad writes one stage from many sides.
func (s *suite) testStageLoad() {
	st := s.stager()
	if st == nil {
		return
	}
	want := content(5, 2<<20)
	p := in("c", "o")
	g := s.stage(st, p, "load")
	var writers sync.WaitGroup
	const writing = 8
	for w := range writing {
		writers.Go(func() {
			for off := w * piece; off < len(want); off += writing * piece {
				part := want[off:min(off+piece, len(want))]
				if n, err := g.WriteAt(part, int64(off)); n != len(part) || err != nil {
					s.Errorf("WriteAt(%d) = %d, %v", off, n, err)
				}
				got := make([]byte, len(part))
				if n, err := g.ReadAt(got, int64(off)); n != len(part) || err != nil && err != io.EOF || !bytes.Equal(got, part) {
					s.Errorf("ReadAt(%d) of what was written there = %d, %v", off, n, err)
				}
			}
		})
	}
	writers.Wait()
	s.wantStage(g, want)
	if _, err := g.Commit(s.ctx, storage.Info{Path: p, ETag: etag(want)}, storage.Cond{}); err != nil {
		s.Fatal(err)
	}
	s.wantObject(p, want)
}

// testStageClone begins stages with the bytes of objects.
func (s *suite) testStageClone() {
	st := s.stager()
	if st == nil {
		return
	}
	for i, size := range []int{0, 10, 100_000, 2 << 20} {
		data := content(uint64(i), size)
		from := s.put(in("c", "from"), data)
		g := s.stage(st, in("c", "to"), "")
		c, ok := g.(storage.Cloner)
		if !ok {
			return
		}
		if err := c.Clone(s.ctx, from); errors.Is(err, errors.ErrUnsupported) {
			return
		} else if err != nil {
			s.Fatalf("Clone of %d bytes: %v", size, err)
		}
		s.wantStage(g, data)
		want := append(slices.Clone(data), "more"...)
		s.writeAt(g, []byte("more"), int64(size))
		s.writeAt(g, []byte("M"), 0)
		want[0] = 'M'
		if _, err := g.Commit(s.ctx, storage.Info{Path: in("c", "to"), ETag: etag(want)}, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
		s.wantObject(in("c", "to"), want)
		s.wantObject(in("c", "from"), data)
		g = s.stage(st, in("c", "to"), "")
		from.Version--
		s.wantErr("Clone of another version", g.(storage.Cloner).Clone(s.ctx, from), storage.ErrPrecondition)
		s.wantErr("Clone of nothing", g.(storage.Cloner).Clone(s.ctx, storage.Info{Path: in("c", "none")}), fs.ErrNotExist)
	}
}
