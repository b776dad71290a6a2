// Package vfstest is what a user may expect of the files that Memstore serves,
// in executable form. It runs over package vfs itself, and over any client that
// is dressed as an afero.Fs:
//
//	func TestFiles(t *testing.T) {
//		vfstest.Run(t, func(t *testing.T) afero.Fs { return vfs.New(…) })
//	}
package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/afero"
)

// Run tests the filesystems that open returns. Each subtest opens one of its
// own, in which there is nothing; its top directories are containers. The
// concerns that are named in without are left out, being beyond what a client
// or its protocol can say.
func Run(t *testing.T, open func(t *testing.T) afero.Fs, without ...string) {
	concerns := []struct {
		name string
		test func(*suite)
	}{
		{"Sizes", (*suite).testSizes},
		{"Overwrite", (*suite).testOverwrite},
		{"Names", (*suite).testNames},
		{"BadNames", (*suite).testBadNames},
		{"Missing", (*suite).testMissing},
		{"Top", (*suite).testTop},
		{"Directories", (*suite).testDirectories},
		{"LastChild", (*suite).testLastChild},
		{"Listing", (*suite).testListing},
		{"Pages", (*suite).testPages},
		{"RenameFile", (*suite).testRenameFile},
		{"RenameDirectory", (*suite).testRenameDirectory},
		{"RenameContainer", (*suite).testRenameContainer},
		{"RemoveAll", (*suite).testRemoveAll},
		{"Times", (*suite).testTimes},
		{"Modes", (*suite).testModes},
		{"Seek", (*suite).testSeek},
		{"ReadAt", (*suite).testReadAt},
		{"Append", (*suite).testAppend},
		{"Exclusive", (*suite).testExclusive},
		{"Amend", (*suite).testAmend},
		{"Truncate", (*suite).testTruncate},
		{"OutOfOrder", (*suite).testOutOfOrder},
		{"ReadWrite", (*suite).testReadWrite},
		{"UnderWay", (*suite).testUnderWay},
		{"OldOrNew", (*suite).testOldOrNew},
		{"Closed", (*suite).testClosed},
		{"TestFS", (*suite).testFS},
	}
	for _, c := range concerns {
		if !slices.Contains(without, c.name) {
			t.Run(c.name, func(t *testing.T) {
				s := &suite{T: t, fs: open(t)}
				s.mkdir("/c")
				c.test(s)
			})
		}
	}
}

// A suite is one subtest at work on one filesystem.
type suite struct {
	*testing.T
	fs afero.Fs
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// fails checks that err is of a kind.
func (s *suite) fails(what string, err, kind error) {
	s.Helper()
	if !errors.Is(err, kind) {
		s.Errorf("%s: error %v, want %v", what, err, kind)
	}
}

func (s *suite) mkdir(name string) {
	s.Helper()
	s.must(s.fs.Mkdir(name, 0o755))
}

func (s *suite) put(name string, data []byte) {
	s.Helper()
	f, err := s.fs.Create(name)
	s.must(err)
	if n, err := f.Write(data); n != len(data) || err != nil {
		s.Fatalf("Write of %d bytes to %q = %d, %v", len(data), name, n, err)
	}
	s.must(f.Close())
}

func (s *suite) wantFile(name string, want []byte) {
	s.Helper()
	got, err := afero.ReadFile(s.fs, name)
	if err != nil {
		s.Fatalf("reading %q: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		s.Fatalf("%q holds %s, want %s", name, brief(got), brief(want))
	}
	in, err := s.fs.Stat(name)
	s.must(err)
	if in.IsDir() || in.Size() != int64(len(want)) || in.Name() != path.Base(name) || !in.Mode().IsRegular() {
		s.Fatalf("Stat(%q) = %q, %d bytes, mode %v; want %d bytes", name, in.Name(), in.Size(), in.Mode(), len(want))
	}
}

func (s *suite) wantDir(name string, want ...string) {
	s.Helper()
	in, err := s.fs.Stat(name)
	s.must(err)
	if !in.IsDir() || name != "/" && in.Name() != path.Base(name) {
		s.Fatalf("Stat(%q) = %q, mode %v; want a directory", name, in.Name(), in.Mode())
	}
	got := s.names(name)
	slices.Sort(want)
	if !slices.Equal(got, append([]string{}, want...)) {
		s.Fatalf("%q lists %q, want %q", name, got, want)
	}
}

// names lists a directory, with a slash behind directories.
func (s *suite) names(name string) []string {
	s.Helper()
	infos, err := afero.ReadDir(s.fs, name)
	if err != nil {
		s.Fatalf("listing %q: %v", name, err)
	}
	names := []string{}
	for _, in := range infos {
		if in.IsDir() {
			names = append(names, in.Name()+"/")
		} else {
			names = append(names, in.Name())
		}
	}
	slices.Sort(names)
	return names
}

func (s *suite) wantNone(name string) {
	s.Helper()
	_, err := s.fs.Stat(name)
	s.fails("Stat("+name+")", err, fs.ErrNotExist)
}

func (s *suite) open(name string, flag int) afero.File {
	s.Helper()
	f, err := s.fs.OpenFile(name, flag, 0o644)
	if err != nil {
		s.Fatalf("OpenFile(%q, %#x): %v", name, flag, err)
	}
	return f
}

func content(size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(data)
	return data
}

func brief(data []byte) string {
	if len(data) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", data[:20], len(data))
	}
	return fmt.Sprintf("%q", data)
}

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

func (s *suite) testOverwrite() {
	for _, size := range []int{100_000, 0, 10, 200_000, 10} {
		s.put("/c/f", content(size))
		s.wantFile("/c/f", content(size))
	}
	s.wantDir("/c", "f")
}

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
