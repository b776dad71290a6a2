package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
)

func backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy everything in the data directory to DIR, while serving too",
		Long: `Backup copies objects and users, as they are at one moment, to DIR, which becomes
a data directory of its own. Beside a running server it reads a snapshot that the
server holds for it.

A DIR that holds an earlier backup is brought up to date: only files that are not
there yet are copied. Whoever has the backup has the users' password hashes and
the keys of their tokens: keep it as you keep the original.`,
		Example: "  memstore backup --data /var/lib/memstore /mnt/backup",
		Args:    arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			return backup(cmd, l.Data, args[0])
		},
	}
}

func backup(cmd *cobra.Command, data, dst string) error {
	ctx := cmd.Context()
	if err := isData(data); err != nil {
		return err
	}
	if within(data, dst) {
		return usage(fmt.Errorf("%s lies in the data directory %s: a backup there would be lost together with it, and copy itself", dst, data))
	}
	if foreign(dst) {
		return fmt.Errorf("%s is not empty, and what it holds is no backup: name another directory", dst)
	}
	begun := time.Now()
	m := newMeter(cmd.ErrOrStderr(), "backup", true)
	damaged := disk.Backup(ctx, data, dst, m.at)
	if errors.Is(damaged, disk.ErrLocked) && answers(data) {
		damaged = withSnapshot(ctx, data, func(snapshot string) error {
			return disk.Backup(ctx, snapshot, dst, m.at)
		})
	}
	m.end()
	switch {
	case errors.Is(damaged, fs.ErrExist):
		return fmt.Errorf("%s holds a backup of another store: name another directory", dst)
	case errors.Is(damaged, disk.ErrLocked):
		return fmt.Errorf("%s or %s is in use by another process", data, dst)
	case damaged != nil && !errors.Is(damaged, storage.ErrDamaged): // which does not stop a backup of the others
		return damaged
	}
	if err := copyControl(ctx, data, dst); err != nil {
		return errors.Join(damaged, err)
	}
	if damaged != nil {
		return exit{exitDamaged, fmt.Errorf("%w\nWhat is damaged is not in the backup: memstore fsck --read-data names the objects. Upload them again, "+
			"delete them, or take them from an earlier backup.", damaged)}
	}
	return say(cmd, "%s backed up to %s in %v", data, dst, time.Since(begun).Round(time.Millisecond))
}

// withSnapshot runs f on a snapshot that the server of a data directory holds.
func withSnapshot(ctx context.Context, data string, f func(dir string) error) error {
	dir, release, err := borrowSnapshot(ctx, data)
	if err != nil {
		return err
	}
	return errors.Join(f(dir), release())
}

func restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore DIR",
		Short: "Bring back into an empty data directory what was backed up to DIR",
		Long: `Restore copies a backup into the data directory, which must be empty or absent,
and checks every byte on the way.`,
		Example: "  memstore restore --data /var/lib/memstore /mnt/backup",
		Args:    arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := load(cmd)
			if err != nil {
				return err
			}
			src := args[0]
			if isData(src) != nil {
				return fmt.Errorf("%s holds no backup", src)
			}
			begun := time.Now()
			m := newMeter(cmd.ErrOrStderr(), "restore", true)
			damaged := disk.Restore(cmd.Context(), src, l.Data, m.at)
			m.end()
			switch {
			case errors.Is(damaged, fs.ErrExist):
				return fmt.Errorf("%s is not empty: restore into a directory that is, or that does not exist yet; name it with --data", l.Data)
			case errors.Is(damaged, disk.ErrLocked):
				return fmt.Errorf("%s or %s is in use by another process", src, l.Data)
			case damaged != nil && !errors.Is(damaged, storage.ErrDamaged):
				return damaged
			}
			if err := copyControl(cmd.Context(), src, l.Data); err != nil {
				return errors.Join(damaged, err)
			}
			if damaged != nil {
				return exit{exitDamaged, fmt.Errorf("%w\nWhat is damaged cannot be read: upload it again, delete it, or take it from another backup.", damaged)}
			}
			return say(cmd, "%s restored from %s in %v", l.Data, src, time.Since(begun).Round(time.Millisecond))
		},
	}
}

// copyControl copies the users of a data directory, as they are at one moment,
// in the place of those in dst. A directory without users is none of its
// business.
func copyControl(ctx context.Context, src, dst string) error {
	from, to := filepath.Join(src, controlDatabase), filepath.Join(dst, controlDatabase)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	fresh := to + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := withControl(ctx, src, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `VACUUM INTO $1`, fresh)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy of the control database: %w", err)
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return err
	}
	if err := syncFile(fresh); err != nil {
		return err
	}
	// The log of the copy that is replaced must not be played into the new one.
	for _, rest := range []string{"-wal", "-shm"} {
		if err := os.Remove(to + rest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.Rename(fresh, to)
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// withControl opens the control database of a data directory as it is, without
// the realm over it.
func withControl(ctx context.Context, dir string, f func(db *sql.DB) error) error {
	path, err := filepath.Abs(filepath.Join(dir, controlDatabase))
	if err != nil {
		return err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": {"busy_timeout(10000)"}, "mode": {"rw"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Close())
}

// checkControl has the control database prove that it is whole.
func checkControl(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, controlDatabase)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return withControl(ctx, dir, func(db *sql.DB) error {
		var verdict string
		if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return errors.New(verdict)
		}
		return nil
	})
}
