package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"memstore.dev/memstore/storage"
)

// flip changes one bit of a file, and returns what changes it back.
func flip(t testing.TB, name string, at int64, bit byte) (undo func()) {
	t.Helper()
	turn := func() {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= bit
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	return turn
}

// blobOf is the blob of an object.
func blobOf(t testing.TB, b *Backend, p storage.Path) uint64 {
	t.Helper()
	v := b.look()
	defer v.release()
	r, err := b.row(v, p)
	if err != nil || r == nil {
		t.Fatalf("row of %s: %v, %v", p, r, err)
	}
	return r.blob
}

// wantSound reads a stretch in all ways there are, and accepts the bytes that
// were put, all or the first of them followed by ErrDamaged, but no others.
func wantSound(t testing.TB, b *Backend, p storage.Path, r storage.Range, want []byte, damaged bool) {
	t.Helper()
	for _, way := range []string{"Read", "WriteTo", "ReadAt", "ReadAt in pieces"} {
		var got bytes.Buffer
		rc, _, err := b.Open(t.Context(), p, r)
		if err == nil {
			switch way {
			case "Read":
				_, err = got.ReadFrom(rc)
			case "WriteTo":
				_, err = rc.(io.WriterTo).WriteTo(discard{&got})
			case "ReadAt":
				p := make([]byte, len(want))
				var n int
				n, err = rc.(io.ReaderAt).ReadAt(p, 0)
				got.Write(p[:n])
				if bytes.ContainsFunc(p[n:], func(r rune) bool { return r != 0 }) {
					t.Fatalf("ReadAt of %+v leaves bytes that it did not check", r)
				}
			case "ReadAt in pieces":
				_, err = io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{io.NewSectionReader(rc.(io.ReaderAt), 0, int64(len(want)))}, make([]byte, 30_000))
			}
			rc.Close()
		}
		if !bytes.HasPrefix(want, got.Bytes()) {
			t.Fatalf("%s of %+v hands out bytes that were never put", way, r)
		}
		if err == nil && got.Len() != len(want) {
			t.Fatalf("%s of %+v hands out %d bytes of %d without an error", way, r, got.Len(), len(want))
		}
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			t.Fatalf("%s of %+v: %v, want ErrDamaged", way, r, err)
		}
		if damaged && err == nil {
			t.Fatalf("%s of %+v goes through a flipped bit", way, r)
		}
	}
}

// TestEveryByteOfAFile: whichever byte of a file rots, content or footer, no
// wrong byte is served.
func TestEveryByteOfAFile(t *testing.T) {
	o := small(t)
	o.InlineLimit, o.Verify, o.Log = -1, VerifyAlways, quiet
	dir := t.TempDir()
	b := open(t, dir, o)
	place(t, b)
	data := content(1, 300)
	put(t, b, path("o"), data)
	id := blobOf(t, b, path("o"))
	name := blobPath(dir, id)
	in, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range in.Size() {
		undo := flip(t, name, at, 1<<(at%8))
		b.footers.forget(id) // as if it had not been read before
		wantSound(t, b, path("o"), storage.All, data, true)
		wantSound(t, b, path("o"), storage.Range{Offset: 100, Length: 7}, data[100:107], true)
		undo()
	}
	b.footers.forget(id)
	wantContent(t, b, path("o"), data)
	for n := range in.Size() { // and cut short
		if err := os.Truncate(name, in.Size()-1-n); err != nil {
			t.Fatal(err)
		}
		b.footers.forget(id)
		wantSound(t, b, path("o"), storage.All, data, true)
	}
	if b.damages.Load() == 0 {
		t.Error("no damage was reported")
	}
}

// TestRandomBitsOfALargeFile: of what lies in other blocks than the rotten bit,
// everything is served; of its block nothing.
func TestRandomBitsOfALargeFile(t *testing.T) {
	o := small(t)
	o.Log = quiet
	dir := t.TempDir()
	b := open(t, dir, o)
	place(t, b)
	const size = 5<<blockShift + 123
	data := content(1, size)
	put(t, b, path("o"), data)
	id := blobOf(t, b, path("o"))
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := r.Int64N(size)
		undo := flip(t, blobPath(dir, id), at, 1<<r.IntN(8))
		b.footers.forget(id) // also what was found sound
		for range 5 {
			from := r.Int64N(size)
			n := 1 + r.Int64N(size-from)
			in := at>>blockShift >= from>>blockShift && at>>blockShift <= (from+n-1)>>blockShift
			wantSound(t, b, path("o"), storage.Range{Offset: from, Length: n}, data[from:from+n], in)
			b.footers.forget(id)
		}
		wantSound(t, b, path("o"), storage.All, data, true)
		undo()
	}
}

// TestInlineRot: what is in the index is checked by the index, and by us.
func TestInlineRot(t *testing.T) {
	o := small(t)
	o.Log = quiet
	b := open(t, t.TempDir(), o)
	place(t, b)
	data := content(1, 300)
	put(t, b, path("o"), data)
	key := idKey(tableInline, blobOf(t, b, path("o")))
	whole := encodeInline(data)
	for at := range whole {
		rotten := bytes.Clone(whole)
		rotten[at] ^= 1 << (at % 8)
		b.db.Set(key, rotten, nil)
		b.show(b.epoch, b.state.version)
		wantSound(t, b, path("o"), storage.All, data, true)
	}
	b.db.Delete(key, nil)
	b.show(b.epoch, b.state.version)
	if _, err := read(t, b, path("o"), storage.All); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("read of what is missing: %v, want ErrDamaged", err)
	}
}

// An object whose content is lost is damaged. It is not missing: a client that
// heard so would delete its own copy.
func TestMissingFile(t *testing.T) {
	o := small(t)
	o.Log = quiet
	b := open(t, t.TempDir(), o)
	place(t, b)
	put(t, b, path("o"), content(1, 300<<10))
	if err := os.Remove(blobPath(b.dir, blobOf(t, b, path("o")))); err != nil {
		t.Fatal(err)
	}
	_, _, err := b.Open(t.Context(), path("o"), storage.All)
	if !errors.Is(err, storage.ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want ErrDamaged and not ErrNotExist", err)
	}
}

// sendfile takes note of what it is given to read from.
type sendfile struct {
	bytes.Buffer
	fromFile int64
}

func (s *sendfile) ReadFrom(r io.Reader) (int64, error) {
	n, err := s.Buffer.ReadFrom(r)
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			s.fromFile += n
		}
	}
	return n, err
}

// sent reads a stretch of an object, and returns how much of it came by sendfile.
func sent(t *testing.T, b *Backend, p storage.Path, r storage.Range, data []byte) int64 {
	t.Helper()
	rc, _, err := b.Open(t.Context(), p, r)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var w sendfile
	if _, err := io.Copy(&w, rc); err != nil {
		t.Fatal(err)
	}
	from, n, _ := r.Resolve(int64(len(data)))
	if !bytes.Equal(w.Bytes(), data[from:from+n]) {
		t.Fatalf("%+v: other bytes arrive than were put", r)
	}
	return w.fromFile
}

// TestRecentlyCheckedIsSent: the second reader gets by sendfile what the first
// had checked, whole blocks or not.
func TestRecentlyCheckedIsSent(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	const size = 70<<blockShift + 5 // more than 64 blocks
	data := content(1, size)
	put(t, b, path("o"), data)
	b.footers.forget(blobOf(t, b, path("o"))) // as if somebody had put it long ago
	send := func(r storage.Range) int64 { return sent(t, b, path("o"), r, data) }
	if n := send(storage.Range{Offset: 4 << blockShift, Length: 2 << blockShift}); n != 0 {
		t.Errorf("%d bytes were sent unchecked", n)
	}
	if n := send(storage.All); n != 2<<blockShift {
		t.Errorf("%d bytes were sent that had been checked, want %d", n, 2<<blockShift)
	}
	if n := send(storage.All); n != size {
		t.Errorf("%d bytes were sent of %d that had been checked", n, size)
	}
	if n := send(storage.Range{Offset: 63<<blockShift + 7, Length: 1 << blockShift}); n != 1<<blockShift {
		t.Errorf("%d bytes were sent of %d that had been checked", n, 1<<blockShift)
	}
	b.footers.window = -1
	if n := send(storage.All); n != 0 {
		t.Errorf("%d bytes were sent though their check is too old", n)
	}
}

// TestScrub: it finds what rotted, says whose it is, puts files aside, and
// leaves what is sound alone.
func TestScrub(t *testing.T) {
	o := small(t)
	o.Log = quiet
	dir := t.TempDir()
	b := open(t, dir, o)
	place(t, b)
	for i := range 2 * scrubBatch {
		put(t, b, path(fmt.Sprint("small", i)), []byte{byte(i), 1})
	}
	sound, rotten := content(1, 100_000), content(2, 200_000)
	put(t, b, path("sound"), sound)
	put(t, b, path("rotten"), rotten)
	if _, err := b.Copy(t.Context(), storage.Info{Path: path("rotten")}, storage.Info{Path: path("copy")}, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	round := func() int64 {
		var s scrubState
		before := b.damages.Load()
		if err := b.scrubRound(t.Context(), &s, rate.NewLimiter(rate.Inf, 1)); err != nil {
			t.Fatal(err)
		}
		return b.damages.Load() - before
	}
	if n := round(); n != 0 {
		t.Fatalf("%d damages in a sound store", n)
	}
	id := blobOf(t, b, path("rotten"))
	flip(t, blobPath(dir, id), 150_000, 4)
	if n := round(); n != 2 {
		t.Errorf("%d objects were reported, want the two that share the file", n)
	}
	if n := len(names(t, dir, dirQuarantine)); n != 1 {
		t.Errorf("%d files in quarantine, want 1", n)
	}
	wantContent(t, b, path("sound"), sound)
	if _, err := read(t, b, path("copy"), storage.Range{Offset: 0, Length: 10}); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("read of the damaged object: %v, want ErrDamaged", err)
	}
	b.Close()
	r, err := Check(t.Context(), dir, CheckOptions{})
	if err != nil || len(r.Findings) != 2 || r.Clean() {
		t.Errorf("check finds %v, %v; want the two objects", r.Findings, err)
	}
}

// TestScrubbedMD5: also what fits its block checksums.
func TestScrubbedMD5(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	b.log = quiet
	place(t, b)
	w, err := b.Create(t.Context(), storage.Info{Path: path("o"), Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Write(content(1, 100_000))
	if _, err := w.Commit(t.Context(), storage.Info{ETag: etagOf(content(2, 100_000))}, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	var s scrubState
	if err := b.scrubRound(t.Context(), &s, rate.NewLimiter(rate.Inf, 1)); err != nil {
		t.Fatal(err)
	}
	if b.damages.Load() != 1 {
		t.Error("content of another MD5 was not reported")
	}
}

// TestScrubLoop: it goes round once a day, remembers where it is, and is no
// faster than it may be.
func TestScrubLoop(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	b.log = quiet
	place(t, b)
	b.o.ScrubRate = 100_000 // with its burst of 262,144 the rest takes 10 s
	put(t, b, path("a"), content(1, 1_262_144))
	put(t, b, path("b"), content(2, 100_000))
	id := blobOf(t, b, path("b"))
	flip(t, blobPath(dir, id), 5, 1)
	state := func() (s scrubState) {
		if _, err := lookup(b.db, keyScrub, func(v []byte) (err error) { s, err = decodeScrub(v); return err }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go b.scrubLoop(ctx)
		begun := time.Now()
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if n := b.damages.Load(); n != 0 {
			t.Errorf("after %v it is through already", time.Since(begun))
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if n := b.damages.Load(); n != 1 {
			t.Errorf("%d damages after the first round, want 1", n)
		}
		first := state()
		if first.next != 0 || first.begun < begun.Unix() {
			t.Errorf("after the first round it notes %+v", first)
		}
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		if state() != first {
			t.Error("it goes round more than once a day")
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if s := state(); s.begun < first.begun+24*3600 {
			t.Errorf("a day later it notes %+v, after %+v", s, first)
		}
		cancel()
	})
}
