package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"memstore.dev/memstore/storage"
)

// crashDir is a data directory whose index is on a file system in memory that
// can be cut off.
func crashDir(t *testing.T) (dir string, mem *vfs.MemFS) {
	dir, mem = t.TempDir(), vfs.NewCrashableMem()
	meta := filepath.Join(dir, dirMeta)
	if err := mem.MkdirAll(meta, 0o700); err != nil {
		t.Fatal(err)
	}
	for d := meta; ; d = filepath.Dir(d) {
		f, err := mem.OpenDir(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if d == "/" {
			return dir, mem
		}
	}
}

// TestPowerCuts cuts the index off at random moments, under 8 writers, with
// none to all of what was not synced. What was acknowledged before the cut is
// there, and totals are exact.
func TestPowerCuts(t *testing.T) {
	for cut := range uint64(12) {
		r := rand.New(rand.NewPCG(7, cut))
		dir, mem := crashDir(t)
		o := small(t)
		o.fs = mem
		b, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		place(t, b)
		var acked [8]atomic.Int64 // the last value of each writer's object
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for n := range acked {
			wg.Go(func() {
				for i := int64(1); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					put(t, b, path(fmt.Sprint("o", n)), fmt.Appendf(nil, "%d", i))
					acked[n].Store(i)
				}
			})
		}
		for after := int64(20 + r.IntN(200)); acked[cut%8].Load() < after; {
			if in, err := b.Stat(t.Context(), path()); err != nil || in.Objects > 8 {
				t.Fatal(in.Objects, err)
			}
		}
		var promised [8]int64
		for n := range acked {
			promised[n] = acked[n].Load()
		}
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[cut%3], RNG: r})
		close(stop)
		wg.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}

		o.fs = after
		b, err = Open(dir, o)
		if err != nil {
			t.Fatalf("cut %d: %v", cut, err)
		}
		var size int64
		for n, want := range promised {
			data, err := read(t, b, path(fmt.Sprint("o", n)), storage.All)
			got, perr := strconv.ParseInt(string(data), 10, 64)
			if want > 0 && (err != nil || perr != nil || got < want) {
				t.Errorf("cut %d: writer %d was told %d, and finds %q, %v", cut, n, want, data, err)
			}
			size += int64(len(data))
		}
		if in, err := b.Stat(t.Context(), path()); err != nil || in.Size != size {
			t.Errorf("cut %d: the total is %d, %v; there are %d bytes", cut, in.Size, err, size)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCutControl: a store that is told not to sync loses what it
// acknowledged, or TestPowerCuts would prove nothing.
func TestPowerCutControl(t *testing.T) {
	dir, mem := crashDir(t)
	o := small(t)
	o.fs, o.Sync = mem, SyncNone
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	place(t, b)
	put(t, b, path("o"), []byte("x"))
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	o.fs = after
	b = open(t, dir, o)
	if _, err := b.Stat(t.Context(), path("o")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the object outlives a power cut without a sync: %v", err)
	}
}

// TestFailedSync: when the log cannot be synced nothing is acknowledged
// anymore, and Fatal is called once.
func TestFailedSync(t *testing.T) {
	var failing atomic.Bool
	o, calls := small(t), atomic.Int64{}
	o.Log = quiet
	o.Fatal = func(error) { calls.Add(1) }
	o.fs = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if failing.Load() && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
		}
		return nil
	}))
	dir := t.TempDir()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	place(t, b)
	put(t, b, path("before"), []byte("x"))
	failing.Store(true)
	for range 3 {
		if _, err := write(t.Context(), b, path("after"), []byte("y"), ""); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("put after a failed sync: %v, want ErrUnavailable", err)
		}
	}
	if _, err := b.Stat(t.Context(), path("after")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was not acknowledged is seen: %v", err)
	}
	wantContent(t, b, path("before"), []byte("x"))
	if calls.Load() != 1 {
		t.Errorf("Fatal was called %d times", calls.Load())
	}
	failing.Store(false)
	b.Close() // what it says does not matter anymore
	b = open(t, dir, small(t))
	wantContent(t, b, path("before"), []byte("x"))
}

// TestOrphans: what a crash has left above the watermark is swept up; below it
// nothing is touched.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	all := furnish(t, b)
	next, id := b.ids.peek(), blobOf(t, b, path("o19"))
	b.Close()
	n := files(t, dir)
	for _, orphan := range []uint64{next, next + 1, next + 1<<shelfShift} {
		name := blobPath(dir, orphan)
		os.Mkdir(filepath.Dir(name), 0o700)
		if err := os.Link(blobPath(dir, id), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, dirStaging, "1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := wantClean(t, dir); r.Leftovers != 4 {
		t.Errorf("check counts %d leftovers, want 4", r.Leftovers)
	}
	o := small(t)
	o.Log = quiet
	b = open(t, dir, o)
	if got := files(t, dir); got != n {
		t.Errorf("%d files after the sweep, want %d", got, n)
	}
	if left := names(t, dir, dirStaging); len(left) > 0 {
		t.Errorf("in staging are still %q", left)
	}
	if b.ids.peek() <= next+1<<shelfShift {
		t.Error("the id of an orphan would be used again")
	}
	wantAll(t, b, all)
}

// TestReclaimAfterCrash: files that were to be unlinked when the store stopped
// are at the next start.
func TestReclaimAfterCrash(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	put(t, b, path("o"), content(1, 100_000))
	b.reclaimer.pin()
	put(t, b, path("o"), content(2, 100_000))
	b.Close()
	if n := files(t, dir); n != 2 {
		t.Fatalf("%d files, want 2", n)
	}
	if r := wantClean(t, dir); r.Leftovers != 1 {
		t.Errorf("check counts %d leftovers, want 1", r.Leftovers)
	}
	b = open(t, dir, small(t))
	b.reclaimer.idle()
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	wantContent(t, b, path("o"), content(2, 100_000))
}

const killedDir = "MEMSTORE_TEST_KILLED_DIR"

// TestKilledChild is not a test but the process that TestKill kills. It says
// what was acknowledged: "name value", value 0 for removed.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return // not a test of its own: TestKill runs it in a process to be killed
	}
	o := small(t)
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	place(t, b)
	seed := uint64(os.Getpid())
	var out sync.Mutex
	for n := range uint64(8) {
		go func() {
			r := rand.New(rand.NewPCG(seed, n))
			for {
				name, seed := fmt.Sprintf("w%d-%d", n, r.IntN(10)), 1+r.Uint64N(1<<20)
				var err error
				switch {
				case r.IntN(8) == 0:
					if err = b.Remove(context.Background(), path(name), storage.Cond{}); errors.Is(err, fs.ErrNotExist) {
						err = nil
					}
					seed = 0
				default:
					data := content(seed, sizeOf(seed))
					_, err = write(context.Background(), b, path(name), data, etagOf(data))
				}
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(name, seed)
				out.Unlock()
			}
		}()
	}
	select {}
}

func sizeOf(seed uint64) int {
	if seed%2 == 0 {
		return int(seed % 1000)
	}
	return 20_000 + int(seed%100_000)
}

// TestKill kills a process in the middle of its work, again and again in one
// directory, and holds the store to what it acknowledged. An object whose
// change was on its way may be as before it or after it, but not in between.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	promised := make(map[string]uint64)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); n++ {
			if n == 150+round*37 {
				cmd.Process.Kill() // and read on what it had said before
			}
			var name string
			var seed uint64
			if _, err := fmt.Sscanf(lines.Text(), "%s %d", &name, &seed); err != nil || name == "error" {
				t.Fatalf("the process says %q", lines.Text())
			}
			promised[name] = seed
		}
		cmd.Wait()

		wantClean(t, dir)
		o := small(t)
		o.Log = quiet
		b := open(t, dir, o)
		wrong := 0
		for name, seed := range promised {
			data, err := read(t, b, path(name), storage.All)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if seed == 0 && err != nil || seed != 0 && string(data) == string(content(seed, sizeOf(seed))) {
				continue
			}
			wrong++ // each of the 8 writers had at most one change on its way
			in, err := b.Stat(t.Context(), path(name))
			if err == nil && in.ETag != etagOf(data) {
				t.Errorf("round %d: %s is torn", round, name)
			}
			promised[name] = 0
			if err == nil {
				delete(promised, name) // of unknown content until it is put again
			}
		}
		if wrong > 8 {
			t.Errorf("round %d: %d of %d objects are not what was acknowledged", round, wrong, len(promised))
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		wantClean(t, dir)
	}
}
