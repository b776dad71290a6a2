package vfstest

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

func (s *suite) testOverwrite() {
	for _, size := range []int{100_000, 0, 10, 200_000, 10} {
		s.put("/c/f", content(size))
		s.wantFile("/c/f", content(size))
	}
	s.wantDir("/c", "f")
}

func (s *suite) testAppend() {
	for _, part := range []string{"one", "two", "three"} {
		f := s.open("/c/f", os.O_WRONLY|os.O_CREATE|os.O_APPEND)
		_, err := f.Write([]byte(part))
		s.must(err)
		s.must(f.Close())
	}
	s.wantFile("/c/f", []byte("onetwothree"))
}

func (s *suite) testExclusive() {
	s.put("/c/f", []byte("old"))
	_, err := s.fs.OpenFile("/c/f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	s.fails("OpenFile with O_EXCL of what there is", err, fs.ErrExist)
	s.wantFile("/c/f", []byte("old"))
	f := s.open("/c/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	_, err = f.Write([]byte("new"))
	s.must(err)
	s.must(f.Close())
	s.wantFile("/c/new", []byte("new"))
}

// testAmend writes into files without beginning them anew.
func (s *suite) testAmend() {
	want := content(300_000)
	s.put("/c/f", want)
	f := s.open("/c/f", os.O_WRONLY)
	_, err := f.Seek(100_000, io.SeekStart)
	s.must(err)
	_, err = f.Write([]byte("amended"))
	s.must(err)
	s.must(f.Close())
	copy(want[100_000:], "amended")
	s.wantFile("/c/f", want)

	f = s.open("/c/f", os.O_RDWR)
	_, err = f.WriteAt([]byte("tail"), 300_010)
	s.must(err)
	s.must(f.Close())
	want = append(append(want, make([]byte, 10)...), "tail"...)
	s.wantFile("/c/f", want)

	// Opened and closed, it is as it was.
	before, err := s.fs.Stat("/c/f")
	s.must(err)
	s.must(s.open("/c/f", os.O_RDWR).Close())
	if after, err := s.fs.Stat("/c/f"); err != nil || !after.ModTime().Equal(before.ModTime()) {
		s.Errorf("opening a file changed its time, %v", err)
	}
	s.wantFile("/c/f", want)
}

func (s *suite) testTruncate() {
	want := content(100_000)
	s.put("/c/f", want)
	resize := func(size int64) {
		s.Helper()
		f := s.open("/c/f", os.O_WRONLY)
		s.must(f.Truncate(size))
		s.must(f.Close())
	}
	resize(1000)
	s.wantFile("/c/f", want[:1000])
	resize(2000)
	s.wantFile("/c/f", append(want[:1000:1000], make([]byte, 1000)...))
	resize(0)
	s.wantFile("/c/f", nil)
	f := s.open("/c/f", os.O_RDWR)
	if f.Truncate(-1) == nil {
		s.Error("Truncate(-1) did not fail")
	}
	_, err := f.WriteAt([]byte("0123456789"), 0)
	s.must(err)
	s.must(f.Truncate(4))
	if in, err := f.Stat(); err != nil || in.Size() != 4 {
		s.Errorf("cut off at 4 the file has %d bytes, %v", in.Size(), err)
	}
	s.must(f.Close())
	s.wantFile("/c/f", []byte("0123"))
}

// testOutOfOrder writes as SFTP clients do: many packets at a time.
func (s *suite) testOutOfOrder() {
	want := content(5<<20 + 321)
	const packet = 32 << 10
	offsets := []int{}
	for at := 0; at < len(want); at += packet {
		offsets = append(offsets, at)
	}
	rand.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
	f := s.open("/c/f", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	next := make(chan int, len(offsets))
	for _, at := range offsets {
		next <- at
	}
	close(next)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for at := range next {
				part := want[at:min(at+packet, len(want))]
				if n, err := f.WriteAt(part, int64(at)); n != len(part) || err != nil {
					s.Errorf("WriteAt(%d) = %d, %v", at, n, err)
				}
			}
		})
	}
	writers.Wait()
	s.must(f.Close())
	s.wantFile("/c/f", want)
}

func (s *suite) testReadWrite() {
	f := s.open("/c/f", os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("hello, world")
	s.must(err)
	_, err = f.Seek(7, io.SeekStart)
	s.must(err)
	got, err := io.ReadAll(f)
	if string(got) != "world" || err != nil {
		s.Errorf("reading back gave %q, %v", got, err)
	}
	_, err = f.WriteAt([]byte("W"), 7)
	s.must(err)
	part := make([]byte, 5)
	if n, err := f.ReadAt(part, 7); n != 5 || string(part) != "World" || err != nil && err != io.EOF {
		s.Errorf("ReadAt = %d, %q, %v", n, part, err)
	}
	s.must(f.Sync())
	s.must(f.Close())
	s.wantFile("/c/f", []byte("hello, World"))
}

// testUnderWay asks about, and changes, a file that is not finished.
func (s *suite) testUnderWay() {
	f := s.open("/c/f", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	_, err := f.WriteAt(make([]byte, 1000), 0)
	s.must(err)
	in, err := s.fs.Stat("/c/f")
	if err != nil || in.Size() != 1000 {
		s.Fatalf("Stat of a file of 1000 bytes under way: %v, %v", in, err)
	}
	s.wantDir("/c", "f")
	when := time.Unix(1_000_000_000, 0)
	s.must(s.fs.Chtimes("/c/f", when, when))
	s.must(s.fs.Chmod("/c/f", 0o600))
	if in, err := s.fs.Stat("/c/f"); err != nil || !in.ModTime().Equal(when) {
		s.Errorf("the time of a file under way is %v, %v", in.ModTime(), err)
	}
	s.must(s.fs.Rename("/c/f", "/c/g"))
	s.wantNone("/c/f")
	_, err = f.WriteAt([]byte("end"), 1000)
	s.must(err)
	s.must(f.Close())
	s.wantFile("/c/g", append(make([]byte, 1000), "end"...))
	s.wantDir("/c", "g")
	if in, err := s.fs.Stat("/c/g"); err != nil || !in.ModTime().Equal(when) {
		s.Errorf("the time set while under way is %v, %v", in.ModTime(), err)
	}

	f = s.open("/c/h", os.O_WRONLY|os.O_CREATE)
	_, err = f.WriteAt([]byte("x"), 0)
	s.must(err)
	s.must(s.fs.Remove("/c/h"))
	s.wantNone("/c/h")
	s.must(f.Close())
	s.wantNone("/c/h")
}
