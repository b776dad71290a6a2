package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"memstore.dev/memstore/storage"
)

func checkpoint(t testing.TB, g *stage, size int64, note string) {
	t.Helper()
	if err := g.Checkpoint(size, []byte(note)); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpoint: what was made safe is found by the next process as though it
// had been kept, whatever was written behind it, and goes on to become an
// object without being read again.
func TestCheckpoint(t *testing.T) {
	dir, data := t.TempDir(), content(1, 9<<blockShift)
	b := open(t, dir, small(t))
	place(t, b)
	g := stageOf(t, b, "ann/key")
	const first, second = 2 << blockShift, 5 << blockShift
	writeStage(t, g, data[:first+1000], 0)
	checkpoint(t, g, first, "first")
	writeStage(t, g, data[first+1000:second+5], first+1000)
	checkpoint(t, g, second, "second")
	writeStage(t, g, data[second+5:], second+5)
	if got := kept(t, b); len(got) != 1 || !got[0].Open || got[0].Size != int64(len(data)) {
		t.Errorf("while it is open it is told as %+v", got)
	}
	b.Close() // it dies with the stage open
	g.Close()
	if r := wantClean(t, dir); r.Kept != 1 || r.Leftovers != 0 {
		t.Errorf("check counts %d kept, %d leftovers", r.Kept, r.Leftovers)
	}
	b = open(t, dir, small(t))
	if got := kept(t, b); len(got) != 1 || got[0].Open || got[0].Size != second || string(got[0].Note) != "second" {
		t.Fatalf("found is %+v", got)
	}
	g = stageOf(t, b, "ann/key")
	wantStage(t, g, data[:second])
	writeStage(t, g, data[second:], second)
	if n := len(g.sums.known(g.Size(), 1<<20)); int64(n) != blocksOf(g.Size(), blockShift) {
		t.Errorf("a commit reads all but %d blocks again", n)
	}
	checkpoint(t, g, 7<<blockShift, "third")
	commitStage(t, g, data)
	wantContent(t, b, path("o"), data)
	if got := kept(t, b); len(got) != 0 {
		t.Errorf("beside the object is kept %+v", got)
	}
	b.Close()
	if r := wantClean(t, dir); r.Kept != 0 || r.Leftovers != 0 {
		t.Errorf("check counts %d kept, %d leftovers", r.Kept, r.Leftovers)
	}
	if left := names(t, dir, dirStaging); len(left) > 0 {
		t.Errorf("in staging are still %q", left)
	}
}

// TestCheckpointIsGivenUp: what ends or changes behind a checkpoint's back is
// not found.
func TestCheckpointIsGivenUp(t *testing.T) {
	for name, then := range map[string]func(g *stage) error{
		"closed":    func(g *stage) error { return g.Close() },
		"rewritten": func(g *stage) error { _, err := g.WriteAt([]byte("x"), 99_999); return err },
		"cut":       func(g *stage) error { return g.Truncate(99_999) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, small(t))
			place(t, b)
			g := stageOf(t, b, "key")
			writeStage(t, g, content(1, 200_000), 0)
			checkpoint(t, g, 100_000, "note")
			if err := then(g); err != nil {
				t.Fatal(err)
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

// TestCheckpointThenKeep: what is kept in the end is all of it.
func TestCheckpointThenKeep(t *testing.T) {
	dir, data := t.TempDir(), content(1, 200_000)
	b := open(t, dir, small(t))
	place(t, b)
	g := stageOf(t, b, "key")
	writeStage(t, g, data, 0)
	checkpoint(t, g, 100_000, "part")
	keep(t, g, "all")
	b.Close()
	b = open(t, dir, small(t))
	if got := kept(t, b); len(got) != 1 || got[0].Size != 200_000 || string(got[0].Note) != "all" {
		t.Fatalf("found is %+v", got)
	}
	wantStage(t, stageOf(t, b, "key"), data)
}

func TestCheckpointRefuses(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	g := stageOf(t, b, "key")
	writeStage(t, g, []byte("tiny"), 0)
	if err := g.Checkpoint(4, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of bytes in memory: %v, want ErrUnsupported", err)
	}
	writeStage(t, g, content(1, 100_000), 0)
	if err := g.Checkpoint(100_001, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("of more than there is: %v, want ErrInvalid", err)
	}
	none := stageOf(t, b, "")
	writeStage(t, none, content(1, 100_000), 0)
	if err := none.Checkpoint(1, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("without a key: %v, want ErrInvalid", err)
	}
	g.Close()
	if err := g.Checkpoint(1, nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("of one that has ended: %v, want ErrClosed", err)
	}
	var _ storage.Checkpointer = g
}

// TestRewritingWaitsForACheckpoint: bytes that are being made safe do not change
// before that is done, while others come.
func TestRewritingWaitsForACheckpoint(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	g := stageOf(t, b, "key")
	writeStage(t, g, content(1, 200_000), 0)
	if err := g.fix(100_000); err != nil {
		t.Fatal(err)
	}
	if err := g.fix(50_000); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a checkpoint within another: %v, want ErrExist", err)
	}
	rewritten := make(chan error, 1)
	go func() { _, err := g.WriteAt([]byte("x"), 99_999); rewritten <- err }()
	for n := range 200 {
		writeStage(t, g, content(2, 10_000), 200_000+int64(n)*10_000)
	}
	select {
	case <-rewritten:
		t.Error("bytes changed while a checkpoint was made of them")
	default:
	}
	g.unfix()
	if err := <-rewritten; err != nil {
		t.Error(err)
	}
}

// TestCheckpointsOfAStream: of an upload that goes on all the time what was made
// safe last is found, whole, whatever of the rest has reached the file.
func TestCheckpointsOfAStream(t *testing.T) {
	dir, data := t.TempDir(), content(1, 200<<blockShift)
	b := open(t, dir, small(t))
	place(t, b)
	g := stageOf(t, b, "key")
	var arrived atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for at := 0; at < len(data); at += 10_000 {
			n, err := g.WriteAt(data[at:min(at+10_000, len(data))], int64(at))
			if err != nil {
				t.Error(err)
				return
			}
			arrived.Add(int64(n))
		}
	})
	safe := int64(0)
	for safe < 150<<blockShift && !t.Failed() {
		if now := arrived.Load() >> blockShift << blockShift; now > max(safe, 2<<blockShift) {
			checkpoint(t, g, now, fmt.Sprint(now))
			safe = now
		}
	}
	wg.Wait()
	b.Close()
	g.Close()
	wantClean(t, dir) // which reads all, and compares
	b = open(t, dir, small(t))
	if got := kept(t, b); len(got) != 1 || got[0].Size != safe || string(got[0].Note) != fmt.Sprint(safe) {
		t.Fatalf("found is %+v, want %d bytes", got, safe)
	}
	g = stageOf(t, b, "key")
	wantStage(t, g, data[:safe])
	if n := len(g.sums.known(safe, 1<<20)); int64(n) != safe>>blockShift {
		t.Errorf("of %d blocks %d are known", safe>>blockShift, n)
	}
}
