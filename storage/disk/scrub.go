package disk

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/time/rate"

	"memstore.dev/memstore/storage"
)

// scrubState is where the scrubber is, kept over restarts.
type scrubState struct {
	next  uint64 // id of the blob to go on with
	begun int64  // second when this round began; 0 if there was none
}

func (s *scrubState) encode() []byte {
	b := binary.AppendUvarint([]byte{recordVersion}, s.next)
	return binary.AppendVarint(b, s.begun)
}

func decodeScrub(b []byte) (s scrubState, err error) {
	d := decode(b)
	s.next, s.begun = d.uvarint(), d.varint()
	return s, d.end()
}

const (
	// scrubNote is how often the scrubber writes down where it is. What it
	// repeats after a restart is no more than it reads in that time.
	scrubNote = 10 * time.Second

	// scrubBatch is how many blobs it takes from the index at a time, so that
	// it holds no old view of it while it reads their bytes.
	scrubBatch = 256
)

// scrubLoop re-reads all content, blob after blob in the order they were put,
// no faster than Options.ScrubRate, until ctx ends. A blob that copies share
// is read once.
func (b *Backend) scrubLoop(ctx context.Context) {
	var s scrubState
	_, err := lookup(b.db, keyScrub, func(v []byte) (err error) { s, err = decodeScrub(v); return err })
	if err != nil {
		b.log.Warn("scrub: begins from the first blob", "error", err)
	}
	limit := rate.NewLimiter(rate.Limit(b.o.ScrubRate), max(bufferSize, int(min(b.o.ScrubRate, 1<<24))))
	for {
		if s.next == 0 {
			wait := time.Until(time.Unix(s.begun, 0).Add(b.o.ScrubEvery))
			if !sleep(ctx, max(wait, time.Second)) {
				return
			}
			s.begun = time.Now().Unix()
		}
		if err := b.scrubRound(ctx, &s, limit); err != nil {
			if ctx.Err() != nil {
				b.noteScrub(&s)
				return
			}
			b.log.Error("scrub: gave up this round", "error", err)
		}
		s.next = 0
		b.noteScrub(&s)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (b *Backend) noteScrub(s *scrubState) {
	if err := b.db.Set(keyScrub, s.encode(), pebble.NoSync); err != nil {
		b.log.Warn("scrub: cannot note where it is", "error", err)
	}
}

func (b *Backend) scrubRound(ctx context.Context, s *scrubState, limit *rate.Limiter) error {
	noted := time.Now()
	for {
		blobs, err := b.blobsFrom(s.next)
		if err != nil {
			return err
		}
		for _, bl := range blobs {
			if err := b.scrubBlob(ctx, bl, limit); err != nil {
				return err
			}
			s.next = bl.id + 1
			if time.Since(noted) > scrubNote {
				noted = time.Now()
				b.noteScrub(s)
			}
		}
		if len(blobs) < scrubBatch {
			return nil
		}
	}
}

type scrubbed struct {
	id uint64
	blob
}

func (b *Backend) blobsFrom(id uint64) (found []scrubbed, err error) {
	v := b.look()
	defer v.release()
	err = scanFrom(v.snap, idKey(tableBlob, id), []byte{tableBlob + 1}, func(key, value []byte) error {
		id, ok := splitID(key)
		bl, err := decodeBlob(value)
		if !ok || err != nil {
			b.log.Error("scrub: record of a blob cannot be read", "blob", id)
			return nil
		}
		if found = append(found, scrubbed{id, bl}); len(found) == scrubBatch {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// scrubBlob reads a blob. Its only errors are about the scrubber; damage it
// deals with.
func (b *Backend) scrubBlob(ctx context.Context, bl scrubbed, limit *rate.Limiter) error {
	pace := func(n int) error { return limit.WaitN(ctx, min(n, limit.Burst())) }
	var problem error
	if bl.home == homeInline {
		if err := pace(int(bl.size)); err != nil {
			return err
		}
		problem = b.scrubInline(bl)
	} else {
		problem = b.scrubFile(bl, pace)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !isDamage(problem) {
		return problem
	}
	// It may have been removed while it was read.
	v := b.look()
	now, err := readBlob(v.snap, bl.id)
	v.release()
	if err != nil || now == nil {
		return err
	}
	paths, err := b.pathsOf(bl.id)
	if err != nil {
		return err
	}
	for _, p := range paths {
		b.damaged(p, bl.id, problem)
	}
	if bl.home == homeFile && !errors.Is(problem, fs.ErrNotExist) {
		b.footers.forget(bl.id)
		if err := quarantine(b.dir, bl.id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		b.log.Error("scrub: a damaged file is in quarantine", "blob", bl.id)
	}
	return nil
}

func (b *Backend) scrubInline(bl scrubbed) error {
	v := b.look()
	defer v.release()
	data, err := readInline(v, bl.id)
	switch {
	case err != nil:
		return err
	case int64(len(data)) != bl.size:
		return errBlock
	case md5.Sum(data) != bl.sum:
		return errMD5
	}
	return nil
}

func (b *Backend) scrubFile(bl scrubbed, pace func(int) error) error {
	f, err := os.Open(blobPath(b.dir, bl.id))
	if err != nil {
		return err
	}
	defer f.Close()
	foot, err := readFooter(f, bl.size, true)
	if err != nil {
		return err
	}
	if foot.id != bl.id || foot.sum != bl.sum {
		return errFooter
	}
	return foot.verify(f, pace)
}

// pathsOf finds the objects that a blob is the content of. It reads all rows,
// which only damage is reason enough for.
func (b *Backend) pathsOf(id uint64) (paths []storage.Path, err error) {
	v := b.look()
	defer v.release()
	accounts := make(map[uint64]string)
	err = scan(v.snap, tableAccount, func(key, value []byte) error {
		r, err := decodeRecord(value)
		accounts[r.id] = string(key[1:])
		return err
	})
	if err != nil {
		return nil, err
	}
	containers := make(map[uint64]storage.Path)
	err = scan(v.snap, tableContainer, func(key, value []byte) error {
		account, name, _ := splitName(key)
		r, err := decodeRecord(value)
		containers[r.id] = storage.Path{Account: accounts[account], Container: name}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = eachRow(v.snap, func(key []byte, r *row) error {
		if r.blob == id {
			container, name, _ := splitName(key)
			p := containers[container]
			p.Object = name
			paths = append(paths, p)
		}
		return nil
	})
	return paths, err
}
