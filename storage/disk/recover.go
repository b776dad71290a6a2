package disk

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"memstore.dev/memstore/internal/durable"
)

// format is the file that says what the directory is.
type format struct {
	Format   int       `json:"format"`
	UUID     string    `json:"uuid"`
	Created  time.Time `json:"created"`
	Features []string  `json:"features"`
}

const formatVersion = 1

// readFormat reads FORMAT, and refuses what this code does not know.
func readFormat(dir string) (f format, err error) {
	file, err := openPlain(filepath.Join(dir, fileFormat))
	if err != nil {
		return f, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("%s: %w", fileFormat, err)
	}
	if f.Format != formatVersion {
		return f, fmt.Errorf("%s: version %d is not known, only %d is", fileFormat, f.Format, formatVersion)
	}
	if len(f.Features) > 0 {
		return f, fmt.Errorf("%s: features %q are not known", fileFormat, f.Features)
	}
	return f, nil
}

func writeFormat(dir string) error {
	var id [16]byte
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID, RFC 9562
	h := hex.EncodeToString(id[:])
	data, err := json.MarshalIndent(format{
		Format: formatVersion, Features: []string{}, Created: time.Now().UTC().Truncate(time.Second),
		UUID: h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:],
	}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, fileFormat), append(data, '\n'), 0o600)
}

// prepare locks a data directory, and makes what is missing of it.
func prepare(dir string) (*os.File, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	if err := furnishDir(dir); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func furnishDir(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, fileIncomplete)); err == nil {
		return errors.New("a backup or restore into this directory was interrupted; run it again")
	}
	_, err := readFormat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		// FORMAT is written first, so an index without it is no new store but
		// one that has lost something.
		if _, serr := os.Stat(filepath.Join(dir, dirMeta)); serr == nil {
			return fmt.Errorf("there is an index but no %s file", fileFormat)
		}
		err = writeFormat(dir)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{dirMeta, dirBlobs, dirStaging, dirQuarantine, dirSnapshots} {
		if err := durable.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if err := disown(dir); err != nil {
		return err
	}
	// What is there already may never have been synced by who made it.
	return errors.Join(durable.SyncDir(dir), durable.SyncDir(filepath.Dir(dir)))
}

func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return f, nil
}

// recover brings the store back to where its last commit left it: what was not
// acknowledged leaves no trace. It reads nothing that grows with the number of
// objects, and returns the files that are still to be unlinked.
func (b *Backend) recover() (reclaims []uint64, err error) {
	if b.state, err = readState(b.db); err != nil {
		return nil, err
	}
	if b.state.next == 0 {
		// Nothing was ever made in this index. Then there can be no files, or
		// it is not the index that they belong to, and the sweep must not run.
		err := eachBlobFile(b.dir, 0, func(uint64, string) error { return errIndexLost })
		if err != nil {
			return nil, err
		}
	}
	b.ids = &ids{next: max(b.state.next, 1), flight: make(map[uint64]struct{})}
	if err := b.recoverRelocations(); err != nil {
		return nil, err
	}
	if err := b.recoverStages(); err != nil {
		return nil, err
	}
	if err := emptyDir(filepath.Join(b.dir, dirSnapshots), nil); err != nil {
		return nil, err
	}
	if err := b.sweepOrphans(); err != nil {
		return nil, err
	}
	if b.unnamed = b.probeUnnamed(); b.unnamed {
		b.cradles = newCradles(b.dir)
	}
	return pendingReclaims(b.db)
}

func readState(r pebble.Reader) (s state, err error) {
	_, err = lookup(r, keyState, func(v []byte) (err error) { s, err = decodeState(v); return err })
	if err != nil {
		return s, fmt.Errorf("state of the index: %w", err)
	}
	return s, nil
}

var errIndexLost = errors.New("there are objects, but the index is lost; fsck can salvage them")

// emptyDir removes what is in a directory, but for the names to be spared.
func emptyDir(dir string, spare func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if spare != nil && spare(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweepOrphans removes files that had got their name, but not their record,
// when the store stopped. Only at or above the watermark can there be any, and
// the next commit raises it, so that they are gone must be durable before.
func (b *Backend) sweepOrphans() error {
	swept := make(map[string]bool)
	err := eachBlobFile(b.dir, b.state.watermark, func(id uint64, name string) error {
		b.ids.next = max(b.ids.next, id+1)
		bl, err := readBlob(b.db, id)
		if err != nil || bl != nil && bl.home == homeFile {
			return err
		}
		b.log.Info("removing what an unfinished upload has left", "blob", id)
		swept[filepath.Dir(name)] = true
		return os.Remove(name)
	})
	for dir := range swept {
		err = errors.Join(err, durable.SyncDir(dir))
	}
	return err
}

// eachBlobFile calls f for each blob file with an id of at least from.
func eachBlobFile(dir string, from uint64, f func(id uint64, name string) error) error {
	blobs := filepath.Join(dir, dirBlobs)
	shelves, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, sh := range shelves {
		n, ok := parseName(sh.Name())
		if !ok || n < from>>shelfShift {
			continue
		}
		files, err := os.ReadDir(filepath.Join(blobs, sh.Name()))
		if err != nil {
			return err
		}
		for _, file := range files {
			id, ok := parseName(file.Name())
			if !ok || id>>shelfShift != n || id < from {
				continue
			}
			if err := f(id, filepath.Join(blobs, sh.Name(), file.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// probeUnnamed tries whether a file can be had without a name and be given one.
func (b *Backend) probeUnnamed() bool {
	staging := filepath.Join(b.dir, dirStaging)
	f, err := openUnnamed(staging)
	if err != nil {
		return false
	}
	defer f.Close()
	d, err := os.Open(staging)
	if err != nil {
		return false
	}
	defer d.Close()
	if linkUnnamed(f, d, "probe") != nil {
		return false
	}
	os.Remove(filepath.Join(staging, "probe"))
	return true
}

// newSpool opens a file for an upload.
func (b *Backend) newSpool() (*spool, error) {
	if b.unnamed {
		f, err := b.cradles.open()
		if err != nil {
			return nil, err
		}
		return &spool{File: f}, nil
	}
	name := filepath.Join(b.dir, dirStaging, strconv.FormatUint(b.spools.Add(1), 10))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &spool{File: f, name: name}, nil
}
