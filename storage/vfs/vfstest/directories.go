package vfstest

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/afero"
)

func (s *suite) testDirectories() {
	s.mkdir("/c/a")
	s.wantDir("/c/a")
	s.mkdir("/c/a/b")
	s.put("/c/a/b/f", []byte("f"))
	s.put("/c/a.txt", nil)
	s.put("/c/a-", nil)
	s.wantDir("/c", "a/", "a-", "a.txt")
	s.wantDir("/c/a", "b/")
	s.wantDir("/c/a/b", "f")
	for _, name := range []string{"/c/a", "/c/a/b", "/c/a/b/f", "/c"} {
		s.fails("Mkdir of "+name, s.fs.Mkdir(name, 0o755), fs.ErrExist)
	}
	s.fails("Remove of a directory with files", s.fs.Remove("/c/a/b"), syscall.ENOTEMPTY)
	s.fails("Remove of a directory with directories", s.fs.Remove("/c/a"), syscall.ENOTEMPTY)
	for _, name := range []string{"/c", "/c/a"} {
		if f, err := s.fs.Create(name); err == nil {
			f.Close()
			s.Errorf("Create of the directory %q did not fail", name)
		}
	}
	s.must(s.fs.Remove("/c/a/b/f"))
	s.must(s.fs.Remove("/c/a/b"))
	s.wantNone("/c/a/b")
	s.wantDir("/c/a")
	s.must(s.fs.Remove("/c/a"))
	s.wantNone("/c/a")
	s.must(s.fs.MkdirAll("/n/x/y/z", 0o755))
	s.must(s.fs.MkdirAll("/n/x/y/z", 0o755))
	s.wantDir("/n/x/y", "z/")
	s.put("/n/x/file", nil)
	if s.fs.MkdirAll("/n/x/file/y", 0o755) == nil {
		s.Error("MkdirAll through a file did not fail")
	}
}

// testLastChild takes the last file away from directories.
func (s *suite) testLastChild() {
	s.must(s.fs.MkdirAll("/c/a/b", 0o755))
	s.put("/c/a/b/f", nil)
	s.must(s.fs.Remove("/c/a/b/f"))
	s.wantDir("/c/a/b")
	s.put("/c/a/b/f", nil)
	s.must(s.fs.Rename("/c/a/b/f", "/c/f"))
	s.wantDir("/c/a/b")
	s.must(s.fs.Remove("/c/a/b"))
	s.wantDir("/c/a")
	s.wantDir("/c", "a/", "f")
}

func (s *suite) testListing() {
	s.mkdir("/c/d")
	want := []string{}
	for i := range 40 {
		name := fmt.Sprintf("f%02d", i)
		s.put("/c/d/"+name, make([]byte, i))
		want = append(want, name)
		if i%10 == 0 {
			s.mkdir("/c/d/dir" + name)
			s.put("/c/d/dir"+name+"/within", nil)
			want = append(want, "dir"+name+"/")
		}
	}
	s.wantDir("/c/d", want...)
	infos, err := afero.ReadDir(s.fs, "/c/d")
	s.must(err)
	for _, in := range infos {
		stat, err := s.fs.Stat("/c/d/" + in.Name())
		s.must(err)
		if stat.Size() != in.Size() || stat.Mode() != in.Mode() || !stat.ModTime().Equal(in.ModTime()) {
			s.Errorf("%q is listed with %d bytes, mode %v, of %v; Stat says %d, %v, %v", in.Name(),
				in.Size(), in.Mode(), in.ModTime(), stat.Size(), stat.Mode(), stat.ModTime())
		}
	}
}

// testPages reads a directory a few entries at a time.
func (s *suite) testPages() {
	for i := range 25 {
		s.put(fmt.Sprintf("/c/%02d", i), nil)
	}
	d, err := s.fs.Open("/c")
	s.must(err)
	defer d.Close()
	var names []string
	for {
		page, err := d.Readdirnames(10)
		if len(page) > 10 {
			s.Fatalf("Readdirnames(10) returned %d", len(page))
		}
		names = append(names, page...)
		if err == io.EOF {
			break
		}
		s.must(err)
		if len(page) == 0 {
			s.Fatal("Readdirnames returned nothing, and no io.EOF")
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != 25 {
		s.Errorf("25 files were listed as %d", len(names))
	}
	if _, err := d.Read(make([]byte, 1)); err == nil {
		s.Error("Read of a directory did not fail")
	}
}

func (s *suite) testRenameFile() {
	s.mkdir("/c/d")
	s.mkdir("/other")
	s.put("/c/f", []byte("f"))
	when := time.Unix(1_000_000_000, 0)
	s.must(s.fs.Chtimes("/c/f", when, when))
	for _, step := range [][2]string{{"/c/f", "/c/g"}, {"/c/g", "/c/d/g"}, {"/c/d/g", "/other/ö"}, {"/other/ö", "/c/f"}} {
		s.must(s.fs.Rename(step[0], step[1]))
		s.wantNone(step[0])
		s.wantFile(step[1], []byte("f"))
	}
	if in, err := s.fs.Stat("/c/f"); err != nil || !in.ModTime().Equal(when) {
		s.Errorf("four moves changed the time to %v, %v", in.ModTime(), err)
	}
	s.put("/c/taken", []byte("taken"))
	s.must(s.fs.Rename("/c/f", "/c/taken"))
	s.wantFile("/c/taken", []byte("f"))
	s.must(s.fs.Rename("/c/taken", "/c/taken"))
	s.wantFile("/c/taken", []byte("f"))
	if s.fs.Rename("/c/taken", "/c/d") == nil {
		s.Error("Rename of a file to a directory did not fail")
	}
	s.wantDir("/c", "d/", "taken")
}

func (s *suite) testRenameDirectory() {
	s.must(s.fs.MkdirAll("/c/a/b/c", 0o755))
	s.mkdir("/other")
	for _, name := range []string{"/c/a/1", "/c/a/b/2", "/c/a/b/c/3", "/c/a.txt"} {
		s.put(name, []byte(name))
	}
	s.must(s.fs.Rename("/c/a", "/c/z"))
	s.wantNone("/c/a")
	s.wantNone("/c/a/b/2")
	s.wantDir("/c", "a.txt", "z/")
	s.wantDir("/c/z", "1", "b/")
	s.wantFile("/c/z/b/c/3", []byte("/c/a/b/c/3"))
	s.must(s.fs.Rename("/c/z", "/other/y"))
	s.wantFile("/other/y/b/2", []byte("/c/a/b/2"))
	s.wantDir("/c", "a.txt")
	s.must(s.fs.Rename("/other/y/b", "/c/b"))
	s.wantDir("/other/y", "1")
	s.wantDir("/c/b", "2", "c/")

	if s.fs.Rename("/c/b", "/c/b/c/b") == nil {
		s.Error("Rename of a directory into itself did not fail")
	}
	if s.fs.Rename("/c/b", "/c/a.txt") == nil {
		s.Error("Rename of a directory to a file did not fail")
	}
	s.fails("Rename to a directory with files", s.fs.Rename("/c/b", "/other/y"), fs.ErrExist)
	s.mkdir("/other/empty")
	s.must(s.fs.Rename("/c/b", "/other/empty"))
	s.wantDir("/other/empty", "2", "c/")
	s.mkdir("/c/e")
	s.must(s.fs.Rename("/c/e", "/c/e2"))
	s.wantDir("/c/e2")
	s.wantDir("/c", "a.txt", "e2/")
}

func (s *suite) testRenameContainer() {
	s.mkdir("/c/d")
	s.put("/c/d/f", []byte("f"))
	s.mkdir("/other")
	s.fails("Rename to a container there is", s.fs.Rename("/c", "/other"), fs.ErrExist)
	s.must(s.fs.Rename("/c", "/n"))
	s.wantDir("/", "n/", "other/")
	s.wantFile("/n/d/f", []byte("f"))
	s.must(s.fs.Rename("/other", "/c"))
	s.wantDir("/c")
}

func (s *suite) testRemoveAll() {
	s.must(s.fs.MkdirAll("/c/a/b", 0o755))
	s.put("/c/a/b/f", nil)
	s.put("/c/a/g", nil)
	s.put("/c/ab", nil)
	s.must(s.fs.RemoveAll("/c/a"))
	s.wantDir("/c", "ab")
	s.must(s.fs.RemoveAll("/c/a"))
	s.must(s.fs.RemoveAll("/c/ab"))
	s.must(s.fs.RemoveAll("/c"))
	s.wantDir("/")
}
