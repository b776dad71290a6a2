package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// content makes n bytes that differ from those of any other seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, seed))).Read(b)
	return b
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func onDiskOptions(t testing.TB) Options {
	return Options{Dir: t.TempDir(), Disk: 32 << 20, Memory: 1 << 20, MaxMemoryEntry: 16 << 10, Log: quiet()}
}

// fillIn writes a body in uneven parts and commits it.
func fillIn(s *Store, k Key, head, body []byte, announce bool) error {
	size := int64(-1)
	if announce {
		size = int64(len(body))
	}
	f := s.Create(k, head, size)
	for part := 1; len(body) > 0; part = min(part*3+1, 100_000) {
		n := min(part, len(body))
		if _, err := f.Write(body[:n]); err != nil {
			f.Abort(err)
			return err
		}
		body = body[n:]
	}
	return f.Commit()
}

func readAll(e *Entry, off, n int64) ([]byte, error) {
	r := e.Reader(context.Background(), off, n)
	defer r.Close()
	var b bytes.Buffer
	_, err := io.Copy(struct{ io.Writer }{&b}, r) // by WriteTo, without ReadFrom
	return b.Bytes(), err
}

// check reads an entry in several ways.
func check(t interface {
	Helper()
	Errorf(string, ...any)
}, e *Entry, head, body []byte) {
	t.Helper()
	if !bytes.Equal(e.Head(), head) {
		t.Errorf("head %q, want %q", e.Head(), head)
	}
	if n, known := e.Size(); n != int64(len(body)) || !known {
		t.Errorf("size %d, %v, want %d", n, known, len(body))
	}
	for range 2 { // first read and verified, then sent from the file
		var b bytes.Buffer
		r := e.Reader(context.Background(), 0, -1)
		if _, err := r.(io.WriterTo).WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), body) {
			t.Errorf("WriteTo gives %d bytes, %v, and not the %d of the body", b.Len(), err, len(body))
		}
		r.Close()
	}
	off := int64(len(body) / 3)
	if b, err := readAll(e, off, 70_000); err != nil || !bytes.Equal(b, body[off:min(off+70_000, int64(len(body)))]) {
		t.Errorf("a range gives %d bytes, %v, and not those of the body", len(b), err)
	}
	r := e.Reader(context.Background(), off, -1)
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, body[off:]) {
		t.Errorf("Read gives %d bytes, %v, and not those of the body", len(b), err)
	}
}

// Entries of all sizes come back after Close and Open.
func TestWarmRestart(t *testing.T) {
	opt := onDiskOptions(t)
	sizes := []int{0, 1, 1000, 16 << 10, 16<<10 + 1, 64 << 10, 64<<10 + 1, 300_000, 3 << 20}
	s := open(t, opt)
	for i, n := range sizes {
		if err := fillIn(s, key(i), []byte("head"), content(uint64(i), n), i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		for i, n := range sizes {
			e := s.Get(key(i))
			if e == nil {
				t.Fatalf("entry of %d bytes is missing", n)
			}
			check(t, e, []byte("head"), content(uint64(i), n))
			e.Release()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, opt)
	}
	if s.Stats().DiskEntries != int64(len(sizes)) {
		t.Errorf("%d entries on the disk, want %d", s.Stats().DiskEntries, len(sizes))
	}
}

// A head set stays set, with the same body, wherever the body is.
func TestSetHeadSurvives(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	for i, n := range []int{100, 200_000} {
		fillIn(s, key(i), []byte("old"), content(uint64(i), n), true)
	}
	for round := range 3 {
		for i, n := range []int{100, 200_000} {
			e := s.Peek(key(i))
			head := []byte("head of round " + string(rune('0'+round)))
			if !s.SetHead(key(i), e, head) {
				t.Fatalf("SetHead of %d = false", i)
			}
			if s.SetHead(key(i), e, []byte("no")) {
				t.Errorf("SetHead of a replaced entry = true")
			}
			e.Release()
			e = s.Get(key(i))
			check(t, e, head, content(uint64(i), n))
			e.Release()
		}
		s.Close()
		s = open(t, opt)
	}
	for i, n := range []int{100, 200_000} {
		e := s.Get(key(i))
		check(t, e, []byte("head of round 2"), content(uint64(i), n))
		e.Release()
	}
}

// What the store says is always what was put there last, or nothing; and what
// was removed is nothing, also over restarts, orderly or not.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		opt := Options{Dir: dir, Disk: 16 << 20, Memory: 256 << 10, MaxMemoryEntry: 16 << 10, Log: quiet()}
		s, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		type kept struct{ head, body []byte }
		model := make(map[int]kept)
		seed := uint64(0)
		anyKey := rapid.IntRange(0, 20)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, n := anyKey.Draw(t, "key"), rapid.OneOf(rapid.IntRange(0, 20_000), rapid.IntRange(60_000, 800_000)).Draw(t, "size")
				seed++
				v := kept{[]byte("h" + string(rune(seed))), content(seed, n)}
				if err := fillIn(s, key(k), v.head, v.body, rapid.Bool().Draw(t, "announced")); err != nil {
					t.Fatal(err)
				}
				model[k] = v
			},
			"abort": func(t *rapid.T) {
				f := s.Create(key(anyKey.Draw(t, "key")), nil, -1)
				f.Write(content(0, rapid.IntRange(0, 200_000).Draw(t, "size")))
				f.Abort(nil)
			},
			"head": func(t *rapid.T) {
				k := anyKey.Draw(t, "key")
				if e := s.Peek(key(k)); e != nil {
					seed++
					v := kept{[]byte("h" + string(rune(seed))), model[k].body}
					if s.SetHead(key(k), e, v.head) {
						model[k] = v
					}
					e.Release()
				}
			},
			"remove": func(t *rapid.T) {
				k := anyKey.Draw(t, "key")
				s.Remove(key(k))
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := anyKey.Draw(t, "key")
				if e := s.Get(key(k)); e != nil {
					v, ok := model[k]
					if !ok {
						t.Fatalf("what was removed is there")
					}
					check(t, e, v.head, v.body)
					e.Release()
				}
			},
			"snapshot": func(t *rapid.T) { s.disk.save() },
			"restart": func(t *rapid.T) {
				s.Close()
				if s, err = Open(opt); err != nil {
					t.Fatal(err)
				}
			},
			"kill": func(t *rapid.T) {
				s = kill(t, s, opt)
			},
			"": func(t *rapid.T) {
				st := s.Stats()
				if st.MemoryBytes > st.MemoryBudget {
					t.Fatalf("%d bytes in memory, budget %d", st.MemoryBytes, st.MemoryBudget)
				}
				if on := diskUse(t, dir); on > st.DiskBudget {
					t.Fatalf("%d bytes on the disk, budget %d", on, st.DiskBudget)
				}
			},
		})
	})
}

// kill leaves the files as a SIGKILL of this moment would, and opens them anew.
func kill(t interface{ Fatal(...any) }, s *Store, opt Options) *Store {
	abandon(s)
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// abandon ends a store without saving anything.
func abandon(s *Store) {
	s.closed.Store(true)
	close(s.stop)
	s.tasks.Wait()
	d := s.disk
	d.mu.Lock()
	for _, g := range d.order {
		d.lingering.Add(g.length)
		g.release()
	}
	if d.journal != nil {
		d.journal.file.Close()
	}
	d.retryAt = time.Now().Add(1 << 62)
	d.mu.Unlock()
	d.lock.Close()
}

func diskUse(t interface{ Fatal(...any) }, dir string) (n int64) {
	filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, ".new") {
			n += info.Size()
		}
		return nil
	})
	return n
}

// A follower that starts late reads from the disk what left memory.
func TestFollowersOfALargeFill(t *testing.T) {
	s := open(t, onDiskOptions(t))
	body := content(1, 5<<20)
	f := s.Create(key(1), []byte("h"), -1)
	e := f.Entry()
	defer e.Release()
	results := make(chan error)
	follow := func(off int64) {
		b, err := readAll(e, off, -1)
		if err == nil && !bytes.Equal(b, body[off:]) {
			err = errors.New("other bytes")
		}
		results <- err
	}
	for i := range 5 {
		go follow(int64(i) * 1000)
	}
	for i := 0; i < len(body); i += 50_000 {
		f.Write(body[i:min(i+50_000, len(body))])
		if i == 3_000_000 {
			for i := range 5 {
				go follow(int64(i) * 1_000_000)
			}
		}
	}
	slow := e.Reader(context.Background(), 0, -1)
	defer slow.Close()
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	s.Remove(key(1))
	if b, err := io.ReadAll(slow); err != nil || !bytes.Equal(b, body) {
		t.Errorf("a reader that outlives Remove: %v", err)
	}
}

func TestAbortFailsReaders(t *testing.T) {
	s := open(t, onDiskOptions(t))
	f := s.Create(key(1), nil, -1)
	e := f.Entry()
	defer e.Release()
	r := e.Reader(context.Background(), 0, -1)
	defer r.Close()
	f.Write(content(1, 100_000))
	reason := errors.New("the origin is gone")
	result := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r)
		result <- err
	}()
	f.Abort(reason)
	if err := <-result; !errors.Is(err, reason) {
		t.Errorf("reader got %v, want %v", err, reason)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, reason) {
		t.Errorf("Write after Abort = %v", err)
	}
	if err := f.Commit(); !errors.Is(err, reason) || s.Get(key(1)) != nil {
		t.Errorf("Commit after Abort = %v", err)
	}
}

func TestSizeMustMatch(t *testing.T) {
	s := open(t, onDiskOptions(t))
	for _, n := range []int64{9, 90_000} {
		f := s.Create(key(1), nil, n)
		f.Write(make([]byte, n-1))
		if err := f.Commit(); !errors.Is(err, ErrSize) {
			t.Errorf("Commit of too few = %v, want ErrSize", err)
		}
		f = s.Create(key(1), nil, n)
		if _, err := f.Write(make([]byte, n+1)); !errors.Is(err, ErrSize) {
			t.Errorf("Write of too many = %v, want ErrSize", err)
		}
		f.Abort(nil)
	}
	if s.Get(key(1)) != nil {
		t.Error("a fill of the wrong size is kept")
	}
}

// The context ends the wait for bytes.
func TestReaderHeedsContext(t *testing.T) {
	s := open(t, Options{})
	f := s.Create(key(1), nil, -1)
	defer f.Abort(nil)
	e := f.Entry()
	defer e.Release()
	ctx, cancel := context.WithCancel(t.Context())
	r := e.Reader(ctx, 0, -1)
	defer r.Close()
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v, want context.Canceled", err)
	}
}

func TestNotes(t *testing.T) {
	opt := onDiskOptions(t)
	s := open(t, opt)
	if _, err := s.Note("cursor"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Note of none = %v", err)
	}
	for _, v := range []string{"1", "", "a longer one"} {
		if err := s.SaveNote("cursor", []byte(v)); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = open(t, opt)
		if b, err := s.Note("cursor"); err != nil || string(b) != v {
			t.Errorf("Note = %q, %v, want %q", b, err, v)
		}
	}
}

func TestOneStorePerDirectory(t *testing.T) {
	opt := onDiskOptions(t)
	open(t, opt)
	if s, err := Open(opt); err == nil {
		s.Close()
		t.Error("a second store opened the same directory")
	}
}
