package sftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
)

func TestRoundTrip(t *testing.T) {
	eachFs(t, func(t *testing.T, fsys afero.Fs) {
		b := start(t, fsys)
		c := b.client(t)
		for _, size := range []int{0, 1, 4095, 32 << 10, 255 << 10, 3<<20 + 17} {
			name, data := fmt.Sprintf("/f%d", size), content(size)
			f, err := c.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			// ReadFrom of this client sends many packets at once.
			if _, err := f.ReadFrom(bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wantFile(t, fsys, name, data)
			f, err = c.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := f.WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%s came back as %d bytes, not the same", name, got.Len())
			}
		}
		puts, gets := 0, 0
		for _, op := range b.operations() {
			if op.Err != nil || op.User != testUser || op.ID == "" || op.Protocol != "sftp" {
				t.Errorf("operation %+v", op)
			}
			switch op.Verb {
			case "put":
				puts++
			case "get":
				gets++
			}
		}
		if puts != 6 || gets != 6 {
			t.Errorf("%d puts and %d gets were reported, want 6 and 6", puts, gets)
		}
	})
}

func TestNames(t *testing.T) {
	eachFs(t, func(t *testing.T, fsys afero.Fs) {
		c := start(t, fsys).client(t)
		if err := c.Mkdir("/d"); err != nil {
			t.Fatal(err)
		}
		names := []string{"a b", "ü€😀", `q"uo'te`, "-rf", "#x", "semi;colon", "back\\slash", "100%"}
		for _, n := range names {
			f, err := c.Create("/d/" + n)
			if err != nil {
				t.Fatalf("create %q: %v", n, err)
			}
			io.WriteString(f, n)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		list, err := c.ReadDir("/d")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range list {
			got = append(got, i.Name())
		}
		slices.Sort(names)
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("listing = %q, want %q", got, names)
		}
		if _, err := c.Create("/d/\xff"); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("a name that is not UTF-8: %v", err)
		}
	})
}

func TestManyNamesAreListedInPages(t *testing.T) {
	fsys := tempFs(t)
	long := strings.Repeat("x", 200)
	for i := range 3000 {
		put(t, fsys, fmt.Sprintf("/%s%05d", long, i), nil)
	}
	list, err := start(t, fsys).client(t).ReadDir("/")
	if err != nil || len(list) != 3000 {
		t.Errorf("ReadDir gave %d names and %v, want 3000", len(list), err)
	}
}

func TestChanges(t *testing.T) {
	eachFs(t, func(t *testing.T, fsys afero.Fs) {
		b := start(t, fsys)
		c := b.client(t)
		put(t, fsys, "/a", []byte("a"))
		put(t, fsys, "/b", []byte("b"))
		if err := c.Rename("/a", "/b"); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("rename onto a file = %v, want a refusal", err)
		}
		if err := c.PosixRename("/a", "/b"); err != nil {
			t.Errorf("posix-rename onto a file = %v", err)
		}
		wantFile(t, fsys, "/b", []byte("a"))
		wantAbsent(t, fsys, "/a")
		if err := c.Rename("/b", "/c"); err != nil {
			t.Errorf("rename = %v", err)
		}
		if err := c.Mkdir("/d"); err != nil {
			t.Fatal(err)
		}
		if err := c.Mkdir("/d"); err == nil {
			t.Error("a directory was made twice")
		}
		if err := c.PosixRename("/c", "/d/c"); err != nil {
			t.Errorf("rename into a directory = %v", err)
		}
		if err := c.RemoveDirectory("/d"); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("rmdir of a directory with a file = %v, want a refusal", err)
		}
		if err := c.RemoveDirectory("/d/c"); err == nil {
			t.Error("rmdir removed a file")
		}
		if status := (*pkgsftp.StatusError)(nil); !errors.As(c.Remove("/d"), &status) {
			// The client tries RMDIR after REMOVE; both must refuse.
			t.Error("remove removed a directory that is not empty")
		}
		if err := c.Remove("/d/c"); err != nil {
			t.Errorf("remove = %v", err)
		}
		if err := c.RemoveDirectory("/d"); err != nil {
			t.Errorf("rmdir = %v", err)
		}
		if err := c.Remove("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove of nothing = %v, want %v", err, fs.ErrNotExist)
		}
		if _, err := c.Stat("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat of nothing = %v, want %v", err, fs.ErrNotExist)
		}
		put(t, fsys, "/x", nil)
		for what, err := range map[string]error{
			"symlink":  c.Symlink("/x", "/y"),
			"hardlink": c.Link("/x", "/y"),
		} {
			if s, ok := errors.AsType[*pkgsftp.StatusError](err); !ok || s.FxCode() != pkgsftp.ErrSSHFxOpUnsupported {
				t.Errorf("%s = %v, want it unsupported", what, err)
			}
		}
	})
}

func TestAttributes(t *testing.T) {
	eachFs(t, func(t *testing.T, fsys afero.Fs) {
		c := start(t, fsys).client(t)
		put(t, fsys, "/f", []byte("0123456789"))
		when := time.Unix(1234567890, 0)
		if err := c.Chtimes("/f", when, when); err != nil {
			t.Fatal(err)
		}
		if err := c.Chmod("/f", 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := c.Stat("/f")
		if err != nil || !info.ModTime().Equal(when) || info.Mode() != 0o600 || info.Size() != 10 {
			t.Errorf("Stat = %v %v %v, %v", info.ModTime(), info.Mode(), info.Size(), err)
		}
		if err := c.Truncate("/f", 4); err != nil {
			t.Fatal(err)
		}
		wantFile(t, fsys, "/f", []byte("0123"))

		// An upload under way: its handle is asked, wherever the file has moved.
		f, err := c.OpenFile("/up", os.O_RDWR|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte("abcdef"))
		if info, err := f.Stat(); err != nil || info.Size() != 6 {
			t.Errorf("Stat of an open file = %v, %v", info, err)
		}
		if err := c.PosixRename("/up", "/done"); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(3); err != nil {
			t.Errorf("truncate of an open file that was renamed: %v", err)
		}
		if info, err := f.Stat(); err != nil || info.Size() != 3 {
			t.Errorf("Stat of an open file that was renamed = %v, %v", info, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, fsys, "/done", []byte("abc"))
	})
}

func TestReadAndWriteOneHandle(t *testing.T) {
	eachFs(t, func(t *testing.T, fsys afero.Fs) {
		c := start(t, fsys).client(t)
		put(t, fsys, "/f", []byte("hello world"))
		f, err := c.OpenFile("/f", os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("there"), 6); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 11)
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != "hello there" {
			t.Errorf("ReadAt = %q, %v", got, err)
		}
	})
}

// Clients disagree on what the offsets of a file opened for appending count
// from.
func TestAppend(t *testing.T) {
	for _, from := range []int64{0, 10} {
		t.Run(fmt.Sprint("counting from ", from), func(t *testing.T) {
			eachFs(t, func(t *testing.T, fsys afero.Fs) {
				c := start(t, fsys).client(t)
				put(t, fsys, "/f", []byte("0123456789"))
				f, err := c.OpenFile("/f", os.O_WRONLY|os.O_APPEND)
				if err != nil {
					t.Fatal(err)
				}
				data := content(1 << 20)
				f.Seek(from, io.SeekStart)
				if _, err := f.ReadFrom(bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				wantFile(t, fsys, "/f", append([]byte("0123456789"), data...))
			})
		})
	}
}

func TestTooManyOpenFiles(t *testing.T) {
	fsys := tempFs(t)
	c := start(t, fsys, func(s *Server) { s.MaxOpenFiles = 3 }).client(t)
	put(t, fsys, "/f", nil)
	var open []*pkgsftp.File
	for range 3 {
		f, err := c.Open("/f")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	if _, err := c.Open("/f"); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a fourth file: %v", err)
	}
	if _, err := c.ReadDir("/"); err == nil {
		t.Error("a directory besides three files was opened")
	}
	open[0].Close()
	if _, err := c.Open("/f"); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}
