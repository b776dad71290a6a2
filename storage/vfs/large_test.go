package vfs_test

import (
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
)

// static makes a static large object of two segments, as Swift clients do.
func (h *house) static(name string) (a, b storage.Info) {
	h.Helper()
	a, b = h.object("parts/"+name+"/1", storage.Info{}, "first "), h.object("parts/"+name+"/2", storage.Info{}, "second")
	at := storage.Info{Path: storage.Path{Account: account, Container: "c", Object: name}, Meta: storage.Meta{"X-Object-Meta-Mtime": "1600000000"}}
	_, err := h.s.PutManifest(h.Context(), at, []storage.Segment{storage.SegmentOf(a), storage.SegmentOf(b)}, storage.Cond{})
	h.must(err)
	return a, b
}

func (h *house) dynamic(name, parts string) {
	h.Helper()
	h.object(name, storage.Info{Meta: storage.Meta{storage.MetaManifest: parts}}, "")
}

func (h *house) wantContent(f afero.Fs, name, want string) {
	h.Helper()
	got, err := afero.ReadFile(f, name)
	if err != nil || string(got) != want {
		h.Errorf("%s = %q, %v; want %q", name, got, err, want)
	}
}

func TestLargeObjectsAreFiles(t *testing.T) {
	h := newHouse(t)
	h.static("static")
	h.dynamic("dynamic", "c/parts/static/")
	ann := h.session("ann")
	const content = "first second"
	for _, name := range []string{"/c/static", "/c/dynamic"} {
		h.wantSize(ann, name, int64(len(content)))
		h.wantContent(ann, name, content)
		file := h.open(ann, name, os.O_RDONLY)
		for _, at := range []int64{8, 0, 3, 11} {
			b := make([]byte, 3)
			n, err := file.ReadAt(b, at)
			if want := content[at:min(at+3, int64(len(content)))]; string(b[:n]) != want || err != nil && err != io.EOF {
				t.Errorf("%s from %d: %q, %v; want %q", name, at, b[:n], err, want)
			}
			if _, err := file.Seek(at, io.SeekStart); err != nil {
				t.Error(err)
			}
			if rest, err := io.ReadAll(file); string(rest) != content[at:] || err != nil {
				t.Errorf("%s on from %d: %q, %v", name, at, rest, err)
			}
		}
		h.must(file.Close())
		if _, err := ann.Hash(name, "md5"); err == nil {
			t.Errorf("the ETag of %s passes for an MD5", name)
		}
	}
	if in, err := ann.Stat("/c/static"); err != nil || in.ModTime().Unix() != 1600000000 {
		t.Errorf("Stat = %v, %v", in, err)
	}

	// What changes a file's name or times leaves it what it is, and a copy has
	// the content.
	when := time.Unix(1500000000, 0)
	h.must(ann.Chtimes("/c/static", when, when))
	h.must(ann.Rename("/c/static", "/c/renamed"))
	h.wantContent(ann, "/c/renamed", content)
	h.must(ann.Copy("/c/renamed", "/c/copy"))
	h.must(ann.Copy("/c/dynamic", "/c/copy2"))
	h.must(ann.RemoveAll("/c/parts"))
	for _, name := range []string{"/c/copy", "/c/copy2"} {
		h.wantContent(ann, name, content)
	}
	h.wantSize(ann, "/c/renamed", int64(len(content)))
	_, err := ann.Open("/c/renamed")
	h.fails("Open without the segments", err, syscall.EIO)
}

func TestLargeObjectsAreWritten(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.static("o")
	file := h.open(ann, "/c/o", os.O_RDWR)
	_, err := file.WriteAt([]byte("SECOND"), 6)
	h.must(err)
	h.must(file.Close())
	h.wantContent(ann, "/c/o", "first SECOND")

	h.static("o")
	file = h.open(ann, "/c/o", os.O_WRONLY|os.O_APPEND)
	_, err = io.WriteString(file, " third")
	h.must(err)
	h.must(file.Close())
	h.wantContent(ann, "/c/o", "first second third")

	h.static("o")
	h.put(ann, "/c/o", []byte("other"))
	h.wantContent(ann, "/c/o", "other")
	h.wantContent(ann, "/c/parts/o/1", "first ")
}

// What is listed can be removed, renamed and replaced, whatever became of its
// segments.
func TestLargeObjectsWithoutTheirSegments(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	a, b := h.static("static")
	for _, in := range []storage.Info{a, b} {
		h.must(h.s.Remove(h.Context(), in.Path, storage.Cond{}))
	}
	h.dynamic("none", "nowhere/parts")
	h.wantList(ann, "/c", "static", "none")
	for _, name := range []string{"/c/static", "/c/none"} {
		if _, err := ann.Open(name); err == nil {
			t.Errorf("%s is open", name)
		}
		h.must(ann.Rename(name, name+"2"))
		h.must(ann.Remove(name + "2"))
	}
	h.dynamic("none", "nowhere/parts")
	h.put(ann, "/c/none", []byte(strings.Repeat("x", 10)))
	h.wantSize(ann, "/c/none", 10)
	h.must(ann.Remove("/c/none"))
	_, err := ann.Stat("/c/none")
	h.fails("Stat", err, fs.ErrNotExist)
}

func TestLinksAreTheFilesTheyPointTo(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.must(ann.Mkdir("/other", 0))
	target := h.object("target", storage.Info{}, "content")
	at := storage.Path{Account: account, Container: "other", Object: "link"}
	_, err := h.s.PutLink(h.Context(), storage.Info{Path: at}, storage.Link{Target: target.Path}, storage.Cond{})
	h.must(err)
	h.wantSize(ann, "/other/link", 7)
	h.wantContent(ann, "/other/link", "content")
	h.must(ann.Copy("/other/link", "/other/copy"))
	h.must(ann.Rename("/other/link", "/other/renamed"))
	h.wantContent(ann, "/other/renamed", "content")
	h.must(ann.Remove("/c/target"))
	h.wantList(ann, "/other", "copy", "renamed")
	h.wantContent(ann, "/other/copy", "content")
	h.must(ann.Remove("/other/renamed"))
	h.wantList(ann, "/other", "copy")
}
