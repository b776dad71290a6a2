package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A snapshot is the index as it was, with how far each segment had been
// written. It and the journals since it began, and what the segments have
// beyond it, make the index anew. All numbers are little endian:
//
//	magic 8 | number 4 | next segment 4 | seq 8 | segments 4
//	a segment: id 4 | log 4 | nonce 8 | tail 8
//	per shard: places 4 | key 16, seq 8, size 8, segment 4, offset 4, meta 4, flags 4 each
//	           spread 4 | key 16, extents 4, extents 12 each
//	crc32c 4
//
// The last two are kept, with their journals: a snapshot that does not verify
// is as good as none, and the one before it, read with all journals since, says
// the same.
const (
	snapshotMagic   = "MSEDGEX1"
	snapshotSegment = 24
	placeLine       = 48
)

func snapshotPath(dir string, n uint32) string {
	return filepath.Join(dir, fmt.Sprintf("index-%08x", n))
}

// start makes the first snapshot and journal, before the first segment; mu is
// held.
func (d *disk) start() error {
	for _, prefix := range []string{"index-", "removed-"} {
		for _, name := range d.files(prefix) { // left over by wipe
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	n := d.snapshot + 1
	j, err := createJournal(d, n)
	if err != nil {
		return err
	}
	var w snapshotWriter
	if err = w.create(d, n); err == nil {
		w.front(n, d.nextID, d.s.seq.Load(), nil)
		for range 2 * shardCount {
			w.u32(0)
		}
		err = w.commit()
	}
	if err != nil {
		j.file.Close()
		os.Remove(journalPath(d.dir, n))
		return err
	}
	d.journalMu.Lock()
	d.journal = j
	d.journalMu.Unlock()
	d.snapshot, d.previous, d.started = n, n, true
	d.measure()
	return nil
}

// save writes a snapshot.
func (d *disk) save() {
	d.syncMu.Lock()
	d.mu.Lock()
	var j *journal
	var err error
	n := d.snapshot + 1
	if d.started {
		if j, err = createJournal(d, n); err != nil {
			d.fail(err)
		}
	}
	if j == nil {
		d.mu.Unlock()
		d.syncMu.Unlock()
		return
	}
	// From here on removals are in the new journal, and the index is read
	// after: what it still has and should not is in there.
	d.journalMu.Lock()
	old := d.journal
	d.journal = j
	d.journalMu.Unlock()
	d.snapshot = n
	next, seq := d.nextID, d.s.seq.Load()
	d.saved.Store(d.written.Load())
	type mark struct {
		g    *segment
		tail int64
	}
	marks := make([]mark, 0, len(d.order))
	for _, g := range d.order {
		marks = append(marks, mark{g, g.tail})
	}
	d.measure()
	d.mu.Unlock()
	old.file.Sync() // a power cut may leave us with the snapshot before
	old.file.Close()
	d.syncMu.Unlock()

	var w snapshotWriter
	err = w.create(d, n)
	if err == nil {
		b := make([]byte, 0, snapshotSegment*len(marks))
		le := binary.LittleEndian
		for _, m := range marks {
			b = le.AppendUint32(le.AppendUint32(b, m.g.id), uint32(m.g.log))
			b = le.AppendUint64(le.AppendUint64(b, m.g.nonce), uint64(m.tail))
		}
		w.front(n, next, seq, b)
		for i := range d.s.shards {
			w.shard(&d.s.shards[i])
		}
		err = w.commit()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.fail(err) // the last snapshot and its journals still say it all
		return
	}
	if !d.started || d.snapshot != n { // wiped meanwhile
		os.Remove(snapshotPath(d.dir, n))
		return
	}
	keep := d.previous
	d.previous = n
	for _, prefix := range []string{"index-", "removed-"} {
		for _, name := range d.files(prefix) {
			if m, ok := fileNumber(name); ok && m < keep {
				os.Remove(name)
			}
		}
	}
	d.measure()
}

// measure sums up what snapshots and journals take; mu is held.
func (d *disk) measure() {
	d.side = 0
	for _, prefix := range []string{"index-", "removed-"} {
		for _, name := range d.files(prefix) {
			var st unix.Stat_t
			if unix.Lstat(name, &st) == nil {
				d.side += max(st.Size, st.Blocks*512)
			}
		}
	}
}

type snapshotWriter struct {
	file *os.File
	path string
	w    *bufio.Writer
	sum  hash.Hash32
	buf  []byte
}

func (w *snapshotWriter) create(d *disk, n uint32) (err error) {
	if err := d.fault("snapshot"); err != nil {
		return err
	}
	w.path = snapshotPath(d.dir, n)
	w.file, err = os.OpenFile(filepath.Join(d.dir, "index.new"), os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	w.sum = crc32.New(castagnoli)
	w.w = bufio.NewWriterSize(io.MultiWriter(w.file, w.sum), 1<<20)
	return nil
}

func (w *snapshotWriter) u32(n uint32) {
	w.w.Write(binary.LittleEndian.AppendUint32(w.w.AvailableBuffer(), n))
}

func (w *snapshotWriter) front(n, next uint32, seq uint64, segments []byte) {
	le := binary.LittleEndian
	w.w.WriteString(snapshotMagic)
	w.u32(n)
	w.u32(next)
	w.w.Write(le.AppendUint64(nil, seq))
	w.u32(uint32(len(segments) / snapshotSegment))
	w.w.Write(segments)
}

// shard writes one shard's part of the index, copied out first: readers of the
// shard do not wait for the disk.
func (w *snapshotWriter) shard(sh *shard) {
	le := binary.LittleEndian
	sh.mu.RLock()
	x := &sh.index
	b := le.AppendUint32(w.buf[:0], uint32(len(x.slots)))
	for k, i := range x.slots {
		p := &x.places[i]
		b = append(b, k[:]...)
		b = le.AppendUint64(le.AppendUint64(b, p.seq), uint64(p.size))
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, p.seg), p.off), p.meta)
		b = le.AppendUint32(b, atomic.LoadUint32(&p.flags))
	}
	b = le.AppendUint32(b, uint32(len(x.spread)))
	for k, extents := range x.spread {
		b = append(b, k[:]...)
		b = le.AppendUint32(b, uint32(len(extents)))
		for _, e := range extents {
			b = appendExtent(b, e)
		}
	}
	sh.mu.RUnlock()
	w.buf = b
	w.w.Write(b)
}

// commit puts the snapshot in its place.
//
//	write… fsync close rename fsync(dir)
func (w *snapshotWriter) commit() error {
	err := w.w.Flush()
	if err == nil {
		_, err = w.file.Write(binary.LittleEndian.AppendUint32(nil, w.sum.Sum32()))
	}
	if err == nil {
		err = w.file.Sync()
	}
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(w.file.Name())
		return err
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(w.path))
}
