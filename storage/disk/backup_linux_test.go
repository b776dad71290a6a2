package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"memstore.dev/memstore/storage"
)

// TestBackupToFullDisk: wherever the room ends, in the files or in the index,
// the backup ends with the word for it, and the one before is still good.
func TestBackupToFullDisk(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	all := furnish(t, b)
	b.Close()
	disk := smallDisk(t, "size=64m")
	backup, glut := filepath.Join(disk, "backup"), filepath.Join(disk, "glut")
	if err := Backup(t.Context(), dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int64{0, 4 << 10, 16 << 10, 64 << 10, 256 << 10} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			free, _, _, err := freeSpace(disk)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(glut, make([]byte, free-left), 0o600); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(glut)
			b := open(t, dir, small(t))
			put(t, b, path(fmt.Sprint("more", left)), content(1, 1<<20))
			b.Close()
			if err := Backup(t.Context(), dir, backup, nil); !errors.Is(err, storage.ErrNoSpace) {
				t.Fatalf("Backup: %v, want ErrNoSpace", err)
			}
			back := filepath.Join(t.TempDir(), "r")
			if err := Restore(t.Context(), backup, back, nil); err != nil {
				t.Fatal(err)
			}
			wantAll(t, open(t, back, small(t)), all)
		})
	}
	if err := Backup(t.Context(), dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	wantClean(t, backup)
}
