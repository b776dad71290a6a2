package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

const (
	killedStagesDir = "MEMSTORE_TEST_KILLED_STAGES_DIR"
	killedTreesDir  = "MEMSTORE_TEST_KILLED_TREES_DIR"
)

// stagedSize is what an upload of the test below comes to; it is kept after
// each piece.
const stagedSize = 250_000

// TestKilledStagesChild is not a test but the process that TestKillStages
// kills. It says what was acknowledged: "worker generation size", and that it
// is an object by the size -1.
func TestKilledStagesChild(t *testing.T) {
	dir := os.Getenv(killedStagesDir)
	if dir == "" {
		return // only within TestKillStages
	}
	b, err := Open(dir, small(t))
	if err != nil {
		t.Fatal(err)
	}
	place(t, b)
	var out sync.Mutex
	for n := range uint64(4) {
		go func() {
			for err == nil {
				var said string
				if said, err = stepStage(b, n); err == nil {
					out.Lock()
					fmt.Println(said)
					out.Unlock()
				}
			}
			fmt.Println("error", err)
			os.Exit(1)
		}()
	}
	select {}
}

// stepStage goes on with the upload of a worker, by another piece or to its end.
func stepStage(b *Backend, n uint64) (string, error) {
	g, err := b.Stage(context.Background(), path(fmt.Sprint("w", n)), fmt.Sprint("key", n))
	if err != nil {
		return "", err
	}
	defer g.Close()
	var generation, size int
	if note := g.Note(); note != nil {
		if _, err := fmt.Sscan(string(note), &generation, &size); err != nil || int64(size) != g.Size() {
			return "", fmt.Errorf("a stage of %d bytes has the note %q", g.Size(), note)
		}
	} else if in, err := b.Stat(context.Background(), path(fmt.Sprint("w", n))); err == nil {
		fmt.Sscan(in.Type, &generation)
		generation++
	}
	data := stagedBytes(n, generation)
	if size == stagedSize {
		_, err := g.Commit(context.Background(), storage.Info{ETag: etagOf(data), Type: fmt.Sprint(generation)}, storage.Cond{})
		return fmt.Sprintln(n, generation, -1), err
	}
	to := min(size+1+rand.IntN(100_000), stagedSize)
	if _, err := g.WriteAt(data[size:to], int64(size)); err != nil {
		return "", err
	}
	return fmt.Sprintln(n, generation, to), g.Keep(fmt.Append(nil, generation, " ", to))
}

func stagedBytes(n uint64, generation int) []byte {
	return content(n+8*uint64(generation), stagedSize)
}

// TestKillStages kills a process while it keeps and commits, again and again
// in one directory. What is kept and what is an object is at most one step
// further than was acknowledged, and whole.
func TestKillStages(t *testing.T) {
	dir := t.TempDir()
	type step struct{ generation, size int } // in order: the size -1 is the last of a generation
	after := func(a, b step) bool {
		if a.generation != b.generation {
			return a.generation > b.generation
		}
		return a.size == -1 && b.size != -1 || b.size != -1 && a.size > b.size
	}
	promised := make(map[uint64]step)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		lines, cmd := killed(t, killedStagesDir, dir)
		said := 0
		for line := range lines {
			if said++; said == 40+round*17 {
				cmd.Process.Kill() // and read on what it had said before
			}
			var n uint64
			var s step
			if _, err := fmt.Sscan(line, &n, &s.generation, &s.size); err != nil {
				t.Fatalf("the process says %q", line)
			}
			promised[n] = s
		}
		cmd.Wait()

		wantClean(t, dir)
		b := open(t, dir, small(t))
		for n, want := range promised {
			p, key := path(fmt.Sprint("w", n)), fmt.Sprint("key", n)
			found := step{-1, 0}
			in, err := b.Stat(t.Context(), p)
			if err == nil {
				found.size = -1
				fmt.Sscan(in.Type, &found.generation)
				wantContent(t, b, p, stagedBytes(n, found.generation))
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			for k, err := range b.Staged(t.Context(), key) {
				var s step
				if fmt.Sscan(string(k.Note), &s.generation, &s.size); err != nil || int64(s.size) != k.Size || !after(s, found) {
					t.Fatalf("round %d: kept is %+v, %v, beside the object %+v", round, k, err, found)
				}
				found = s
				g, err := b.Stage(t.Context(), p, key)
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, k.Size)
				if _, err := g.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, stagedBytes(n, s.generation)[:s.size]) {
					t.Errorf("round %d: what is kept of worker %d is not what was", round, n)
				}
				if err := g.Keep(k.Note); err != nil {
					t.Fatal(err)
				}
			}
			if after(want, found) {
				t.Errorf("round %d: worker %d was told %+v, and finds %+v", round, n, want, found)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if r := wantClean(t, dir); r.Leftovers != 0 {
			t.Errorf("round %d: %d leftovers", round, r.Leftovers)
		}
	}
}

// killed starts a test of this program as a process that is to be killed.
func killed(t *testing.T, env, dir string) (lines iter.Seq[string], cmd *exec.Cmd) {
	t.Helper()
	name := map[string]string{killedStagesDir: "TestKilledStagesChild", killedTreesDir: "TestKilledTreesChild"}[env]
	cmd = exec.Command(os.Args[0], "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), env+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(stdout)
	return func(yield func(string) bool) {
		for scanner.Scan() {
			if line := scanner.Text(); line != "" && !yield(line) {
				return
			}
		}
	}, cmd
}

// killedTree is how many objects the tree has that is moved to and fro.
const killedTree = 100_000

// TestKilledTreesChild is not a test but the process of TestKillTrees: it kills
// itself at some moment of a move, having said which it has made.
func TestKilledTreesChild(t *testing.T) {
	dir := os.Getenv(killedTreesDir)
	if dir == "" {
		return // only within TestKillTrees
	}
	b, err := Open(dir, small(t))
	if err != nil {
		t.Fatal(err)
	}
	if b.state.version == 0 {
		place(t, b)
		for i := range killedTree / 10_000 {
			plant(t, b, fmt.Sprintf("0/%d/", i), 10_000)
		}
	}
	at := 0
	for in, err := range b.List(t.Context(), path(), storage.Query{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		at = int(in.Path.Object[0] - '0')
	}
	time.AfterFunc(time.Duration(rand.IntN(1500))*time.Millisecond, func() { syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	for {
		n, err := b.MoveTree(t.Context(), path(fmt.Sprint(at, "/")), path(fmt.Sprint(1-at, "/")))
		if n != killedTree || err != nil {
			fmt.Println("error", n, err)
			os.Exit(1)
		}
		at = 1 - at
		fmt.Println(at)
	}
}

// TestKillTrees: whenever a process dies that moves a tree, the tree is whole at
// one place: where it was said to be, or where the next move leads.
func TestKillTrees(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 100,000 objects again and again")
	}
	dir := t.TempDir()
	undone, done := 0, 0
	for round := range 5 {
		lines, cmd := killed(t, killedTreesDir, dir)
		last := ""
		for line := range lines {
			last = line
			done++
		}
		cmd.Wait()
		if last != "" && last != "0" && last != "1" {
			t.Fatalf("the process says %q", last)
		}
		r := wantClean(t, dir)
		if r.Objects != killedTree {
			t.Fatalf("round %d: there are %d objects", round, r.Objects)
		}
		undone += int(r.Leftovers)
		o := small(t)
		o.Log = quiet
		b := open(t, dir, o)
		counts := make(map[byte]int)
		for in, err := range b.List(t.Context(), path(), storage.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			counts[in.Path.Object[0]]++
		}
		if len(counts) != 1 {
			t.Errorf("round %d: the tree is at %v", round, counts)
		}
		if in, err := b.Stat(t.Context(), path()); err != nil || in.Objects != killedTree {
			t.Errorf("round %d: the total is %d, %v", round, in.Objects, err)
		}
		b.Close()
		if r := wantClean(t, dir); r.Leftovers != 0 {
			t.Errorf("round %d: %d leftovers", round, r.Leftovers)
		}
	}
	t.Logf("%d moves were made, %d undone", done, undone)
}
