package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Everything lives in a directory of its own below the one that was named: if
// that was a mistake, nothing of anybody else's is deleted.
const (
	maxMeta      = 64 << 20 // a record's front is never longer
	subdirectory = "edge-store"
	formatFile   = "format"
	formatText   = "memstore edge store 1\n"
	minDisk      = 16 << 20
)

// openDisk opens the disk tier with what is still good in its directory.
func openDisk(s *Store) (*disk, error) {
	dir := filepath.Join(s.opt.Dir, subdirectory)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("store: %s is in use: %w", dir, err)
	}
	d := &disk{s: s, dir: dir, lock: lock, retry: 10 * time.Second, wake: make(chan struct{}, 1), nextID: 1}
	d.fault = func(string) error { return nil }
	d.segmentSize = min(max(s.opt.Disk/24, 1<<19), 128<<20) &^ 4095
	d.table.Store(&map[uint32]*segment{})
	d.ghost.init(s.opt.Disk, min(s.opt.Disk/(16<<10), s.opt.Memory/160))
	d.boot()

	began := time.Now()
	err = d.recover()
	if err != nil {
		d.s.opt.Log.Warn("edge store: cannot use what is on the disk; starting empty", "dir", dir, "err", err)
		err = d.empty()
	}
	if err != nil {
		d.mu.Lock()
		d.fail(err)
		d.mu.Unlock()
	} else if n := s.records(); n > 0 {
		d.kick()
		s.opt.Log.Info("edge store: warm", "entries", n, "seconds", time.Since(began).Seconds())
	}
	return d, nil
}

// boot notes which run of the machine this is, and finds out whether the last
// one ended while the store was open.
func (d *disk) boot() {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	name := filepath.Join(d.dir, "running")
	last, err := os.ReadFile(name)
	d.doubtful = err == nil && !bytes.Equal(last, id)
	os.WriteFile(name, id, 0o600)
}

// files lists the paths of the tier's files with a prefix, in order.
func (d *disk) files(prefix string) []string {
	names, _ := filepath.Glob(filepath.Join(d.dir, prefix+"*"))
	slices.Sort(names)
	return names
}

// fileNumber is the number at the end of a file's name.
func fileNumber(name string) (uint32, bool) {
	n, err := strconv.ParseUint(name[strings.LastIndexByte(name, '-')+1:], 16, 32)
	return uint32(n), err == nil
}

// empty deletes all but the notes, and begins anew.
func (d *disk) empty() error {
	for i := range d.s.shards {
		d.s.shards[i].index.init()
	}
	for _, g := range *d.table.Load() {
		g.file.Close()
	}
	d.table.Store(&map[uint32]*segment{})
	d.order, d.active, d.size = nil, [2]*segment{}, [2]int64{}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	// In the order of their names the format goes first, and without it nothing
	// else is believed.
	for _, e := range entries {
		if e.Name() == "lock" || e.Name() == "running" || strings.HasPrefix(e.Name(), notePrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.dir, e.Name())); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(d.dir, formatFile), []byte(formatText), 0o600)
}

// state is what a snapshot and the journals since say.
type state struct {
	number   uint32
	next     uint32
	seq      uint64
	segments map[uint32]marked
	removed  map[Key]uint64
	dropped  map[uint32]bool
	shards   []byte
	last     uint32 // number of the last journal
	lines    int    // in it
}

type marked struct {
	log   uint32
	nonce uint64
	tail  int64
}

// recover makes the index from what is in the directory. An error means that
// nothing there may be believed.
func (d *disk) recover() error {
	text, err := os.ReadFile(filepath.Join(d.dir, formatFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if string(text) != formatText {
		if len(d.files("")) > 2 { // more than lock and running
			return errors.New("not in this store's format")
		}
		return d.empty()
	}
	os.Remove(filepath.Join(d.dir, "index.new"))
	snapshots := d.files("index-")
	if len(snapshots) == 0 {
		if len(d.files("segment-")) > 0 {
			return errors.New("no snapshot of the index")
		}
		return nil
	}
	var st *state
	for _, name := range slices.Backward(snapshots) {
		if n, ok := fileNumber(name); ok {
			if st, err = readSnapshot(name, n); err == nil {
				break
			}
			d.s.opt.Log.Warn("edge store: a snapshot of the index is damaged", "err", err)
			os.Remove(name)
		}
	}
	if st == nil {
		return err
	}
	if err := d.readJournals(st); err != nil {
		return err
	}
	return d.restore(st)
}

func (d *disk) readJournals(st *state) error {
	st.removed, st.dropped, st.last = make(map[Key]uint64), make(map[uint32]bool), st.number
	for _, name := range d.files("removed-") {
		if n, ok := fileNumber(name); ok {
			st.last = max(st.last, n)
		}
	}
	for n := st.number; n <= st.last; n++ {
		lines, err := readJournal(d.dir, n, func(e journalEntry) {
			switch e.kind {
			case lineRemoved:
				st.removed[e.key] = max(st.removed[e.key], e.seq)
				st.seq = max(st.seq, e.seq)
			case lineDropped:
				st.dropped[uint32(e.seq)] = true
			}
		})
		if err != nil {
			return err
		}
		st.lines = lines
	}
	return nil
}

func readSnapshot(name string, n uint32) (*state, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	st, err := parseSnapshot(b, n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return st, nil
}

func parseSnapshot(b []byte, n uint32) (*state, error) {
	le := binary.LittleEndian
	if len(b) < 32 || string(b[:8]) != snapshotMagic || le.Uint32(b[len(b)-4:]) != checksum(b[:len(b)-4]) || le.Uint32(b[8:]) != n {
		return nil, errSnapshot
	}
	st := &state{number: n, next: le.Uint32(b[12:]), seq: le.Uint64(b[16:]), segments: make(map[uint32]marked)}
	count := int(le.Uint32(b[24:]))
	b = b[28 : len(b)-4]
	if len(b) < count*snapshotSegment {
		return nil, errSnapshot
	}
	for ; count > 0; count-- {
		st.segments[le.Uint32(b)] = marked{le.Uint32(b[4:]), le.Uint64(b[8:]), int64(le.Uint64(b[16:]))}
		b = b[snapshotSegment:]
	}
	st.shards = b
	return st, nil
}

// restore fills the index: segments, places of the snapshot, records beyond it.
func (d *disk) restore(st *state) error {
	d.nextID, d.snapshot, d.previous = st.next, st.last, st.number
	from := make(map[*segment]int64)
	for _, name := range d.files("segment-") {
		id, ok := fileNumber(name)
		m, known := st.segments[id]
		if !ok || st.dropped[id] || !known && id < st.next {
			os.Remove(name)
			continue
		}
		d.nextID = max(d.nextID, id+1)
		g, err := openSegment(d, id)
		if err == nil && known && m.nonce != g.nonce {
			g.file.Close()
			err = fmt.Errorf("%s: %w", name, ErrDamaged)
		}
		if err != nil {
			d.s.opt.Log.Warn("edge store: lost a segment", "err", err)
			os.Remove(name)
			continue
		}
		g.tail = segmentHeader
		if known {
			g.tail = max(m.tail, segmentHeader)
		}
		from[g] = g.tail
		d.admit(g)
	}
	if err := d.readPlaces(st); err != nil {
		return err
	}
	seq := st.seq
	for _, g := range d.order {
		d.scan(g, from[g], func(r *record, off int64) {
			seq = max(seq, r.seq)
			d.restorePlace(st, r, g, off)
		})
		if g.tail < g.length {
			d.active[g.log] = g
		}
	}
	d.s.seq.Store(seq)
	d.list()
	j, err := continueJournal(d, st.last, st.lines)
	if err != nil {
		return err
	}
	d.journal, d.started = j, true
	d.measure()
	return nil
}

// readPlaces fills the index from the snapshot, on every processor.
func (d *disk) readPlaces(st *state) error {
	le := binary.LittleEndian
	var tasks sync.WaitGroup
	b := st.shards
	for range shardCount {
		// Where the next shard begins has to be known before this one is read.
		if len(b) < 8 {
			return errSnapshot
		}
		n := int(le.Uint32(b))
		if (len(b)-8)/placeLine < n {
			return errSnapshot
		}
		places := b[4 : 4+n*placeLine]
		b = b[4+len(places):]
		m := int(le.Uint32(b))
		b = b[4:]
		if len(b)/20 < m {
			return errSnapshot
		}
		spread := make(map[Key][]extent, m)
		for range m {
			if len(b) < 20 {
				return errSnapshot
			}
			k, count := Key(b[:16]), int(le.Uint32(b[16:]))
			if b = b[20:]; len(b)/extentSize < count {
				return errSnapshot
			}
			extents := make([]extent, count)
			for i := range extents {
				extents[i], b = parseExtent(b), b[extentSize:]
			}
			spread[k] = extents
		}
		if n > 0 {
			tasks.Go(func() { d.readShard(st, places, spread) })
		}
	}
	tasks.Wait()
	return nil
}

var errSnapshot = fmt.Errorf("snapshot of the index: %w", ErrDamaged)

func (d *disk) readShard(st *state, places []byte, spread map[Key][]extent) {
	le := binary.LittleEndian
	x := &d.s.shard(Key(places[:16])).index
	n := len(places) / placeLine
	x.slots = make(map[Key]uint32, n)
	x.places = make([]place, 0, n+n/8)
	for b := places; len(b) > 0; b = b[placeLine:] {
		k := Key(b[:16])
		p := place{le.Uint64(b[16:]), int64(le.Uint64(b[24:])), le.Uint32(b[32:]), le.Uint32(b[36:]), le.Uint32(b[40:]), le.Uint32(b[44:]) & usedFlag}
		if d.valid(st, k, p, spread[k]) {
			x.put(k, p, spread[k])
		}
	}
}

// valid reports whether a record may be believed as far as its place and the
// journals go.
func (d *disk) valid(st *state, k Key, p place, extents []extent) bool {
	if seq, ok := st.removed[k]; ok && p.seq <= seq {
		return false
	}
	inline := p.size
	for _, x := range extents {
		inline = 0
		if g := (*d.table.Load())[x.seg]; g == nil || int64(x.off)+int64(x.length) > g.length {
			return false
		}
	}
	g := (*d.table.Load())[p.seg]
	return g != nil && int64(p.off)+int64(p.meta)+inline <= g.length
}

// restorePlace takes a record found by scan into the index.
func (d *disk) restorePlace(st *state, r *record, g *segment, off int64) {
	if r.kind == kindData {
		return
	}
	sh := d.s.shard(r.key)
	if now, _, ok := sh.index.get(r.key, false); ok && now.seq > r.seq {
		return
	}
	p := place{r.seq, r.size, g.id, uint32(off), uint32(r.meta()), 0}
	if d.valid(st, r.key, p, r.extents) {
		sh.index.put(r.key, p, r.extents)
	} else {
		sh.index.delete(r.key) // what it replaced does not come back
	}
}

// list tells each segment which keys are in it.
func (d *disk) list() {
	table := *d.table.Load()
	for i := range d.s.shards {
		x := &d.s.shards[i].index
		for k, n := range x.slots {
			g := table[x.places[n].seg]
			g.keys = append(g.keys, k)
			for _, e := range x.spread[k] {
				if o := table[e.seg]; o != g {
					o.keys = append(o.keys, k)
				}
			}
		}
	}
}

// scan calls f for each record of a segment from off on, and sets the tail.
// Where there should be a record and is none that verifies, it looks for the
// next that does: a crash of the machine leaves holes.
func (d *disk) scan(g *segment, off int64, f func(r *record, off int64)) {
	w := scanner{g: g}
	tail := off
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], recordMagic)
	for off+recordHeader <= g.length {
		b := w.at(off, recordHeader)
		if c, ok := peekRecord(b, g.nonce); ok && off+c.length <= g.length && c.meta <= maxMeta {
			if r, ok := parseRecord(w.at(off, int(c.meta)), g.nonce); ok {
				f(&r, off)
				off += aligned(c.length)
				tail = off
				continue
			}
		}
		// No record here. The next begins with the magic, at a multiple of
		// recordAlign.
		off += recordAlign
		for off+recordHeader <= g.length {
			rest := w.at(off, recordHeader)
			rest = rest[:cap(rest)]
			if len(rest) < recordHeader {
				off = g.length
				break
			}
			i := bytes.Index(rest, magic[:])
			if i < 0 {
				off += int64(len(rest)-4) &^ (recordAlign - 1)
				continue
			}
			if off += int64(i); off%recordAlign == 0 {
				break
			}
			off = aligned(off)
		}
	}
	g.tail = tail
}

// A scanner reads a segment forward through a large buffer.
type scanner struct {
	g   *segment
	buf []byte
	off int64 // of buf in the segment
}

// at returns n bytes at off, or fewer where they cannot be read. Its capacity
// is what the buffer has beyond.
func (w *scanner) at(off int64, n int) []byte {
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if cap(w.buf) < n || w.buf == nil {
			w.buf = make([]byte, max(n, 1<<20))
		}
		read, _ := w.g.file.ReadAt(w.buf[:cap(w.buf)], off)
		w.off, w.buf = off, w.buf[:read]
	}
	b := w.buf[off-w.off:]
	return b[:min(n, len(b)):len(b)]
}
