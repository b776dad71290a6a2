package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// CheckOptions say how thorough a Check is, and what it may do.
type CheckOptions struct {
	// Repair puts right what can be derived from the rest: totals, reference
	// counts, the index of expiry, blobs and files that no row names. No
	// content is ever deleted: such files go to the quarantine directory.
	Repair bool

	// Salvage builds a new index from the footers of files when the index is
	// lost. What is left of the old one is moved aside. Containers come back
	// without their metadata, and objects that were kept in the index do not.
	// It is refused if the index can be opened. What follows is a check with
	// the other options.
	Salvage bool

	// ReadData reads all content, and holds it against checksums and MD5.
	ReadData bool

	// Log is told what Salvage does. Nil for slog.Default.
	Log *slog.Logger

	// Progress, if not nil, is called now and then with what is done and what
	// there is: bytes if ReadData, else blobs.
	Progress func(done, total int64)
}

// A Kind is what is wrong.
type Kind string

// The kinds of findings. Those marked R can be repaired.
const (
	KindRecord      Kind = "unreadable record"
	KindState       Kind = "state behind" // R
	KindTotals      Kind = "wrong totals" // R
	KindLostRow     Kind = "row without container"
	KindExpiry      Kind = "wrong expiry"     // R
	KindReferences  Kind = "wrong references" // R
	KindUnusedBlob  Kind = "unused blob"      // R
	KindLostBlob    Kind = "missing blob"     // R, if the bytes are there
	KindSize        Kind = "wrong size"
	KindLostContent Kind = "missing content"
	KindDamage      Kind = "damaged content"
	KindOrphan      Kind = "file without blob" // R
	KindForeign     Kind = "foreign file"
	KindManifest    Kind = "not as backed up"
)

// A Finding is one thing that is wrong.
type Finding struct {
	Kind     Kind
	Path     storage.Path // whom it concerns; zero if nobody
	File     string       // within the data directory; "" if it is about the index
	Detail   string
	Repaired bool

	blob uint64
}

func (f Finding) String() string {
	s := string(f.Kind)
	if f.Path != (storage.Path{}) {
		s += ": " + f.Path.String()
	}
	if f.File != "" {
		s += ": " + f.File
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Repaired {
		s += " (repaired)"
	}
	return s
}

// A Report is what a Check has seen.
type Report struct {
	Accounts, Containers, Objects, Blobs int64
	Bytes                                int64 // of objects
	Kept, KeptBytes                      int64 // uploads that were put aside; unknown of a Snapshot
	Leftovers                            int64 // of crashes; the next Open removes them
	Spare, SpareBytes                    int64 // segments of no large object; unknown if they are encrypted
	Findings                             []Finding
}

// Clean reports whether all is well: nothing was found, or all is repaired.
func (r *Report) Clean() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return !f.Repaired })
}

// Check proves that rows, blobs, files, references and totals of a store agree.
// dir is a data directory that no process has open, or a Snapshot's Dir, which
// cannot be repaired. The error is about the check itself; what is wrong with
// the store is in the Report.
func Check(ctx context.Context, dir string, o CheckOptions) (Report, error) {
	r, err := check(ctx, dir, o)
	if err != nil {
		err = fmt.Errorf("check %s: %w", dir, err)
	}
	return r, err
}

func check(ctx context.Context, dir string, o CheckOptions) (Report, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Progress == nil {
		o.Progress = func(done, total int64) {}
	}
	if isSnapshot(dir) && (o.Repair || o.Salvage) {
		return Report{}, errors.New("a snapshot cannot be repaired")
	}
	if _, err := readFormat(dir); err != nil && !(o.Salvage && errors.Is(err, fs.ErrNotExist)) {
		return Report{}, err
	}
	lock, err := takeLock(dir)
	if err != nil && (o.Repair || o.Salvage || errors.Is(err, ErrLocked)) {
		return Report{}, err
	}
	if err == nil {
		defer lock.Close()
	}
	altered, err := checkManifest(dir)
	if err != nil && !o.Salvage {
		return Report{}, err
	}
	if o.Repair || o.Salvage { // what it says will not be true anymore
		if err := disown(dir); err != nil {
			return Report{}, err
		}
	}
	meta := filepath.Join(dir, dirMeta)
	if o.Salvage {
		if err := salvage(ctx, dir, o.Log); err != nil {
			return Report{}, err
		}
	}
	var db *pebble.DB
	if o.Repair {
		if _, err := os.Stat(meta); err != nil {
			return Report{}, errIndexLost
		}
		db, err = openIndexToRepair(meta)
	} else {
		db, err = openIndexReadOnly(meta, o.Log)
	}
	if err != nil {
		for _, f := range altered {
			err = fmt.Errorf("%s: %w", f, err)
		}
		return Report{}, fmt.Errorf("the index cannot be opened, salvage may help: %w", err)
	}
	c := &checker{report: Report{Findings: altered}, ctx: ctx, dir: dir, o: o, db: db, places: make(map[uint64]*counted)}
	err = c.run()
	return c.report, errors.Join(err, db.Close())
}

// checkManifest holds a backup against its manifest. Any other directory has
// none.
func checkManifest(dir string) ([]Finding, error) {
	m, err := ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return []Finding{{Kind: KindManifest, File: fileManifest, Detail: err.Error()}}, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return m.differences(root)
}

// A checker walks a store table by table. What it must remember of each object
// is 16 bytes.
type checker struct {
	ctx    context.Context
	dir    string
	o      CheckOptions
	db     *pebble.DB
	report Report
	batch  *pebble.Batch // of repairs; nil if there are to be none

	state  state
	places map[uint64]*counted // accounts and containers, by id
	hidden [][]byte            // what keys of rows begin with that a crash has kept from being moved
	uses   []use               // of blobs by rows
	maxID  uint64
	maxVer uint64
}

// A counted is an account or container, and what was found beneath it.
type counted struct {
	path    storage.Path
	account uint64 // of a container
	totals
}

type use struct {
	blob uint64
	size int64
}

func (c *checker) run() (err error) {
	if c.state, err = readState(c.db); err != nil {
		return err
	}
	if c.o.Repair {
		c.batch = c.db.NewBatch()
		defer c.batch.Close()
	}
	for _, step := range []func() error{
		c.readRelocations, c.readAccounts, c.readContainers, c.readRows, c.checkTotals, c.checkExpiry,
		c.checkBlobs, c.checkInline, c.checkFiles, c.checkStages, c.checkState, c.countSpare, c.namePaths,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if c.batch != nil && !c.batch.Empty() {
		return c.batch.Commit(pebble.Sync)
	}
	return nil
}

func (c *checker) find(f Finding) { c.report.Findings = append(c.report.Findings, f) }

// mend notes a finding that fix puts right, if repairs are wanted.
func (c *checker) mend(f Finding, fix func(*pebble.Batch)) {
	if c.batch != nil {
		fix(c.batch)
		f.Repaired = true
	}
	c.find(f)
}

func (c *checker) unreadable(key []byte, p storage.Path) {
	c.find(Finding{Kind: KindRecord, Path: p, Detail: fmt.Sprintf("key %q", key)})
}

func (c *checker) seen(id, version uint64) {
	c.maxID, c.maxVer = max(c.maxID, id), max(c.maxVer, version)
}

func (c *checker) readAccounts() error {
	return scan(c.db, tableAccount, func(key, value []byte) error {
		p := storage.Path{Account: string(key[1:])}
		r, err := decodeRecord(value)
		if err != nil {
			c.unreadable(key, p)
			return nil
		}
		c.report.Accounts++
		c.seen(r.id, r.version)
		c.places[r.id] = &counted{path: p}
		return c.ctx.Err()
	})
}

func (c *checker) readContainers() error {
	return scan(c.db, tableContainer, func(key, value []byte) error {
		account, name, ok := splitName(key)
		a := c.places[account]
		if !ok || a == nil {
			c.unreadable(key, storage.Path{})
			return nil
		}
		p := storage.Path{Account: a.path.Account, Container: name}
		r, err := decodeRecord(value)
		if err != nil {
			c.unreadable(key, p)
			return nil
		}
		c.report.Containers++
		c.seen(r.id, r.version)
		c.places[r.id] = &counted{path: p, account: account}
		a.containers++
		return c.ctx.Err()
	})
}

// readRelocations learns of trees that were being moved when the store stopped.
// What is under their targets is dropped by the next Open.
func (c *checker) readRelocations() error {
	return scan(c.db, tableRelocation, func(key, value []byte) error {
		m, err := decodeRelocation(value)
		if err != nil {
			c.unreadable(key, storage.Path{})
			return nil
		}
		c.hidden = append(c.hidden, m.toKey)
		c.report.Leftovers++
		return c.ctx.Err()
	})
}

func (c *checker) readRows() error {
	return scan(c.db, tableRow, func(key, value []byte) error {
		if hiddenIn(c.hidden, key) != nil {
			return c.ctx.Err()
		}
		id, name, ok := splitName(key)
		place := c.places[id]
		if !ok || place == nil || place.path.IsAccount() {
			c.find(Finding{Kind: KindLostRow, Detail: fmt.Sprintf("key %q", key)})
			return nil
		}
		p := place.path
		p.Object = name
		r, err := decodeRow(value, true, "")
		if err != nil {
			c.unreadable(key, p)
			return nil
		}
		c.report.Objects++
		c.report.Bytes += r.size
		c.seen(r.blob, r.version)
		for _, t := range [...]*counted{place, c.places[place.account]} {
			t.objects++
			t.bytes += r.size
		}
		if r.blob != 0 {
			c.uses = append(c.uses, use{r.blob, r.size})
		} else if r.size != 0 {
			c.find(Finding{Kind: KindLostContent, Path: p, Detail: "no blob"})
		}
		if r.expires {
			key := expiryKey(r.deleteAt, id, name)
			there, err := lookup(c.db, key, func([]byte) error { return nil })
			if err != nil {
				return err
			}
			if !there {
				c.mend(Finding{Kind: KindExpiry, Path: p, Detail: "would not expire"}, func(b *pebble.Batch) {
					b.Set(key, encodePlace(p), nil)
				})
			}
		}
		return c.ctx.Err()
	})
}

// checkTotals holds what was counted against what is written.
func (c *checker) checkTotals() error {
	for id, want := range c.places {
		_, key := placeKeys(want.path, want.account, id)
		var got totals
		_, err := lookup(c.db, key, func(v []byte) (err error) { got, err = decodeTotals(v); return err })
		if err != nil && !errors.Is(err, errRecord) {
			return err
		}
		if err != nil || got != want.totals {
			c.mend(Finding{Kind: KindTotals, Path: want.path, Detail: fmt.Sprintf("%+v are written, %+v were found", got, want.totals)},
				func(b *pebble.Batch) { b.Set(key, want.totals.encode(), nil) })
		}
	}
	return c.ctx.Err()
}

// checkExpiry looks for entries that no row wants.
func (c *checker) checkExpiry() error {
	return scan(c.db, tableExpiry, func(key, value []byte) error {
		second, id, name, ok := splitExpiry(key)
		p, err := decodePlace(value)
		if !ok {
			c.unreadable(key, storage.Path{})
			return nil
		}
		p.Object = name
		r, rerr := readRow(c.db, rowKey(id, name), false)
		if rerr != nil && !errors.Is(rerr, errRecord) {
			return rerr
		}
		wanted := r != nil && r.expires && r.deleteAt == second
		// The container may have been renamed since, within its account.
		if place := c.places[id]; err != nil || !wanted || place == nil || place.path.Account != p.Account {
			stale := slices.Clone(key)
			c.mend(Finding{Kind: KindExpiry, Path: p, Detail: "stale entry"}, func(b *pebble.Batch) {
				if b.Delete(stale, nil); wanted && place != nil {
					b.Set(stale, encodePlace(place.path), nil)
				}
			})
		}
		return c.ctx.Err()
	})
}

// checkState looks whether anything is newer than the counters.
func (c *checker) checkState() error {
	err := scan(c.db, tableJournal, func(key, value []byte) error {
		version, ok := splitID(key)
		_, err := decodeChange(value)
		if isMoved(value) {
			_, err = decodeMoved(value)
		}
		if !ok || err != nil {
			c.unreadable(key, storage.Path{})
			return nil
		}
		c.seen(0, version)
		return c.ctx.Err()
	})
	if err != nil {
		return err
	}
	s := c.state
	s.version, s.next = max(s.version, c.maxVer), max(s.next, c.maxID+1)
	if c.maxID == 0 {
		s.next = c.state.next
	}
	if s != c.state {
		c.mend(Finding{Kind: KindState, Detail: fmt.Sprintf("%+v, should be %+v", c.state, s)}, func(b *pebble.Batch) {
			b.Set(keyState, s.encode(), nil)
		})
	}
	return nil
}

// namePaths finds out whom the findings about blobs concern.
func (c *checker) namePaths() error {
	about := make(map[uint64][]storage.Path)
	for _, f := range c.report.Findings {
		if f.blob != 0 {
			about[f.blob] = nil
		}
	}
	if len(about) == 0 {
		return nil
	}
	err := eachRow(c.db, func(key []byte, r *row) error {
		if hiddenIn(c.hidden, key) != nil {
			return nil
		}
		paths, ok := about[r.blob]
		id, name, valid := splitName(key)
		if place := c.places[id]; ok && valid && place != nil {
			p := place.path
			p.Object = name
			about[r.blob] = append(paths, p)
		}
		return c.ctx.Err()
	})
	named := make([]Finding, 0, len(c.report.Findings))
	for _, f := range c.report.Findings {
		paths := about[f.blob]
		if len(paths) == 0 {
			named = append(named, f)
		}
		for _, p := range paths {
			f.Path = p
			named = append(named, f)
		}
	}
	c.report.Findings = named
	return err
}

// eachRow calls f for each row that can be read.
func eachRow(r pebble.Reader, f func(key []byte, r *row) error) error {
	return scan(r, tableRow, func(key, value []byte) error {
		found, err := decodeRow(value, false, "")
		if err != nil {
			return nil
		}
		return f(key, &found)
	})
}
