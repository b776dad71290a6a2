package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"memstore.dev/memstore/storage"
)

func stageOf(t testing.TB, b *Backend, key string) *stage {
	t.Helper()
	g, err := b.Stage(t.Context(), path("o"), key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g.(*stage)
}

func writeStage(t testing.TB, g *stage, data []byte, off int64) {
	t.Helper()
	if n, err := g.WriteAt(data, off); n != len(data) || err != nil {
		t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(data), off, n, err)
	}
}

func wantStage(t testing.TB, g *stage, want []byte) {
	t.Helper()
	got := make([]byte, g.Size())
	if _, err := g.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, want) {
		t.Fatalf("the stage has %d bytes, %v, that are not the %d written", len(got), err, len(want))
	}
}

func commitStage(t testing.TB, g *stage, data []byte) {
	t.Helper()
	if _, err := g.Commit(t.Context(), storage.Info{ETag: etagOf(data)}, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
}

func keep(t testing.TB, g *stage, note string) {
	t.Helper()
	if err := g.Keep([]byte(note)); err != nil {
		t.Fatal(err)
	}
}

func kept(t testing.TB, b *Backend) (all []storage.Kept) {
	t.Helper()
	for k, err := range b.Staged(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

// TestKeptOverRestart: what was kept is found again as it was, also if whoever
// had it open since did not live to keep it.
func TestKeptOverRestart(t *testing.T) {
	for _, size := range []int{0, 100, 3<<blockShift + 500} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir, data := t.TempDir(), content(1, size+200_000)
			b := open(t, dir, small(t))
			place(t, b)
			g := stageOf(t, b, "ann/key")
			writeStage(t, g, data[:size], 0)
			keep(t, g, "note")
			want := kept(t, b)
			b.Close()
			for _, then := range []string{"nothing", "written behind", "cut off behind"} {
				if r := wantClean(t, dir); r.Kept != 1 || r.Leftovers != 0 {
					t.Fatalf("check counts %d kept, %d leftovers", r.Kept, r.Leftovers)
				}
				b = open(t, dir, small(t))
				if got := kept(t, b); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("kept is %+v, was %+v", got, want)
				}
				g = stageOf(t, b, "ann/key")
				if string(g.Note()) != "note" {
					t.Errorf("the note is %q", g.Note())
				}
				wantStage(t, g, data[:size])
				if then != "nothing" {
					writeStage(t, g, []byte("more"), int64(size))
				}
				if then == "cut off behind" {
					if err := g.Truncate(int64(size) + 2); err != nil {
						t.Fatal(err)
					}
				}
				b.Close() // it dies with the stage open
				g.Close()
			}
			b = open(t, dir, small(t))
			g = stageOf(t, b, "ann/key")
			wantStage(t, g, data[:size])
			writeStage(t, g, data[size:], int64(size))
			if n := len(g.sums.known(g.Size(), 1<<20)); int64(n) != blocksOf(g.Size(), blockShift) {
				t.Errorf("a commit reads all but %d blocks again", n)
			}
			commitStage(t, g, data)
			wantContent(t, b, path("o"), data)
			b.Close()
			if r := wantClean(t, dir); r.Kept != 0 || r.Leftovers != 0 {
				t.Errorf("check counts %d kept, %d leftovers", r.Kept, r.Leftovers)
			}
			if left := names(t, dir, dirStaging); len(left) > 0 {
				t.Errorf("in staging are still %q", left)
			}
		})
	}
}

// TestKeptButChanged: what was changed since is not taken for what was kept.
func TestKeptButChanged(t *testing.T) {
	for name, change := range map[string]func(g *stage) error{
		"written": func(g *stage) error { _, err := g.WriteAt([]byte("x"), 99_999); return err },
		"cut":     func(g *stage) error { return g.Truncate(99_999) },
		"cloned":  func(g *stage) error { return g.Clone(context.Background(), storage.Info{Path: path("o")}) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, small(t))
			place(t, b)
			put(t, b, path("o"), []byte("old"))
			g := stageOf(t, b, "key")
			writeStage(t, g, content(1, 100_000), 0)
			keep(t, g, "note")
			g = stageOf(t, b, "key")
			if err := change(g); err != nil {
				t.Fatal(err)
			}
			if got := kept(t, b); len(got) != 1 || !got[0].Open || got[0].Note != nil {
				t.Errorf("it is told as %+v", got)
			}
			b.Close()
			g.Close()
			b = open(t, dir, small(t))
			if got := kept(t, b); len(got) != 0 {
				t.Errorf("found is %+v", got)
			}
			if left := names(t, dir, dirStaging); len(left) > 0 {
				t.Errorf("in staging are still %q", left)
			}
		})
	}
}

// TestStagingRecovers: of record and file neither stays without the other.
func TestStagingRecovers(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	for _, key := range []string{"lost", "short", "sound"} {
		g := stageOf(t, b, key)
		writeStage(t, g, content(1, 100_000), 0)
		keep(t, g, key)
	}
	for _, key := range []string{"lost", "short"} {
		name := keptName(dir, b.stages.held[key].kept.id)
		if key == "lost" {
			os.Remove(name)
		} else if err := os.Truncate(name, 99_999); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Stage(t.Context(), path("o"), "lost"); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("Stage of what has lost its file: %v, want ErrDamaged", err)
	}
	next := b.ids.peek()
	b.Close()
	if err := os.WriteFile(keptName(dir, next), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := wantClean(t, dir); r.Kept != 1 || r.Leftovers != 4 { // two records, one short file, one file
		t.Errorf("check counts %d kept, %d leftovers", r.Kept, r.Leftovers)
	}
	o := small(t)
	o.Log = quiet
	b = open(t, dir, o)
	if got := kept(t, b); len(got) != 1 || got[0].Key != "sound" {
		t.Errorf("kept is %+v", got)
	}
	if left := names(t, dir, dirStaging); len(left) != 1 {
		t.Errorf("in staging are %q", left)
	}
	b.Close()
	if r := wantClean(t, dir); r.Leftovers != 0 {
		t.Errorf("check counts %d leftovers", r.Leftovers)
	}
}

// TestFsckOfKept: rot of what was kept is found.
func TestFsckOfKept(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	g := stageOf(t, b, "key")
	writeStage(t, g, content(1, 200_000), 0)
	keep(t, g, "note")
	name := keptName(dir, b.stages.held["key"].kept.id)
	b.Close()
	wantClean(t, dir)
	flip(t, name, 150_000, 1)
	r, err := Check(t.Context(), dir, CheckOptions{ReadData: true, Log: quiet})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != KindDamage || r.Findings[0].Path != path("o") {
		t.Errorf("found %v, %v; want the damage", r.Findings, err)
	}
}

// TestRefusedStage is committed in vain, and then goes on: it is written to,
// and committed, kept or given up.
func TestRefusedStage(t *testing.T) {
	for _, unnamed := range []bool{true, false} {
		for _, end := range []string{"committed", "kept", "closed", "closed when kept before"} {
			t.Run(fmt.Sprint(end, unnamed), func(t *testing.T) {
				dir := t.TempDir()
				b := open(t, dir, small(t))
				b.unnamed = unnamed
				place(t, b)
				old := put(t, b, path("o"), []byte("old"))
				data := content(1, 300_000)
				g := stageOf(t, b, "key")
				writeStage(t, g, data[:100_000], 0)
				if end == "closed when kept before" {
					keep(t, g, "before")
					g = stageOf(t, b, "key")
				}
				for range 2 {
					_, err := g.Commit(t.Context(), storage.Info{}, storage.Cond{Absent: true})
					if !errors.Is(err, storage.ErrPrecondition) {
						t.Fatalf("Commit: %v, want ErrPrecondition", err)
					}
				}
				if in, err := b.Stat(t.Context(), path("o")); err != nil || in.Version != old.Version {
					t.Errorf("a refused commit has left %+v, %v", in, err)
				}
				// Where the footer was there is a gap now.
				writeStage(t, g, data[200_000:], 200_000)
				clear(data[100_000:200_000])
				wantStage(t, g, data)
				files := 1
				switch end {
				case "committed":
					commitStage(t, g, data)
					wantContent(t, b, path("o"), data)
				case "kept":
					keep(t, g, "note")
					g = stageOf(t, b, "key")
					wantStage(t, g, data)
					commitStage(t, g, data)
					wantContent(t, b, path("o"), data)
				default:
					g.Close()
					files = 0
				}
				b.reclaimer.idle()
				if n := countFiles(t, dir); n != files {
					t.Errorf("%d files are left, want %d", n, files)
				}
				b.Close()
				if r := wantClean(t, dir); r.Leftovers != 0 {
					t.Errorf("check counts %d leftovers", r.Leftovers)
				}
			})
		}
	}
}

func countFiles(t testing.TB, dir string) int {
	return files(t, dir) + len(names(t, dir, dirStaging))
}

// TestCloneIsNotRead: with the bytes of a file come their checksums.
func TestCloneIsNotRead(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	data := content(1, 5<<blockShift+10)
	in := put(t, b, path("from"), data)
	g := stageOf(t, b, "")
	if err := g.Clone(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if n := len(g.sums.known(g.Size(), 100)); n != 6 {
		t.Errorf("the checksums of %d blocks are known, want 6", n)
	}
	writeStage(t, g, []byte("more"), int64(len(data)))
	data = append(data, "more"...)
	commitStage(t, g, data)
	wantContent(t, b, path("o"), data)
	b.Close()
	wantClean(t, dir)
}

// TestStageOfClosedStore: a store that was closed answers, and a stage that was
// kept stays.
func TestStageOfClosedStore(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	keep(t, stageOf(t, b, "kept"), "note")
	g, fresh := stageOf(t, b, "kept"), stageOf(t, b, "fresh")
	writeStage(t, fresh, content(1, 100_000), 0)
	b.Close()
	for _, g := range []*stage{g, fresh} {
		if err := g.Keep(nil); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Keep: %v, want ErrUnavailable", err)
		}
		if _, err := g.Commit(t.Context(), storage.Info{}, storage.Cond{}); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Commit: %v, want ErrUnavailable", err)
		}
		g.Close()
	}
	if _, err := b.Stage(t.Context(), path("o"), "more"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Stage: %v, want ErrUnavailable", err)
	}
	b = open(t, dir, small(t))
	if got := kept(t, b); len(got) != 1 || got[0].Key != "kept" {
		t.Errorf("kept is %+v", got)
	}
	if err := b.Forget(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
	if err := b.Forget(t.Context(), "kept"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Forget again: %v", err)
	}
	if left := names(t, dir, dirStaging); len(left) > 0 {
		t.Errorf("in staging are still %q", left)
	}
}

// TestBackupOfKept: a backup has no uploads on their way, and is sound without.
func TestBackupOfKept(t *testing.T) {
	dir, backup, back := t.TempDir(), filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "r")
	b := open(t, dir, small(t))
	all := furnish(t, b)
	g := stageOf(t, b, "key")
	writeStage(t, g, content(1, 100_000), 0)
	keep(t, g, "note")
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := Backup(t.Context(), s.Dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), backup, back, nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.Dir, backup, back} {
		if r := wantClean(t, dir); r.Leftovers != 0 {
			t.Errorf("check of %s counts %d leftovers", filepath.Base(dir), r.Leftovers)
		}
	}
	o := small(t)
	o.Log = quiet
	for _, dir := range []string{backup, back} {
		c := open(t, dir, o)
		wantAll(t, c, all)
		if got := kept(t, c); len(got) > 0 {
			t.Errorf("kept is %+v", got)
		}
	}
}

// BenchmarkStage is a durable upload by WriteAt; the MD5 is the caller's.
func BenchmarkStage(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := benchStore(b, Options{})
			data := make([]byte, size)
			etag := etagOf(data)
			n := int64(0)
			b.SetBytes(int64(size))
			for b.Loop() {
				n++
				g, err := s.Stage(b.Context(), object(n), "key")
				if err != nil {
					b.Fatal(err)
				}
				for off := 0; off < size; off += 32 << 10 {
					if _, err := g.WriteAt(data[off:min(off+32<<10, size)], int64(off)); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := g.Commit(b.Context(), storage.Info{ETag: etag}, storage.Cond{}); err != nil {
					b.Fatal(err)
				}
				g.Close()
			}
		})
	}
}
