package main

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memstore.dev/memstore/storage/disk"
)

// TestUsersOfABackup: they come back with it, unless they are not those that
// were in it; nothing in their database runs by itself, and no log beside it
// is read.
func TestUsersOfABackup(t *testing.T) {
	data, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	run := func(args ...string) (code int, says string) {
		t.Helper()
		code, stdout, stderr := runLine(t, "", args...)
		return code, stdout + stderr
	}
	must := func(args ...string) {
		t.Helper()
		if code, says := run(args...); code != 0 {
			t.Fatalf("memstore %s exits with %d and says\n%s", strings.Join(args, " "), code, says)
		}
	}
	must("user", "add", "--generate", "ann:boss", "--admin", "--data", data)
	b, err := disk.Open(data, disk.Options{Reserve: 1 << 20, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	must("backup", backup, "--data", data)
	must("backup", backup, "--data", data) // over the first
	for range 2 {                          // which changes nothing
		must("fsck", "--data", backup)
	}
	control := filepath.Join(backup, controlDatabase)
	whole, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	execute := func(t *testing.T, statement string) {
		err := withControl(backup, func(db *sql.DB) error { _, err := db.Exec(statement); return err })
		if err == nil {
			err = disk.Enlist(backup, controlDatabase) // whoever did that can do this
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rotten := bytes.Clone(whole)
	rotten[len(rotten)/2] ^= 4
	for name, c := range map[string]struct {
		harm func(t *testing.T)
		says string
	}{
		"rotten":  {func(t *testing.T) { os.WriteFile(control, rotten, 0o600) }, "control.db: its SHA-256 is another"},
		"lost":    {func(t *testing.T) { os.Remove(control) }, "control.db"},
		"view":    {func(t *testing.T) { execute(t, `CREATE VIEW v AS SELECT 1`) }, `view "v"`},
		"trigger": {func(t *testing.T) { execute(t, `CREATE TRIGGER g AFTER DELETE ON users BEGIN SELECT 1; END`) }, `trigger "g"`},
		"virtual": {func(t *testing.T) { execute(t, `CREATE VIRTUAL TABLE w USING fts5(a)`) }, `table "w"`},
		"not vouched for": {func(t *testing.T) {
			if err := os.Rename(control, control+".aside"); err != nil {
				t.Fatal(err)
			}
			if err := disk.Backup(t.Context(), data, backup, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(control+".aside", control); err != nil {
				t.Fatal(err)
			}
		}, "manifest does not have the users"},
	} {
		t.Run(name, func(t *testing.T) {
			c.harm(t)
			back := filepath.Join(t.TempDir(), "back")
			if code, says := run("restore", backup, "--data", back); code == 0 || !strings.Contains(says, c.says) {
				t.Errorf("restore exits with %d and says %s; want %q", code, says, c.says)
			}
			if _, err := os.Stat(filepath.Join(back, controlDatabase)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("users were restored: %v", err)
			}
			if err := os.WriteFile(control, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := disk.Enlist(backup, controlDatabase); err != nil {
				t.Fatal(err)
			}
		})
	}

	// A log from elsewhere, which would be played into the users.
	err = withControl(backup, func(db *sql.DB) error {
		db.SetMaxOpenConns(1)
		for _, statement := range []string{`PRAGMA journal_mode=WAL`, `DELETE FROM users`} {
			if _, err := db.Exec(statement); err != nil {
				return err
			}
		}
		log, err := os.ReadFile(control + "-wal")
		if err == nil && len(log) == 0 {
			err = errors.New("the log is empty")
		}
		if err != nil {
			return err
		}
		main, err := os.ReadFile(control) // in which they are still
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(control+".main", main, 0o600), os.WriteFile(control+".log", log, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{control + ".main": control, control + ".log": control + "-wal"} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Enlist(backup, controlDatabase); err != nil {
		t.Fatal(err)
	}
	back := filepath.Join(t.TempDir(), "back")
	must("restore", backup, "--data", back)
	if code, says := run("user", "list", "--data", back); code != 0 || !strings.Contains(says, "ann:boss") {
		t.Errorf("after a restore beside a log of others there are the users\n%s", says)
	}
}
