package disk

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io/fs"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

func newMD5() hash.Hash { return md5.New() }

const (
	bufferSize = 256 << 10 // of writes and reads of files

	// writeBackEvery is how much of a long upload is left to the page cache
	// before the disk is asked to begin. The fsync at the end of 64 MiB that
	// came at the pace of MD5 took 4 ms so, and 27 ms without; allocating the
	// file ahead changed neither.
	writeBackEvery = 8 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

func giveBuffer(b *[]byte) {
	if len(*b) == bufferSize {
		buffers.Put(b)
	}
}

// Create starts an object. Its bytes stay in memory as long as they may go
// into the index, and are written to a file without a name from then on.
func (b *Backend) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	w, err := b.create(ctx, in)
	if err != nil {
		return nil, storage.Wrap("put", in.Path, err)
	}
	return w, nil
}

func (b *Backend) create(ctx context.Context, in storage.Info) (*writer, error) {
	if err := ready(ctx, in.Path); err != nil {
		return nil, err
	}
	if !in.Path.IsObject() {
		return nil, fs.ErrInvalid
	}
	if !b.enter() {
		return nil, storage.ErrUnavailable
	}
	defer b.leave()
	if b.broken() != nil {
		return nil, storage.ErrUnavailable
	}
	v := b.look()
	defer v.release()
	c, err := b.head(v, in.Path.Parent())
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fs.ErrNotExist
	}
	w := &writer{ctx: ctx, b: b, path: in.Path}
	if err := b.space.promise(&w.promise, max(in.Size, 0)); err != nil {
		return nil, err
	}
	if in.Size >= 0 && in.Size <= b.o.InlineLimit {
		w.small = make([]byte, 0, in.Size)
	}
	return w, nil
}

// A writer takes the bytes of one object: into small, until there are too many
// for the index, then through buf into file.
type writer struct {
	ctx     context.Context // of Create: when it ends, so does the upload
	b       *Backend
	path    storage.Path
	promise promise // of room on the disk
	done    bool
	err     error // of a write; there is no way on

	small []byte

	file    *spool // nil while small is in use
	buf     *[]byte
	filled  int   // bytes in buf
	written int64 // bytes in file
	flushed int64 // of these, those the disk was asked to begin with
	blocks  []uint32
	crc     uint32 // of the block begun
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.write(p)
	return n, storage.Wrap("put", w.path, err)
}

func (w *writer) write(p []byte) (int, error) {
	if w.done {
		return 0, fs.ErrClosed
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil || len(p) == 0 {
		return 0, w.err
	}
	if w.file == nil {
		if int64(len(w.small)+len(p)) <= w.b.o.InlineLimit {
			if w.err = w.b.space.use(&w.promise, int64(len(p))); w.err != nil {
				return 0, w.err
			}
			w.small = append(w.small, p...)
			return len(p), nil
		}
		if w.err = w.spill(); w.err != nil {
			return 0, w.err
		}
	}
	if w.err = w.b.space.use(&w.promise, int64(len(p))); w.err != nil {
		return 0, w.err
	}
	for rest := p; len(rest) > 0; {
		if w.filled == 0 && len(rest) >= bufferSize {
			n := len(rest) &^ (bufferSize - 1)
			if w.err = w.writeFile(rest[:n]); w.err != nil {
				return 0, w.err
			}
			rest = rest[n:]
			continue
		}
		n := copy((*w.buf)[w.filled:], rest)
		w.filled += n
		rest = rest[n:]
		if w.filled == bufferSize {
			if w.err = w.flush(); w.err != nil {
				return 0, w.err
			}
		}
	}
	return len(p), nil
}

// spill goes over from memory to a file.
func (w *writer) spill() (err error) {
	if w.file, err = w.b.newSpool(); err != nil {
		return noSpace(err)
	}
	w.buf = takeBuffer()
	w.filled = copy(*w.buf, w.small)
	if w.filled < len(w.small) { // an inline limit above the buffer's size
		rest := w.small[w.filled:]
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.writeFile(rest); err != nil {
			return err
		}
	}
	w.small = nil
	return nil
}

func (w *writer) flush() error {
	n := w.filled
	w.filled = 0
	return w.writeFile((*w.buf)[:n])
}

// writeFile appends to the file and to its checksums.
func (w *writer) writeFile(p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		return noSpace(err)
	}
	for len(p) > 0 {
		room := 1<<blockShift - w.written&(1<<blockShift-1)
		n := min(room, int64(len(p)))
		w.crc = crc32.Update(w.crc, castagnoli, p[:n])
		if w.written += n; n == room {
			w.blocks = append(w.blocks, w.crc)
			w.crc = 0
		}
		p = p[n:]
	}
	if w.written-w.flushed >= writeBackEvery && w.b.o.Sync != SyncNone {
		writeBack(w.file.File, w.flushed, w.written-w.flushed)
		w.flushed = w.written
	}
	return nil
}

// Commit makes the object appear.
func (w *writer) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if w.done {
		return storage.Info{}, storage.Wrap("put", w.path, fs.ErrClosed)
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	committed, err := storage.Info{}, w.err
	if err == nil && !w.b.enter() { // Close waits: it gives up the directory
		err = storage.ErrUnavailable
	} else if err == nil {
		defer w.b.leave()
		in.Path, in.Meta = w.path, in.Meta.Clone()
		if w.file == nil {
			committed, err = w.commitSmall(ctx, in, c)
		} else {
			committed, err = w.commitFile(ctx, in, c)
		}
	}
	if err != nil {
		return storage.Info{}, storage.Wrap("put", w.path, err)
	}
	w.Close()
	return handOut(committed), nil
}

func (w *writer) commitSmall(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	r := &row{size: int64(len(w.small)), etag: in.ETag}
	if r.etag == "" {
		sum := md5.Sum(w.small)
		r.etag = hexMD5(sum[:])
	}
	r.setInfo(in.Type, in.DeleteAt, in.Meta)
	err = w.b.submit(ctx, len(w.small)+512+metaSize(in.Meta), func(t *tx) error {
		s, err := t.slot(w.path, r.size, c)
		if err != nil {
			return err
		}
		if err := t.displace(s); err != nil {
			return err
		}
		if r.size > 0 {
			r.blob = t.b.ids.take()
			bl := &blob{home: homeInline, size: r.size, refs: 1}
			bl.sum = sumOf(r.etag, func() [md5Size]byte { return md5.Sum(w.small) })
			t.setBlob(r.blob, bl)
			t.batch.Set(idKey(tableInline, r.blob), encodeInline(w.small), nil)
		}
		committed = t.put(s, r, in)
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

// commitFile makes the file durable under a name of its own, and then its row.
//
//	write(footer) linkat fsync(file) fsync(directory) commit
//
// The link comes before the fsync because a journaling file system then makes
// both durable with one commit of its journal. Nobody sees the file before its
// row.
func (w *writer) commitFile(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	if w.filled > 0 {
		if w.err = w.flush(); w.err != nil {
			return committed, w.err
		}
	}
	r := &row{size: w.written, etag: in.ETag}
	r.setInfo(in.Type, in.DeleteAt, in.Meta)
	foot, err := w.footer(r)
	if err != nil {
		return committed, err
	}
	r.blob = w.b.ids.takeFile()
	foot.id = r.blob
	if w.err = w.settle(foot); w.err != nil {
		w.b.forsake(r.blob)
		return committed, w.err
	}
	taken := false // by the index: it knows the file, as an object or as one to be removed
	err = w.b.submit(ctx, 512+metaSize(in.Meta), func(t *tx) error {
		taken = true
		s, err := t.slot(w.path, r.size, c)
		if err == nil {
			err = t.displace(s)
		}
		if err != nil {
			t.abandon(r.blob)
			return err
		}
		t.setBlob(r.blob, &blob{home: homeFile, size: r.size, refs: 1, sum: foot.sum})
		t.released[r.blob] = struct{}{}
		committed = t.put(s, r, in)
		return nil
	})
	if !taken {
		w.b.forsake(r.blob)
	}
	if err != nil { // the file is not this writer's anymore
		w.err = err
	}
	return committed, err
}

func (w *writer) footer(r *row) (*footer, error) {
	if w.written&(1<<blockShift-1) != 0 {
		w.blocks = append(w.blocks, w.crc)
	}
	f := &footer{size: w.written, shift: blockShift, blocks: w.blocks}
	sum, ok := parseMD5(r.etag)
	if !ok { // nobody has computed it on the way
		h := newMD5()
		for i, buf := int64(0), *w.buf; i < w.written; {
			n, err := w.file.ReadAt(buf[:min(int64(len(buf)), w.written-i)], i)
			if err != nil {
				return nil, fmt.Errorf("read back: %w", err)
			}
			h.Write(buf[:n])
			i += int64(n)
		}
		h.Sum(sum[:0])
		if r.etag == "" {
			r.etag = hex.EncodeToString(sum[:])
		}
	}
	f.sum = sum
	f.put = salvaged{
		path: w.path, etag: r.etag, created: ticks(time.Now()), typ: r.typ, meta: r.meta,
		expires: r.expires, deleteAt: r.deleteAt,
	}
	return f, nil
}

// settle puts the file in its place, for ever.
func (w *writer) settle(foot *footer) error {
	if _, err := w.file.Write(foot.encode()); err != nil {
		return noSpace(err)
	}
	n := foot.id >> shelfShift
	sh, err := w.b.shelves.take(n)
	if err != nil {
		return noSpace(err)
	}
	defer w.b.shelves.leave(n, sh)
	if w.b.o.Sync == SyncFilesOnly {
		// Before it has a name: synced afterwards, a journaling file system
		// would write the name along with it.
		if err := w.file.Sync(); err != nil {
			return w.b.syncFailed(err)
		}
	}
	if err := sh.put(w.file, foot.id); err != nil {
		return noSpace(err)
	}
	if w.b.o.Sync != SyncFull {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return w.b.syncFailed(err)
	}
	if err := sh.flush.do(sh.dir.Sync); err != nil {
		return w.b.syncFailed(err)
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

// Close gives up what is not committed.
func (w *writer) Close() error {
	if w.done {
		return nil
	}
	w.done, w.small = true, nil
	w.b.space.release(&w.promise)
	if w.file != nil {
		w.file.discard()
		giveBuffer(w.buf)
		w.file, w.buf = nil, nil
	}
	return nil
}
