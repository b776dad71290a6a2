package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"memstore.dev/memstore/storage"
)

// backedUp is a backup of a furnished store, with a file of somebody else's.
func backedUp(t *testing.T) (backup string, all map[storage.Path][]byte) {
	t.Helper()
	dir := t.TempDir()
	backup = filepath.Join(t.TempDir(), "b")
	b := open(t, dir, small(t))
	all = furnish(t, b)
	s, err := b.Snapshot(t.Context()) // whose last changes are in the log only
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := Backup(t.Context(), s.Dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(backup, "users"), []byte("ann, bob"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there already
		if err := Enlist(backup, "users"); err != nil {
			t.Fatal(err)
		}
	}
	return backup, all
}

// wantNoRestore checks that a backup is refused, in that sense, and that fsck
// finds it wrong.
func wantNoRestore(t *testing.T, backup, what string, want error) {
	t.Helper()
	back := filepath.Join(t.TempDir(), "r")
	if err := Restore(t.Context(), backup, back, nil); !errors.Is(err, want) {
		t.Errorf("%s: Restore: %v, want %v", what, err, want)
	}
	if _, err := os.Stat(back); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: there is something where it was to be restored", what)
	}
	if r, err := Check(t.Context(), backup, CheckOptions{Log: quiet}); err == nil && r.Clean() {
		t.Errorf("%s: Check finds nothing", what)
	}
}

// TestManifest: no file of a backup can be lost or altered without a restore
// being refused, least of all the index's log, whose end nothing else vouches
// for.
func TestManifest(t *testing.T) {
	backup, all := backedUp(t)
	m, err := ReadManifest(backup)
	if err != nil {
		t.Fatal(err)
	}
	if m.Objects != int64(len(all)) || m.Blobs == 0 || m.BlobBytes == 0 || m.Version == 0 || m.Damaged != 0 || m.Accounts != 1 {
		t.Errorf("of %d objects the manifest says %+v", len(all), m)
	}
	if _, ok := m.File("users"); !ok {
		t.Error("what was enlisted is not in the manifest")
	}
	if wantClean(t, backup); t.Failed() {
		t.FailNow()
	}
	logs := 0
	for _, f := range m.Files {
		name := filepath.Join(backup, f.Name)
		whole, err := os.ReadFile(name)
		if err != nil || int64(len(whole)) != f.Size {
			t.Fatalf("%s has %d bytes, %v; the manifest says %+v", f.Name, len(whole), err, f)
		}
		if strings.HasSuffix(name, ".log") {
			logs++
		}
		harms := map[string][]byte{"longer": append(bytes.Clone(whole), 0)}
		if n := len(whole); n > 0 {
			harms["cut"] = whole[:n*2/3]
			harms["zeroed"] = append(bytes.Clone(whole[:n*2/3]), make([]byte, n-n*2/3)...)
			harms["flipped"] = bytes.Clone(whole)
			harms["flipped"][n/2] ^= 4
		}
		for harm, data := range harms {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if f.Name != fileFormat {
				wantNoRestore(t, backup, f.Name+" "+harm, errManifest)
			} else if err := Restore(t.Context(), backup, t.TempDir(), nil); err == nil { // it is read first
				t.Errorf("%s %s: Restore: no error", f.Name, harm)
			}
		}
		os.Remove(name)
		if f.Name != fileFormat {
			wantNoRestore(t, backup, f.Name+" removed", errManifest)
		}
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if logs == 0 {
		t.Error("the manifest lists no log")
	}
	extra := filepath.Join(backup, dirMeta, "999999.log")
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantNoRestore(t, backup, "a log more", errManifest)
	os.Remove(extra)

	back := filepath.Join(t.TempDir(), "r")
	if err := Restore(t.Context(), backup, back, nil); err != nil {
		t.Fatal(err)
	}
	wantAll(t, open(t, back, small(t)), all)

	manifest := filepath.Join(backup, fileManifest)
	if err := os.Truncate(manifest, 100); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), backup, t.TempDir(), nil); err == nil {
		t.Error("a restore with half a manifest: no error")
	}
	os.Remove(manifest)
	if err := Restore(t.Context(), backup, t.TempDir(), nil); !errors.Is(err, errNoBackup) {
		t.Errorf("a restore without a manifest: %v", err)
	}
}

// TestBackupNeedsNoLog: all of its index is in tables.
func TestBackupNeedsNoLog(t *testing.T) {
	backup, all := backedUp(t)
	logs, err := filepath.Glob(filepath.Join(backup, dirMeta, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, backup, small(t))
	wantAll(t, b, all)
}

// TestNoBackupAnymore: who opens or repairs a backup makes it something else,
// of which there may be a backup.
func TestNoBackupAnymore(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"open": func(t *testing.T, dir string) { open(t, dir, small(t)).Close() },
		"repair": func(t *testing.T, dir string) {
			if _, err := Check(t.Context(), dir, CheckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			backup, all := backedUp(t)
			change(t, backup)
			wantClean(t, backup)
			back, again := filepath.Join(t.TempDir(), "r"), filepath.Join(t.TempDir(), "b")
			if err := Restore(t.Context(), backup, back, nil); !errors.Is(err, errNoBackup) {
				t.Errorf("Restore: %v, want %v", err, errNoBackup)
			}
			if err := Backup(t.Context(), backup, again, nil); err != nil {
				t.Fatal(err)
			}
			if err := Restore(t.Context(), again, back, nil); err != nil {
				t.Fatal(err)
			}
			wantAll(t, open(t, back, small(t)), all)
		})
	}
}

// TestHostileBackup: pipes do not keep a restore waiting, and links lead it
// nowhere.
func TestHostileBackup(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	swap := map[string]func(name string) error{
		"pipe":   func(name string) error { return unix.Mkfifo(name, 0o600) },
		"link":   func(name string) error { return os.Symlink(secret, name) },
		"copied": func(name string) error { return os.Symlink(name+".moved", name) },
	}
	blob := func(t *testing.T, dir string) string {
		files, err := filepath.Glob(filepath.Join(dir, dirBlobs, "*", "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no blobs in %s: %v", dir, err)
		}
		return files[0]
	}
	table := func(t *testing.T, dir string) string {
		files, err := filepath.Glob(filepath.Join(dir, dirMeta, "*.sst"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no tables in %s: %v", dir, err)
		}
		return files[0]
	}
	for as, put := range swap {
		for what, find := range map[string]func(t *testing.T, dir string) string{
			"blob": blob, "table": table,
			"format":   func(_ *testing.T, dir string) string { return filepath.Join(dir, fileFormat) },
			"manifest": func(_ *testing.T, dir string) string { return filepath.Join(dir, fileManifest) },
			"users":    func(_ *testing.T, dir string) string { return filepath.Join(dir, "users") },
			"log more": func(_ *testing.T, dir string) string { return filepath.Join(dir, dirMeta, "999999.log") },
		} {
			t.Run(what+" as "+as, func(t *testing.T) {
				backup, _ := backedUp(t)
				name := find(t, backup)
				if err := os.Rename(name, name+".moved"); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				if err := put(name); err != nil {
					t.Fatal(err)
				}
				if as != "copied" {
					os.Remove(name + ".moved")
				}
				back := filepath.Join(t.TempDir(), "r")
				err := Restore(t.Context(), backup, back, nil)
				if what == "blob" && as == "copied" && err == nil {
					return // within the backup, and held against its checksums
				}
				if err == nil {
					t.Error("Restore: no error")
				}
				if what == "blob" && !errors.Is(err, storage.ErrDamaged) {
					t.Errorf("Restore: %v, want ErrDamaged", err)
				}
				if r, err := Check(t.Context(), backup, CheckOptions{ReadData: true, Log: quiet}); err == nil && r.Clean() {
					t.Error("Check finds nothing")
				}
			})
		}
	}
}

// TestHostileDestination: a backup writes and removes below its directory only.
func TestHostileDestination(t *testing.T) {
	for _, at := range []string{dirBlobs, filepath.Join(dirBlobs, "0")} {
		t.Run(at, func(t *testing.T) {
			backup, _ := backedUp(t)
			outside := t.TempDir()
			mine := filepath.Join(outside, "fff")
			if at == dirBlobs {
				mine = filepath.Join(outside, "0", "fff")
			}
			if err := os.MkdirAll(filepath.Dir(mine), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			again := filepath.Join(t.TempDir(), "b")
			if err := Backup(t.Context(), backup, again, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(again, at)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(again, at)); err != nil {
				t.Fatal(err)
			}
			if err := Backup(t.Context(), backup, again, nil); err == nil {
				t.Error("Backup: no error")
			}
			var found []string
			filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					found = append(found, path)
				}
				return err
			})
			if fmt.Sprint(found) != fmt.Sprint([]string{mine}) {
				t.Errorf("outside there is %q, want only %q", found, mine)
			}
		})
	}
}
