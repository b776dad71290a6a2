package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
	"memstore.dev/memstore/storage/vfs"
)

var errLine = errors.New("the line dropped")

// A house is a store with a container, that users open sessions on.
type house struct {
	*testing.T
	b *storagetest.Faulty
	s *storage.Store
}

func newHouse(t *testing.T) *house {
	b := &storagetest.Faulty{Backend: memory.New()}
	h := &house{T: t, b: b, s: storage.New(b)}
	h.must(h.session("ann").Mkdir("/c", 0))
	return h
}

func (h *house) session(user string) *vfs.FS {
	return vfs.New(h.Context(), h.s, account, vfs.Options{Owner: user})
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) fails(what string, err, kind error) {
	h.Helper()
	if !errors.Is(err, kind) {
		h.Errorf("%s: error %v, want %v", what, err, kind)
	}
}

func (h *house) open(f afero.Fs, name string, flag int) afero.File {
	h.Helper()
	file, err := f.OpenFile(name, flag, 0o644)
	h.must(err)
	return file
}

func (h *house) put(f afero.Fs, name string, data []byte) {
	h.Helper()
	h.must(afero.WriteFile(f, name, data, 0o644))
}

// cut uploads data and then loses the line.
func (h *house) cut(f afero.Fs, name string, flag int, data []byte) {
	h.Helper()
	file := h.open(f, name, flag)
	_, err := file.Seek(0, io.SeekEnd)
	h.must(err)
	_, err = file.Write(data)
	h.must(err)
	fail(file)
}

// fail ends a transfer as a door does.
func fail(file afero.File) {
	file.(interface{ TransferError(error) }).TransferError(errLine)
	file.Close()
}

const (
	anew   = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	resume = os.O_WRONLY | os.O_CREATE
)

// wantSize is what the user sees at a path, by asking for it and by listing.
func (h *house) wantSize(f afero.Fs, name string, want int64) {
	h.Helper()
	in, err := f.Stat(name)
	h.must(err)
	listed := int64(-1)
	infos, err := afero.ReadDir(f, name[:bytes.LastIndexByte([]byte(name), '/')])
	h.must(err)
	for _, e := range infos {
		if e.Name() == in.Name() {
			listed = e.Size()
		}
	}
	if in.Size() != want || listed != want {
		h.Fatalf("%s has %d bytes, and is listed with %d, want %d", name, in.Size(), listed, want)
	}
}

func (h *house) wantNone(f afero.Fs, name string) {
	h.Helper()
	_, err := f.Stat(name)
	h.fails("Stat("+name+")", err, fs.ErrNotExist)
}

// wantObject is what everybody sees.
func (h *house) wantObject(name string, want []byte) {
	h.Helper()
	r, in, err := h.s.Open(h.Context(), storage.Path{Account: account, Container: "c", Object: name}, storage.All)
	h.must(err)
	defer r.Close()
	got, err := io.ReadAll(r)
	h.must(err)
	if !bytes.Equal(got, want) || in.Size != int64(len(want)) {
		h.Fatalf("the object %s has %d bytes that are not the %d wanted", name, len(got), len(want))
	}
	if sum, err := h.session("ann").Hash("/c/"+name, "md5"); err != nil || sum != in.ETag {
		h.Errorf("Hash(%s) = %s, %v, want %s", name, sum, err, in.ETag)
	}
}

// wantNothingKept looks for what should have been tidied up.
func (h *house) wantNothingKept() {
	h.Helper()
	for k, err := range h.s.Staged(h.Context(), "") {
		h.Errorf("%q is kept with %d bytes, %v", k.Key, k.Size, err)
	}
}

func (h *house) finish(f afero.Fs, name string, flag int, at int64, rest []byte) {
	h.Helper()
	file := h.open(f, name, flag)
	if flag&os.O_APPEND == 0 {
		_, err := file.Seek(at, io.SeekStart)
		h.must(err)
	}
	_, err := file.Write(rest)
	h.must(err)
	h.must(file.Close())
}

func data(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b)
	return b
}

func TestCutUploadIsResumed(t *testing.T) {
	want := data(1 << 20)
	for name, flag := range map[string]int{"at an offset": resume, "appending": resume | os.O_APPEND} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.cut(h.session("ann"), "/c/f", anew, want[:600_000])

			ann, bob := h.session("ann"), h.session("bob")
			h.wantSize(ann, "/c/f", 600_000)
			h.wantNone(bob, "/c/f")
			if infos, err := afero.ReadDir(bob, "/c"); len(infos) != 0 || err != nil {
				t.Errorf("bob is shown %d files, %v", len(infos), err)
			}
			_, err := h.s.Stat(t.Context(), storage.Path{Account: account, Container: "c", Object: "f"})
			h.fails("Stat of the object", err, fs.ErrNotExist)
			_, err = ann.Open("/c/f")
			h.fails("Open of half a file", err, fs.ErrPermission)
			_, err = ann.OpenFile("/c/f", anew|os.O_EXCL, 0)
			h.fails("OpenFile with O_EXCL of half a file", err, fs.ErrExist)
			if _, err := ann.Hash("/c/f", "md5"); err == nil {
				t.Error("half a file has a hash")
			}
			if err := ann.Chtimes("/c/f", time.Now(), time.Now()); err != nil {
				t.Errorf("Chtimes of half a file: %v", err)
			}

			// Cut again, and again.
			h.cut(ann, "/c/f", resume, want[600_000:700_000])
			h.wantSize(h.session("ann"), "/c/f", 700_000)
			h.finish(h.session("ann"), "/c/f", flag, 700_000, want[700_000:])
			h.wantObject("f", want)
			h.wantSize(bob, "/c/f", 1<<20)
			h.wantNothingKept()
		})
	}
}

func TestCutOverwriteLeavesTheOldFile(t *testing.T) {
	h := newHouse(t)
	old, want := data(100_000), data(300_000)
	ann := h.session("ann")
	h.put(ann, "/c/f", old)
	for _, arrived := range []int{50_000, 0} {
		h.cut(h.session("ann"), "/c/f", anew, want[:arrived])
		h.wantObject2("f", old)
		h.wantSize(h.session("bob"), "/c/f", 100_000)
		// A client who resumes at the size he is told must be told how much
		// arrived, or he would go on at the end of the old file.
		h.wantSize(ann, "/c/f", int64(arrived))
		if got, err := afero.ReadFile(ann, "/c/f"); err != nil || !bytes.Equal(got, old) {
			t.Errorf("reading the file gave %d bytes, %v", len(got), err)
		}
	}
	h.cut(ann, "/c/f", anew, want[:50_000])
	h.finish(h.session("ann"), "/c/f", resume, 50_000, want[50_000:])
	h.wantObject("f", want)
	h.wantNothingKept()

	// Appending that was cut off goes on where it stopped.
	h.cut(ann, "/c/f", resume|os.O_APPEND, old[:10_000])
	h.wantObject2("f", want)
	h.wantSize(ann, "/c/f", 310_000)
	h.finish(ann, "/c/f", resume|os.O_APPEND, 0, old[10_000:])
	h.wantObject("f", append(want, old...))
}

// wantObject2 is wantObject where the user sees something else.
func (h *house) wantObject2(name string, want []byte) {
	h.Helper()
	got, err := afero.ReadFile(h.session("bob"), "/c/"+name)
	if err != nil || !bytes.Equal(got, want) {
		h.Fatalf("others read %d bytes, %v, want %d", len(got), err, len(want))
	}
}

func TestCutBeforeAnythingArrivedLeavesNothing(t *testing.T) {
	h := newHouse(t)
	h.cut(h.session("ann"), "/c/f", anew, nil)
	h.wantNone(h.session("ann"), "/c/f")
	h.wantNothingKept()
}

func TestCutUploadIsOutOfDateWhenTheFileChanges(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.session("ann"), h.session("bob")
	h.put(ann, "/c/f", []byte("first"))
	h.cut(ann, "/c/f", anew, []byte("half"))
	h.put(bob, "/c/f", []byte("second one"))
	h.wantSize(ann, "/c/f", 10)
	h.finish(ann, "/c/f", resume, 10, []byte(", amended"))
	h.wantObject("f", []byte("second one, amended"))
	h.wantNothingKept()

	h.cut(ann, "/c/new", anew, []byte("half"))
	h.put(bob, "/c/new", []byte("bob's"))
	h.wantSize(ann, "/c/new", 5)
	h.cut(ann, "/c/gone", anew, []byte("half"))
	h.must(h.session("ann").Remove("/c/gone"))
	h.wantNone(ann, "/c/gone")

	// Changed metadata is no other file.
	h.cut(ann, "/c/f", anew, []byte("half"))
	h.must(bob.Chtimes("/c/f", time.Now(), time.Unix(1, 0)))
	h.wantSize(ann, "/c/f", 4)
}

func TestCutKeepsNothingBehindAHole(t *testing.T) {
	h := newHouse(t)
	want := data(400_000)
	file := h.open(h.session("ann"), "/c/f", anew)
	for _, at := range []int{0, 100_000, 300_000} { // the packet in between was lost
		_, err := file.WriteAt(want[at:at+100_000], int64(at))
		h.must(err)
	}
	fail(file)
	ann := h.session("ann")
	h.wantSize(ann, "/c/f", 200_000)

	// Who goes on further than it reaches is refused, whatever he does it with.
	file = h.open(ann, "/c/f", resume)
	_, err := file.WriteAt(want[300_000:], 300_000)
	h.must(err)
	if err := file.Close(); err == nil {
		t.Error("a file with a hole in it was closed without an error")
	}
	h.wantSize(ann, "/c/f", 200_000)
	file = h.open(ann, "/c/f", resume)
	_, err = file.Seek(300_000, io.SeekStart)
	h.must(err)
	if _, err := file.Write([]byte("x")); err == nil {
		t.Error("Write behind the end did not fail")
	}
	if file.Close() == nil {
		t.Error("Close after a failed Write did not fail")
	}
	h.finish(ann, "/c/f", resume, 200_000, want[200_000:])
	h.wantObject("f", want)
}

func TestAllHasArrivedButTheEnd(t *testing.T) {
	h := newHouse(t)
	h.cut(h.session("ann"), "/c/f.filepart", anew, []byte("everything"))
	ann := h.session("ann")
	h.must(ann.Truncate("/c/f.filepart", 10)) // which does not say that it is finished
	_, err := h.session("bob").Stat("/c/f.filepart")
	h.fails("Stat by bob", err, fs.ErrNotExist)
	h.must(h.open(ann, "/c/f.filepart", resume).Close())
	h.must(ann.Rename("/c/f.filepart", "/c/f"))
	h.wantObject("f", []byte("everything"))
	h.wantNothingKept()
}

func TestKeptUploadIsRemovedAndRenamed(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.must(ann.MkdirAll("/c/d/e", 0))
	h.cut(ann, "/c/d/e/f", anew, []byte("half"))
	h.fails("Remove of a directory with half a file", ann.Remove("/c/d/e"), syscall.ENOTEMPTY)
	h.must(ann.Rename("/c/d/e/f", "/c/d/g"))
	h.wantSize(ann, "/c/d/g", 4)
	h.wantNone(ann, "/c/d/e/f")
	h.must(ann.Rename("/c/d", "/c/z"))
	h.wantSize(ann, "/c/z/g", 4)
	h.must(ann.Rename("/c", "/n"))
	h.wantSize(ann, "/n/z/g", 4)
	h.must(ann.Rename("/n", "/c"))
	h.finish(ann, "/c/z/g", resume, 4, []byte(" and half"))
	h.wantObject("z/g", []byte("half and half"))

	h.cut(ann, "/c/x", anew, []byte("half"))
	h.must(ann.Remove("/c/x"))
	h.wantNone(ann, "/c/x")
	h.cut(ann, "/c/z/x", anew, []byte("half"))
	h.must(ann.RemoveAll("/c/z"))
	h.wantNothingKept()
}

func TestUploadAnewForgetsWhatWasKept(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.cut(ann, "/c/f", anew, data(1000))
	h.put(ann, "/c/f", []byte("new"))
	h.wantObject("f", []byte("new"))
	h.wantNothingKept()
}

// TestLineIsDeadButNotKnownToBe has the client come back while the server still
// waits for him on the old line.
func TestLineIsDeadButNotKnownToBe(t *testing.T) {
	h := newHouse(t)
	want := data(500_000)
	dead := h.open(h.session("ann"), "/c/f", anew)
	_, err := dead.Write(want[:200_000])
	h.must(err)
	ann := h.session("ann")
	h.wantSize(ann, "/c/f", 200_000)
	h.wantNone(h.session("bob"), "/c/f")
	h.finish(ann, "/c/f", resume, 200_000, want[200_000:])
	if _, err := dead.Write([]byte("x")); err == nil {
		t.Error("an upload that was taken over took a write")
	}
	if dead.Close() == nil {
		t.Error("an upload that was taken over was closed without an error")
	}
	h.wantObject("f", want)
	h.wantNothingKept()

	// While one replaces a file, his other sessions see the file.
	dead = h.open(h.session("ann"), "/c/f", anew)
	_, err = dead.Write(want[:1000])
	h.must(err)
	h.wantSize(ann, "/c/f", 500_000)
	// Going on at the end of that would be wrong, and he is not to know better
	// before the dead line is known to be.
	for _, flag := range []int{resume, resume | os.O_APPEND} {
		_, err := ann.OpenFile("/c/f", flag, 0)
		h.fails("OpenFile of what is being replaced", err, syscall.EBUSY)
	}
	h.wantObject2("f", want)
	fail(dead)
	h.wantSize(ann, "/c/f", 1000)
	h.finish(ann, "/c/f", resume, 1000, want[1000:])

	// Two who amend a file are in nobody's way.
	one, two := h.open(h.session("ann"), "/c/f", os.O_RDWR), h.open(ann, "/c/f", os.O_RDWR)
	_, err = two.WriteAt([]byte("x"), 0)
	h.must(err)
	h.must(two.Close())
	h.must(one.Close())
	want[0] = 'x'
	h.wantObject2("f", want)
}

func TestLastToCloseWins(t *testing.T) {
	h := newHouse(t)
	one, two := h.session("ann"), h.session("ann")
	first, second := h.open(one, "/c/f", anew), h.open(two, "/c/f", anew)
	_, err := first.Write([]byte("first"))
	h.must(err)
	_, err = second.Write([]byte("second"))
	h.must(err)
	h.must(second.Close())
	h.wantObject("f", []byte("second"))
	h.must(first.Close())
	h.wantObject("f", []byte("first"))

	first, second = h.open(one, "/c/f", anew), h.open(two, "/c/f", anew)
	_, err = first.Write([]byte("stale"))
	h.must(err)
	h.must(second.Close())
	fail(first)
	h.wantSize(h.session("ann"), "/c/f", 0) // what the second made, not what the first left
	h.wantObject("f", nil)

	first, second = h.open(one, "/c/y", anew), h.open(two, "/c/y", anew)
	_, err = first.Write([]byte("stale"))
	h.must(err)
	fail(first)
	h.must(h.session("ann").Remove("/c/f"))
	h.must(second.Close())
	h.wantObject("y", nil)
	h.wantNothingKept()

	first, second = h.open(one, "/c/x", anew|os.O_EXCL), h.open(two, "/c/x", anew)
	h.must(second.Close())
	h.fails("Close of what was opened with O_EXCL", first.Close(), fs.ErrExist)
}

func TestKeptUploadExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.cut(h.session("ann"), "/c/f", anew, []byte("half"))
		time.Sleep(23 * time.Hour)
		h.wantSize(h.session("ann"), "/c/f", 4)
		time.Sleep(2 * time.Hour)
		h.wantNone(h.session("ann"), "/c/f")
		h.wantNothingKept()

		never := vfs.New(t.Context(), h.s, account, vfs.Options{Owner: "ann", Keep: -1})
		h.cut(never, "/c/f", anew, []byte("half"))
		nobody := vfs.New(t.Context(), h.s, account, vfs.Options{})
		h.cut(nobody, "/c/f", anew, []byte("half"))
		h.wantNone(never, "/c/f")
		h.wantNothingKept()
	})
}

func TestSessionEndCutsOffWhatIsUnderWay(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	var files []afero.File
	for _, name := range []string{"/c/1", "/c/2"} {
		file := h.open(ann, name, anew)
		_, err := file.Write([]byte("half"))
		h.must(err)
		files = append(files, file)
	}
	h.must(ann.Close())
	for _, file := range files {
		h.fails("Close", file.Close(), fs.ErrClosed)
	}
	again := h.session("ann")
	h.wantSize(again, "/c/1", 4)
	h.wantSize(again, "/c/2", 4)
}

func TestFaultsLeaveTheOldFile(t *testing.T) {
	old, want := []byte("old"), data(100_000)
	for _, c := range []struct {
		fault storagetest.Fault
		kind  error
		kept  int64 // what the user sees then
	}{
		{storagetest.Fault{On: storagetest.WriteAt, Skip: 40_000, Times: 1, Err: storage.ErrNoSpace}, syscall.ENOSPC, 40_000},
		{storagetest.Fault{On: storagetest.WriteAt, Skip: 40_000, Times: 1, Err: errLine}, syscall.EIO, 40_000},
		{storagetest.Fault{On: storagetest.Commit, Times: 1, Err: storage.ErrUnavailable}, syscall.EIO, 100_000},
		{storagetest.Fault{On: storagetest.Commit, Times: 1, Err: storage.ErrQuota}, syscall.EDQUOT, 3},
		{storagetest.Fault{On: storagetest.ReadAt, Err: errLine}, syscall.EIO, 100_000},
		{storagetest.Fault{On: storagetest.Stage, Err: errLine}, syscall.EIO, 3},
	} {
		h := newHouse(t)
		ann := h.session("ann")
		h.put(ann, "/c/f", old)
		h.b.Inject(c.fault)
		file, err := ann.OpenFile("/c/f", anew, 0)
		for at := 0; err == nil && at < len(want); at += 10_000 {
			_, err = file.Write(want[at : at+10_000])
		}
		if file != nil {
			if closed := file.Close(); err == nil {
				err = closed
			} else if closed == nil {
				t.Errorf("%v: Close said nothing", c.fault)
			}
		}
		h.fails(string(c.fault.On), err, c.kind)
		if bytes.Contains([]byte(err.Error()), []byte(errLine.Error())) {
			t.Errorf("%v: the error tells of what is beneath: %v", c.fault.On, err)
		}
		if c.fault.Err == errLine && !errors.Is(err, errLine) {
			t.Errorf("%v: the cause is not to be found in %v", c.fault.On, err)
		}
		h.b.Heal()
		h.wantObject2("f", old)
		h.wantSize(h.session("ann"), "/c/f", c.kept)
		if c.kept > 3 {
			h.finish(h.session("ann"), "/c/f", resume, c.kept, want[c.kept:])
			h.wantObject("f", want)
		}
		h.wantNothingKept()
	}
}

func TestListingFailsAloud(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	for _, name := range []string{"/c/1", "/c/2", "/c/3"} {
		h.put(ann, name, nil)
	}
	d, err := ann.Open("/c")
	h.must(err)
	h.b.Inject(storagetest.Fault{On: storagetest.List, Skip: 2, Err: errLine})
	_, err = d.Readdir(-1)
	h.fails("Readdir", err, syscall.EIO)
}

func TestManyAtOnce(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	want := data(200_000)
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			name := []string{"/c/a", "/c/b"}[i%2]
			for j := range 15 {
				file, err := ann.OpenFile(name, []int{anew, resume, os.O_RDWR | os.O_CREATE}[j%3], 0)
				if err != nil {
					if !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("OpenFile: %v", err)
					}
					continue
				}
				file.WriteAt(want[:100_000], 0)
				file.WriteAt(want[100_000:], 100_000)
				if j%5 == 4 {
					fail(file)
				} else {
					file.Close()
				}
			}
		})
		users.Go(func() {
			for j := range 40 {
				ann.Stat("/c/a")
				afero.ReadDir(ann, "/c")
				switch j % 4 {
				case 0:
					ann.Rename("/c/a", "/c/b")
				case 1:
					ann.Chtimes("/c/b", time.Now(), time.Now())
				case 2:
					ann.Truncate("/c/b", 200_000)
				case 3:
					if j == 23 {
						ann.Remove("/c/b")
					}
				}
			}
		})
	}
	users.Wait()
	h.must(ann.Close())
	infos, err := afero.ReadDir(h.session("bob"), "/c")
	h.must(err)
	for _, in := range infos {
		got, err := afero.ReadFile(h.session("bob"), "/c/"+in.Name())
		if err != nil || !bytes.Equal(got, want) && !bytes.Equal(got, make([]byte, len(got))) && !slices.Equal(got[:100_000], want[:100_000]) {
			t.Errorf("%s holds %d bytes nobody wrote, %v", in.Name(), len(got), err)
		}
	}
}
