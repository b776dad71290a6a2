package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// An Account is what users belong to. Its containers are kept in the storage
// account StorageAccount(Name).
type Account struct {
	Name     string
	Disabled bool // none of its users may log in
	Created  time.Time
}

// A User is somebody who may log in.
type User struct {
	Name     string // "ann:tester"
	Role     Role   // RoleUser if empty
	ReadOnly bool
	Disabled bool
	Doors    []string       // the doors he may come in by, "swift", "ftp", "sftp"; none for all
	Networks []netip.Prefix // where he may come from; none for anywhere
	Created  time.Time

	HasPassword bool // told by Users; no method looks at it
}

// Account is the name of the user's account.
func (u *User) Account() string {
	account, _, _ := strings.Cut(u.Name, ":")
	return account
}

var doorName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (u *User) check() error {
	if err := CheckUser(u.Name); err != nil {
		return err
	}
	if !slices.Contains([]Role{RoleUser, RoleService, RoleAdmin, RoleResellerReader, RoleReseller}, u.Role) {
		return &storage.Refusal{Text: fmt.Sprintf("Role %q must be one of %s, %s, %s, %s, %s", u.Role, RoleUser, RoleService, RoleAdmin, RoleResellerReader, RoleReseller)}
	}
	for _, w := range u.Doors {
		if !doorName.MatchString(w) {
			return &storage.Refusal{Text: fmt.Sprintf("Door %q must be lower-case letters, digits and hyphens", clip(w))}
		}
	}
	for _, p := range u.Networks {
		if !p.IsValid() {
			return &storage.Refusal{Text: "Network is not valid"}
		}
	}
	return nil
}

// Errors of the methods below, beside Refusals of names and values: what is
// there already is fs.ErrExist, what is not fs.ErrNotExist, and an account that
// has users storage.ErrNotEmpty.

// AddAccount makes an account without users.
func (r *Realm) AddAccount(ctx context.Context, name string) error {
	if err := CheckAccount(name); err != nil {
		return err
	}
	return named("account", name, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		if err := free(ctx, tx, "accounts", name); err != nil {
			return err
		}
		return addAccount(ctx, tx, name)
	}, nil))
}

func addAccount(ctx context.Context, tx *sql.Tx, name string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO accounts (name, created) VALUES ($1, $2)`, name, micros(time.Now()))
	return err
}

// free reports fs.ErrExist if a name is taken, in upper or lower case.
func free(ctx context.Context, tx *sql.Tx, table, name string) error {
	var other string
	err := tx.QueryRowContext(ctx, `SELECT name FROM `+table+` WHERE lower(name) = lower($1)`, name).Scan(&other)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case other != name:
		return fmt.Errorf("%w as %s", fs.ErrExist, other)
	}
	return fs.ErrExist
}

// named says what an error is about.
func named(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, clip(name), err)
}

// Accounts lists all accounts by name.
func (r *Realm) Accounts(ctx context.Context) ([]Account, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT name, disabled, created FROM accounts ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Account
	for rows.Next() {
		var a Account
		var created int64
		if err := rows.Scan(&a.Name, &a.Disabled, &created); err != nil {
			return nil, err
		}
		a.Created = fromMicros(created)
		list = append(list, a)
	}
	return list, rows.Err()
}

// SetAccountDisabled shuts all users of an account out, or lets them in again.
func (r *Realm) SetAccountDisabled(ctx context.Context, name string, disabled bool) error {
	return named("account", name, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		if err := one(tx.ExecContext(ctx, `UPDATE accounts SET disabled = $2 WHERE name = $1`, name, disabled)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE users SET epoch = `+laterEpoch+` WHERE account = $1`, name, micros(time.Now()))
		return err
	}, nil))
}

// RemoveAccount removes an account that has no users. What is stored for it
// stays where it is.
func (r *Realm) RemoveAccount(ctx context.Context, name string) error {
	return named("account", name, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		var users int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM users WHERE account = $1`, name).Scan(&users); err != nil {
			return err
		}
		if users > 0 {
			return storage.ErrNotEmpty
		}
		return one(tx.ExecContext(ctx, `DELETE FROM accounts WHERE name = $1`, name))
	}, nil))
}

// one turns a statement that found nothing to change into fs.ErrNotExist.
func one(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return fs.ErrNotExist
}

// AddUser adds a user, and his account if it is not there. With an empty
// password he can log in by keys only.
func (r *Realm) AddUser(ctx context.Context, u User, password string) error {
	hash := ""
	if password != "" {
		var err error
		if hash, err = HashPassword(password); err != nil {
			return err
		}
	}
	return r.addUser(ctx, u, hash)
}

// ImportUser adds a user with a password hash from elsewhere: argon2id in PHC
// form, or bcrypt.
func (r *Realm) ImportUser(ctx context.Context, u User, hash string) error {
	if err := checkHash(hash); err != nil {
		return err
	}
	return r.addUser(ctx, u, hash)
}

func (r *Realm) addUser(ctx context.Context, u User, hash string) error {
	if u.Role == "" {
		u.Role = RoleUser
	}
	if err := u.check(); err != nil {
		return err
	}
	return named("user", u.Name, r.change(ctx, partUsers, func(tx *sql.Tx) error { return insertUser(ctx, tx, u, hash) }, nil))
}

func insertUser(ctx context.Context, tx *sql.Tx, u User, hash string) error {
	if err := free(ctx, tx, "users", u.Name); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM accounts WHERE name = $1`, u.Account()).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		if err := free(ctx, tx, "accounts", u.Account()); err != nil {
			return fmt.Errorf("its account: %w", err)
		}
		if err := addAccount(ctx, tx, u.Account()); err != nil {
			return err
		}
	}
	now := micros(time.Now())
	_, err := tx.ExecContext(ctx, `
		INSERT INTO users (name, account, role, read_only, disabled, password, epoch, doors, networks, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		u.Name, u.Account(), string(u.Role), u.ReadOnly, u.Disabled, hash, now,
		strings.Join(u.Doors, ","), joined(u.Networks), now)
	return err
}

func joined(list []netip.Prefix) string {
	var words []string
	for _, p := range list {
		words = append(words, p.Masked().String())
	}
	return strings.Join(words, ",")
}

// Users lists the users of an account by name, or all users if account is "".
func (r *Realm) Users(ctx context.Context, account string) ([]User, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT name, role, read_only, disabled, doors, networks, created, password <> ''
		FROM users WHERE account = $1 OR $1 = '' ORDER BY name`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []User
	for rows.Next() {
		var u User
		var doors, networks string
		var created int64
		if err := rows.Scan(&u.Name, &u.Role, &u.ReadOnly, &u.Disabled, &doors, &networks, &created, &u.HasPassword); err != nil {
			return nil, err
		}
		u.Doors, u.Created = words(doors), fromMicros(created)
		if u.Networks, err = prefixes(networks); err != nil {
			return nil, named("user", u.Name, err)
		}
		list = append(list, u)
	}
	return list, rows.Err()
}

// User returns one user.
func (r *Realm) User(ctx context.Context, name string) (User, error) {
	account, _, _ := strings.Cut(name, ":")
	list, err := r.Users(ctx, account)
	if err != nil {
		return User{}, err
	}
	for _, u := range list {
		if u.Name == name {
			return u, nil
		}
	}
	return User{}, named("user", name, fs.ErrNotExist)
}

// SetUser gives a user the Role, ReadOnly, Disabled, Doors and Networks of
// u. It ends his tokens and sessions, as every change of a user does.
func (r *Realm) SetUser(ctx context.Context, u User) error {
	if u.Role == "" {
		u.Role = RoleUser
	}
	if err := u.check(); err != nil {
		return err
	}
	return r.set(ctx, u.Name, `role = $3, read_only = $4, disabled = $5, doors = $6, networks = $7`,
		string(u.Role), u.ReadOnly, u.Disabled, strings.Join(u.Doors, ","), joined(u.Networks))
}

// SetPassword gives a user another password; with an empty one he can log in
// by keys only.
func (r *Realm) SetPassword(ctx context.Context, name, password string) error {
	hash := ""
	if password != "" {
		var err error
		if hash, err = HashPassword(password); err != nil {
			return err
		}
	}
	return r.set(ctx, name, `password = $3, imported = ''`, hash)
}

// SetDisabled shuts a user out, or lets him in again.
func (r *Realm) SetDisabled(ctx context.Context, name string, disabled bool) error {
	return r.set(ctx, name, `disabled = $3`, disabled)
}

// laterEpoch is an epoch above that of a user and, so that no removed user of
// the same name had it, not below the time in $2.
const laterEpoch = `CASE WHEN epoch >= $2 THEN epoch + 1 ELSE $2 END`

// set changes columns of a user, whose values begin at $3, and his epoch.
func (r *Realm) set(ctx context.Context, name, columns string, values ...any) error {
	return named("user", name, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, `UPDATE users SET epoch = `+laterEpoch+`, `+columns+` WHERE name = $1`,
			append([]any{name, micros(time.Now())}, values...)...))
	}, nil))
}

// RemoveUser removes a user and his keys.
func (r *Realm) RemoveUser(ctx context.Context, name string) error {
	return named("user", name, r.change(ctx, partUsers, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ssh_keys WHERE user_name = $1`, name); err != nil {
			return err
		}
		return one(tx.ExecContext(ctx, `DELETE FROM users WHERE name = $1`, name))
	}, nil))
}
