package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"memstore.dev/memstore/storage"
)

func path(names ...string) storage.Path {
	p := storage.Path{Account: "AUTH_a", Container: "c"}
	if len(names) > 0 {
		p.Object = names[0]
	}
	return p
}

// place makes the account and container that tests put into.
func place(t testing.TB, b *Backend) {
	t.Helper()
	for _, p := range []storage.Path{path().Parent(), path()} {
		if _, err := b.Make(t.Context(), p, storage.Meta{"X-Meta": p.Container}); err != nil {
			t.Fatal(err)
		}
	}
}

// content is some bytes that are not those of another seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

func put(t testing.TB, b *Backend, p storage.Path, data []byte) storage.Info {
	t.Helper()
	in, err := write(t.Context(), b, p, data, etagOf(data))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func read(t testing.TB, b *Backend, p storage.Path, r storage.Range) ([]byte, error) {
	t.Helper()
	rc, _, err := b.Open(t.Context(), p, r)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	var buf bytes.Buffer
	_, err = buf.ReadFrom(rc)
	return buf.Bytes(), err
}

func wantContent(t testing.TB, b *Backend, p storage.Path, want []byte) {
	t.Helper()
	got, err := read(t, b, p, storage.All)
	if err != nil {
		t.Fatalf("read %s: %v", p, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s reads %d bytes that are not the %d put", p, len(got), len(want))
	}
}

// wantClean checks a store that is not open.
func wantClean(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Check(t.Context(), dir, CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Errorf("check: %s", f)
	}
	return r
}

func files(t testing.TB, dir string) (n int) {
	t.Helper()
	if err := eachBlobFile(dir, 0, func(uint64, string) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReopen: everything is as it was, to the last field.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	want := make(map[storage.Path]storage.Info)
	bodies := make(map[storage.Path][]byte)
	for round := range uint64(3) {
		b := open(t, dir, small(t))
		if round == 0 {
			place(t, b)
		}
		for p, in := range want {
			got, err := b.Stat(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(in) {
				t.Errorf("%s is %+v, was %+v", p, got, in)
			}
			if data, ok := bodies[p]; ok {
				wantContent(t, b, p, data)
			}
		}
		var newest uint64
		for _, in := range want {
			newest = max(newest, in.Version)
		}
		for i, size := range []int{0, 1, 16 << 10, 16<<10 + 1, 1<<blockShift - 1, 1 << blockShift, 1<<blockShift + 1, 3 << 20} {
			p := path(fmt.Sprintf("r%d-%d", round, i%6)) // two of them overwrite
			bodies[p] = content(round*100+uint64(i), size)
			want[p] = put(t, b, p, bodies[p])
			if want[p].Version <= newest {
				t.Errorf("version %d was given out before", want[p].Version)
			}
			newest = want[p].Version
		}
		for _, p := range []storage.Path{path(), path().Parent()} {
			var err error
			if want[p], err = b.Stat(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Stat(t.Context(), path()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Stat after Close: %v, want ErrUnavailable", err)
		}
		if _, err := b.Make(t.Context(), path(), nil); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Make after Close: %v, want ErrUnavailable", err)
		}
		r := wantClean(t, dir)
		if r.Objects != want[path()].Objects || r.Bytes != want[path()].Size {
			t.Errorf("check counts %d objects, %d bytes; want %+v", r.Objects, r.Bytes, want[path()])
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, small(t))
	if _, err := Open(dir, small(t)); !errors.Is(err, ErrLocked) {
		t.Errorf("Open: %v, want ErrLocked", err)
	}
	if _, err := Check(t.Context(), dir, CheckOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("Check: %v, want ErrLocked", err)
	}
}

// TestForeignFilesStay: others keep their files in the directory too.
func TestForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"control.db", "keys"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, dir, small(t))
	place(t, b)
	b.Close()
	wantClean(t, dir)
	if got, err := os.ReadFile(filepath.Join(dir, "keys")); err != nil || string(got) != "keys" {
		t.Errorf("keys holds %q, %v", got, err)
	}
}

// TestCopyOutlivesSource: what is shared stays as long as anyone has it, and
// not longer. With refcounts forgotten, overwriting either would take both.
func TestCopyOutlivesSource(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		dir := t.TempDir()
		b := open(t, dir, small(t))
		place(t, b)
		ctx, data := t.Context(), content(1, size)
		put(t, b, path("source"), data)
		for _, to := range []string{"copy", "copy", "moved", "source"} { // onto itself and onto another copy too
			if _, err := b.Copy(ctx, storage.Info{Path: path("source")}, storage.Info{Path: path(to)}, storage.Cond{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Move(ctx, path("moved"), path("copy"), storage.Cond{}); err != nil { // over one of the same bytes
			t.Fatal(err)
		}
		if _, err := b.Move(ctx, path("copy"), path("copy"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		put(t, b, path("source"), content(2, size))
		b.reclaimer.idle()
		wantContent(t, b, path("copy"), data)
		wantContent(t, b, path("source"), content(2, size))
		if err := b.Remove(ctx, path("source"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		b.reclaimer.idle()
		wantContent(t, b, path("copy"), data)
		if err := b.Remove(ctx, path("copy"), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		b.reclaimer.idle()
		if n := files(t, dir); n != 0 {
			t.Errorf("size %d: %d files are left of nothing", size, n)
		}
		b.Close()
		if r := wantClean(t, dir); r.Blobs != 0 {
			t.Errorf("size %d: %d blobs are left of nothing", size, r.Blobs)
		}
	}
}

// TestRefusedUploadLeavesNothing: also not one refused when its file was
// already in place.
func TestRefusedUploadLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	put(t, b, path("o"), content(1, 10))
	for _, size := range []int{100, 100_000} {
		w, err := b.Create(t.Context(), storage.Info{Path: path("o"), Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content(2, size)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context(), storage.Info{}, storage.Cond{Absent: true}); !errors.Is(err, storage.ErrPrecondition) {
			t.Errorf("Commit over another: %v, want ErrPrecondition", err)
		}
		w.Close()
	}
	b.reclaimer.idle()
	wantContent(t, b, path("o"), content(1, 10))
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left of a refused upload", n)
	}
	if b.space.promised != 0 {
		t.Errorf("%d bytes are still promised", b.space.promised)
	}
	b.Close()
	wantClean(t, dir)
}

// TestManyWriters: the totals are exact after 16 writers have put, copied,
// moved and removed what they met, and a quota has held at every moment.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	ctx := t.Context()
	quota := &storage.Quota{ContainerBytes: 400_000, ContainerObjects: 40, AccountBytes: -1}
	var wg sync.WaitGroup
	for n := range uint64(16) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, n))
			name := func() storage.Path { return path(fmt.Sprint("o", r.IntN(60))) }
			for range 150 {
				var err error
				switch r.IntN(6) {
				case 0, 1:
					data := content(n, r.IntN(40_000))
					var w storage.Writer
					if w, err = b.Create(ctx, storage.Info{Path: name(), Size: -1}); err == nil {
						w.Write(data)
						_, err = w.Commit(ctx, storage.Info{ETag: etagOf(data)}, storage.Cond{Quota: quota})
						w.Close()
					}
				case 2:
					_, err = b.Copy(ctx, storage.Info{Path: name()}, storage.Info{Path: name()}, storage.Cond{Quota: quota})
				case 3:
					_, err = b.Move(ctx, name(), name(), storage.Cond{Quota: quota})
				case 4:
					err = b.Remove(ctx, name(), storage.Cond{})
				case 5:
					_, err = read(t, b, name(), storage.All)
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, storage.ErrQuota) {
					t.Error(err)
				}
				in, err := b.Stat(ctx, path())
				if err != nil || in.Size > quota.ContainerBytes || in.Objects > quota.ContainerObjects {
					t.Errorf("container has %d objects, %d bytes, %v", in.Objects, in.Size, err)
				}
			}
		})
	}
	wg.Wait()
	var objects, size int64
	for in, err := range b.List(ctx, path(), storage.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		objects, size = objects+1, size+in.Size
	}
	for _, p := range []storage.Path{path(), path().Parent()} {
		in, err := b.Stat(ctx, p)
		if err != nil || in.Objects != objects || in.Size != size {
			t.Errorf("%s has %d objects, %d bytes; listed are %d, %d", p, in.Objects, in.Size, objects, size)
		}
	}
	b.Close()
	wantClean(t, dir)
}

// TestTotalsMatchRows: a reader never sees a row whose totals are still those
// before it, nor the other way round.
func TestTotalsMatchRows(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	ctx := t.Context()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			put(t, b, path(fmt.Sprintf("%06d", i)), nil)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		count := func() (n int64) {
			for range b.List(ctx, path(), storage.Query{}) {
				n++
			}
			return n
		}
		before, err := b.Stat(ctx, path())
		if err != nil {
			t.Fatal(err)
		}
		listed := count()
		after, err := b.Stat(ctx, path())
		if err != nil {
			t.Fatal(err)
		}
		if listed < before.Objects || listed > after.Objects {
			t.Fatalf("%d are listed between totals of %d and %d", listed, before.Objects, after.Objects)
		}
	}
}

// TestJournalForgets: it keeps what it must, and says so when it does not.
func TestJournalForgets(t *testing.T) {
	o := small(t)
	o.JournalKeep = 100
	b := open(t, t.TempDir(), o)
	place(t, b)
	var last storage.Info
	for i := range 400 {
		last = put(t, b, path(fmt.Sprint(i)), nil)
	}
	changes := func(after uint64) (n int, err error) {
		for c, err := range b.Changes(t.Context(), after) {
			if err != nil {
				return n, err
			}
			if n++; c.Version != after+uint64(n) {
				t.Fatalf("change %d after %d has version %d", n, after, c.Version)
			}
		}
		return n, nil
	}
	if n, err := changes(last.Version - 100); n != 100 || err != nil {
		t.Errorf("%d of the last 100 changes, %v", n, err)
	}
	if n, err := changes(last.Version); n != 0 || err != nil {
		t.Errorf("%d changes after the last, %v", n, err)
	}
	for _, after := range []uint64{0, last.Version - 200, last.Version + 1} {
		if _, err := changes(after); !errors.Is(err, storage.ErrGap) {
			t.Errorf("changes after %d: %v, want ErrGap", after, err)
		}
	}
}

// TestSmallHeadsCache: the totals are right however little is kept in memory.
func TestSmallHeadsCache(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	b.heads.limit = 300 // one entry in a shard
	place(t, b)
	ctx := t.Context()
	want := make(map[storage.Path]int64)
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		p := storage.Path{Account: "AUTH_a", Container: fmt.Sprint("c", r.IntN(40))}
		if _, err := b.Make(ctx, p, nil); err != nil {
			t.Fatal(err)
		}
		want[p] += 0
		o := p
		o.Object = fmt.Sprint(r.IntN(1 << 30))
		put(t, b, o, []byte("x"))
		want[p]++
		for q, n := range maps.All(want) {
			if in, err := b.Stat(ctx, q); err != nil || in.Objects != n {
				t.Fatalf("%s has %d objects, %v; want %d", q, in.Objects, err, n)
			}
			break
		}
	}
}

func TestTombstonesOfRemovedContainer(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	place(t, b)
	for i := range 1100 {
		put(t, b, path(fmt.Sprint(i)), nil)
	}
	for i := range 1100 {
		if err := b.Remove(t.Context(), path(fmt.Sprint(i)), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Remove(t.Context(), path(), storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	place(t, b)
	put(t, b, path("again"), []byte("here"))
	b.Close()
	b = open(t, dir, small(t))
	wantContent(t, b, path("again"), []byte("here"))
	b.Close()
	wantClean(t, dir)
}

func newCancel(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
