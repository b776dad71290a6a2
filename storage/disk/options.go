package disk

import (
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say how a store is to be run; none of them changes its format. The
// zero Options are sound.
type Options struct {
	// Log is told of damage, of repairs, and of what the operator should know.
	// Nil for slog.Default.
	Log *slog.Logger

	// Sync is what is made durable before a change is acknowledged. Anything
	// but SyncFull loses acknowledged changes in a power cut; it is for tests
	// that must see them lost, and for stores that can be made again.
	Sync Sync

	// InlineLimit is up to how many bytes an object is kept in the index
	// rather than in a file of its own. 16 KiB if 0; at most 64 KiB; negative
	// for none.
	InlineLimit int64

	// CacheSize is how many bytes of the index are kept in memory. 64 MiB if 0.
	CacheSize int64

	// MemTable is how many bytes of changes are kept in memory until they are
	// sorted into the index. 16 MiB if 0. The disk needs room for a few of
	// them at any time; Reserve must cover that.
	MemTable int64

	// Reserve is how much room on the disk is kept free: what would take more
	// is refused with storage.ErrNoSpace before a byte is stored, so that the
	// index never meets a full disk and deletes are always possible. If 0 it
	// is 2 % of the disk, or 1 GiB and what Ballast and MemTable need, if that
	// is more.
	Reserve int64

	// ReserveInodes is how many inodes are kept free likewise. 1,000 if 0.
	ReserveInodes int64

	// Ballast is the size of a file that takes up room, to be given back to
	// the index if others have filled the disk all the same. 256 MiB if 0;
	// negative for none.
	Ballast int64

	// Verify is which reads of files are held against their checksums.
	Verify Verify

	// VerifyAgain is how long, with VerifyRecent, a block that was checked is
	// trusted. 10 minutes if 0.
	VerifyAgain time.Duration

	// ScrubRate is how many bytes per second are re-read in the background to
	// find what has rotted. 10 MB/s if 0; negative for no scrubbing.
	ScrubRate int64

	// ScrubEvery is the least time from the beginning of one scrub of
	// everything to that of the next. 24 hours if 0.
	ScrubEvery time.Duration

	// JournalKeep is how many changes the journal reaches back at least.
	// 262,144 if 0.
	JournalKeep int

	// Fatal is called once, when the disk has failed in a way after which
	// nothing it says can be trusted: an fsync or the write-ahead log. The
	// Backend acknowledges nothing anymore and answers changes with
	// storage.ErrUnavailable. If nil, the process exits with status 1; what it
	// has acknowledged is there when it is started again.
	Fatal func(error)

	fs vfs.FS // of the index, for tests that make it fail
}

// Sync is how much is made durable.
type Sync int

const (
	SyncFull      Sync = iota // files, directories and the index
	SyncFilesOnly             // not directories: a file may be there and its name not
	SyncNone                  // nothing: the kernel writes when it likes
)

// Verify is a policy of reading.
type Verify int

const (
	// VerifyRecent checks a block if that was not done within VerifyAgain.
	// What was is handed out by sendfile, at a fraction of the cost. Bytes
	// that this process wrote within that time, and that have not left the
	// page cache since, count as checked.
	VerifyRecent Verify = iota

	VerifyAlways // checks every block that is read; no sendfile
	VerifyNever  // leaves it to the scrubber
)

const (
	defaultInline   = 16 << 10
	defaultCache    = 64 << 20
	defaultMemTable = 16 << 20
	defaultBallast  = 256 << 20
	defaultScrub    = 10_000_000
	defaultJournal  = 1 << 18

	headsBudget   = 16 << 20
	footersBudget = 8 << 20
)

func (o Options) withDefaults() Options {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
		*v = max(*v, 0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.InlineLimit < 0 {
		o.InlineLimit = -1
	} else {
		set(&o.InlineLimit, defaultInline)
		o.InlineLimit = min(o.InlineLimit, inlineGuess)
	}
	set(&o.CacheSize, defaultCache)
	set(&o.MemTable, defaultMemTable)
	set(&o.ReserveInodes, 1000)
	set(&o.Ballast, defaultBallast)
	set(&o.ScrubRate, defaultScrub)
	if o.VerifyAgain == 0 {
		o.VerifyAgain = 10 * time.Minute
	}
	if o.ScrubEvery == 0 {
		o.ScrubEvery = 24 * time.Hour
	}
	if o.JournalKeep <= 0 {
		o.JournalKeep = defaultJournal
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.Fatal == nil {
		log := o.Log
		o.Fatal = func(err error) {
			log.Error("the disk has failed; exiting, so that nothing is acknowledged that may be lost", "error", err)
			os.Exit(1)
		}
	}
	return o
}
