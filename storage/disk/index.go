package disk

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// indexFormat is pinned: Pebble's formats can only be raised, and an older
// Memstore must be able to open what a newer one of the same format wrote.
const indexFormat = pebble.FormatTableFormatV6

// openIndex opens the index of a data directory.
func openIndex(dir string, o Options, fail func(error), s *space) (*pebble.DB, error) {
	options := indexOptions(o, fail)
	options.FS = vfs.OnDiskFull(o.fs, s.dropBallast)
	defer options.Cache.Unref()
	return pebble.Open(filepath.Join(dir, dirMeta), options)
}

func indexOptions(o Options, fail func(error)) *pebble.Options {
	options := &pebble.Options{
		FormatMajorVersion: indexFormat,
		// Pebble takes the room of its memtables, the one in use and the one
		// kept for the next, out of the cache: without more, a store that was
		// written to had next to none left to read with.
		Cache:                       pebble.NewCache(o.CacheSize + 2*o.MemTable),
		MemTableSize:                uint64(o.MemTable),
		MemTableStopWritesThreshold: 4,
		Logger:                      indexLog{o.Log, fail},
		EventListener:               &pebble.EventListener{},
	}
	options.EventListener.BackgroundError = (&setbacks{log: o.Log}).add
	options.EventListener.DataCorruption = func(info pebble.DataCorruptionInfo) {
		o.Log.Error("index: damaged", "file", info.Path, "error", info.Details)
	}
	for i := range options.Levels {
		// Where the index outgrows its cache, most reads of an object meet a
		// block that is not there; small ones are read and unpacked the sooner.
		// Listings are as fast, and the files no larger.
		options.Levels[i].BlockSize = 4 << 10
		options.Levels[i].IndexBlockSize = 256 << 10 // one step, not two, from a table to its blocks
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return options
}

// openIndexReadOnly opens the index of a store nobody writes to.
func openIndexReadOnly(meta string, log *slog.Logger) (*pebble.DB, error) {
	// A pipe among its files would keep us waiting.
	if _, err := plainFiles(meta); err != nil {
		return nil, err
	}
	var failure error
	options := indexOptions(Options{CacheSize: defaultCache, MemTable: defaultMemTable, Log: log}, func(err error) { failure = err })
	defer options.Cache.Unref()
	options.ReadOnly = true
	options.FS = lockless{vfs.Default}
	options.ErrorIfNotExists = true
	db, err := pebble.Open(meta, options)
	if err == nil && failure != nil {
		db.Close()
		err = failure
	}
	return db, err
}

// setbacks tell the log of work in the background that failed. Pebble tries it
// again at once, thousands of times a second where the disk is full or files
// run out, so it is said once a minute, with how often it was.
type setbacks struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	said  time.Time
	since int // setbacks that were not told of
}

const setbackEvery = time.Minute

func (s *setbacks) add(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if !s.said.IsZero() && time.Since(s.said) < setbackEvery {
		return
	}
	s.log.Error("index: work in the background failed, and is tried again", "error", err, "times", s.since)
	s.said, s.since = time.Now(), 0
}

// indexLog is where Pebble speaks. Fatalf is its only word for a write-ahead
// log that failed: the call that wrote may well return without an error.
type indexLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l indexLog) Infof(string, ...any) {}

func (l indexLog) Errorf(format string, args ...any) {
	l.log.Warn("index: " + fmt.Sprintf(format, args...))
}

func (l indexLog) Fatalf(format string, args ...any) {
	l.fail(fmt.Errorf("index: "+format, args...))
}

// lockless lets an index be read where no lock file can be made, such as on a
// backup that is mounted read-only. The lock that counts is the data
// directory's.
type lockless struct{ vfs.FS }

func (lockless) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// openIndexToRepair opens the index of a store that is not in service. A log
// that cannot be written ends the process, as nothing may be called repaired
// that is not.
func openIndexToRepair(meta string) (*pebble.DB, error) {
	o := Options{CacheSize: defaultCache, MemTable: defaultMemTable}.withDefaults()
	options := indexOptions(o, o.Fatal)
	defer options.Cache.Unref()
	return pebble.Open(meta, options)
}

// settleIndex changes the index of a store that is not in service, and leaves
// all of it in tables: what its logs held is lost with none of them. Unlike an
// index that is repaired, this one is only a copy, so when its disk fails that
// is an error like any other.
func settleIndex(meta string, change func(*pebble.DB) error) (err error) {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	options := indexOptions(Options{CacheSize: defaultCache, MemTable: defaultMemTable}.withDefaults(), fail)
	defer options.Cache.Unref()
	options.EventListener.BackgroundError = fail
	options.DisableAutomaticCompactions = true
	db, err := pebble.Open(meta, options)
	if err != nil {
		return noSpace(err)
	}
	defer func() {
		err = errors.Join(err, db.Close())
		select {
		case failure := <-failed:
			err = errors.Join(err, noSpace(failure))
		default:
		}
	}()
	if err := change(db); err != nil {
		return err
	}
	flushed, err := db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case err := <-failed: // it would be tried again forever
		return noSpace(err)
	}
}
