package vfstest

import (
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

func (s *suite) testNames() {
	s.mkdir("/c/d")
	want := []string{}
	for _, name := range []string{
		"a b", " ", "é", "日本語", "😀", `quote"s'`, "semi;colon", "per%20cent", "hash#", "q?", "back\\slash",
		"star*", "[x]", ".hidden", "...", "~", "-", "a+b=c", "&amp;", "$HOME", strings.Repeat("n", 200),
	} {
		s.put("/c/d/"+name, []byte(name))
		s.wantFile("/c/d/"+name, []byte(name))
		want = append(want, name)
	}
	s.wantDir("/c/d", want...)
	for _, name := range want {
		s.must(s.fs.Remove("/c/d/" + name))
	}
	s.wantDir("/c/d")
}

// testBadNames makes files of names that could not be shown.
func (s *suite) testBadNames() {
	for _, name := range []string{"/c/new\nline", "/c/re\rturn", "/c/bell\a", "/c/del\x7f", "/c/\xff\xfe", "/c/c1\u0085", "/bad\nline", "/c/" + strings.Repeat("n", 1100)} {
		if f, err := s.fs.Create(name); err == nil {
			f.Close()
			s.Errorf("Create(%.40q) did not fail", name)
		}
		if s.fs.Mkdir(name, 0o755) == nil {
			s.Errorf("Mkdir(%.40q) did not fail", name)
		}
		s.put("/c/ok", nil)
		if s.fs.Rename("/c/ok", name) == nil {
			s.Errorf("Rename to %.40q did not fail", name)
		}
	}
	s.wantDir("/c", "ok")
	s.wantDir("/", "c/")
}

func (s *suite) testMissing() {
	s.put("/c/file", []byte("x"))
	for _, name := range []string{"/none", "/c/none", "/c/none/deeper", "/none/x", "/c/fil"} {
		s.wantNone(name)
		_, err := s.fs.Open(name)
		s.fails("Open of "+name, err, fs.ErrNotExist)
		s.fails("Remove of "+name, s.fs.Remove(name), fs.ErrNotExist)
		s.fails("Rename of "+name, s.fs.Rename(name, "/c/new"), fs.ErrNotExist)
		_, err = s.fs.OpenFile(name, os.O_WRONLY, 0)
		s.fails("OpenFile of "+name+" to write", err, fs.ErrNotExist)
		s.fails("Chtimes of "+name, s.fs.Chtimes(name, time.Now(), time.Now()), fs.ErrNotExist)
	}
	for _, name := range []string{"/none/new", "/c/none/new"} {
		_, err := s.fs.Create(name)
		s.fails("Create in no directory", err, fs.ErrNotExist)
		s.fails("Mkdir in no directory", s.fs.Mkdir(name, 0o755), fs.ErrNotExist)
		s.fails("Rename into no directory", s.fs.Rename("/c/file", name), fs.ErrNotExist)
	}
	// Nothing is beneath a file.
	if f, err := s.fs.Create("/c/file/x"); err == nil {
		f.Close()
		s.Error("Create beneath a file did not fail")
	}
	if s.fs.Mkdir("/c/file/x", 0o755) == nil {
		s.Error("Mkdir beneath a file did not fail")
	}
	s.wantFile("/c/file", []byte("x"))
	s.wantDir("/c", "file")
}

// testTop looks at where the containers are.
func (s *suite) testTop() {
	s.wantDir("/", "c/")
	f, err := s.fs.Create("/file")
	if err == nil {
		f.Close()
	}
	s.fails("Create at the top", err, fs.ErrPermission)
	s.put("/c/file", nil)
	s.fails("Rename to the top", s.fs.Rename("/c/file", "/file"), fs.ErrPermission)
	if s.fs.Remove("/") == nil {
		s.Error("Remove of the top did not fail")
	}
	if s.fs.Rename("/", "/x") == nil {
		s.Error("Rename of the top did not fail")
	}
	s.fails("Mkdir of a container there is", s.fs.Mkdir("/c", 0o755), fs.ErrExist)
	s.fails("Remove of a container with files", s.fs.Remove("/c"), syscall.ENOTEMPTY)
	s.must(s.fs.Remove("/c/file"))
	s.must(s.fs.Remove("/c"))
	s.wantDir("/")
	s.mkdir("/ä b")
	s.wantDir("/", "ä b/")
}
