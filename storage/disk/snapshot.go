package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/storage"
)

// A Snapshot is the store as it was at one moment, in a directory of its own
// that other processes may read while the store goes on: it can be the source
// of Backup, and Check reads it. It takes no room but for what changes
// meanwhile, because it shares its files with the store.
type Snapshot struct {
	Dir string // a data directory, not to be written to

	b    *Backend
	once sync.Once
	err  error
}

// Snapshot takes a snapshot. Until it is closed no file is reclaimed, so the
// room of what is deleted or overwritten does not come back.
func (b *Backend) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !b.enter() {
		return nil, storage.ErrUnavailable
	}
	defer b.leave()
	name := strconv.FormatUint(b.snapshot.Add(1), 10)
	s := &Snapshot{Dir: filepath.Join(b.dir, dirSnapshots, name), b: b}
	// Pinned first: what the checkpoint names is then there until the end.
	b.reclaimer.pin()
	if err := s.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %w", noSpace(err)), s.Close())
	}
	return s, nil
}

func (s *Snapshot) make() error {
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	if err := s.b.db.Checkpoint(filepath.Join(s.Dir, dirMeta), pebble.WithFlushedWAL()); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("..", "..", dirBlobs), filepath.Join(s.Dir, dirBlobs)); err != nil {
		return err
	}
	return os.Link(filepath.Join(s.b.dir, fileFormat), filepath.Join(s.Dir, fileFormat))
}

// Close removes the snapshot. A snapshot that is left behind by a crash is
// removed when the store is opened.
func (s *Snapshot) Close() error {
	s.once.Do(func() {
		s.err = os.RemoveAll(s.Dir)
		s.b.reclaimer.unpin()
	})
	return s.err
}

// isSnapshot reports whether a data directory shares its files with another.
func isSnapshot(dir string) bool {
	in, err := os.Lstat(filepath.Join(dir, dirBlobs))
	return err == nil && in.Mode()&os.ModeSymlink != 0
}
