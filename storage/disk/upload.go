package disk

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"memstore.dev/memstore/storage"
)

func newMD5() hash.Hash { return md5.New() }

// writeBackStep is how much of an upload is left to the page cache, from an
// offset on, before the disk is asked to begin. The fsync at the end of 64 MiB
// that came at the pace of MD5 took 4 ms with steps of 8 MiB, and 27 ms without
// any; allocating the file ahead changed neither. Small steps at first let the
// disk work beside the hash where there is not much more to come, and 1 MiB
// took a tenth to a fifth less time; all the way they cost 64 MiB 15 %.
func writeBackStep(off int64) int64 {
	if off < 2<<20 {
		return 256 << 10
	}
	return 8 << 20
}

// An upload is an object on its way, whose bytes come from the first to the
// last (writer) or in any order (stage): in memory as long as they may go into
// the index, and in a file from then on.
type upload struct {
	b       *Backend
	path    storage.Path
	home    uint64  // id of its container
	promise promise // of room on the disk

	file    *spool // nil as long as the bytes are in memory
	sums    sums   // of what is in file
	id      uint64 // of the blob that file is to be; 0 as long as nobody has asked
	shelved bool   // file has its name as that blob
}

// start admits an upload that says it has so many bytes.
func (u *upload) start(ctx context.Context, b *Backend, p storage.Path, size int64) error {
	u.b, u.path = b, p
	if err := ready(ctx, p); err != nil {
		return err
	}
	if !p.IsObject() {
		return fs.ErrInvalid
	}
	if !b.enter() {
		return storage.ErrUnavailable
	}
	defer b.leave()
	if b.broken() != nil {
		return storage.ErrUnavailable
	}
	v := b.look()
	defer v.release()
	c, err := b.head(v, p.Parent())
	if err != nil {
		return err
	}
	if c == nil {
		return fs.ErrNotExist
	}
	u.home = c.id
	return b.space.promise(&u.promise, size)
}

// slot finds the place of the object in the container it was begun in. One made
// since under the same name is another's, or has other rules.
func (u *upload) slot(t *tx, size int64, c storage.Cond) (slot, error) {
	d, err := t.container(u.path)
	if err == nil && d.now.id != u.home {
		err = fs.ErrNotExist
	}
	if err != nil {
		return slot{}, err
	}
	return t.slot(u.path, size, c)
}

// writeBehind has the disk begin with what will not change anymore.
func (u *upload) writeBehind() {
	if u.b.o.Sync == SyncNone {
		return
	}
	if off, n := u.sums.behind(writeBackStep); n > 0 {
		writeBack(u.file.File, off, n)
	}
}

// commitSmall makes an object of bytes that go into the index. along, if not
// nil, adds to the same change.
func (u *upload) commitSmall(ctx context.Context, data []byte, in storage.Info, c storage.Cond, along func(*tx)) (committed storage.Info, err error) {
	r := &row{size: int64(len(data)), etag: in.ETag}
	if r.etag == "" {
		sum := md5.Sum(data)
		r.etag = hexMD5(sum[:])
	}
	r.setInfo(in.Type, in.DeleteAt, in.Meta)
	err = u.b.submit(ctx, len(data)+512+metaSize(in.Meta), func(t *tx) error {
		s, err := u.slot(t, r.size, c)
		if err != nil {
			return err
		}
		if err := t.displace(s); err != nil {
			return err
		}
		if r.size > 0 {
			r.blob = t.b.ids.take()
			bl := &blob{home: homeInline, size: r.size, refs: 1}
			bl.sum = sumOf(r.etag, func() [md5Size]byte { return md5.Sum(data) })
			t.setBlob(r.blob, bl)
			t.batch.Set(idKey(tableInline, r.blob), encodeInline(data), nil)
		}
		committed = t.put(s, r, in)
		if along != nil {
			along(t)
		}
		return nil
	})
	return committed, err
}

// put fills a slot with an object whose bytes were put just now.
func (t *tx) put(s slot, r *row, in storage.Info) storage.Info {
	if r.created = ticks(in.ModTime); in.ModTime.IsZero() {
		r.created = t.tick(s.modified())
	}
	r.modified = r.created
	t.fill(s, r, storage.OpPut)
	return r.info(s.path)
}

// sumOf is the MD5 that an ETag says, or the one computed if it is none.
func sumOf(etag string, compute func() [md5Size]byte) [md5Size]byte {
	if sum, ok := parseMD5(etag); ok {
		return sum
	}
	return compute()
}

// commitFile makes the file, which holds so many bytes, durable under a name of
// its own, and then its row. If the change is refused the file stays where it
// is, with a footer that is in the way of further bytes.
//
//	write(footer) linkat fsync(file) fsync(directory) commit
//
// The link comes before the fsync because a journaling file system then makes
// both durable with one commit of its journal. Nobody sees the file before its
// row.
func (u *upload) commitFile(ctx context.Context, size int64, in storage.Info, c storage.Cond, along func(*tx)) (committed storage.Info, err error) {
	r := &row{size: size, etag: in.ETag}
	r.setInfo(in.Type, in.DeleteAt, in.Meta)
	foot, err := u.footer(r)
	if err != nil {
		return committed, err
	}
	if err := u.settle(foot); err != nil {
		return committed, err
	}
	r.blob = foot.id
	err = u.b.submit(ctx, 512+metaSize(in.Meta), func(t *tx) error {
		s, err := u.slot(t, r.size, c)
		if err != nil {
			return err
		}
		if err := t.displace(s); err != nil {
			return err
		}
		t.setBlob(r.blob, &blob{home: homeFile, size: r.size, refs: 1, sum: foot.sum})
		t.released[r.blob] = struct{}{}
		committed = t.put(s, r, in)
		if along != nil {
			along(t)
		}
		return nil
	})
	if err == nil {
		u.id = 0 // it is the index's from now on
		if u.b.o.Verify == VerifyRecent {
			u.b.footers.wrote(foot)
		}
	}
	return committed, err
}

func (u *upload) footer(r *row) (*footer, error) {
	blocks, err := u.sums.all(r.size, u.file)
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	f := &footer{size: r.size, shift: blockShift, blocks: blocks}
	sum, ok := parseMD5(r.etag)
	if !ok && r.etag == "" { // nobody has computed it on the way
		h := newMD5()
		buf := takeBuffer()
		defer giveBuffer(buf)
		for i := int64(0); i < r.size; {
			n, err := u.file.ReadAt((*buf)[:min(int64(len(*buf)), r.size-i)], i)
			if err != nil {
				return nil, fmt.Errorf("read back: %w", err)
			}
			h.Write((*buf)[:n])
			i += int64(n)
		}
		h.Sum(sum[:0])
		r.etag = hex.EncodeToString(sum[:])
	}
	f.sum = sum
	f.put = salvaged{
		path: u.path, etag: r.etag, created: ticks(time.Now()), typ: r.typ, meta: r.meta,
		expires: r.expires, deleteAt: r.deleteAt,
	}
	return f, nil
}

// settle puts the file in its place, if it is not there from an attempt before.
func (u *upload) settle(foot *footer) error {
	if u.id == 0 {
		u.id = u.b.ids.takeFile()
	}
	foot.id = u.id
	if _, err := u.file.WriteAt(foot.encode(), foot.size); err != nil {
		return noSpace(err)
	}
	n := u.id >> shelfShift
	sh, err := u.b.shelves.take(n)
	if err != nil {
		return noSpace(err)
	}
	defer u.b.shelves.leave(n, sh)
	if u.b.o.Sync == SyncFilesOnly {
		// Before it has a name: synced afterwards, a journaling file system
		// would write the name along with it.
		if err := u.file.Sync(); err != nil {
			return u.b.syncFailed(err)
		}
	}
	if !u.shelved {
		if err := sh.put(u.file, u.id); err != nil {
			return noSpace(err)
		}
		u.shelved = true
	}
	if u.b.o.Sync != SyncFull {
		return nil
	}
	if err := u.file.Sync(); err != nil {
		return u.b.syncFailed(err)
	}
	if err := sh.flush.do(sh.dir.Sync); err != nil {
		return u.b.syncFailed(err)
	}
	return nil
}

// syncFailed judges a failed fsync. If there was no room, it is this upload
// that is lost; after anything else nobody knows what the disk holds.
func (b *Backend) syncFailed(err error) error {
	if isFull(err) {
		return noSpace(err)
	}
	b.fail(fmt.Errorf("fsync: %w", err))
	return storage.ErrUnavailable
}

// giveUp leaves no trace of what is not committed.
func (u *upload) giveUp() {
	u.b.space.release(&u.promise)
	if u.file == nil {
		return
	}
	u.file.discard()
	u.file = nil
	if u.id != 0 {
		u.b.forsake(u.id)
		u.id = 0
	}
}

// forsake leaves a file that will not become an object to the reclaimer. If
// that cannot be written, the file stays above the watermark, and is found
// when the store is opened next.
func (b *Backend) forsake(id uint64) {
	b.submit(context.Background(), 64, func(t *tx) error {
		t.abandon(id)
		return nil
	})
}

// noSpace gives errors that say so the store's word for it.
func noSpace(err error) error {
	if err != nil && isFull(err) && !errors.Is(err, storage.ErrNoSpace) {
		return fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	}
	return err
}

// copyAtOnce is after how many bytes a copy looks whether it is still wanted.
const copyAtOnce = 256 << 20

// copyBytes copies the first bytes of a file to the beginning of another, on
// Linux by copy_file_range, which is what io.Copy makes of it.
func copyBytes(ctx context.Context, dst, src *os.File, size int64) error {
	for _, f := range [...]*os.File{dst, src} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	for size > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(dst, src, min(size, copyAtOnce))
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}
