package auth

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

//go:embed schema/*.sql
var schema embed.FS

// openDatabase opens the control database, which is made if it is not there,
// and brings its schema up to date. Several processes may do so at once.
func openDatabase(ctx context.Context, path string) (*sql.DB, error) {
	// SQLite gives the files beside it (-wal, -shm) the permissions of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Chmod(0o600), f.Close())
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	// Writers take their lock when they begin, since one that only takes it
	// halfway may find that another was faster, and no waiting helps then.
	dsn := (&url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
	}.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// migrate applies the steps of the schema that are missing. Where another
// process is at it, one of the two fails, and finds the work done when it
// tries again.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := fs.Sub(schema, "schema")
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		// What a provider saw of the database it keeps, so each try has its own.
		p, err := goose.NewProvider(goose.DialectSQLite3, db, steps, goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return err
		}
		have, want, err := p.GetVersions(ctx)
		if err == nil && have > want {
			return fmt.Errorf("the control database has version %d, and this program knows %d at most: it was written by a newer one", have, want)
		}
		if err == nil {
			_, err = p.Up(ctx)
		}
		if err == nil || try == 20 {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The parts of the control database whose changes are counted.
const (
	partUsers  = "users"
	partTokens = "tokens"
	partBans   = "bans"
	partEdges  = "edges"
)

// change makes one change to a part of the control database, whole or not at
// all, and has it seen: here when change returns, elsewhere within a moment.
// If known is not nil it does to what is in memory what f does to the database,
// which saves reading the part again unless others changed it, too.
func (r *Realm) change(ctx context.Context, part string, f func(tx *sql.Tx) error, known func()) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	var n int64
	if err := tx.QueryRowContext(ctx, `UPDATE changed SET n = n + 1 WHERE what = $1 RETURNING n`, part).Scan(&n); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	if known != nil && r.seen[part] == n-1 {
		known()
		r.seen[part] = n
		return nil
	}
	// It is done, and must be seen even if who asked for it is gone.
	return r.load(context.WithoutCancel(ctx), part, n)
}

// counters reads how often each part has changed.
func (r *Realm) counters(ctx context.Context) (map[string]int64, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT what, n FROM changed`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	n := make(map[string]int64)
	for rows.Next() {
		var what string
		var count int64
		if err := rows.Scan(&what, &count); err != nil {
			return nil, err
		}
		n[what] = count
	}
	return n, rows.Err()
}

// micros is how the control database writes a time.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
