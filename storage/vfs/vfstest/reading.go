package vfstest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing/fstest"
	"time"

	"github.com/spf13/afero"
)

func (s *suite) testSizes() {
	for _, size := range []int{0, 1, 4095, 16 << 10, 16<<10 + 1, 100_000, 3<<20 + 7} {
		name := fmt.Sprintf("/c/%d", size)
		s.put(name, content(size))
		s.wantFile(name, content(size))
	}
	// A file may be written in many small pieces.
	f, err := s.fs.Create("/c/pieces")
	s.must(err)
	want := content(100_000)
	for at := 0; at < len(want); at += 777 {
		_, err := f.Write(want[at:min(at+777, len(want))])
		s.must(err)
	}
	s.must(f.Close())
	s.wantFile("/c/pieces", want)
}

func (s *suite) testTimes() {
	s.put("/c/f", []byte("x"))
	in, err := s.fs.Stat("/c/f")
	s.must(err)
	if age := time.Since(in.ModTime()); age < -2*time.Minute || age > 2*time.Minute {
		s.Errorf("a file made now is %v old", age)
	}
	for _, sec := range []int64{0, 1, 1_234_567_890, 4_000_000_000} {
		when := time.Unix(sec, 0)
		s.must(s.fs.Chtimes("/c/f", when, when))
		in, err := s.fs.Stat("/c/f")
		s.must(err)
		infos, err := afero.ReadDir(s.fs, "/c")
		s.must(err)
		if !in.ModTime().Equal(when) || !infos[0].ModTime().Equal(when) {
			s.Errorf("set to %v a file has the time %v, and is listed with %v", when, in.ModTime(), infos[0].ModTime())
		}
	}
	s.wantFile("/c/f", []byte("x"))
	s.put("/c/f", []byte("y"))
	if in, err = s.fs.Stat("/c/f"); err != nil || time.Since(in.ModTime()) > 2*time.Minute {
		s.Errorf("a file that was written anew is of %v, %v", in.ModTime(), err)
	}
}

// testModes changes what does not change.
func (s *suite) testModes() {
	s.put("/c/f", nil)
	for _, name := range []string{"/c", "/c/f"} {
		before, err := s.fs.Stat(name)
		s.must(err)
		s.must(s.fs.Chmod(name, 0o600))
		s.must(s.fs.Chown(name, 1000, 1000))
		after, err := s.fs.Stat(name)
		s.must(err)
		if before.Mode() != after.Mode() {
			s.Errorf("Chmod changed the mode of %q from %v to %v", name, before.Mode(), after.Mode())
		}
	}
}

func (s *suite) testSeek() {
	want := content(500_000)
	s.put("/c/f", want)
	f, err := s.fs.Open("/c/f")
	s.must(err)
	defer f.Close()
	for _, at := range []int64{0, 400_000, 10, 499_999, 256 << 10} {
		if got, err := f.Seek(at, io.SeekStart); got != at || err != nil {
			s.Fatalf("Seek(%d) = %d, %v", at, got, err)
		}
		got := make([]byte, min(1000, len(want)-int(at)))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want[at:][:len(got)]) {
			s.Fatalf("read other bytes at %d, %v", at, err)
		}
	}
	if at, err := f.Seek(-5, io.SeekEnd); at != 499_995 || err != nil {
		s.Errorf("Seek to 5 before the end = %d, %v", at, err)
	}
	rest, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(rest, want[499_995:]) {
		s.Errorf("read %d bytes at the end, %v", len(rest), err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		s.Error("Seek before the start did not fail")
	}
	_, err = f.Seek(0, io.SeekStart)
	s.must(err)
	var all bytes.Buffer
	if n, err := io.Copy(&all, f); n != int64(len(want)) || err != nil || !bytes.Equal(all.Bytes(), want) {
		s.Errorf("copied %d bytes, %v", n, err)
	}
}

func (s *suite) testReadAt() {
	want := content(3 << 20)
	s.put("/c/f", want)
	f, err := s.fs.Open("/c/f")
	s.must(err)
	defer f.Close()
	var readers sync.WaitGroup
	for w := range 8 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 100 {
				at := (w + i*8) * 32 << 10 % len(want)
				if i%10 == 9 {
					at = r.IntN(len(want))
				}
				got := make([]byte, 32<<10)
				n, err := f.ReadAt(got, int64(at))
				left := min(len(got), len(want)-at)
				if n != left || err != nil && err != io.EOF || err == nil && n < len(got) || !bytes.Equal(got[:n], want[at:][:n]) {
					s.Errorf("ReadAt(%d) = %d, %v, want %d", at, n, err, left)
					return
				}
			}
		})
	}
	readers.Wait()
	if n, err := f.ReadAt(make([]byte, 1), int64(len(want))); n != 0 || err != io.EOF {
		s.Errorf("ReadAt at the end = %d, %v", n, err)
	}
}

// testOldOrNew reads a file while others take its place.
func (s *suite) testOldOrNew() {
	versions := [][]byte{bytes.Repeat([]byte("a"), 300_000), bytes.Repeat([]byte("b"), 200_000)}
	s.put("/c/f", versions[0])
	old, err := s.fs.Open("/c/f")
	s.must(err)
	first := make([]byte, 1000)
	_, err = io.ReadFull(old, first)
	s.must(err)

	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(done)
		for i := range 20 {
			s.put("/c/f", versions[(i+1)%2])
		}
	})
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := afero.ReadFile(s.fs, "/c/f")
		if err != nil || !bytes.Equal(got, versions[0]) && !bytes.Equal(got, versions[1]) {
			s.Errorf("while it was replaced a file read as %s, %v", brief(got), err)
			break
		}
	}
	writer.Wait()
	rest, err := io.ReadAll(old)
	if !bytes.Equal(append(first, rest...), versions[0]) || err != nil {
		s.Errorf("a reader of the first version read %d bytes of it, %v", len(first)+len(rest), err)
	}
	s.must(old.Close())
}

// testClosed uses files that are closed.
func (s *suite) testClosed() {
	f := s.open("/c/f", os.O_RDWR|os.O_CREATE)
	_, err := f.Write([]byte("x"))
	s.must(err)
	s.must(f.Close())
	if _, err := f.Write([]byte("y")); err == nil {
		s.Error("Write after Close did not fail")
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
		s.Errorf("ReadAt after Close: %v", err)
	}
	if f.Close() == nil {
		s.Error("the second Close did not fail")
	}
	f = s.open("/c/f", os.O_RDONLY)
	if _, err := f.Write([]byte("y")); err == nil {
		s.Error("Write to a file open for reading did not fail")
	}
	s.must(f.Close())
	if _, err := f.Read(make([]byte, 1)); err == nil || err == io.EOF {
		s.Errorf("Read after Close: %v", err)
	}
	s.wantFile("/c/f", []byte("x"))
}

// testFS runs the suite of Go itself.
func (s *suite) testFS() {
	s.must(s.fs.MkdirAll("/c/a/b", 0o755))
	files := []string{"c/1", "c/a.txt", "c/a/2", "c/a/b/3", "c/é"}
	for i, name := range files {
		s.put("/"+name, content(i*1000))
	}
	s.mkdir("/empty")
	if err := fstest.TestFS(afero.NewIOFS(s.fs), append(files, "empty", "c/a")...); err != nil {
		s.Error(err)
	}
}
