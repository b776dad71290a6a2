package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"memstore.dev/memstore/storage"
)

// An Edge is a cache on another machine that may ask this server what was
// changed.
type Edge struct {
	Name    string
	Created time.Time
}

// edges are what is in memory of the edges' part of the control database.
type edges struct {
	ids      map[string]string // of storage accounts, their short names
	accounts map[string]string // of short names, the storage accounts
	keys     map[string]string // of hashes of keys, the edges
}

// edgeKeyPrefix lets people and scanners see what a key is for.
const edgeKeyPrefix = "mse_"

// hashKey is what is kept of a key. It is of 32 random bytes, which nobody
// guesses, so that a plain hash is enough.
func hashKey(key string) string {
	sum := sha256.Sum256([]byte("memstore edge\x00" + key))
	return hex.EncodeToString(sum[:])
}

// AddEdge makes a key for an edge, which is told here and never again.
func (r *Realm) AddEdge(ctx context.Context, name string) (key string, err error) {
	if !doorName.MatchString(name) {
		return "", &storage.Refusal{Text: fmt.Sprintf("Name of an edge %q must be lower-case letters, digits and hyphens", clip(name))}
	}
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	key = edgeKeyPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	err = r.change(ctx, partEdges, func(tx *sql.Tx) error {
		err := one(tx.ExecContext(ctx, `INSERT INTO edge_keys (name, hash, created) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO NOTHING`, name, hashKey(key), micros(time.Now())))
		if errors.Is(err, fs.ErrNotExist) {
			return fs.ErrExist
		}
		return err
	}, nil)
	return key, named("edge", name, err)
}

// RemoveEdge ends the key of an edge, and what it has under way within a
// second.
func (r *Realm) RemoveEdge(ctx context.Context, name string) error {
	return named("edge", name, r.change(ctx, partEdges, func(tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, `DELETE FROM edge_keys WHERE name = $1`, name))
	}, nil))
}

// Edges lists the edges that have a key, by name.
func (r *Realm) Edges(ctx context.Context) ([]Edge, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT name, created FROM edge_keys ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Edge
	for rows.Next() {
		var e Edge
		var created int64
		if err := rows.Scan(&e.Name, &created); err != nil {
			return nil, err
		}
		e.Created = fromMicros(created)
		list = append(list, e)
	}
	return list, rows.Err()
}

// EdgeOf tells which edge a key is of.
func (r *Realm) EdgeOf(key string) (name string, ok bool) {
	name, ok = r.edges.Load().keys[hashKey(key)]
	return name, ok
}

// CDNAccount is the storage account that a short name in a CDN URL means.
func (r *Realm) CDNAccount(id string) (account string, ok bool) {
	account, ok = r.edges.Load().accounts[id]
	return account, ok
}

// CDNID is the short name of a storage account in CDN URLs, 8 hexadecimal
// digits. It is made when somebody asks for it first, and stays for ever.
func (r *Realm) CDNID(ctx context.Context, account string) (string, error) {
	if id, ok := r.edges.Load().ids[account]; ok {
		return id, nil
	}
	var id string
	err := r.change(ctx, partEdges, func(tx *sql.Tx) error {
		for try := 0; ; try++ {
			id = shortName(account, try)
			err := one(tx.ExecContext(ctx, `INSERT INTO cdn_accounts (id, account, created) VALUES ($1, $2, $3)
				ON CONFLICT DO NOTHING`, id, account, micros(time.Now())))
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			// Another account has this name, or another process was faster.
			err = tx.QueryRowContext(ctx, `SELECT id FROM cdn_accounts WHERE account = $1`, account).Scan(&id)
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
	}, nil)
	return id, named("account", account, err)
}

// shortName is what an account is called if the names before are taken. It is a
// hash, so that the same accounts on a new server most likely keep their URLs.
func shortName(account string, try int) string {
	if try > 0 {
		account += "\x00" + strconv.Itoa(try)
	}
	sum := sha256.Sum256([]byte("memstore cdn account\x00" + account))
	return hex.EncodeToString(sum[:4])
}

func (r *Realm) loadEdges(ctx context.Context) (*edges, error) {
	e := &edges{ids: make(map[string]string), accounts: make(map[string]string), keys: make(map[string]string)}
	for _, q := range []struct {
		text string
		take func(a, b string)
	}{
		{`SELECT id, account FROM cdn_accounts`, func(id, account string) { e.ids[account], e.accounts[id] = id, account }},
		{`SELECT hash, name FROM edge_keys`, func(hash, name string) { e.keys[hash] = name }},
	} {
		rows, err := r.db.QueryContext(ctx, q.text)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var a, b string
			if err := rows.Scan(&a, &b); err != nil {
				return nil, err
			}
			q.take(a, b)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return e, nil
}
