package auth

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Record is everything that there is to know of a user: what Export hands out
// and Import takes in, also elsewhere.
type Record struct {
	User User

	// Hash is that of his password, argon2id in PHC form or bcrypt, and empty if
	// no password lets him in. Import leaves the one he has if it is nil.
	Hash *string

	// Keys are all SSH keys that let him in. Import leaves those he has if they
	// are nil, and takes all of them from him if there are none.
	Keys []Key
}

// Export returns the users of an account by name, or all users if account is "".
func (r *Realm) Export(ctx context.Context, account string) ([]Record, error) {
	users, err := r.Users(ctx, account)
	if err != nil {
		return nil, err
	}
	keys, err := r.Keys(ctx, "")
	if err != nil {
		return nil, err
	}
	var list []Record
	for _, u := range users {
		rec := Record{User: u, Hash: new(string), Keys: []Key{}}
		if err := r.db.QueryRowContext(ctx, `SELECT password FROM users WHERE name = $1`, u.Name).Scan(rec.Hash); err != nil {
			return nil, named("user", u.Name, err)
		}
		for _, k := range keys {
			if k.User == u.Name {
				rec.Keys = append(rec.Keys, k)
			}
		}
		list = append(list, rec)
	}
	return list, nil
}

// An ImportError says which of the records cannot be.
type ImportError struct {
	Index int
	Err   error
}

func (e *ImportError) Error() string { return e.Err.Error() }
func (e *ImportError) Unwrap() error { return e.Err }

// Imported counts what became of records.
type Imported struct{ Added, Changed, Same int }

// Import adds the users of the records, with their accounts where these are
// new, and makes those who are there as their records say, all of them or, on
// an ImportError, none. Who is as his record says keeps his tokens and sessions;
// users without a record stay as they are. If try is set it only says what it
// would do.
func (r *Realm) Import(ctx context.Context, list []Record, try bool) (done Imported, err error) {
	for i := range list {
		if err := list[i].check(); err != nil {
			return done, &ImportError{i, err}
		}
	}
	errTried := errors.New("only tried")
	err = r.change(ctx, partUsers, func(tx *sql.Tx) error {
		done = Imported{}
		for i := range list {
			rec := &list[i]
			if err := rec.put(ctx, tx, &done); err != nil {
				return &ImportError{i, named("user", rec.User.Name, err)}
			}
		}
		if try {
			return errTried
		}
		return nil
	}, nil)
	if errors.Is(err, errTried) {
		err = nil
	}
	if err != nil {
		done = Imported{}
	}
	return done, err
}

func (rec *Record) check() error {
	if rec.User.Role == "" {
		rec.User.Role = RoleUser
	}
	if err := rec.User.check(); err != nil {
		return err
	}
	if rec.Hash != nil && *rec.Hash != "" {
		if err := checkHash(*rec.Hash); err != nil {
			return err
		}
	}
	for _, k := range rec.Keys {
		if err := checkKey(k.Public); err != nil {
			return err
		}
	}
	return nil
}

// put makes the user what the record says, within a transaction.
func (rec *Record) put(ctx context.Context, tx *sql.Tx, done *Imported) error {
	u := &rec.User
	var role, hash, imported, doors, networks string
	var readOnly, disabled bool
	err := tx.QueryRowContext(ctx, `SELECT role, read_only, disabled, password, imported, doors, networks FROM users WHERE name = $1`, u.Name).
		Scan(&role, &readOnly, &disabled, &hash, &imported, &doors, &networks)
	if errors.Is(err, sql.ErrNoRows) {
		if rec.Hash != nil {
			hash = *rec.Hash
		}
		if err := insertUser(ctx, tx, *u, hash); err != nil {
			return err
		}
		done.Added++
		_, _, err := rec.putKeys(ctx, tx)
		return err
	}
	if err != nil {
		return err
	}
	other := rec.Hash != nil && *rec.Hash != hash && digest(*rec.Hash) != imported
	if other {
		if _, err := tx.ExecContext(ctx, `UPDATE users SET password = $2, imported = '' WHERE name = $1`, u.Name, *rec.Hash); err != nil {
			return err
		}
	}
	changed := other || role != string(u.Role) || readOnly != u.ReadOnly || disabled != u.Disabled ||
		doors != strings.Join(u.Doors, ",") || networks != joined(u.Networks)
	added, taken, err := rec.putKeys(ctx, tx)
	if err != nil {
		return err
	}
	switch {
	case changed || taken: // which ends his tokens, as it does one by one
		if _, err := tx.ExecContext(ctx, `UPDATE users SET epoch = `+laterEpoch+`, role = $3, read_only = $4, disabled = $5, doors = $6, networks = $7 WHERE name = $1`,
			u.Name, micros(time.Now()), string(u.Role), u.ReadOnly, u.Disabled, strings.Join(u.Doors, ","), joined(u.Networks)); err != nil {
			return err
		}
		done.Changed++
	case added:
		done.Changed++
	default:
		done.Same++
	}
	return nil
}

// putKeys gives the user the keys of the record and no others. It reports
// whether any was added, and any taken.
func (rec *Record) putKeys(ctx context.Context, tx *sql.Tx) (added, taken bool, err error) {
	if rec.Keys == nil {
		return false, false, nil
	}
	has := map[string]string{} // remarks by fingerprint
	rows, err := tx.QueryContext(ctx, `SELECT fingerprint, remark FROM ssh_keys WHERE user_name = $1`, rec.User.Name)
	if err != nil {
		return false, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var print, remark string
		if err := rows.Scan(&print, &remark); err != nil {
			return false, false, err
		}
		has[print] = remark
	}
	if err := rows.Err(); err != nil {
		return false, false, err
	}
	rows.Close()
	wanted := map[string]bool{}
	for _, k := range rec.Keys {
		print, remark := ssh.FingerprintSHA256(k.Public), cleanRemark(k.Comment)
		if wanted[print] {
			return false, false, fmt.Errorf("key %s is given twice", print)
		}
		wanted[print] = true
		old, ok := has[print]
		if ok && old == remark {
			continue
		}
		added = true
		if err := insertKey(ctx, tx, rec.User.Name, k.Public, remark); err != nil {
			return false, false, err
		}
	}
	for print := range has {
		if !wanted[print] {
			taken = true
			if _, err := tx.ExecContext(ctx, `DELETE FROM ssh_keys WHERE user_name = $1 AND fingerprint = $2`, rec.User.Name, print); err != nil {
				return false, false, err
			}
		}
	}
	return added, taken, nil
}

// digest stands for a hash that was replaced by a better one.
func digest(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:])
}
