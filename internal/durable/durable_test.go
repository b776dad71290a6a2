package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	for _, want := range []string{"first", "", "a longer second"} {
		if err := WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Fatalf("after WriteFile(%q) the file holds %q, %v", want, got, err)
		}
		if in, _ := os.Stat(name); in.Mode().Perm() != 0o600 {
			t.Errorf("mode is %v, want 0600", in.Mode())
		}
	}
	wantNames(t, filepath.Dir(name), "key")
}

func TestCloseLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	if err := WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Create(name, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Close: %v, want fs.ErrClosed", err)
	}
	if got, _ := os.ReadFile(name); string(got) != "old" {
		t.Errorf("the file holds %q, want old", got)
	}
	wantNames(t, dir, "key")
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "file", "sub"), 0o755); err == nil {
		t.Error("MkdirAll below a file: no error")
	}
	if err := Mkdir(deep, 0o755); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Mkdir of what is there: %v, want fs.ErrExist", err)
	}
}

func TestRenameCopyRemove(t *testing.T) {
	dir := t.TempDir()
	if err := MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b"), filepath.Join(dir, "c")
	if err := WriteFile(a, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Rename(a, b); err != nil {
		t.Fatal(err)
	}
	if n, err := CopyFile(c, b, 0o644); n != 7 || err != nil {
		t.Fatalf("CopyFile = %d, %v", n, err)
	}
	if err := Remove(b); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(c); string(got) != "content" {
		t.Errorf("the copy holds %q", got)
	}
	wantNames(t, dir, "c", "sub")
	if err := Remove(b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of what is gone: %v, want fs.ErrNotExist", err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s holds %q, want %q", dir, got, want)
		}
	}
}
