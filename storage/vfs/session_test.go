package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
	"memstore.dev/memstore/storage/vfs"
)

// object stores one as another door would.
func (h *house) object(name string, in storage.Info, body string) storage.Info {
	h.Helper()
	in.Path, in.Size = storage.Path{Account: account, Container: "c", Object: name}, int64(len(body))
	up, err := h.s.Create(h.Context(), in, storage.Cond{})
	h.must(err)
	defer up.Close()
	_, err = io.WriteString(up, body)
	h.must(err)
	put, err := up.Commit(h.Context())
	h.must(err)
	return put
}

func (h *house) wantList(f afero.Fs, name string, want ...string) {
	h.Helper()
	infos, err := afero.ReadDir(f, name)
	h.must(err)
	got := []string{}
	for _, in := range infos {
		if in.IsDir() {
			got = append(got, in.Name()+"/")
		} else {
			got = append(got, in.Name())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, append([]string{}, want...)) {
		h.Errorf("%s lists %q, want %q", name, got, want)
	}
}

func TestNamesOfOthersThatAreNoFileNames(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{
		"ok", "a//b", "/x", ".", "..", "./y", "../z", "line\nbreak", "bell\a", "d/./e", "d/f\x7f", "d/ok", "nul/", "c1\u0085",
	} {
		h.object(name, storage.Info{}, "x")
	}
	ann := h.session("ann")
	h.wantList(ann, "/c", "a/", "d/", "nul/", "ok")
	h.wantList(ann, "/c/a")
	h.wantList(ann, "/c/d", "ok")
	// They are there still: a directory that has them is not empty.
	h.fails("Remove of a directory with hidden files", ann.Remove("/c/a"), syscall.ENOTEMPTY)
	for in := range ann.All("/c") {
		if in == nil {
			t.Error("All failed")
		}
	}
}

func TestDirectoriesOfOthers(t *testing.T) {
	h := newHouse(t)
	h.object("implied/x", storage.Info{}, "x")
	h.object("marked", storage.Info{Type: "application/directory; charset=UTF-8"}, "")
	h.object("slash/", storage.Info{Type: "text/plain"}, "")
	h.object("both", storage.Info{Type: "application/directory"}, "")
	h.object("both/", storage.Info{Type: "application/directory"}, "")
	h.object("both/x", storage.Info{}, "x")
	h.object("shadow", storage.Info{}, "a file where a directory is")
	h.object("shadow-1", storage.Info{}, "between the two")
	h.object("shadow.txt", storage.Info{}, "between the two")
	h.object("shadow/x", storage.Info{}, "x")
	h.object("notempty", storage.Info{Type: "application/directory"}, "content")
	ann := h.session("ann")
	h.wantList(ann, "/c", "both/", "implied/", "marked/", "notempty", "shadow-1", "shadow.txt", "shadow/", "slash/")
	for _, name := range []string{"implied", "marked", "slash", "both", "shadow"} {
		in, err := ann.Stat("/c/" + name)
		h.must(err)
		if !in.IsDir() || in.Mode() != fs.ModeDir|0o755 {
			t.Errorf("%s is a %v", name, in.Mode())
		}
		if _, err := ann.OpenFile("/c/"+name, anew, 0); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("OpenFile(%s) to write: %v", name, err)
		}
		d, err := ann.Open("/c/" + name)
		h.must(err)
		if in, err := d.Stat(); err != nil || !in.IsDir() {
			t.Errorf("%s opens as %v, %v", name, in, err)
		}
		d.Close()
	}
	h.wantList(ann, "/c/both", "x")
	h.must(ann.Remove("/c/both/x"))
	h.must(ann.Remove("/c/both"))
	h.must(ann.Remove("/c/slash"))
	h.must(ann.Remove("/c/marked"))
	h.wantList(ann, "/c", "implied/", "notempty", "shadow-1", "shadow.txt", "shadow/")
}

// TestDirectoryWithoutAMarkerStays takes away what implied directories.
func TestDirectoryWithoutAMarkerStays(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	for _, name := range []string{"a/x", "b/x", "d/e/f/x", "g/h/x", "i/j/x"} {
		h.object(name, storage.Info{}, "x")
	}
	h.must(ann.Remove("/c/a/x"))
	h.must(ann.Rename("/c/b/x", "/c/x"))
	h.must(ann.RemoveAll("/c/d/e/f"))
	h.must(ann.Rename("/c/g/h", "/c/h"))
	h.must(ann.Remove("/c/i/j/x"))
	h.must(ann.Remove("/c/i/j"))
	h.wantList(ann, "/c", "a/", "b/", "d/", "g/", "h/", "i/", "x")
	h.wantList(ann, "/c/d", "e/")
	h.wantList(ann, "/c/h", "x")
	for _, name := range []string{"/c/a", "/c/b", "/c/d/e", "/c/g", "/c/i"} {
		h.wantList(ann, name)
		h.must(ann.Remove(name))
	}
}

func TestListingOfManyPages(t *testing.T) {
	h := newHouse(t)
	want := map[string]bool{}
	for i := range 2500 {
		h.object(fmt.Sprintf("%04d", i), storage.Info{}, "")
		want[fmt.Sprintf("%04d", i)] = true
	}
	// A file, and far behind it the directory of that name.
	h.object("0500", storage.Info{}, "hidden by the directory")
	h.object("0500/x", storage.Info{}, "")
	for i := range 1500 {
		name := fmt.Sprintf("0500-%04d", i)
		h.object(name, storage.Info{}, "")
		want[name] = true
	}
	ann := h.session("ann")
	h.cut(ann, "/c/0999", anew, []byte("half"))
	h.cut(ann, "/c/zzz", anew, []byte("half"))
	want["zzz"] = true
	for in, err := range ann.All("/c") {
		h.must(err)
		if !want[in.Name()] {
			t.Errorf("%q is listed twice, or should not be", in.Name())
		}
		delete(want, in.Name())
		switch in.Name() {
		case "0500":
			if !in.IsDir() {
				t.Error("0500 is listed as a file")
			}
		case "0999", "zzz":
			if in.Size() != 4 {
				t.Errorf("%s is listed with %d bytes", in.Name(), in.Size())
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("%d are not listed", len(want))
	}
	before := h.b.Calls(storagetest.List)
	for range ann.All("/c") {
		break
	}
	if n := h.b.Calls(storagetest.List) - before; n > 1100 {
		t.Errorf("for one entry %d were read", n)
	}
	stats := h.b.Calls(storagetest.Stat)
	for range ann.All("/c") {
	}
	if n := h.b.Calls(storagetest.Stat) - stats; n > 5 {
		t.Errorf("a listing asked about %d objects", n)
	}
}

func TestTimesOfOtherClients(t *testing.T) {
	h := newHouse(t)
	for value, want := range map[string]time.Time{
		"1234567890":               time.Unix(1234567890, 0),
		"1234567890.123456789":     time.Unix(1234567890, 123456789),
		"1234567890.5":             time.Unix(1234567890, 5e8),
		"1234567890.1234567890123": time.Unix(1234567890, 123456789),
		"-1.5":                     time.Unix(-2, 5e8),
		"0":                        time.Unix(0, 0),
	} {
		h.object("f", storage.Info{Meta: storage.Meta{"X-Object-Meta-Mtime": value}}, "x")
		ann := h.session("ann")
		in, err := ann.Stat("/c/f")
		h.must(err)
		if !in.ModTime().Equal(want) {
			t.Errorf("Mtime %s is shown as %v, want %v", value, in.ModTime(), want)
		}
		h.must(ann.Chtimes("/c/f", want, want))
		if in, err = ann.Stat("/c/f"); err != nil || !in.ModTime().Equal(want) {
			t.Errorf("set to %v the time is %v, %v", want, in.ModTime(), err)
		}
	}
	for _, value := range []string{"yesterday", "1.2.3", "+5", "--5", "1.x", ".", "99999999999999999999"} {
		put := h.object("f", storage.Info{Meta: storage.Meta{"X-Object-Meta-Mtime": value}}, "x")
		if in, err := h.session("ann").Stat("/c/f"); err != nil || !in.ModTime().Equal(put.ModTime) {
			t.Errorf("Mtime %s is shown as %v, %v", value, in.ModTime(), err)
		}
	}
}

// Many clients upload under a name of their own and rename when all has arrived.
// Browsers must be told what it is all the same, which only names tell; what
// somebody has said stays.
func TestTypeFollowsTheName(t *testing.T) {
	for name, keeps := range map[string]storage.Meta{"plain": nil, "versions": {storage.MetaVersionsEnabled: "True"}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			if keeps != nil {
				h.must(h.s.Merge(t.Context(), storage.Path{Account: account, Container: "c"}, keeps))
			}
			ann := h.session("ann")
			rename := func(from, to, kind string) {
				t.Helper()
				h.must(ann.Rename("/c/"+from, "/c/"+to))
				in, err := h.s.Stat(t.Context(), storage.Path{Account: account, Container: "c", Object: to})
				h.must(err)
				if in.Type != kind {
					t.Errorf("%s renamed to %s is of type %s, want %s", from, to, in.Type, kind)
				}
			}
			h.put(ann, "/c/page.html.filepart", []byte("<html>"))
			rename("page.html.filepart", "page.html", "text/html")
			rename("page.html", "old.page", "application/octet-stream")
			rename("old.page", "look.css", "text/css")
			h.wantObject("look.css", []byte("<html>"))
			h.object("said", storage.Info{Type: "text/x-own"}, "x")
			rename("said", "said.html", "text/x-own")
		})
	}
}

func TestMetadataOfFilesThatChange(t *testing.T) {
	h := newHouse(t)
	meta := storage.Meta{"X-Object-Meta-Color": "red", "X-Object-Meta-Mtime": "5", "Cache-Control": "no-store", "X-Object-Sysmeta-Secret": "x"}
	h.object("f", storage.Info{Type: "text/x-own", Meta: meta}, "old")
	ann := h.session("ann")
	stat := func() storage.Info {
		t.Helper()
		in, err := h.s.Stat(t.Context(), storage.Path{Account: account, Container: "c", Object: "f"})
		h.must(err)
		return in
	}
	h.must(ann.Chtimes("/c/f", time.Now(), time.Unix(7, 0)))
	if in := stat(); in.Type != "text/x-own" || in.Meta["X-Object-Meta-Color"] != "red" || in.Meta["X-Object-Meta-Mtime"] != "7" || in.Meta["X-Object-Sysmeta-Secret"] != "x" {
		t.Errorf("Chtimes made %+v", in)
	}
	h.finish(ann, "/c/f", resume|os.O_APPEND, 0, []byte(" and more"))
	in := stat()
	if in.Type != "text/x-own" || len(in.Meta) != 2 || in.Meta["X-Object-Meta-Color"] != "red" || in.Meta["Cache-Control"] != "no-store" {
		t.Errorf("appending made %+v", in)
	}
	h.wantObject("f", []byte("old and more"))
	h.must(h.session("ann").Copy("/c/f", "/c/f.txt"))
	h.wantObject("f.txt", []byte("old and more"))
	h.put(ann, "/c/f", []byte("new"))
	if in := stat(); in.Type != "application/octet-stream" || len(in.Meta) != 0 {
		t.Errorf("writing anew made %+v", in)
	}
	for from, to := range map[string]string{"/c": "/d", "/c/none": "/c/x", "/c/f": "/none/f"} {
		if ann.Copy(from, to) == nil {
			t.Errorf("Copy(%s, %s) did not fail", from, to)
		}
	}
}

func TestQuotas(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.put(ann, "/c/f", make([]byte, 600))
	_, _, err := ann.StatVFS("/c")
	h.fails("StatVFS without a quota", err, errors.ErrUnsupported)
	h.must(h.s.Merge(t.Context(), storage.Path{Account: account, Container: "c"}, storage.Meta{storage.MetaContainerQuotaBytes: "1000"}))
	if total, free, err := ann.StatVFS("/c/f"); total != 1000 || free != 400 || err != nil {
		t.Errorf("StatVFS = %d, %d, %v, want 400 of 1000", total, free, err)
	}
	h.must(h.s.Merge(t.Context(), storage.Path{Account: account}, storage.Meta{storage.MetaAccountQuotaBytes: "700"}))
	if total, free, err := ann.StatVFS("/c"); total != 700 || free != 100 || err != nil {
		t.Errorf("StatVFS = %d, %d, %v, want 100 of 700", total, free, err)
	}
	spacious := vfs.New(t.Context(), h.s, account, vfs.Options{Space: func() (total, free uint64, err error) { return 1 << 40, 50, nil }})
	if total, free, err := spacious.StatVFS("/"); total != 650 || free != 50 || err != nil {
		t.Errorf("StatVFS of a full store = %d, %d, %v, want 50 of 650", total, free, err)
	}
	file := h.open(ann, "/c/g", anew)
	_, err = file.Write(make([]byte, 100))
	h.must(err)
	_, err = file.Write(make([]byte, 1))
	h.fails("Write beyond the quota", err, syscall.EDQUOT)
	h.fails("Close then", file.Close(), syscall.EDQUOT)
	_, err = h.session("bob").Stat("/c/g")
	h.fails("Stat by bob", err, fs.ErrNotExist)
}

// TestAccess has users whom the guard lets do one thing or the other.
func TestAccess(t *testing.T) {
	guard := auth.NewGuard(memory.New())
	s := storage.New(guard)
	as := func(id auth.Identity) (context.Context, *vfs.FS) {
		ctx := auth.NewContext(t.Context(), id)
		return ctx, vfs.New(ctx, s, account, vfs.Options{
			Owner:    id.User,
			Writable: func(ctx context.Context, p storage.Path) bool { return id.User == "ann:admin" },
		})
	}
	ctx, admin := as(auth.Identity{User: "ann:admin", Account: "ann", Role: auth.RoleAdmin})
	h := &house{T: t, s: s}
	for name, meta := range map[string]storage.Meta{
		"shared":  {"X-Container-Read": "ann:reader"},
		"dropbox": {"X-Container-Write": "ann:reader"},
		"private": nil,
	} {
		_, err := s.Make(ctx, storage.Path{Account: account, Container: name}, meta)
		h.must(err)
		h.put(admin, "/"+name+"/f", []byte("x"))
	}
	h.wantList(admin, "/", "dropbox/", "private/", "shared/")
	if in, err := admin.Stat("/shared/f"); err != nil || in.Mode() != 0o644 {
		t.Errorf("the admin sees %v, %v", in, err)
	}

	_, reader := as(auth.Identity{User: "ann:reader", Account: "ann"})
	h.wantList(reader, "/")
	for name, want := range map[string]fs.FileMode{"/shared": fs.ModeDir | 0o555, "/shared/f": 0o444} {
		if in, err := reader.Stat(name); err != nil || in.Mode() != want {
			t.Errorf("the reader sees %s as %v, %v", name, in, err)
		}
	}
	h.wantList(reader, "/", "shared/") // which he has named
	if got, err := afero.ReadFile(reader, "/shared/f"); string(got) != "x" || err != nil {
		t.Errorf("the reader reads %q, %v", got, err)
	}
	for _, name := range []string{"/private", "/private/f", "/none", "/none/f"} {
		_, err := reader.Stat(name)
		h.fails("Stat of "+name+" by the reader", err, fs.ErrPermission)
	}
	for what, err := range map[string]error{
		"Create":    func() error { _, err := reader.Create("/shared/new"); return err }(),
		"overwrite": func() error { _, err := reader.Create("/shared/f"); return err }(),
		"Mkdir":     reader.Mkdir("/new", 0),
		"mkdir":     reader.Mkdir("/shared/new", 0),
		"Remove":    reader.Remove("/shared/f"),
		"Rename":    reader.Rename("/shared/f", "/shared/g"),
		"container": reader.Rename("/shared", "/other"),
		"Chtimes":   reader.Chtimes("/shared/f", time.Now(), time.Now()),
		"RemoveAll": reader.RemoveAll("/shared"),
	} {
		h.fails(what+" by the reader", err, fs.ErrPermission)
	}
	h.put(reader, "/dropbox/new", []byte("dropped"))
	if got, err := afero.ReadFile(admin, "/dropbox/new"); string(got) != "dropped" || err != nil {
		t.Errorf("what was dropped reads %q, %v", got, err)
	}

	// What the guard keeps apart: half files of users.
	h.cut(admin, "/shared/half", anew, []byte("half"))
	_, err := reader.Stat("/shared/half")
	h.fails("Stat of another's half file", err, fs.ErrNotExist)
	_, again := as(auth.Identity{User: "ann:admin", Account: "ann", Role: auth.RoleAdmin})
	h.finish(again, "/shared/half", resume, 4, []byte(" and half"))
	if got, err := afero.ReadFile(reader, "/shared/half"); string(got) != "half and half" || err != nil {
		t.Errorf("resumed it reads %q, %v", got, err)
	}
	_, stranger := as(auth.Identity{})
	_, err = stranger.Stat("/shared/f")
	h.fails("Stat by a stranger", err, fs.ErrPermission)
}

// TestSendfile has the bytes leave by the store's own WriteTo.
func TestSendfile(t *testing.T) {
	b := &counting{Backend: memory.New()}
	h := &house{T: t, s: storage.New(b)}
	ann := h.session("ann")
	h.must(ann.Mkdir("/c", 0))
	want := data(1 << 20)
	h.put(ann, "/c/f", want)
	f := h.open(ann, "/c/f", os.O_RDONLY)
	defer f.Close()
	_, err := f.Seek(1000, io.SeekStart)
	h.must(err)
	var got bytes.Buffer
	n, err := io.Copy(&got, f)
	if n != 1<<20-1000 || err != nil || !bytes.Equal(got.Bytes(), want[1000:]) {
		t.Errorf("copied %d bytes, %v", n, err)
	}
	if b.whole != 1 {
		t.Errorf("the reader was asked %d times to write itself", b.whole)
	}
}

// counting counts the readers that write themselves.
type counting struct {
	storage.Backend
	whole int
}

func (b *counting) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.Backend.Open(ctx, p, r)
	if err != nil {
		return nil, in, err
	}
	return &countedReader{rc, b}, in, nil
}

type countedReader struct {
	io.ReadCloser
	b *counting
}

func (r *countedReader) WriteTo(w io.Writer) (int64, error) {
	r.b.whole++
	return io.Copy(w, struct{ io.Reader }{r.ReadCloser})
}

// TestReadingNearlyInOrder counts what is read to serve eight at a time.
func TestReadingNearlyInOrder(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	want := data(8 << 20)
	h.put(ann, "/c/f", want)
	f := h.open(ann, "/c/f", os.O_RDONLY)
	defer f.Close()
	opened := h.b.Calls(storagetest.Open)
	const packet = 255 << 10
	for group := 0; group < len(want); group += 8 * packet {
		for _, i := range []int{3, 0, 1, 7, 2, 6, 5, 4} {
			at := group + i*packet
			if at >= len(want) {
				continue
			}
			got := make([]byte, min(packet, len(want)-at))
			if n, err := f.ReadAt(got, int64(at)); n != len(got) || err != nil || !bytes.Equal(got, want[at:at+n]) {
				t.Fatalf("ReadAt(%d) = %d, %v", at, n, err)
			}
		}
	}
	if n := h.b.Calls(storagetest.Open) - opened; n > 4 {
		t.Errorf("the file was opened %d times more", n)
	}
}

// TestReaderNeverMixes has a file replaced that is read here and there from a
// store whose readers go forward only.
func TestReaderNeverMixes(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	old := bytes.Repeat([]byte("a"), 8<<20)
	h.put(ann, "/c/f", old)
	f := h.open(ann, "/c/f", os.O_RDONLY)
	defer f.Close()
	got := make([]byte, 1000)
	_, err := f.ReadAt(got, 0)
	h.must(err)
	h.put(ann, "/c/f", bytes.Repeat([]byte("b"), 8<<20))
	for _, at := range []int64{1000, 6 << 20, 2000, 0} {
		if n, err := f.ReadAt(got, at); bytes.Contains(got[:n], []byte("b")) || n == 0 && err == nil {
			t.Errorf("ReadAt(%d) = %d, %v, with bytes of another file", at, n, err)
		}
	}
	if _, err := f.Seek(5<<20, io.SeekStart); err != nil {
		t.Error(err)
	}
	if n, err := f.Read(got); err == nil && bytes.Contains(got[:n], []byte("b")) {
		t.Error("Read gave bytes of another file")
	}
}

func TestErrorsAreTheirsWhoServeFiles(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	_, err := ann.Stat("/c/none")
	if !os.IsNotExist(err) {
		t.Errorf("os.IsNotExist(%v) = false", err)
	}
	if e := (*fs.PathError)(nil); !errors.As(err, &e) || e.Op != "stat" || e.Path != "/c/none" {
		t.Errorf("%v is no PathError of a stat", err)
	}
	_, err = ann.Create("/f")
	var told interface{ ClientText() string }
	if !errors.As(err, &told) || !strings.Contains(told.ClientText(), "mkdir") {
		t.Errorf("a file at the top is refused with %v", err)
	}
	h.b.Fail(storagetest.Stat, errors.New("/srv/secret.db is corrupt"))
	_, err = ann.Stat("/c/x")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the client is told %v", err)
	}
}

// TestWhatDoorsAskFor is about methods that afero does not know.
func TestWhatDoorsAskFor(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	h.must(ann.Mkdir("/c/d", 0))
	h.put(ann, "/c/f", []byte("x"))
	h.fails("RemoveFile of a directory", ann.RemoveFile("/c/d"), syscall.EISDIR)
	h.fails("RemoveDir of a file", ann.RemoveDir("/c/f"), syscall.ENOTDIR)
	h.fails("RemoveFile of nothing", ann.RemoveFile("/c/x"), fs.ErrNotExist)
	h.fails("RemoveDir of nothing", ann.RemoveDir("/c/x"), fs.ErrNotExist)
	h.fails("RemoveDir of the top", ann.RemoveDir("/"), fs.ErrPermission)
	h.fails("RemoveDir of a container with files", ann.RemoveDir("/c"), syscall.ENOTEMPTY)
	h.must(ann.RemoveFile("/c/f"))
	h.must(ann.RemoveDir("/c/d"))
	h.wantList(ann, "/c")

	// A transfer that ends in an error of the line makes no file.
	file := h.open(ann, "/c/f", anew)
	n, err := file.(io.ReaderFrom).ReadFrom(io.MultiReader(bytes.NewReader(data(600_000)), brokenLine{}))
	if n != 600_000 || !errors.Is(err, errLine) {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	if file.Close() == nil {
		t.Error("Close after a broken ReadFrom did not fail")
	}
	h.wantSize(ann, "/c/f", 600_000)
	file = h.open(ann, "/c/f", resume)
	_, err = file.Seek(0, io.SeekEnd)
	h.must(err)
	if n, err := io.Copy(file, bytes.NewReader([]byte("rest"))); n != 4 || err != nil {
		t.Errorf("Copy = %d, %v", n, err)
	}
	h.must(file.Close())
	h.wantObject("f", append(data(600_000), "rest"...))

	// What is discarded was never opened, and what was kept is kept.
	discard := func(f afero.File) error { return f.(interface{ Discard() error }).Discard() }
	file = h.open(ann, "/c/f", anew)
	_, err = file.Write([]byte("nothing"))
	h.must(err)
	h.must(discard(file))
	h.fails("the second Discard", discard(file), fs.ErrClosed)
	h.wantObject("f", append(data(600_000), "rest"...))
	h.wantNothingKept()
	h.cut(ann, "/c/g", anew, []byte("half"))
	h.must(discard(h.open(ann, "/c/g", resume)))
	h.wantSize(ann, "/c/g", 4)

	// A directory may be read again from its start.
	d, err := ann.Open("/c")
	h.must(err)
	for range 2 {
		if names, err := d.Readdirnames(-1); err != nil || len(names) != 2 {
			t.Errorf("Readdirnames = %q, %v", names, err)
		}
		_, err := d.Seek(0, io.SeekStart)
		h.must(err)
	}
	h.must(d.Close())
}

type brokenLine struct{}

func (brokenLine) Read([]byte) (int, error) { return 0, errLine }

// TestReadingWhatTheSessionUploads reads a file that is not there yet.
func TestReadingWhatTheSessionUploads(t *testing.T) {
	h := newHouse(t)
	ann := h.session("ann")
	up := h.open(ann, "/c/f", anew)
	_, err := up.Write([]byte("first, "))
	h.must(err)
	file := h.open(ann, "/c/f", os.O_RDONLY)
	defer file.Close()
	if in, err := file.Stat(); err != nil || in.Size() != 7 {
		t.Errorf("Stat = %v, %v", in, err)
	}
	got := make([]byte, 20)
	if n, err := file.Read(got); string(got[:n]) != "first, " || err != nil {
		t.Errorf("Read = %q, %v", got[:n], err)
	}
	if n, err := file.Read(got); n != 0 || err != io.EOF {
		t.Errorf("Read of more than has come = %d, %v", n, err)
	}
	_, err = up.Write([]byte("second"))
	h.must(err)
	h.must(up.Close())
	if n, err := file.Read(got); string(got[:n]) != "second" || err != nil && err != io.EOF {
		t.Errorf("Read = %q, %v", got[:n], err)
	}
	_, err = file.Seek(-6, io.SeekEnd)
	h.must(err)
	if all, err := io.ReadAll(file); string(all) != "second" || err != nil {
		t.Errorf("ReadAll = %q, %v", all, err)
	}
	// That is the file that was uploaded, and no later one.
	h.put(ann, "/c/f", []byte("another file"))
	if _, err := file.ReadAt(got, 0); err == nil {
		t.Error("ReadAt gave bytes of another file")
	}
}
