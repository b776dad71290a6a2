package auth

import (
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// manyUsers is a realm with so many users, put there without hashing.
func manyUsers(b *testing.B, n int) *Realm {
	r, err := Open(b.Context(), b.TempDir()+"/control.db", Options{Poll: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	err = r.change(b.Context(), partUsers, func(tx *sql.Tx) error {
		if err := addAccount(b.Context(), tx, "ann"); err != nil {
			return err
		}
		for i := range n {
			if _, err := tx.Exec(`INSERT INTO users (name, account, role, epoch, created) VALUES ($1, 'ann', 'user', $2, $2)`,
				fmt.Sprintf("ann:user%d", i), micros(time.Now())); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkReload is what a change of one user costs each process.
func BenchmarkReload(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := manyUsers(b, n)
			for b.Loop() {
				if _, err := r.loadUsers(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRevoke must not grow with the tokens that are revoked already.
func BenchmarkRevoke(b *testing.B) {
	r := manyUsers(b, 1)
	id := r.member("ann:user0").id
	for b.Loop() {
		t, err := r.Issue(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Revoke(b.Context(), t.Secret); err != nil {
			b.Fatal(err)
		}
	}
}
