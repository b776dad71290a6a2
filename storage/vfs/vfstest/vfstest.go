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
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

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
