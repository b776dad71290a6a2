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
	if err := backupControl(ctx, data, dst); err != nil {
		return errors.Join(damaged, err)
	}
	if err := backupKeys(data, dst); err != nil {
		return errors.Join(damaged, err)
	}
	if damaged != nil {
		return exit{exitDamaged, fmt.Errorf("%w\nWhat is damaged is not in the backup: memstore fsck --read-data names the objects. Upload them again, "+
			"delete them, or take them from an earlier backup", damaged)}
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
and checks every byte on the way. A backup that was interrupted, or that is not as
its manifest says, is refused.`,
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
			users, err := usersIn(src)
			if err != nil {
				return err
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
			if users {
				if err := restoreControl(cmd.Context(), src, l.Data); err != nil {
					return errors.Join(damaged, err)
				}
			}
			if err := restoreKeys(src, l.Data); err != nil {
				return errors.Join(damaged, err)
			}
			if damaged != nil {
				return exit{exitDamaged, fmt.Errorf("%w\nWhat is damaged cannot be read: upload it again, delete it, or take it from another backup", damaged)}
			}
			return say(cmd, "%s restored from %s in %v", l.Data, src, time.Since(begun).Round(time.Millisecond))
		},
	}
}

// backupControl copies the users of a data directory, as they are at one
// moment, into a backup, and into its manifest. A directory without users is
// none of its business.
func backupControl(ctx context.Context, data, dst string) error {
	if _, err := os.Stat(filepath.Join(data, controlDatabase)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := withControl(data, func(db *sql.DB) error { return copyControl(ctx, db, dst) })
	if err != nil {
		return fmt.Errorf("copy of the control database: %w", err)
	}
	return disk.Enlist(dst, controlDatabase)
}

// usersIn reports whether there are users in a backup. They are to be in its
// manifest; if not, the backup was interrupted, or somebody has put them there.
func usersIn(backup string) (bool, error) {
	m, err := disk.ReadManifest(backup)
	if err != nil {
		return false, fmt.Errorf("%s cannot be restored: %w", backup, err)
	}
	if _, ok := m.File(controlDatabase); ok {
		return true, nil
	}
	if _, err := os.Lstat(filepath.Join(backup, controlDatabase)); err == nil {
		return false, fmt.Errorf("%s cannot be restored: its manifest does not have the users, so the backup was interrupted; make it again", backup)
	}
	return false, nil
}

// restoreControl copies the users of a backup, which the manifest has vouched
// for. The file is read as it is: a log that lies beside it is none of ours.
// Ours has tables and indexes only; what would run by itself is refused.
func restoreControl(ctx context.Context, backup, dst string) error {
	err := openControl(backup, url.Values{"mode": {"ro"}, "immutable": {"1"}}, func(db *sql.DB) error {
		var kind, name string
		err := db.QueryRowContext(ctx, `SELECT type, name FROM sqlite_schema
			WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1`).Scan(&kind, &name)
		if err == nil {
			return fmt.Errorf("it has a %s %q, which no backup has", kind, name)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return copyControl(ctx, db, dst)
	})
	if err != nil {
		return fmt.Errorf("control database of %s: %w", backup, err)
	}
	return nil
}

// copyControl puts a copy of a control database in the place of that in dst.
func copyControl(ctx context.Context, db *sql.DB, dst string) error {
	to := filepath.Join(dst, controlDatabase)
	fresh := to + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, fresh); err != nil {
		return err
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
func withControl(dir string, f func(db *sql.DB) error) error {
	return openControl(dir, url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)"}}, f)
}

func openControl(dir string, how url.Values, f func(db *sql.DB) error) error {
	path, err := filepath.Abs(filepath.Join(dir, controlDatabase))
	if err != nil {
		return err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: how.Encode()}
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
	return withControl(dir, func(db *sql.DB) error {
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
