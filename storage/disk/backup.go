package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

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
// copy is durable. If it is interrupted, the earlier backup is still whole,
// and the next one goes on where this stopped.
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
// every byte on the way. Versions go on far above any that the store could
// have given out since the backup, so that no reader or cache mistakes what is
// restored for what it has seen; the journal begins anew.
func Restore(ctx context.Context, src, dst string, progress func(done, total int64)) error {
	if err := transfer(ctx, src, dst, true, progress); err != nil {
		return fmt.Errorf("restore %s: %w", src, err)
	}
	return nil
}

// restoreJump is how far the versions of a restored store are above those of
// its backup: no store makes so many changes between a backup and its end.
const restoreJump = 1 << 32

// A transfer is a backup or a restore at work.
type transferring struct {
	ctx      context.Context
	src, dst string
	progress func(done, total int64)
	trust    bool // files that are there already, if their footers are right

	done, total int64
	blobs       []uint64 // ids of all files, ascending
	damaged     []error
}

func transfer(ctx context.Context, src, dst string, restore bool, progress func(done, total int64)) (err error) {
	t := &transferring{ctx: ctx, src: src, dst: dst, progress: progress}
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
	dstLock, err := t.prepare(f, restore)
	if err != nil {
		return err
	}
	defer dstLock.Close()
	if err := t.files(); err != nil {
		return err
	}
	if err := t.index(restore); err != nil {
		return err
	}
	if err := t.prune(); err != nil {
		return err
	}
	if err := durable.Remove(filepath.Join(dst, fileIncomplete)); err != nil {
		return err
	}
	t.progress(t.total, t.total)
	if n := len(t.damaged); n > 0 {
		return fmt.Errorf("%w: %d objects; the rest is copied: %w", storage.ErrDamaged, n, errors.Join(t.damaged[:min(n, 20)]...))
	}
	return nil
}

// prepare locks dst and sees to it that it may be written to.
func (t *transferring) prepare(f format, restore bool) (lock *os.File, err error) {
	if err := durable.MkdirAll(t.dst, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(t.dst)
	if err != nil {
		return nil, err
	}
	empty := !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != fileLock })
	_, incomplete := os.Stat(filepath.Join(t.dst, fileIncomplete))
	if !empty && (restore && incomplete != nil) {
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
	if _, err := durable.CopyFile(filepath.Join(t.dst, fileFormat), filepath.Join(t.src, fileFormat), 0o600); err != nil {
		return lock, err
	}
	return lock, durable.MkdirAll(filepath.Join(t.dst, dirBlobs), 0o700)
}

// files copies the files that the index of src names.
func (t *transferring) files() error {
	db, err := openIndexReadOnly(filepath.Join(t.src, dirMeta), slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer db.Close()
	if t.total, err = sizeOfDir(filepath.Join(t.src, dirMeta)); err != nil {
		return err
	}
	err = eachFileBlob(db, func(id uint64, b *blob) error {
		t.blobs = append(t.blobs, id)
		t.total += b.size
		return t.ctx.Err()
	})
	if err != nil {
		return err
	}
	err = eachFileBlob(db, func(id uint64, b *blob) error {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if err := t.file(id, b); err != nil {
			return err
		}
		t.done += b.size
		t.progress(t.done, t.total)
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
	from, to := blobPath(t.src, id), blobPath(t.dst, id)
	in, err := os.Open(from)
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
		t.damaged = append(t.damaged, fmt.Errorf("%s: %w", from, err))
		return nil
	}
	if same(to, foot, !t.trust) {
		return nil
	}
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Renamed into place, but synced only with all others at the end.
	out, err := os.CreateTemp(filepath.Dir(to), ".copy.*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	err = t.copyChecked(out, in, foot)
	if errors.Is(err, errBlock) || errors.Is(err, errUnreadable) {
		t.damaged = append(t.damaged, fmt.Errorf("%s: %w", from, err))
		return nil
	}
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// same reports whether a file is the one with this footer; if it is not to be
// trusted for that, all of its content is read.
func same(name string, foot *footer, read bool) bool {
	f, err := os.Open(name)
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

// index copies the index beside the one that may be there, and then changes
// them over.
func (t *transferring) index(restore bool) error {
	fresh, meta, old := filepath.Join(t.dst, dirMeta+".new"), filepath.Join(t.dst, dirMeta), filepath.Join(t.dst, dirMeta+".old")
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700)); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(t.src, dirMeta))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == fileLock {
			continue
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
		n, err := durable.CopyFile(filepath.Join(fresh, e.Name()), filepath.Join(t.src, dirMeta, e.Name()), 0o600)
		if err != nil {
			return noSpace(err)
		}
		t.done += n
		t.progress(min(t.done, t.total), t.total)
	}
	if restore {
		if err := jump(fresh); err != nil {
			return err
		}
	}
	if _, err := os.Stat(meta); err == nil {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := durable.Rename(meta, old); err != nil {
			return err
		}
	}
	if err := durable.Rename(fresh, meta); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// jump moves an index to versions that were never given out.
func jump(meta string) error {
	db, err := openIndexToRepair(meta)
	if err != nil {
		return err
	}
	s, err := readState(db)
	if err == nil {
		s.version += restoreJump
		s.forgotten = s.version
		batch := db.NewBatch()
		batch.DeleteRange([]byte{tableJournal}, []byte{tableJournal + 1}, nil)
		batch.DeleteRange([]byte{tableStage}, []byte{tableStage + 1}, nil) // no backup has their bytes
		batch.Set(keyState, s.encode(), nil)
		err = batch.Commit(pebble.Sync)
	}
	return errors.Join(err, db.Close())
}

// prune removes the files that only an earlier backup had.
func (t *transferring) prune() error {
	return eachBlobFile(t.dst, 0, func(id uint64, name string) error {
		if _, ok := slices.BinarySearch(t.blobs, id); ok {
			return nil
		}
		return os.Remove(name)
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
