package main

import (
	"log/slog"

	"memstore.dev/memstore/storage/disk"
)

// How the configuration calls the engine's policies.
var (
	syncs    = map[string]disk.Sync{"full": disk.SyncFull, "files": disk.SyncFilesOnly, "none": disk.SyncNone}
	verifies = map[string]disk.Verify{"recent": disk.VerifyRecent, "always": disk.VerifyAlways, "never": disk.VerifyNever}
)

// diskOptions is what the configuration says about the engine. Where it says 0
// for none, the engine wants to hear it as a negative number.
func (c *Config) diskOptions(log *slog.Logger) disk.Options {
	none := func(s Size) int64 {
		if s == 0 {
			return -1
		}
		return int64(s)
	}
	return disk.Options{
		Log:       log,
		Sync:      syncs[c.Disk.Sync],
		Verify:    verifies[c.Disk.Verify],
		CacheSize: int64(c.Disk.Cache),
		Reserve:   int64(c.Disk.Reserve),
		Ballast:   none(c.Disk.Ballast),
		ScrubRate: none(c.Disk.Scrub),
	}
}
