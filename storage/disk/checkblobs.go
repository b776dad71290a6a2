package disk

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"memstore.dev/memstore/internal/durable"
)

// checkBlobs goes through blobs and their uses side by side, in order of id.
func (c *checker) checkBlobs() error {
	slices.SortFunc(c.uses, func(a, b use) int { return cmp.Compare(a.blob, b.blob) })
	total, err := c.blobsInAll()
	if err != nil {
		return err
	}
	var done int64
	uses := c.uses
	// before takes the uses of a blob, and deals with those of lesser ids,
	// which have none.
	before := func(id uint64) (of []use, err error) {
		for len(uses) > 0 && uses[0].blob <= id {
			n := 1
			for n < len(uses) && uses[n].blob == uses[0].blob {
				n++
			}
			these := uses[:n]
			if uses = uses[n:]; these[0].blob == id {
				return these, nil
			}
			if err := c.lostBlob(these); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	err = scan(c.db, tableBlob, func(key, value []byte) error {
		id, ok := splitID(key)
		b, err := decodeBlob(value)
		if !ok || err != nil {
			c.find(Finding{Kind: KindRecord, Detail: fmt.Sprintf("key %q", key), blob: id})
			_, err := before(id)
			return err
		}
		c.report.Blobs++
		c.seen(id, 0)
		of, err := before(id)
		if err != nil {
			return err
		}
		if err := c.checkBlob(id, &b, of); err != nil {
			return err
		}
		if done++; c.o.ReadData {
			done += b.size - 1
		}
		c.o.Progress(min(done, total), total)
		return c.ctx.Err()
	})
	if err != nil {
		return err
	}
	_, err = before(1<<64 - 1)
	return err
}

// blobsInAll is the size of the work.
func (c *checker) blobsInAll() (total int64, err error) {
	err = scan(c.db, tableBlob, func(_, value []byte) error {
		if b, err := decodeBlob(value); err == nil && c.o.ReadData {
			total += b.size
		} else {
			total++
		}
		return c.ctx.Err()
	})
	return total, err
}

func (c *checker) checkBlob(id uint64, b *blob, uses []use) error {
	if len(uses) == 0 {
		c.mend(Finding{Kind: KindUnusedBlob, Detail: fmt.Sprintf("blob %d", id)}, func(batch *pebble.Batch) {
			batch.Delete(idKey(tableBlob, id), nil)
			if b.home == homeInline {
				batch.Delete(idKey(tableInline, id), nil)
			} else {
				batch.Set(idKey(tableReclaim, id), []byte{recordVersion, homeFile}, nil)
			}
		})
		return nil
	}
	for _, u := range uses {
		if u.size != b.size {
			c.find(Finding{Kind: KindSize, Detail: fmt.Sprintf("row says %d, blob %d", u.size, b.size), blob: id})
			break
		}
	}
	if n := uint64(len(uses)); n != b.refs {
		right := *b
		right.refs = n
		c.mend(Finding{Kind: KindReferences, Detail: fmt.Sprintf("%d are written, %d were found", b.refs, n), blob: id}, func(batch *pebble.Batch) {
			batch.Set(idKey(tableBlob, id), right.encode(), nil)
		})
	}
	if b.home == homeInline {
		return c.checkInlineContent(id, b)
	}
	return c.checkFileContent(id, b)
}

func (c *checker) checkInlineContent(id uint64, b *blob) error {
	var problem error
	there, err := lookup(c.db, idKey(tableInline, id), func(value []byte) error {
		data, err := decodeInline(value)
		switch {
		case err != nil:
			problem = err
		case int64(len(data)) != b.size:
			problem = fmt.Errorf("%d bytes of %d", len(data), b.size)
		case c.o.ReadData && md5.Sum(data) != b.sum:
			problem = errMD5
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !there {
		c.find(Finding{Kind: KindLostContent, Detail: "not in the index", blob: id})
	} else if problem != nil {
		c.find(Finding{Kind: KindDamage, Detail: problem.Error(), blob: id})
	}
	return nil
}

func (c *checker) checkFileContent(id uint64, b *blob) error {
	name := blobPath(c.dir, id)
	finding := Finding{Kind: KindDamage, File: c.relative(name), blob: id}
	f, err := openPlain(name)
	if errors.Is(err, fs.ErrNotExist) {
		finding.Kind = KindLostContent
		c.find(finding)
		return nil
	}
	if errors.Is(err, errNotPlain) || errors.Is(err, unix.ELOOP) {
		finding.Detail = errNotPlain.Error()
		c.find(finding)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	foot, err := readFooter(f, b.size, true)
	if err == nil && (foot.id != id || foot.sum != b.sum) {
		err = errors.New("the footer is that of another")
	}
	if err == nil && c.o.ReadData {
		err = foot.verify(f, func(int) error { return c.ctx.Err() })
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
	if err != nil {
		finding.Detail = err.Error()
		c.find(finding)
	}
	return nil
}

// lostBlob deals with rows whose blob has no record. If the bytes are there,
// the record can be made again.
func (c *checker) lostBlob(uses []use) error {
	id := uses[0].blob
	found := blob{size: uses[0].size, refs: uint64(len(uses))}
	_, err := lookup(c.db, idKey(tableInline, id), func(value []byte) error {
		if data, err := decodeInline(value); err == nil && int64(len(data)) == found.size {
			found.home, found.sum = homeInline, md5.Sum(data)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f, err := openPlain(blobPath(c.dir, id)); err == nil {
		if foot, err := readFooter(f, found.size, true); err == nil && foot.id == id {
			found.home, found.sum = homeFile, foot.sum
		}
		f.Close()
	}
	finding := Finding{Kind: KindLostBlob, Detail: fmt.Sprintf("blob %d", id), blob: id}
	if found.home == 0 {
		c.find(finding)
		return nil
	}
	c.mend(finding, func(b *pebble.Batch) {
		b.Set(idKey(tableBlob, id), found.encode(), nil)
		b.Delete(idKey(tableReclaim, id), nil)
	})
	return nil
}

// checkInline looks for bytes in the index that have no blob.
func (c *checker) checkInline() error {
	return scan(c.db, tableInline, func(key, _ []byte) error {
		id := binary.BigEndian.Uint64(append(slices.Clone(key[1:]), make([]byte, 8)...))
		b, err := readBlob(c.db, id)
		if err != nil && !errors.Is(err, errRecord) {
			return err
		}
		if err != nil || b != nil && b.home == homeInline || c.used(id) {
			return c.ctx.Err()
		}
		orphan := slices.Clone(key)
		c.mend(Finding{Kind: KindUnusedBlob, Detail: fmt.Sprintf("bytes of blob %d", id)}, func(b *pebble.Batch) {
			b.Delete(orphan, nil)
		})
		return c.ctx.Err()
	})
}

func (c *checker) used(id uint64) bool {
	_, ok := slices.BinarySearchFunc(c.uses, id, func(u use, id uint64) int { return cmp.Compare(u.blob, id) })
	return ok
}

// checkFiles looks for files that nothing in the index speaks of.
func (c *checker) checkFiles() error {
	blobs := filepath.Join(c.dir, dirBlobs)
	shelves, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, sh := range shelves {
		n, ok := parseName(sh.Name())
		if !ok || !sh.IsDir() {
			c.find(Finding{Kind: KindForeign, File: c.relative(filepath.Join(blobs, sh.Name()))})
			continue
		}
		files, err := os.ReadDir(filepath.Join(blobs, sh.Name()))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			id, ok := parseName(file.Name())
			name := filepath.Join(blobs, sh.Name(), file.Name())
			if !ok || id>>shelfShift != n {
				c.find(Finding{Kind: KindForeign, File: c.relative(name)})
				continue
			}
			if err := c.checkFile(id, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) checkFile(id uint64, name string) error {
	b, err := readBlob(c.db, id)
	if err != nil && !errors.Is(err, errRecord) {
		return err
	}
	if err != nil || b != nil && b.home == homeFile || c.used(id) {
		return nil
	}
	leaving, err := lookup(c.db, idKey(tableReclaim, id), func([]byte) error { return nil })
	if err != nil {
		return err
	}
	if leaving || id >= c.state.watermark {
		c.report.Leftovers++
		return nil
	}
	finding := Finding{Kind: KindOrphan, File: c.relative(name)}
	if c.batch != nil {
		if err := quarantine(c.dir, id); err != nil {
			return err
		}
		finding.Repaired = true
	}
	c.find(finding)
	return nil
}

func (c *checker) relative(name string) string {
	if rel, err := filepath.Rel(c.dir, name); err == nil {
		return rel
	}
	return name
}

// quarantine takes a file out of service, for somebody to look at.
func quarantine(dir string, id uint64) error {
	if err := durable.MkdirAll(filepath.Join(dir, dirQuarantine), 0o700); err != nil {
		return err
	}
	return durable.Rename(blobPath(dir, id), filepath.Join(dir, dirQuarantine, strconv.FormatUint(id, 16)))
}
