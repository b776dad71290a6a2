package disk

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"memstore.dev/memstore/storage"
)

// TestWrittenIsSent: what was written a moment ago need not be checked, as long
// as it has not left the page cache, and the time that a check is good for has
// not passed.
func TestWrittenIsSent(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	const size = 2*worthWritten + 5
	data := content(1, size)
	send := func() int64 { return sent(t, b, path("o"), storage.All, data) }
	put(t, b, path("o"), data)
	name := blobPath(b.dir, blobOf(t, b, path("o")))
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !inMemory(f, size) {
		t.Skip("SKIPPED: the kernel does not tell what is in its page cache, as those since 6.5 do")
	}
	if n := send(); n != size {
		t.Errorf("%d bytes of %d that were written just now were sent unread", n, size)
	}
	b.footers.window = -time.Nanosecond
	if n := send(); n != 0 {
		t.Errorf("%d bytes were sent unchecked though they were written too long ago", n)
	}
	b.footers.window = time.Hour

	put(t, b, path("o"), data)
	evict(t, b, path("o"), size)
	if n := send(); n != 0 {
		t.Errorf("%d bytes that came from the disk were sent unchecked", n)
	}
	if n := send(); n != size {
		t.Errorf("%d bytes were sent of %d that had been checked", n, size)
	}
}

// evict has the page cache forget the bytes of an object.
func evict(t *testing.T, b *Backend, p storage.Path, size int64) {
	t.Helper()
	f, err := os.Open(blobPath(b.dir, blobOf(t, b, p)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if inMemory(f, size) {
		t.Skip("SKIPPED: this file system keeps its files in memory")
	}
}

// TestSmallIsNotRemembered: uploads that are cheap to check take no footer's
// place.
func TestSmallIsNotRemembered(t *testing.T) {
	b := open(t, t.TempDir(), small(t))
	place(t, b)
	put(t, b, path("o"), content(1, worthWritten-1))
	if b.footers.get(blobOf(t, b, path("o"))) != nil {
		t.Error("the footer of a small upload is kept")
	}
}
