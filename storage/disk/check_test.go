package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

var quiet = slog.New(slog.DiscardHandler)

func names(t testing.TB, elem ...string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// furnish fills a store with some of everything, and returns what is in it.
func furnish(t testing.TB, b *Backend) map[storage.Path][]byte {
	t.Helper()
	place(t, b)
	all := make(map[storage.Path][]byte)
	for i := range uint64(20) {
		p := path(fmt.Sprintf("o%02d", i))
		all[p] = content(i, int(i*i*700))
		put(t, b, p, all[p])
	}
	all[path("copy")] = all[path("o19")]
	to := storage.Info{Path: path("copy"), DeleteAt: time.Unix(4_000_000_000, 0)}
	if _, err := b.Copy(t.Context(), storage.Info{Path: path("o19")}, to, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	return all
}

func wantAll(t testing.TB, b *Backend, all map[storage.Path][]byte) {
	t.Helper()
	n := 0
	for in, err := range b.List(t.Context(), path(), storage.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := all[in.Path]; !ok {
			t.Errorf("%s is there, which should not be", in.Path)
		}
		n++
	}
	if n != len(all) {
		t.Errorf("%d objects are listed, want %d", n, len(all))
	}
	for p, data := range all {
		wantContent(t, b, p, data)
	}
}

// TestFsckFinds plants one inconsistency at a time: each is found, what can be
// repaired is, and then nothing is found.
func TestFsckFinds(t *testing.T) {
	type store struct {
		dir  string
		db   *pebble.DB
		row  row // of a file
		key  []byte
		cont uint64
	}
	setBlob := func(s store, change func(*blob)) error {
		b, err := readBlob(s.db, s.row.blob)
		if err != nil {
			return err
		}
		change(b)
		return s.db.Set(idKey(tableBlob, s.row.blob), b.encode(), nil)
	}
	for _, c := range []struct {
		name     string
		kind     Kind
		repaired bool
		plant    func(store) error
	}{
		{"container totals", KindTotals, true, func(s store) error {
			return s.db.Set(nameKey(tableContainerTotals, 1, "c"), totals{0, 3, 5}.encode(), nil)
		}},
		{"no account totals", KindTotals, true, func(s store) error { return s.db.Delete(idKey(tableAccountTotals, 1), nil) }},
		{"too many references", KindReferences, true, func(s store) error { return setBlob(s, func(b *blob) { b.refs++ }) }},
		{"too few references", KindReferences, true, func(s store) error { return setBlob(s, func(b *blob) { b.refs-- }) }},
		{"no expiry", KindExpiry, true, func(s store) error { return s.db.Delete(expiryKey(4_000_000_000, s.cont, "copy"), nil) }},
		{"stale expiry", KindExpiry, true, func(s store) error {
			return s.db.Set(expiryKey(5, s.cont, "o01"), encodePlace(path()), nil)
		}},
		{"expiry of another", KindExpiry, true, func(s store) error {
			return s.db.Set(expiryKey(4_000_000_000, s.cont, "copy"), encodePlace(storage.Path{Account: "x", Container: "y"}), nil)
		}},
		{"state", KindState, true, func(s store) error {
			return s.db.Set(keyState, (&state{version: 3, next: 1 << 20, watermark: 1 << 20}).encode(), nil)
		}},
		{"unused blob", KindUnusedBlob, true, func(s store) error {
			return s.db.Set(idKey(tableBlob, 9999), (&blob{home: homeInline, size: 1, refs: 1}).encode(), nil)
		}},
		{"unused bytes", KindUnusedBlob, true, func(s store) error { return s.db.Set(idKey(tableInline, 9999), encodeInline([]byte("x")), nil) }},
		{"no blob but its file", KindLostBlob, true, func(s store) error { return s.db.Delete(idKey(tableBlob, s.row.blob), nil) }},
		{"no blob", KindLostBlob, false, func(s store) error {
			os.Remove(blobPath(s.dir, s.row.blob))
			return s.db.Delete(idKey(tableBlob, s.row.blob), nil)
		}},
		{"no file", KindLostContent, false, func(s store) error { return os.Remove(blobPath(s.dir, s.row.blob)) }},
		{"rotten file", KindDamage, false, func(s store) error { flip(t, blobPath(s.dir, s.row.blob), 1000, 1); return nil }},
		{"rotten footer", KindDamage, false, func(s store) error { flip(t, blobPath(s.dir, s.row.blob), s.row.size+30, 1); return nil }},
		{"file of another", KindDamage, false, func(s store) error {
			other, err := readRow(s.db, rowKey(s.cont, "o18"), false)
			if err != nil {
				return err
			}
			return os.Rename(blobPath(s.dir, other.blob), blobPath(s.dir, s.row.blob))
		}},
		{"size", KindSize, false, func(s store) error {
			r := s.row
			r.size++
			return s.db.Set(s.key, r.encode(), nil)
		}},
		{"orphan", KindOrphan, true, func(s store) error { return os.Link(blobPath(s.dir, s.row.blob), blobPath(s.dir, 2)) }},
		{"foreign file", KindForeign, false, func(s store) error {
			return os.WriteFile(filepath.Join(s.dir, dirBlobs, "notes.txt"), nil, 0o600)
		}},
		{"unreadable row", KindRecord, false, func(s store) error { return s.db.Set(s.key, []byte{9, 9, 9}, nil) }},
		{"row of no container", KindLostRow, false, func(s store) error { return s.db.Set(rowKey(4711, "x"), s.row.encode(), nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, small(t))
			furnish(t, b)
			b.Close()
			wantClean(t, dir)

			db, err := openIndexToRepair(filepath.Join(dir, dirMeta))
			if err != nil {
				t.Fatal(err)
			}
			h, err := readHead(db, path(), 1)
			if err != nil || h == nil {
				t.Fatal(h, err)
			}
			s := store{dir: dir, db: db, cont: h.id, key: rowKey(h.id, "o19")}
			r, err := readRow(db, s.key, true)
			if err != nil {
				t.Fatal(err)
			}
			s.row = *r
			if err := c.plant(s); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}

			found := func(o CheckOptions) Report {
				o.ReadData, o.Log = true, quiet
				r, err := Check(t.Context(), dir, o)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			report := found(CheckOptions{})
			if !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Kind == c.kind }) || report.Clean() {
				t.Fatalf("found %v, want %q", report.Findings, c.kind)
			}
			if report = found(CheckOptions{Repair: true}); report.Clean() != c.repaired {
				t.Errorf("repair: %v, want repaired = %v", report.Findings, c.repaired)
			}
			if report = found(CheckOptions{}); report.Clean() != c.repaired || c.repaired && len(report.Findings) > 0 {
				t.Errorf("after the repair: %v, want clean = %v", report.Findings, c.repaired)
			}
		})
	}
}

// TestSalvage: with the index gone, what was in files is there again.
func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	o := small(t)
	o.InlineLimit = -1
	b := open(t, dir, o)
	all := furnish(t, b)
	put(t, b, path("twice"), content(1, 70_000))
	b.reclaimer.pin() // so that the older file stays, as after a crash
	all[path("twice")] = content(2, 70_000)
	put(t, b, path("twice"), all[path("twice")])
	want, err := b.Stat(t.Context(), path("o05"))
	if err != nil {
		t.Fatal(err)
	}
	b.Close()

	salvage := CheckOptions{Salvage: true, Repair: true, ReadData: true, Log: quiet}
	if _, err := Check(t.Context(), dir, salvage); err == nil {
		t.Fatal("salvage of a store whose index is sound: no error")
	}
	for _, e := range names(t, dir, dirMeta) { // a lost MANIFEST is a lost index
		if len(e) > 8 && e[:8] == "MANIFEST" {
			if err := os.Truncate(filepath.Join(dir, dirMeta, e), 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Log = quiet
	if b, err := Open(dir, o); err == nil {
		b.Close()
		t.Fatal("a store without an index opens")
	}
	r, err := Check(t.Context(), dir, salvage)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Kind != KindOrphan || !f.Repaired { // the older of the two
			t.Errorf("after the salvage: %s", f)
		}
	}
	wantClean(t, dir)
	delete(all, path("copy")) // a file has one name
	delete(all, path("o00"))  // what is empty has no file
	b = open(t, dir, o)
	wantAll(t, b, all)
	got, err := b.Stat(t.Context(), path("o05"))
	if err != nil || got.ETag != want.ETag || got.Type != want.Type || got.Version <= want.Version {
		t.Errorf("salvaged as %+v, %v; was %+v", got, err, want)
	}
	put(t, b, path("new"), content(3, 70_000))
	b.Close()
	wantClean(t, dir)
}

// TestLostIndexIsNoNewStore: the files of a store whose index has vanished are
// not taken for leftovers.
func TestLostIndexIsNoNewStore(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	furnish(t, b)
	b.Close()
	n := files(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, dirMeta)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, small(t)); !errors.Is(err, errIndexLost) {
		t.Errorf("Open: %v, want %v", err, errIndexLost)
	}
	if files(t, dir) != n {
		t.Error("files were removed")
	}
}

// TestSnapshotAndBackup: while 4 writers are at work, each snapshot is of one
// moment, sound in itself, and so is the backup made from it, also over an
// earlier one.
func TestSnapshotAndBackup(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	b := open(t, dir, small(t))
	place(t, b)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range uint64(4) {
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				put(t, b, path(fmt.Sprint("o", i%15)), content(n, int(n*20_000)+int(i%7)))
				if i%5 == 0 {
					b.Remove(t.Context(), path(fmt.Sprint("o", (i*7)%15)), storage.Cond{})
				}
			}
		})
	}
	for range 3 {
		s, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report := wantClean(t, s.Dir)
		if _, err := Check(t.Context(), s.Dir, CheckOptions{Repair: true}); err == nil {
			t.Error("a snapshot can be repaired")
		}
		var last, total int64
		err = Backup(t.Context(), s.Dir, backup, func(d, n int64) { last, total = d, n })
		if err != nil {
			t.Fatal(err)
		}
		if last != total || total == 0 {
			t.Errorf("progress ended at %d of %d", last, total)
		}
		if got := wantClean(t, backup); got.Objects != report.Objects || got.Bytes != report.Bytes || got.Leftovers != 0 {
			t.Errorf("the backup is %+v, of %+v", got, report)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Dir); err == nil {
			t.Error("the snapshot is still there")
		}
	}
	close(stop)
	wg.Wait()
	b.reclaimer.idle()
	b.Close()
	wantClean(t, dir)
}

// TestRestore: all comes back, and nothing is mistaken for what was seen
// before.
func TestRestore(t *testing.T) {
	dir, backup, back := t.TempDir(), filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "r")
	b := open(t, dir, small(t))
	all := furnish(t, b)
	b.Close()
	if err := Backup(t.Context(), dir, backup, nil); err != nil { // of a store nobody has open
		t.Fatal(err)
	}
	b = open(t, dir, small(t))
	seen := put(t, b, path("later"), content(9, 50_000))
	b.Close()
	if err := Restore(t.Context(), backup, dir, nil); err == nil {
		t.Error("a restore over a store: no error")
	}
	if err := Restore(t.Context(), backup, back, nil); err != nil {
		t.Fatal(err)
	}
	wantClean(t, back)
	b = open(t, back, small(t))
	wantAll(t, b, all)
	if in := put(t, b, path("new"), content(8, 50_000)); in.Version <= seen.Version {
		t.Errorf("version %d is given out again, after %d", in.Version, seen.Version)
	}
	for _, err := range b.Changes(t.Context(), seen.Version) {
		if !errors.Is(err, storage.ErrGap) {
			t.Errorf("the journal takes a cursor from before the restore: %v", err)
		}
		break
	}
	b.Close()
	// Both have gone their own ways since the backup; each may be backed up
	// over it all the same.
	for _, src := range []string{back, dir} {
		if err := Backup(t.Context(), src, backup, nil); err != nil {
			t.Fatal(err)
		}
		wantClean(t, backup)
	}
	other := filepath.Join(t.TempDir(), "other")
	open(t, other, small(t)).Close()
	if err := Backup(t.Context(), other, backup, nil); err == nil {
		t.Error("a backup over one of another store: no error")
	}
}

// TestBackupOfDamage: it is complete but for what is damaged, and says so.
func TestBackupOfDamage(t *testing.T) {
	dir, backup := t.TempDir(), t.TempDir()
	b := open(t, dir, small(t))
	furnish(t, b)
	id := blobOf(t, b, path("o18"))
	b.Close()
	flip(t, blobPath(dir, id), 5, 1)
	if err := Backup(t.Context(), dir, backup, nil); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("Backup: %v, want ErrDamaged", err)
	}
	r, err := Check(t.Context(), backup, CheckOptions{ReadData: true})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Path != path("o18") {
		t.Errorf("the backup has %v, %v; want o18 missing", r.Findings, err)
	}
	if m, err := ReadManifest(backup); err != nil || m.Damaged != 1 {
		t.Errorf("the manifest says that %d are damaged, %v; want 1", m.Damaged, err)
	}
}

// TestInterruptedRestore cannot be opened, and can be taken up again.
func TestInterruptedRestore(t *testing.T) {
	dir, back := t.TempDir(), filepath.Join(t.TempDir(), "r")
	b := open(t, dir, small(t))
	all := furnish(t, b)
	b.Close()
	backup := filepath.Join(t.TempDir(), "b")
	if err := Restore(t.Context(), dir, back, nil); !errors.Is(err, errNoBackup) {
		t.Errorf("a restore of what is no backup: %v", err)
	}
	if err := Backup(t.Context(), dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := newCancel(t)
	err := Restore(ctx, backup, back, func(done, total int64) {
		if done > total/3 {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("the restore was not interrupted")
	}
	if _, err := Open(back, small(t)); err == nil {
		t.Fatal("half a store opens")
	}
	for range 2 { // the second finds a restored store in its way
		err = Restore(t.Context(), backup, back, nil)
		if err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a restore over a restored store: no error")
	}
	b = open(t, back, small(t))
	wantAll(t, b, all)
}

// TestLeftoverSnapshots are removed at the next start.
func TestLeftoverSnapshots(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, small(t))
	furnish(t, b)
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	open(t, dir, small(t))
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("the snapshot is still there")
	}
	if n := files(t, dir); n == 0 {
		t.Error("with the snapshot went the files of the store")
	}
}

func TestBlobNames(t *testing.T) {
	for _, id := range []uint64{1, 0xfff, 0x1000, 1<<64 - 1} {
		got, ok := parseName(filepath.Base(blobPath("", id)))
		if !ok || got != id {
			t.Errorf("the name of blob %d is read as %d, %v", id, got, ok)
		}
	}
	for _, name := range []string{"", "0x1", "01", "F", ".copy.1", "-1", "1_0", strconv.Itoa(1<<60) + "00000"} {
		if n, ok := parseName(name); ok {
			t.Errorf("%q is taken for blob %d", name, n)
		}
	}
}
