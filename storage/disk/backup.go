package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
)

// fileIncomplete is in a directory while a backup or restore is on its way
// into it. As long as it is there, files are not trusted for their footers.
const fileIncomplete = "INCOMPLETE"

// Backup copies a store into dst, which becomes a data directory like any
// other: it can be checked, opened, and restored from. src is a Snapshot's
// Dir, or a data directory that no process has open.
//
// dst must be absent or empty, or hold an earlier backup of the same store;
// then only the files that are not there yet are copied, and those that the
// store has no more are removed. When Backup has returned without an error the
// copy is durable. If it is interrupted, the earlier backup is still whole (or,
// in the moment of changing over, not to be restored), and the next one goes on
// where this stopped.
//
// Its last word is the Manifest, without which a backup is none. To have files
// of others vouched for, call Enlist.
//
// progress, if not nil, is called now and then with the bytes done and in all.
// Objects that are damaged in src do not stop a backup; it is complete but for
// them, and the error at its end is storage.ErrDamaged.
func Backup(ctx context.Context, src, dst string, progress func(done, total int64)) error {
	if err := transfer(ctx, src, dst, false, progress); err != nil {
		return fmt.Errorf("backup %s: %w", src, err)
	}
	return nil
}

// Restore copies a backup into dst, which must be absent or empty, and checks
// every byte on the way: nothing is restored unless all that the Manifest lists
// is there as it was written. Versions go on far above any that the store could
// have given out since the backup, so that no reader or cache mistakes what is
// restored for what it has seen; the journal begins anew.
func Restore(ctx context.Context, src, dst string, progress func(done, total int64)) error {
	if err := transfer(ctx, src, dst, true, progress); err != nil {
		return fmt.Errorf("restore %s: %w", src, err)
	}
	return nil
}

// copying is the name, among the blobs, of the file that is on its way.
const copying = ".copy"

// restoreJump is how far the versions of a restored store are above those of
// its backup: no store makes so many changes between a backup and its end.
const restoreJump = 1 << 32

// A transfer is a backup or a restore at work.
type transferring struct {
	ctx      context.Context
	src, dst string
	restore  bool
	progress func(done, total int64)
	trust    bool // files that are there already, if their footers are right

	manifest   *Manifest // of src; nil if it is no backup
	from, into *os.Root  // the directories of blobs

	done, total int64
	contents    Contents // of the index
	blobs       []uint64 // ids of all files, ascending
	damaged     []error
}

func transfer(ctx context.Context, src, dst string, restore bool, progress func(done, total int64)) (err error) {
	t := &transferring{ctx: ctx, src: src, dst: dst, restore: restore, progress: progress}
	if t.progress == nil {
		t.progress = func(done, total int64) {}
	}
	f, err := readFormat(src)
	if err != nil {
		return err
	}
	lock, err := takeLock(src)
	if errors.Is(err, ErrLocked) {
		return err
	}
	if err == nil { // if not, src is read-only, and nobody writes to it
		defer lock.Close()
	}
	root, err := os.OpenRoot(src)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := t.judge(root); err != nil {
		return err
	}
	defer t.from.Close()
	dstLock, err := t.prepare(f, root)
	if err != nil {
		return err
	}
	defer dstLock.Close()
	defer t.into.Close()
	for _, step := range []func() error{
		func() error { return t.index(root) }, t.files, func() error { return t.exchange(f) }, t.prune,
		func() error { return durable.Remove(filepath.Join(dst, fileIncomplete)) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	t.progress(t.total, t.total)
	if n := len(t.damaged); n > 0 {
		return fmt.Errorf("%w: %d objects; the rest is copied: %w", storage.ErrDamaged, n, errors.Join(t.damaged[:min(n, 20)]...))
	}
	return nil
}

// judge finds out what src is, and refuses a backup that is not whole.
func (t *transferring) judge(root *os.Root) (err error) {
	m, err := ReadManifest(t.src)
	switch {
	case err == nil:
		if err := m.verify(root); err != nil {
			return err
		}
		t.manifest = &m
	case t.restore || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if t.total, err = sizeOfDir(filepath.Join(t.src, dirMeta)); err != nil {
		return err
	}
	if t.manifest != nil {
		t.total += t.manifest.BlobBytes
		t.from, err = root.OpenRoot(dirBlobs)
		return err
	}
	db, err := openIndexReadOnly(filepath.Join(t.src, dirMeta), slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	err = eachFileBlob(db, func(_ uint64, b *blob) error {
		t.total += b.size
		return t.ctx.Err()
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	t.from, err = os.OpenRoot(filepath.Join(t.src, dirBlobs)) // of a snapshot, it is elsewhere
	return err
}

// prepare locks dst and sees to it that it may be written to.
func (t *transferring) prepare(f format, src *os.Root) (lock *os.File, err error) {
	if err := durable.MkdirAll(t.dst, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(t.dst)
	if err != nil {
		return nil, err
	}
	empty := !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != fileLock })
	_, incomplete := os.Stat(filepath.Join(t.dst, fileIncomplete))
	if !empty && t.restore && incomplete != nil {
		return nil, fmt.Errorf("%s is not empty: %w", t.dst, fs.ErrExist)
	}
	if lock, err = takeLock(t.dst); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if !empty {
		there, err := readFormat(t.dst)
		if errors.Is(err, fs.ErrNotExist) && incomplete == nil {
			there, err = f, nil // it had only just begun
		}
		if err != nil {
			return lock, fmt.Errorf("%s holds something else: %w", t.dst, err)
		}
		if there.UUID != f.UUID {
			return lock, fmt.Errorf("%s holds another store: %w", t.dst, fs.ErrExist)
		}
	}
	t.trust = !empty && incomplete != nil
	if err := durable.WriteFile(filepath.Join(t.dst, fileIncomplete), nil, 0o600); err != nil {
		return lock, err
	}
	if _, err := t.copyPlain(src, fileFormat, filepath.Join(t.dst, fileFormat)); err != nil {
		return lock, err
	}
	if err := durable.MkdirAll(filepath.Join(t.dst, dirBlobs), 0o700); err != nil {
		return lock, err
	}
	dst, err := os.OpenRoot(t.dst)
	if err != nil {
		return lock, err
	}
	defer dst.Close()
	t.into, err = dst.OpenRoot(dirBlobs) // of which no link leads out
	return lock, err
}

// files copies the files that the index names.
func (t *transferring) files() error {
	db, err := openIndexReadOnly(t.fresh(), slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer db.Close()
	if err := t.into.Remove(copying); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left by one that was interrupted
	}
	err = eachFileBlob(db, func(id uint64, b *blob) error {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		t.blobs = append(t.blobs, id)
		if err := t.file(id, b); err != nil {
			return err
		}
		t.done += b.size
		t.progress(min(t.done, t.total), t.total)
		return nil
	})
	if err != nil {
		return noSpace(err)
	}
	return syncFileSystem(t.dst)
}

func eachFileBlob(r pebble.Reader, f func(id uint64, b *blob) error) error {
	return scan(r, tableBlob, func(key, value []byte) error {
		id, ok := splitID(key)
		b, err := decodeBlob(value)
		if !ok || err != nil {
			return errors.Join(errRecord, err)
		}
		if b.home != homeFile {
			return nil
		}
		return f(id, &b)
	})
}

// file copies one file, if it is not there already.
func (t *transferring) file(id uint64, b *blob) error {
	shelf, name := shelfName(id>>shelfShift), blobName(id)
	in, err := openPlainIn(t.from, name)
	if err != nil {
		t.damaged = append(t.damaged, err)
		return nil
	}
	defer in.Close()
	foot, err := readFooter(in, b.size, false)
	if err == nil && (foot.id != id || foot.sum != b.sum) {
		err = errFooter
	}
	if err != nil {
		t.damaged = append(t.damaged, fmt.Errorf("%s: %w", in.Name(), err))
		return nil
	}
	if same(t.into, name, foot, !t.trust) {
		return nil
	}
	if err := t.into.Mkdir(shelf, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Renamed into place, but synced only with all others at the end.
	out, err := t.into.OpenFile(copying, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	err = t.copyChecked(out, in, foot)
	if errors.Is(err, errBlock) || errors.Is(err, errUnreadable) {
		t.damaged = append(t.damaged, fmt.Errorf("%s: %w", in.Name(), err))
		return t.into.Remove(copying)
	}
	if err != nil {
		return errors.Join(err, t.into.Remove(copying))
	}
	return t.into.Rename(copying, name)
}

// same reports whether a file is the one with this footer; if it is not to be
// trusted for that, all of its content is read.
func same(dir *os.Root, name string, foot *footer, read bool) bool {
	f, err := openPlainIn(dir, name)
	if err != nil {
		return false
	}
	defer f.Close()
	there, err := readFooter(f, foot.size, false)
	if err != nil || there.id != foot.id || there.sum != foot.sum || !slices.Equal(there.blocks, foot.blocks) {
		return false
	}
	return !read || there.verify(f, nil) == nil
}

// copyChecked copies content and footer, and checks each block.
func (t *transferring) copyChecked(out io.Writer, in *os.File, foot *footer) error {
	buf := make([]byte, int64(1)<<foot.shift)
	for i := range int64(len(foot.blocks)) {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		b := buf[:foot.blockLen(i)]
		if _, err := in.ReadAt(b, i<<foot.shift); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		if !foot.checkBlock(i, b) {
			return fmt.Errorf("%w: block %d", errBlock, i)
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
	}
	_, err := io.Copy(out, io.NewSectionReader(in, foot.size, 1<<62))
	return err
}

// fresh is where the index is until it takes its place.
func (t *transferring) fresh() string { return filepath.Join(t.dst, dirMeta+".new") }

// index copies the index beside the one that may be there, and settles it.
func (t *transferring) index(src *os.Root) error {
	if err := errors.Join(os.RemoveAll(t.fresh()), os.Mkdir(t.fresh(), 0o700)); err != nil {
		return err
	}
	names, err := plainFiles(filepath.Join(t.src, dirMeta))
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == fileLock {
			continue
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
		file := dirMeta + "/" + name
		got, err := t.copyPlain(src, file, filepath.Join(t.fresh(), name))
		if err != nil {
			return err
		}
		if t.manifest != nil {
			if want, _ := t.manifest.File(file); got != want {
				return fmt.Errorf("%w: %s: it has changed meanwhile", errManifest, file)
			}
		}
		t.done += got.Size
		t.progress(min(t.done, t.total), t.total)
	}
	return settleIndex(t.fresh(), func(db *pebble.DB) (err error) {
		if t.contents, err = contentsOf(db); err != nil {
			return err
		}
		if m := t.manifest; m != nil && m.Contents != t.contents {
			return fmt.Errorf("%w: the index has %+v, should have %+v", errManifest, t.contents, m.Contents)
		}
		if t.restore {
			return jump(db)
		}
		return nil
	})
}

// copyPlain copies a regular file, durably, and tells what it was.
func (t *transferring) copyPlain(src *os.Root, name, to string) (f ManifestFile, err error) {
	in, err := openPlainIn(src, filepath.FromSlash(name))
	if err != nil {
		return f, err
	}
	defer in.Close()
	out, err := durable.Create(to, 0o600)
	if err != nil {
		return f, noSpace(err)
	}
	defer out.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), in)
	if err == nil {
		err = out.Commit()
	}
	return ManifestFile{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, noSpace(err)
}

// exchange puts the fresh index in the place of the one that may be there, and
// of a backup writes the manifest, which makes it one.
func (t *transferring) exchange(f format) error {
	m := Manifest{
		Format: manifestVersion, UUID: f.UUID, Created: time.Now().UTC().Truncate(time.Second),
		Contents: t.contents, Damaged: int64(len(t.damaged)),
	}
	if !t.restore {
		if err := t.list(&m); err != nil {
			return err
		}
	}
	meta, old := filepath.Join(t.dst, dirMeta), filepath.Join(t.dst, dirMeta+".old")
	if _, err := os.Stat(meta); err == nil {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := durable.Rename(meta, old); err != nil {
			return err
		}
	}
	if err := durable.Rename(t.fresh(), meta); err != nil {
		return err
	}
	if !t.restore {
		if err := m.write(t.dst); err != nil {
			return err
		}
	}
	return os.RemoveAll(old)
}

// list enters the files of the backup into its manifest.
func (t *transferring) list(m *Manifest) error {
	root, err := os.OpenRoot(t.dst)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := m.add(root, fileFormat, fileFormat); err != nil {
		return err
	}
	names, err := plainFiles(t.fresh())
	for _, name := range names {
		if name == fileLock {
			continue
		}
		if err := m.add(root, filepath.Base(t.fresh())+"/"+name, dirMeta+"/"+name); err != nil {
			return err
		}
	}
	return err
}

// jump moves an index to versions that were never given out.
func jump(db *pebble.DB) error {
	s, err := readState(db)
	if err != nil {
		return err
	}
	s.version += restoreJump
	s.forgotten = s.version
	batch := db.NewBatch()
	defer batch.Close()
	batch.DeleteRange([]byte{tableJournal}, []byte{tableJournal + 1}, nil)
	batch.Set(keyState, s.encode(), nil)
	return batch.Commit(pebble.Sync)
}

// prune removes the files that only an earlier backup had.
func (t *transferring) prune() error {
	return eachBlobFile(t.dst, 0, func(id uint64, _ string) error {
		if _, ok := slices.BinarySearch(t.blobs, id); ok {
			return nil
		}
		return t.into.Remove(blobName(id))
	})
}

func sizeOfDir(dir string) (n int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		in, err := e.Info()
		if err != nil {
			return 0, err
		}
		n += in.Size()
	}
	return n, nil
}
