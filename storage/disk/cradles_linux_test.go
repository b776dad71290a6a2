package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// Files are made in cradles by turns, and where those are gone beside the
// blobs; either way nothing but blobs is left.
func TestCradles(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	if b.cradles == nil {
		t.Skip("the file system has no files without names")
	}
	if n := len(b.cradles.dirs); n == 0 {
		t.Log("the file system does not spread directories")
	} else if n != cradleCount {
		t.Fatalf("there are %d cradles, want %d", n, cradleCount)
	}
	seen := make(map[string]bool)
	for range 2 * cradleCount * cradleStay {
		b.cradles.made.Add(1)
		f, err := b.cradles.open()
		if err != nil {
			t.Fatal(err)
		}
		seen[f.Name()] = true
		f.Close()
	}
	if want := max(len(b.cradles.dirs), 1); len(seen) != want {
		t.Errorf("files were made in %d places, want %d", len(seen), want)
	}
	place(t, b)
	p, data := path("o"), content(1, 100<<10)
	put(t, b, p, data)
	if err := os.RemoveAll(filepath.Join(dir, dirCradles)); err != nil {
		t.Fatal(err)
	}
	put(t, b, p, data)
	wantContent(t, b, p, data)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wantClean(t, dir)
}
