package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// settled waits until all that was to be saved has been.
func settled(t testing.TB, s *Store, entries int64) {
	t.Helper()
	for began := time.Now(); s.Stats().DiskEntries != entries; {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d entries on the disk, want %d", s.Stats().DiskEntries, entries)
		}
		runtime.Gosched()
	}
}

// files returns the store's files of that kind.
func files(t testing.TB, opt Options, prefix string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(opt.Dir, subdirectory, prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// hundred fills a store with a hundred entries of both kinds.
func hundred(t testing.TB, s *Store) {
	t.Helper()
	for i := range 100 {
		if err := fillIn(s, key(i), []byte("h"), content(uint64(i), i*1000), true); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, s, 100)
}

// intact counts the entries of hundred that are there, and complains of those
// that are not what they were.
func intact(t testing.TB, s *Store) (n int) {
	t.Helper()
	for i := range 100 {
		e := s.Get(key(i))
		if e == nil {
			continue
		}
		b, err := readAll(e, 0, -1)
		switch {
		case err == nil && bytes.Equal(b, content(uint64(i), i*1000)):
			n++
		case err == nil:
			t.Errorf("entry %d has other bytes", i)
		case !errors.Is(err, ErrDamaged):
			t.Errorf("entry %d: %v", i, err)
		case s.Peek(key(i)) != nil:
			t.Errorf("entry %d is damaged, and still there", i)
		}
		e.Release()
	}
	return n
}

// After a SIGKILL everything that was on the disk is there, with a snapshot of
// before the entries, of the midst of them, or after.
func TestWarmAfterKill(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	hundred(t, s)
	for range 3 {
		s = kill(t, s, opt)
		defer s.Close()
		if n := intact(t, s); n != 100 {
			t.Fatalf("%d entries of 100 after a kill", n)
		}
	}
	s.disk.save()
	s = kill(t, s, opt)
	defer s.Close()
	if n := intact(t, s); n != 100 {
		t.Fatalf("%d entries of 100 after a snapshot and a kill", n)
	}
}

// Bits flipped anywhere in segments cost the entries they are in, at most.
func TestBitFlips(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		opt := onDiskOptions(t)
		s := open(t, opt)
		hundred(t, s)
		if orderly {
			s.Close()
		} else {
			s = kill(t, s, opt)
			s.Close()
			for _, name := range files(t, opt, "index-")[1:] {
				os.Remove(name) // scan, then, what the snapshot would have told
			}
		}
		flips := 0
		for i, name := range files(t, opt, "segment-") {
			b, _ := os.ReadFile(name)
			for off := 1000 + 77*i; off < len(b); off += 200_000 {
				if b[off] != 0 {
					b[off] ^= 4
					flips++
				}
			}
			os.WriteFile(name, b, 0o600)
		}
		s = open(t, opt)
		n := intact(t, s)
		if flips == 0 || n == 100 || n < 100-2*flips {
			t.Errorf("orderly %v: %d of 100 entries intact after %d flips", orderly, n, flips)
		}
		if again := intact(t, s); again < n {
			t.Errorf("%d entries, then %d", n, again)
		}
		s.Close()
	}
}

func TestTruncatedSegments(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	hundred(t, s)
	s.Close()
	names := files(t, opt, "segment-")
	os.Truncate(names[0], 300_000)
	os.Truncate(names[1], 10)
	os.Remove(names[2])
	s = open(t, opt)
	if n := intact(t, s); n == 0 || n == 100 {
		t.Errorf("%d of 100 entries intact", n)
	}
	if err := fillIn(s, key(1), []byte("h"), content(1, 1000), true); err != nil {
		t.Error(err)
	}
}

// A damaged snapshot is made good by the one before it; what was removed in
// between stays removed.
func TestDamagedSnapshot(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	hundred(t, s)
	s.disk.save()
	s.Remove(key(50))
	s.Close() // another snapshot
	names := files(t, opt, "index-")
	b, _ := os.ReadFile(names[len(names)-1])
	b[len(b)/2] ^= 1
	os.WriteFile(names[len(names)-1], b, 0o600)
	s = open(t, opt)
	if n := intact(t, s); n != 99 || s.Get(key(50)) != nil {
		t.Errorf("%d entries intact, want 99 and not the removed one", n)
	}
}

// Where nobody can tell what was removed, nothing is there.
func TestDamagedJournal(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	hundred(t, s)
	s.Remove(key(50))
	s = kill(t, s, opt)
	s.Close()
	names := files(t, opt, "removed-")
	for _, name := range files(t, opt, "index-")[1:] {
		os.Remove(name)
	}
	b, _ := os.ReadFile(names[0])
	b[20] ^= 1
	os.WriteFile(names[0], b, 0o600)
	s = open(t, opt)
	if n := intact(t, s); n != 0 {
		t.Errorf("%d entries with a damaged list of removals", n)
	}
	hundred(t, s)
}

// A directory that is not a store's is made one, and what is beside the
// store's own stays.
func TestForeignDirectory(t *testing.T) {
	opt := onDiskOptions(t)
	own := filepath.Join(opt.Dir, subdirectory)
	os.MkdirAll(filepath.Join(own, "sub"), 0o700)
	os.WriteFile(filepath.Join(own, "segment-00000001"), []byte("something"), 0o600)
	os.WriteFile(filepath.Join(own, "format"), []byte("memstore edge store 9\n"), 0o600)
	beside := filepath.Join(opt.Dir, "precious")
	os.WriteFile(beside, nil, 0o600)
	s := open(t, opt)
	hundred(t, s)
	s.Close()
	if _, err := os.Stat(beside); err != nil {
		t.Error(err)
	}
	s = open(t, opt)
	if n := intact(t, s); n != 100 {
		t.Errorf("%d entries of 100", n)
	}
}

// A body that looks like records does not become one, whatever the scan meets.
func TestBodyIsNoRecord(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	put(t, s, key(1), "h", "innocent")
	settled(t, s, 1)
	s = kill(t, s, opt)
	forged := record{key: key(2), seq: 1 << 40, size: 4, length: recordHeader + 8, kind: kindInline, table: sums([]byte("evil"))}
	body := bytes.Repeat(append(forged.append(nil, 0), "evil...."...), 1000)
	if err := fillIn(s, key(3), nil, body, true); err != nil {
		t.Fatal(err)
	}
	s = kill(t, s, opt)
	s.Close()
	name := files(t, opt, "segment-")[0]
	b, _ := os.ReadFile(name)
	i := bytes.Index(b, []byte("evil")) // the first forged record ends there, and is preceded by a real header
	clear(b[i-132 : i-68])              // the header of the room around it
	os.WriteFile(name, b, 0o600)
	for _, name := range files(t, opt, "index-")[1:] {
		os.Remove(name)
	}
	s = open(t, opt)
	if s.Get(key(2)) != nil {
		t.Error("a body was taken for a record")
	}
}

// While the disk fails, fills reach their readers and small ones are kept;
// afterwards all is as before.
func TestFailingDisk(t *testing.T) {
	opt := onDiskOptions(t)
	opt.Disk = 256 << 20 // nothing has to leave
	s := open(t, opt)
	hundred(t, s)
	for _, op := range []string{"write", "allocate", "journal"} {
		s.disk.mu.Lock()
		s.disk.retry = time.Hour
		s.disk.fault = func(o string) error {
			if o == op || op == "allocate" && o == "write" {
				return unix.ENOSPC
			}
			return nil
		}
		s.disk.mu.Unlock()
		body := content(7, 8<<20)
		f := s.Create(key(200), nil, int64(len(body)))
		e := f.Entry()
		result := make(chan error)
		r := e.Reader(context.Background(), 0, -1)
		go func() {
			b, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(b, body) {
				err = errors.New("other bytes")
			}
			r.Close()
			result <- err
		}()
		_, err := f.Write(body)
		if err != nil {
			t.Fatalf("%s: Write = %v", op, err)
		}
		if err := f.Commit(); op != "journal" && !errors.Is(err, ErrNotKept) {
			t.Errorf("%s: Commit = %v, want ErrNotKept", op, err)
		}
		if err := <-result; err != nil {
			t.Errorf("%s: reader: %v", op, err)
		}
		e.Release()
		put(t, s, key(201), "h", "small")
		if s.Get(key(201)) == nil {
			t.Errorf("%s: a small entry is not kept", op)
		}
		if op != "journal" && !s.Stats().DiskDown {
			t.Errorf("%s: DiskDown = false", op)
		}
		if n := intact(t, s); n != 100 {
			t.Errorf("%s: %d of 100 entries", op, n)
		}
		s.disk.mu.Lock()
		s.disk.fault = func(string) error { return nil }
		s.disk.retryAt = time.Time{}
		s.disk.mu.Unlock()
		if err := fillIn(s, key(200), nil, body, false); err != nil {
			t.Errorf("%s: after the failure: %v", op, err)
		}
		if s.Stats().DiskDown {
			t.Errorf("%s: DiskDown = true after it works again", op)
		}
		s.Remove(key(200))
	}
}

// A removal that cannot be recorded takes everything with it.
func TestRemovalThatCannotBeRecorded(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	hundred(t, s)
	s.disk.mu.Lock()
	s.disk.fault = func(op string) error {
		if op == "note" {
			return unix.EIO
		}
		return nil
	}
	s.disk.retry = 0
	s.disk.mu.Unlock()
	s.Remove(key(99))
	if s.Get(key(99)) != nil {
		t.Error("what was removed is there")
	}
	if s.Get(key(98)) != nil {
		t.Error("the disk tier was not given up")
	}
	s = kill(t, s, opt)
	if s.Stats().DiskEntries != 0 {
		t.Error("something came back")
	}
	hundred(t, s)
	s.Close()
}

// Without a disk, or with one that fails, a large fill goes no faster than its
// fastest reader, and a reader that is left behind is told.
func TestPassThrough(t *testing.T) {
	s := open(t, Options{Memory: 1 << 20})
	body := content(1, 8<<20)
	f := s.Create(key(1), nil, -1)
	e := f.Entry()
	defer e.Release()
	slow := e.Reader(context.Background(), 0, -1)
	defer slow.Close()
	f.Write(body[:1])
	slow.Read(make([]byte, 1))
	fast := make(chan error)
	r := e.Reader(context.Background(), 0, -1)
	go func() {
		b, err := io.ReadAll(r)
		r.Close()
		if err == nil && !bytes.Equal(b, body) {
			err = errors.New("other bytes")
		}
		fast <- err
	}()
	for b := body[1:]; len(b) > 0; b = b[min(len(b), 30_000):] {
		if _, err := f.Write(b[:min(len(b), 30_000)]); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		held := len(f.blocks) - f.base
		f.mu.Unlock()
		if held > window+1 {
			t.Fatalf("%d blocks held", held)
		}
	}
	if err := f.Commit(); !errors.Is(err, ErrNotKept) {
		t.Errorf("Commit = %v, want ErrNotKept", err)
	}
	if err := <-fast; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, slow); !errors.Is(err, ErrBehind) {
		t.Errorf("the slow reader got %v, want ErrBehind", err)
	}
}

// Eviction keeps what is used, and never more than the budget.
func TestEvictionKeepsWhatIsUsed(t *testing.T) {
	opt := onDiskOptions(t)
	opt.Disk = minDisk
	s := open(t, opt)
	const size = 100_000
	for i := range 10 {
		fillIn(s, key(i), []byte("h"), content(uint64(i), size), true)
	}
	for i := 1000; i < 2000; i++ { // 100 MB of one-hit wonders
		fillIn(s, key(i), []byte("h"), content(uint64(i), size), true)
		for j := range 10 {
			if e := s.Get(key(j)); e != nil {
				e.Release()
			}
		}
		if on := diskUse(t, opt.Dir); on > opt.Disk {
			t.Fatalf("%d bytes on the disk, budget %d", on, opt.Disk)
		}
	}
	kept := 0
	for j := range 10 {
		if e := s.Get(key(j)); e != nil {
			check(t, e, []byte("h"), content(uint64(j), size))
			e.Release()
			kept++
		}
	}
	if kept < 9 {
		t.Errorf("%d of 10 entries in use are kept", kept)
	}
	if st := s.Stats(); st.DiskEvicted < 800 || st.DiskEntries > 200 {
		t.Errorf("%d evicted, %d entries", st.DiskEvicted, st.DiskEntries)
	}
	s.Close()
	s = open(t, opt)
	if e := s.Get(key(3)); e == nil && kept == 10 {
		t.Error("what was rewritten is lost at a restart")
	} else if e != nil {
		e.Release()
	}
}
