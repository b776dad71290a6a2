package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// salvage builds an index from the footers of files. Where two files were put
// under one path, the one that was put last is it.
func salvage(ctx context.Context, dir string, log *slog.Logger) error {
	meta := filepath.Join(dir, dirMeta)
	if db, err := openIndexReadOnly(meta, log); err == nil {
		s, err := readState(db)
		if cerr := db.Close(); err == nil && cerr == nil && s.next > 0 {
			return errors.New("the index can be opened: salvage would lose what is only there")
		}
	}
	if err := durable.MkdirAll(filepath.Join(dir, dirBlobs), 0o700); err != nil {
		return err
	}
	found, next, err := readFooters(ctx, dir, log)
	if err != nil {
		return err
	}
	// The new index is built beside the old one, so that an end in between
	// changes nothing.
	fresh := meta + ".salvaged"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	db, err := openIndexToRepair(fresh)
	if err != nil {
		return err
	}
	err = rebuild(ctx, db, found, next)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if _, err := os.Stat(meta); err == nil {
		aside := meta + ".lost-" + time.Now().UTC().Format("20060102T150405.000000")
		log.Warn("salvage: the old index is moved aside", "to", aside)
		if err := durable.Rename(meta, aside); err != nil {
			return err
		}
	}
	if err := durable.Rename(fresh, meta); err != nil {
		return err
	}
	if _, err := readFormat(dir); errors.Is(err, fs.ErrNotExist) {
		return writeFormat(dir)
	}
	return nil
}

// readFooters reads what files say of themselves: the newest for each path, in
// order of path, and the first id that is free.
func readFooters(ctx context.Context, dir string, log *slog.Logger) (found []*footer, next uint64, err error) {
	next = 1
	err = eachBlobFile(dir, 0, func(id uint64, name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		next = max(next, id+1)
		f, err := openPlain(name)
		if err != nil {
			return err
		}
		defer f.Close()
		foot, err := readFooter(f, -1, true)
		if err == nil && foot.id != id {
			err = errFooter
		}
		if err != nil {
			log.Warn("salvage: a file does not say what it is", "file", name, "error", err)
			return nil
		}
		foot.blocks = nil // not needed, and large
		found = append(found, foot)
		return nil
	})
	slices.SortFunc(found, func(a, b *footer) int {
		return cmp.Or(comparePaths(a.put.path, b.put.path), -cmp.Compare(a.put.created, b.put.created), -cmp.Compare(a.id, b.id))
	})
	return slices.CompactFunc(found, func(a, b *footer) bool { return a.put.path == b.put.path }), next, err
}

func comparePaths(a, b storage.Path) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Object, b.Object))
}

// rebuild writes rows for files, which come in order of path, with the
// accounts and containers they need.
func rebuild(ctx context.Context, db *pebble.DB, found []*footer, next uint64) error {
	// Versions begin where no version was: after the time, in ticks.
	s := state{next: next, clock: ticks(time.Now())}
	s.version = uint64(s.clock)
	batch := db.NewBatch()
	defer func() { batch.Close() }()
	var account, container *counted
	var record record
	begin := func(p storage.Path, parent uint64) *counted {
		s.version++
		s.clock++
		record.id, record.version, record.created, record.modified = s.next, s.version, s.clock, s.clock
		s.next++
		key, _ := placeKeys(p, parent, 0)
		batch.Set(key, record.encode(), nil)
		return &counted{path: p, account: parent}
	}
	var accountID, containerID uint64
	end := func(c *counted, id uint64) {
		if c != nil {
			_, key := placeKeys(c.path, c.account, id)
			batch.Set(key, c.totals.encode(), nil)
		}
	}
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := f.put.path
		if container == nil || container.path != p.Parent() {
			end(container, containerID)
			if account == nil || account.path.Account != p.Account {
				end(account, accountID)
				account = begin(p.Parent().Parent(), 0)
				accountID = record.id
			}
			container = begin(p.Parent(), accountID)
			containerID = record.id
			account.containers++
		}
		s.version++
		r := &row{
			version: s.version, blob: f.id, size: f.size, etag: f.put.etag, typ: f.put.typ, meta: f.put.meta,
			created: f.put.created, modified: f.put.created, expires: f.put.expires, deleteAt: f.put.deleteAt,
		}
		batch.Set(rowKey(containerID, p.Object), r.encode(), nil)
		batch.Set(idKey(tableBlob, f.id), (&blob{home: homeFile, size: f.size, refs: 1, sum: f.sum}).encode(), nil)
		if r.expires {
			batch.Set(expiryKey(r.deleteAt, containerID, p.Object), encodePlace(p), nil)
		}
		for _, c := range [...]*counted{container, account} {
			c.objects++
			c.bytes += f.size
		}
		if batch.Len() > 4<<20 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				return err
			}
			batch.Close()
			batch = db.NewBatch()
		}
	}
	end(container, containerID)
	end(account, accountID)
	s.watermark, s.forgotten = s.next, s.version
	batch.Set(keyState, s.encode(), nil)
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("salvage: %w", err)
	}
	return nil
}
