package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
)

// A keptStage is the record of a stage that was kept. Its bytes are the first
// of a file in staging, which may go on with what a process wrote to it that
// did not live to keep it.
type keptStage struct {
	id   uint64 // names the file
	path storage.Path
	size int64
	at   int64 // ticks
	note []byte
	sums []uint32 // CRC-32C of blocks from the first on, as far as they are known
}

// keptSums is of how many blocks a record has the checksums at most: 16 GiB of
// bytes. Behind them a commit reads again.
const keptSums = 1 << 18

func stageKey(key string) []byte { return append([]byte{tableStage}, key...) }

func (k *keptStage) encode() []byte {
	b := append(make([]byte, 0, 64+len(k.note)+4*len(k.sums)), recordVersion)
	b = binary.AppendUvarint(b, k.id)
	b = appendString(b, k.path.Account)
	b = appendString(b, k.path.Container)
	b = appendString(b, k.path.Object)
	b = binary.AppendUvarint(b, uint64(k.size))
	b = binary.AppendVarint(b, k.at)
	b = appendString(b, string(k.note))
	b = binary.AppendUvarint(b, uint64(len(k.sums)))
	for _, crc := range k.sums {
		b = binary.BigEndian.AppendUint32(b, crc)
	}
	return b
}

func decodeStage(b []byte) (k keptStage, err error) {
	d := decode(b)
	k.id = d.uvarint()
	k.path = storage.Path{Account: d.string(), Container: d.string(), Object: d.string()}
	k.size, k.at = d.size(), d.varint()
	if note := d.string(); note != "" {
		k.note = []byte(note)
	}
	n := d.uvarint()
	if n > uint64(len(d.b)/4) || n > uint64(blocksOf(k.size, blockShift)) {
		d.fail()
		return k, d.err
	}
	for range n {
		k.sums = append(k.sums, binary.BigEndian.Uint32(d.bytes(4)))
	}
	return k, d.end()
}

// keptName is the file of a kept stage. The names of others in staging are
// numbers.
func keptName(dir string, id uint64) string {
	return filepath.Join(dir, dirStaging, "kept-"+strconv.FormatUint(id, 16))
}

// stages are those that are kept, or open under a key.
type stages struct {
	mu   sync.Mutex // guards what follows
	held map[string]*held
	keys []string // of held, in order
}

type held struct {
	open *stage     // nil if nobody has it open
	kept *keptStage // nil if it never was
	busy bool       // it is being forgotten
}

// open enters a stage under its key, and returns what was kept there.
func (s *stages) open(key string, g *stage) (*keptStage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[key]
	if h == nil {
		h = s.add(key)
	}
	if h.open != nil || h.busy {
		return nil, fs.ErrExist
	}
	h.open = g
	if h.kept != nil {
		g.note = h.kept.note
		g.size.Store(h.kept.size)
		g.written.Store(h.kept.at)
	}
	return h.kept, nil
}

// add is called with mu held.
func (s *stages) add(key string) *held {
	if s.held == nil {
		s.held = make(map[string]*held)
	}
	h := new(held)
	s.held[key] = h
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Insert(s.keys, i, key)
	return h
}

// end takes out who had a key open, and notes what is kept there.
func (s *stages) end(key string, kept *keptStage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept != nil {
		h := s.held[key]
		h.open, h.kept, h.busy = nil, kept, false
		return
	}
	delete(s.held, key)
	if i, ok := slices.BinarySearch(s.keys, key); ok {
		s.keys = slices.Delete(s.keys, i, i+1)
	}
}

// keptSo notes what is kept under a key that is open; nil if nothing is.
func (s *stages) keptSo(key string, k *keptStage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[key].kept = k
}

// list describes what has a key with the prefix.
func (s *stages) list(prefix string) (found []storage.Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, _ := slices.BinarySearch(s.keys, prefix)
	for _, key := range s.keys[from:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		h := s.held[key]
		k := storage.Kept{Key: key}
		if h.kept != nil {
			k.Path, k.Size, k.ModTime, k.Note = h.kept.path, h.kept.size, tickTime(h.kept.at), slices.Clone(h.kept.note)
		}
		if g := h.open; g != nil {
			k.Open, k.Path, k.Size, k.ModTime = true, g.path, g.Size(), tickTime(g.written.Load())
		}
		found = append(found, k)
	}
	return found
}

// Staged yields what is kept, or open, under keys with this prefix.
func (b *Backend) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	return func(yield func(storage.Kept, error) bool) {
		for _, k := range b.stages.list(prefix) {
			if err := ctx.Err(); err != nil {
				yield(storage.Kept{}, err)
				return
			}
			if !yield(k, nil) {
				return
			}
		}
	}
}

// Forget drops what is kept under key.
func (b *Backend) Forget(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.stages.mu.Lock()
	h := b.stages.held[key]
	switch {
	case h == nil:
		b.stages.mu.Unlock()
		return fs.ErrNotExist
	case h.open != nil || h.busy:
		b.stages.mu.Unlock()
		return fs.ErrExist
	}
	h.busy = true
	kept := h.kept
	b.stages.mu.Unlock()
	if err := b.dropKept(ctx, key); err != nil {
		b.stages.end(key, kept)
		return err
	}
	os.Remove(keptName(b.dir, kept.id)) // if not now, when the store is opened next
	b.stages.end(key, nil)
	return nil
}

// dropKept removes the record of what is kept under a key.
func (b *Backend) dropKept(ctx context.Context, key string) error {
	return b.submit(ctx, 64+len(key), func(t *tx) error {
		t.batch.Delete(stageKey(key), nil)
		return nil
	})
}

// resume takes up what was kept. Bytes behind it are of a process that died.
func (g *stage) resume() error {
	if !g.b.enter() {
		return storage.ErrUnavailable
	}
	defer g.b.leave()
	var k keptStage
	_, err := lookup(g.b.db, stageKey(g.key), func(v []byte) (err error) { k, err = decodeStage(v); return err })
	if err != nil {
		return fmt.Errorf("record of what was kept: %w", err)
	}
	name := keptName(g.b.dir, g.kept.id)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %v", storage.ErrDamaged, err)
	}
	if err := f.Truncate(g.kept.size); err != nil {
		f.Close()
		return err
	}
	g.file = &spool{File: f, name: name}
	g.sums.load(k.sums, k.size)
	return nil
}

// loosen gives up what was kept, before bytes of it change.
func (g *stage) loosen(off int64) error {
	g.keeping.Lock()
	defer g.keeping.Unlock()
	if g.kept == nil || off >= g.kept.size {
		return nil
	}
	return g.unkeep()
}

// unkeep is called with mu held alone, or keeping.
func (g *stage) unkeep() error {
	if g.kept == nil {
		return nil
	}
	if err := g.b.dropKept(context.Background(), g.key); err != nil {
		return err
	}
	g.kept = nil
	g.b.stages.keptSo(g.key, nil)
	return nil
}

// Keep puts the bytes aside, durably: first the file, then its record.
func (g *stage) Keep(note []byte) error {
	return storage.Wrap("keep", g.path, g.keep(note))
}

func (g *stage) keep(note []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	if g.key == "" {
		return fs.ErrInvalid
	}
	if !g.b.enter() { // Close waits: it gives up the directory
		return storage.ErrUnavailable
	}
	defer g.b.leave()
	if err := g.b.space.admitRemove(); err != nil { // its bytes have their room already
		return err
	}
	if g.file == nil {
		if err := g.spill(); err != nil {
			return err
		}
	}
	k := &keptStage{path: g.path, size: g.size.Load(), at: ticks(time.Now()), note: slices.Clone(note)}
	var err error
	if k.id, err = g.nameKept(); err != nil {
		return noSpace(err)
	}
	k.sums = g.sums.known(k.size, keptSums)
	err = g.b.submit(context.Background(), 128+len(g.key)+len(note)+4*len(k.sums), func(t *tx) error {
		t.batch.Set(stageKey(g.key), k.encode(), nil)
		return nil
	})
	if err != nil {
		return err
	}
	k.sums = nil // in the record, where they are looked up
	g.kept = k
	g.release()
	return nil
}

// Checkpoint puts the first bytes aside, durably, while others come.
func (g *stage) Checkpoint(size int64, note []byte) error {
	return storage.Wrap("keep", g.path, g.checkpoint(size, note))
}

func (g *stage) checkpoint(size int64, note []byte) error {
	g.mu.RLock() // nobody commits, keeps, cuts or closes it meanwhile
	defer g.mu.RUnlock()
	if err := g.usable(); err != nil {
		return err
	}
	if g.key == "" || size > g.size.Load() {
		return fs.ErrInvalid
	}
	if g.file == nil { // so little is not worth it
		return errors.ErrUnsupported
	}
	if !g.b.enter() {
		return storage.ErrUnavailable
	}
	defer g.b.leave()
	if err := g.b.space.admitRemove(); err != nil {
		return err
	}
	if err := g.fix(size); err != nil {
		return err
	}
	defer g.unfix()
	k := &keptStage{path: g.path, size: size, at: ticks(time.Now()), note: slices.Clone(note)}
	var err error
	if k.id, err = g.nameKept(); err != nil {
		return noSpace(err)
	}
	k.sums = g.sums.known(size, keptSums)
	err = g.b.submit(context.Background(), 128+len(g.key)+len(note)+4*len(k.sums), func(t *tx) error {
		t.batch.Set(stageKey(g.key), k.encode(), nil)
		return nil
	})
	if err != nil {
		return err
	}
	k.sums = nil // in the record, where they are looked up
	g.keeping.Lock()
	defer g.keeping.Unlock()
	g.kept = k
	g.b.stages.keptSo(g.key, k)
	return nil
}

// fix waits for what is being written, and has what comes below size wait
// until unfix.
func (g *stage) fix(size int64) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if g.fixed > 0 {
		return fs.ErrExist
	}
	g.fixed, g.over = size, make(chan struct{})
	return nil
}

func (g *stage) unfix() {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.fixed = 0
	close(g.over)
}

// nameKept makes the file durable under a name in staging, and returns the id
// it has there.
//
//	linkat fsync(file) fsync(staging)
func (g *stage) nameKept() (id uint64, err error) {
	staging := filepath.Join(g.b.dir, dirStaging)
	had, named := parseKept(filepath.Base(g.file.name))
	if named {
		id = had
	} else {
		id = g.b.ids.take()
		if err := g.linkKept(staging, keptName(g.b.dir, id)); err != nil {
			return 0, err
		}
	}
	if g.b.o.Sync == SyncNone {
		return id, nil
	}
	if err := g.file.Sync(); err != nil {
		return 0, g.b.syncFailed(err)
	}
	if !named && g.b.o.Sync == SyncFull {
		if err := durable.SyncDir(staging); err != nil {
			return 0, g.b.syncFailed(err)
		}
	}
	return id, nil
}

// linkKept gives the file its name.
func (g *stage) linkKept(staging, name string) error {
	switch {
	case g.file.name != "":
		if err := os.Rename(g.file.name, name); err != nil {
			return err
		}
	case g.shelved: // by a commit that was refused
		if err := os.Link(blobPath(g.b.dir, g.id), name); err != nil {
			return err
		}
	default:
		dir, err := os.Open(staging)
		if err != nil {
			return err
		}
		defer dir.Close()
		if err := linkUnnamed(g.file.File, dir, filepath.Base(name)); err != nil {
			return err
		}
	}
	g.file.name = name
	return nil
}

// parseKept reads the name of the file of a kept stage.
func parseKept(name string) (id uint64, ok bool) {
	hex, ok := strings.CutPrefix(name, "kept-")
	if !ok {
		return 0, false
	}
	return parseName(hex)
}

// recoverStages finds what was kept, and removes from staging all else. A
// record without its bytes, such as a backup has, is dropped.
func (b *Backend) recoverStages() error {
	wanted := make(map[string]bool)
	var lost [][]byte
	err := eachStage(b.db, func(key []byte, k *keptStage, err error) error {
		if err == nil {
			err = k.look(b.dir)
		}
		if err != nil {
			b.log.Warn("what was kept of an upload is lost", "path", k.path.String(), "error", err)
			lost = append(lost, slices.Clone(key))
			return nil
		}
		b.ids.next = max(b.ids.next, k.id+1)
		wanted[filepath.Base(keptName(b.dir, k.id))] = true
		k.sums = nil
		b.stages.add(string(key[1:])).kept = k
		return nil
	})
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		batch := b.db.NewBatch()
		defer batch.Close()
		for _, key := range lost {
			batch.Delete(key, nil)
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	return emptyDir(filepath.Join(b.dir, dirStaging), func(name string) bool { return wanted[name] })
}

// look says what is wrong with the file of a kept stage, at a glance.
func (k *keptStage) look(dir string) error {
	in, err := os.Stat(keptName(dir, k.id))
	if err == nil && in.Size() < k.size {
		err = fmt.Errorf("%d bytes are left of %d", in.Size(), k.size)
	}
	return err
}

// eachStage calls f for each record of a kept stage, also one that cannot be
// read.
func eachStage(r pebble.Reader, f func(key []byte, k *keptStage, err error) error) error {
	return scan(r, tableStage, func(key, value []byte) error {
		k, err := decodeStage(value)
		return f(key, &k, err)
	})
}
