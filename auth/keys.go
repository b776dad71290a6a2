package auth

import (
	"context"
	"crypto/rsa"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/storage"
)

// A Key is an SSH key that a user may log in with.
type Key struct {
	User        string
	Fingerprint string // "SHA256:…"
	Public      ssh.PublicKey
	Comment     string
	Created     time.Time
}

// keyTypes are those that may be added: no DSA, and no certificates, which
// would make whoever signs them one who lets users in.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

const leastRSA = 2048 // bits

func checkKey(key ssh.PublicKey) error {
	if !slices.Contains(keyTypes, key.Type()) {
		return &storage.Refusal{Text: fmt.Sprintf("Key type %s is not accepted", key.Type())}
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() < leastRSA {
			return &storage.Refusal{Text: fmt.Sprintf("RSA key of %d bits shorter than %d", k.N.BitLen(), leastRSA)}
		}
	}
	return nil
}

// AddKey lets a user log in with an SSH key.
func (r *Realm) AddKey(ctx context.Context, user string, key ssh.PublicKey, comment string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	print := ssh.FingerprintSHA256(key)
	text := authorizedKey(key)
	return named("user", user, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		var name string
		err := tx.QueryRowContext(ctx, `SELECT name FROM users WHERE name = $1`, user).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return fs.ErrNotExist
		}
		if err != nil {
			return err
		}
		err = one(tx.ExecContext(ctx, `
			INSERT INTO ssh_keys (user_name, fingerprint, public_key, remark, created) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (user_name, fingerprint) DO NOTHING`, user, print, text, cleanRemark(comment), micros(time.Now())))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("key %s: %w", print, fs.ErrExist)
		}
		return err
	}, nil))
}

// cleanRemark is a comment as it is kept.
func cleanRemark(comment string) string {
	return clip(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, comment))
}

func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// insertKey gives a user a key, or one that he has another comment.
func insertKey(ctx context.Context, tx *sql.Tx, user string, key ssh.PublicKey, remark string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO ssh_keys (user_name, fingerprint, public_key, remark, created) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_name, fingerprint) DO UPDATE SET remark = $4`,
		user, ssh.FingerprintSHA256(key), authorizedKey(key), remark, micros(time.Now()))
	return err
}

// Keys lists the keys of a user, the oldest first, or those of all users if
// user is "".
func (r *Realm) Keys(ctx context.Context, user string) ([]Key, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT user_name, fingerprint, public_key, remark, created
		FROM ssh_keys WHERE user_name = $1 OR $1 = '' ORDER BY user_name, created, fingerprint`, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Key
	for rows.Next() {
		var k Key
		var text string
		var created int64
		if err := rows.Scan(&k.User, &k.Fingerprint, &text, &k.Comment, &created); err != nil {
			return nil, err
		}
		if k.Public, _, _, _, err = ssh.ParseAuthorizedKey([]byte(text)); err != nil {
			return nil, fmt.Errorf("key %s of user %s: %w", k.Fingerprint, k.User, err)
		}
		k.Created = fromMicros(created)
		list = append(list, k)
	}
	return list, rows.Err()
}

// RemoveKey takes the key with this fingerprint from a user. It ends his tokens
// and sessions, since one of them may be whoever the key was taken from.
func (r *Realm) RemoveKey(ctx context.Context, user, fingerprint string) error {
	return named("user", user, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		if err := one(tx.ExecContext(ctx, `DELETE FROM ssh_keys WHERE user_name = $1 AND fingerprint = $2`, user, fingerprint)); err != nil {
			return fmt.Errorf("key %s: %w", clip(fingerprint), err)
		}
		_, err := tx.ExecContext(ctx, `UPDATE users SET epoch = `+laterEpoch+` WHERE name = $1`, user, micros(time.Now()))
		return err
	}, nil))
}
