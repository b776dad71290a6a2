package disk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// checkStages looks at what was kept of uploads. A record without its bytes, or
// bytes without a record, are dropped by the next Open. Snapshots and backups
// have no bytes, which is nothing to be told of.
func (c *checker) checkStages() error {
	entries, err := os.ReadDir(filepath.Join(c.dir, dirStaging))
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return err
	}
	wanted := make(map[string]bool)
	err = eachStage(c.db, func(key []byte, k *keptStage, err error) error {
		if err != nil {
			c.unreadable(key, k.path)
			return c.ctx.Err()
		}
		c.seen(k.id, 0)
		if absent {
			return c.ctx.Err()
		}
		if k.look(c.dir) != nil {
			c.report.Leftovers++
			return c.ctx.Err()
		}
		c.report.Kept++
		c.report.KeptBytes += k.size
		name := keptName(c.dir, k.id)
		wanted[filepath.Base(name)] = true
		if c.o.ReadData {
			if err := c.verifyStage(name, k); err != nil {
				c.find(Finding{Kind: KindDamage, Path: k.path, File: c.relative(name), Detail: err.Error()})
			}
		}
		return c.ctx.Err()
	})
	for _, e := range entries {
		if !wanted[e.Name()] {
			c.report.Leftovers++
		}
	}
	return err
}

// verifyStage reads what is kept, as far as its checksums are known.
func (c *checker) verifyStage(name string, k *keptStage) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<blockShift)
	for i, want := range k.sums {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		at := int64(i) << blockShift
		b := buf[:min(1<<blockShift, k.size-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		if crc32.Checksum(b, castagnoli) != want {
			return fmt.Errorf("%w: block %d", errBlock, i)
		}
	}
	return nil
}
