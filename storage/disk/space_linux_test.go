package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
)

// smallDisk is a file system that can be filled.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a tmpfs, which CI must be able to: %v", err)
		}
		t.Skipf("NOT TESTED: a full disk, because no tmpfs can be mounted (it takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func tight(t *testing.T) Options {
	o := small(t)
	o.Log = quiet
	o.MemTable, o.CacheSize = 1<<20, 1<<20
	o.Reserve, o.Ballast = 16<<20, 8<<20
	return o
}

// look again at the disk, as after a second.
func (s *space) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Time{}
}

// fillUp puts objects until there is no room, and returns them.
func fillUp(t *testing.T, b *Backend, size int) map[storage.Path][]byte {
	t.Helper()
	all := make(map[storage.Path][]byte)
	for i := range uint64(100_000) {
		p, data := path(fmt.Sprint("fill", i)), content(i, size)
		_, err := write(t.Context(), b, p, data, etagOf(data))
		if errors.Is(err, storage.ErrNoSpace) {
			return all
		}
		if err != nil {
			t.Fatalf("after %d objects: %v, want ErrNoSpace", i, err)
		}
		all[p] = data
		if i%20 == 0 {
			b.space.expire()
		}
	}
	t.Fatal("the disk does not fill")
	return nil
}

func TestFullDisk(t *testing.T) {
	for _, size := range []int{10_000, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := smallDisk(t, "size=96m")
			b := open(t, dir, tight(t))
			defer b.Close()
			place(t, b)
			all := fillUp(t, b, size)
			free, _, _, err := freeSpace(dir)
			if err != nil {
				t.Fatal(err)
			}
			if free < 8<<20 {
				t.Errorf("only %d bytes are free, of a reserve of 16 MiB", free)
			}
			if n := int64(len(all)) * int64(size); n < 30<<20 {
				t.Errorf("only %d bytes went onto 96 MiB", n)
			}
			b.space.expire()
			if _, err := b.Create(t.Context(), storage.Info{Path: path("big"), Size: 50 << 20}); !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("Create of 50 MiB: %v, want ErrNoSpace before the body", err)
			}
			// One that does not say how large it is.
			for p := range all {
				if err := b.Remove(t.Context(), p, storage.Cond{}); err != nil {
					t.Fatalf("remove on a full disk: %v", err)
				}
				delete(all, p)
				if len(all)*size < 20<<20 {
					break
				}
			}
			b.reclaimer.idle()
			b.db.Flush() // inline bytes are freed by the index, when it likes
			b.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false)
			b.space.expire()
			w, err := b.Create(t.Context(), storage.Info{Path: path("endless"), Size: -1})
			if err != nil {
				t.Fatalf("with room again: %v", err)
			}
			chunk := content(1, 1<<20)
			for n := 0; err == nil; n++ {
				if n > 100 {
					t.Fatal("100 MiB go onto 96")
				}
				b.space.expire()
				_, err = w.Write(chunk)
			}
			if !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("write without end: %v, want ErrNoSpace", err)
			}
			if _, err := w.Commit(t.Context(), storage.Info{}, storage.Cond{}); !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("commit of it: %v, want ErrNoSpace", err)
			}
			w.Close()
			b.space.expire()
			all[path("new")] = content(5, size)
			put(t, b, path("new"), all[path("new")])
			wantAll(t, b, all)
			if b.space.promised != 0 {
				t.Errorf("%d bytes are still promised", b.space.promised)
			}
			b.Close()
			wantClean(t, dir)
		})
	}
}

// TestOthersFillTheDisk: when not even the reserve is left, the ballast still
// lets objects be removed; and it is made again.
func TestOthersFillTheDisk(t *testing.T) {
	dir := smallDisk(t, "size=96m")
	b := open(t, dir, tight(t))
	defer b.Close()
	place(t, b)
	all := make(map[storage.Path][]byte)
	for i := range uint64(10) {
		p := path(fmt.Sprint(i))
		all[p] = content(i, 1<<20)
		put(t, b, p, all[p])
	}
	glut := filepath.Join(dir, "glut")
	f, err := os.Create(glut)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<16))
	}
	f.Close()
	if !isFull(err) {
		t.Fatal(err)
	}
	// Between two looks at the disk an upload meets it as it is.
	b.space.mu.Lock()
	b.space.asked, b.space.free = time.Now(), 1<<40
	b.space.mu.Unlock()
	w, err := b.Create(t.Context(), storage.Info{Path: path("unlucky"), Size: 1 << 20})
	if err == nil {
		_, err = w.Write(content(1, 1<<20))
		if _, cerr := w.Commit(t.Context(), storage.Info{}, storage.Cond{}); !errors.Is(cerr, storage.ErrNoSpace) {
			t.Errorf("commit of what could not be written: %v, want ErrNoSpace", cerr)
		}
		w.Close()
	}
	if !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("write on a full disk: %v, want ErrNoSpace", err)
	}
	b.space.expire()
	if _, err := write(t.Context(), b, path("x"), []byte("x"), ""); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("put on a full disk: %v, want ErrNoSpace", err)
	}
	if err := b.Remove(t.Context(), path("0"), storage.Cond{}); err != nil {
		t.Errorf("remove on a full disk: %v", err)
	}
	delete(all, path("0"))
	if in, err := os.Stat(filepath.Join(dir, fileBallast)); err != nil || in.Size() != 0 {
		t.Errorf("the ballast is %v, %v; want it released", in, err)
	}
	wantAll(t, b, all)
	if err := os.Remove(glut); err != nil {
		t.Fatal(err)
	}
	b.space.expire()
	put(t, b, path("x"), nil)
	all[path("x")] = nil
	if in, err := os.Stat(filepath.Join(dir, fileBallast)); err != nil || in.Size() != 8<<20 {
		t.Errorf("the ballast is %v, %v; want it back", in, err)
	}
	wantAll(t, b, all)
	b.Close()
	wantClean(t, dir)
}

func TestNoInodes(t *testing.T) {
	dir := smallDisk(t, "size=96m,nr_inodes=150")
	o := tight(t)
	o.ReserveInodes = 40
	b := open(t, dir, o)
	defer b.Close()
	place(t, b)
	all := make(map[storage.Path][]byte)
	var err error
	for i := uint64(0); err == nil && i < 200; i++ {
		p, data := path(fmt.Sprint(i)), content(i, 17_000)
		b.space.expire()
		if _, err = write(t.Context(), b, p, data, etagOf(data)); err == nil {
			all[p] = data
		}
	}
	if !errors.Is(err, storage.ErrNoSpace) || len(all) < 50 {
		t.Fatalf("after %d files: %v, want ErrNoSpace", len(all), err)
	}
	for i := range 10 {
		if err := b.Remove(t.Context(), path(fmt.Sprint(i)), storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		delete(all, path(fmt.Sprint(i)))
	}
	b.reclaimer.idle()
	b.space.expire()
	all[path("new")] = content(1, 17_000)
	put(t, b, path("new"), all[path("new")])
	wantAll(t, b, all)
}

// TestRestoreFromReadOnly: a backup need not be writable to be good.
func TestRestoreFromReadOnly(t *testing.T) {
	dir, back := t.TempDir(), filepath.Join(t.TempDir(), "r")
	b := open(t, dir, small(t))
	all := furnish(t, b)
	b.Close()
	disk := smallDisk(t, "size=96m")
	backup := filepath.Join(disk, "backup")
	if err := Backup(t.Context(), dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantClean(t, backup)
	if err := Restore(t.Context(), backup, back, nil); err != nil {
		t.Fatal(err)
	}
	wantAll(t, open(t, back, small(t)), all)
}

// TestAnnouncedIsNotTaken: who announces much and brings little keeps no room
// from anybody.
func TestAnnouncedIsNotTaken(t *testing.T) {
	dir := smallDisk(t, "size=96m")
	b := open(t, dir, tight(t))
	defer b.Close()
	place(t, b)
	var idle []storage.Writer
	for i := range 20 {
		w, err := b.Create(t.Context(), storage.Info{Path: path(fmt.Sprint("idle", i)), Size: 40 << 20})
		if err != nil {
			t.Fatalf("upload %d that fits when it is alone: %v", i, err)
		}
		defer w.Close()
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, w)
	}
	put(t, b, path("small"), []byte("hi"))
	put(t, b, path("large"), content(1, 1<<20))
	if _, err := b.Make(t.Context(), storage.Path{Account: path("").Account, Container: "other"}, nil); err != nil {
		t.Errorf("Make beside idle uploads: %v", err)
	}
	if _, err := b.Update(t.Context(), storage.Info{Path: path("small"), Meta: storage.Meta{"A": "1"}}, storage.Cond{}); err != nil {
		t.Errorf("Update beside idle uploads: %v", err)
	}
	if _, err := b.Create(t.Context(), storage.Info{Path: path("huge"), Size: 90 << 20}); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("Create of what does not fit alone: %v, want ErrNoSpace", err)
	}

	// Together they are refused where the disk ends, not before.
	written := 0
	var err error
	for err == nil {
		for _, w := range idle {
			b.space.expire()
			if _, err = w.Write(content(2, 1<<20)); err != nil {
				break
			}
			written++
		}
	}
	if !errors.Is(err, storage.ErrNoSpace) || written < 40 {
		t.Errorf("after %d MiB: %v, want ErrNoSpace", written, err)
	}
	if _, err := write(t.Context(), b, path("large2"), content(1, 8<<20), ""); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("put of 8 MiB beside uploads that have filled the disk: %v, want ErrNoSpace", err)
	}
	if free, _, _, err := freeSpace(dir); err != nil || free < 15<<20 {
		t.Errorf("%d bytes are free, %v; the reserve of 16 MiB was taken", free, err)
	}
	for _, w := range idle {
		w.Close()
	}
	if b.space.promised != 0 {
		t.Errorf("%d bytes are still promised", b.space.promised)
	}
}

// TestAheadIsEarned: what an upload is granted beyond its bytes is no more than
// it has brought, nor than is still to come.
func TestAheadIsEarned(t *testing.T) {
	s := &space{log: quiet, dir: t.TempDir()}
	var p promise
	if err := s.promise(&p, 300<<20); err != nil || p.left != 0 {
		t.Fatalf("promise: %v, %d bytes are held before one has come", err, p.left)
	}
	for used := int64(0); used < 300<<20; used += 1 << 20 {
		if err := s.use(&p, 1<<20); err != nil {
			t.Fatal(err)
		}
		came := used + 1<<20
		if most := min(came, aheadMost, 300<<20-came); p.left > most || p.left < 0 {
			t.Fatalf("after %d bytes %d are held, want at most %d", came, p.left, most)
		}
	}
	s.release(&p)
	if s.promised != 0 {
		t.Errorf("at the end %d bytes are promised", s.promised)
	}
}

// TestStageOnFullDisk: an upload that meets the full disk can be kept, and gone
// on with when there is room.
func TestStageOnFullDisk(t *testing.T) {
	b := open(t, smallDisk(t, "size=96m"), tight(t))
	place(t, b)
	put(t, b, path("ballast"), content(2, 30<<20))
	g := stageOf(t, b, "key")
	data := content(1, 60<<20)
	size, err := 0, error(nil)
	for err == nil {
		b.space.expire()
		var n int
		n, err = g.WriteAt(data[size:size+1<<20], int64(size))
		size += n
	}
	if !errors.Is(err, storage.ErrNoSpace) || size < 10<<20 {
		t.Fatalf("after %d bytes: %v, want ErrNoSpace", size, err)
	}
	keep(t, g, "note")
	if b.space.promised != 0 {
		t.Errorf("%d bytes are still promised", b.space.promised)
	}
	g = stageOf(t, b, "key")
	if _, err := g.WriteAt(data[:2<<20], int64(size)); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("WriteAt while there is no room: %v, want ErrNoSpace", err)
	}
	keep(t, g, "note")
	if err := b.Remove(t.Context(), path("ballast"), storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	b.reclaimer.idle()
	b.space.expire()
	g = stageOf(t, b, "key")
	wantStage(t, g, data[:size])
	writeStage(t, g, data[size:size+1<<20], int64(size))
	commitStage(t, g, data[:size+1<<20])
	wantContent(t, b, path("o"), data[:size+1<<20])
	if b.space.promised != 0 {
		t.Errorf("%d bytes are still promised", b.space.promised)
	}
}

// The reserve is nobody's to fill, so it is not told as free.
func TestSpace(t *testing.T) {
	dir := t.TempDir()
	left, size, _, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	reserve := left / 2
	b := open(t, dir, Options{Reserve: reserve})
	total, free, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	if total != uint64(size) {
		t.Errorf("total %d, want %d", total, size)
	}
	// Others write to the file system meanwhile.
	if most := uint64(left-reserve) + 1<<30; free > most || free+1<<30 < uint64(left-reserve) {
		t.Errorf("free %d of %d left with %d in reserve", free, left, reserve)
	}
}
