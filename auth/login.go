package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// credentials is when a password was found right, and for which epoch of its
// user.
type credentials struct {
	epoch int64
	at    time.Time
}

// rememberPassword is how long a password that was found right is not hashed
// again. It is short, since it is also how long what was found stays in memory;
// it does not keep a password alive that was changed.
const rememberPassword = 60 * time.Second

// Password logs a user in by his password.
//
// A password found right is remembered for a minute under a hash keyed by a
// secret of this process, so that clients which log in for every request pay
// for one hash a minute. Of an address no more attempts are looked at at once
// than it may fail until it is banned; further ones are ErrBusy.
func (r *Realm) Password(ctx context.Context, a Attempt, password string) (Identity, error) {
	if r.defender.Banned(a.From) {
		return Identity{}, ErrBanned
	}
	name := FullName(a.User)
	m := r.member(name)
	key := r.credential(name, password)
	if m != nil && m.live && m.admits(a) {
		if c, ok := r.verified.get(key); ok && c.epoch == m.id.epoch && time.Since(c.at) < rememberPassword {
			return m.id, nil
		}
	}
	if !r.defender.begin(a.From) {
		return Identity{}, ErrBusy
	}
	defer r.defender.finish(a.From)
	who := userKey(name)
	if err := wait(ctx, r.defender.delay(who)); err != nil {
		return Identity{}, err
	}
	var right, in, banned bool
	better := ""
	err := r.gate.do(ctx, source(a.From), func() {
		if banned = r.defender.Banned(a.From); banned {
			return // by those that were looked at while this one waited
		}
		hash := m.stored()
		right = compare(hash, password)
		if in = right && m.live && m.admits(a); !in {
			costOf(hash).pad(*r.slowest.Load())
		} else if strings.HasPrefix(hash, "$2") {
			better, _ = HashPassword(password) // where it cannot be, the old one stays
		}
	})
	switch {
	case err != nil:
		return Identity{}, err
	case banned:
		return Identity{}, ErrBanned
	}
	if in && r.Current(m.id) { // he may have been changed while we hashed
		r.verified.put(key, credentials{m.id.epoch, time.Now()})
		if better != "" {
			r.rehash(ctx, m, better)
		}
		return m.id, nil
	}
	r.defender.Fail(a.From, FailLogin)
	r.defender.failUser(who)
	r.log.Info("login failed", "user", clip(a.User), "from", a.From, "door", a.Door, "reason", m.reason(a, right))
	return Identity{}, fs.ErrPermission
}

// stored is the hash to compare with; nobody's if there is no such user, which
// takes as long.
func (m *member) stored() string {
	if m == nil {
		return ""
	}
	if better := m.better.Load(); better != nil {
		return *better
	}
	return m.hash
}

// rehash puts a better hash of the same password in place of the one that a user
// was imported with. He is not changed by it: his tokens and sessions go on, and
// other processes may use the old one as long as they like.
func (r *Realm) rehash(ctx context.Context, m *member, better string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	m.better.Store(&better)
	if _, err := r.db.ExecContext(ctx, `UPDATE users SET password = $3, imported = $4 WHERE name = $1 AND password = $2`, m.id.User, m.hash, better, digest(m.hash)); err != nil {
		r.log.Error("better hash not written down", "user", m.id.User, "err", err)
	}
}

// reason says why an attempt failed, for the operator alone: to the one who
// made it all failures are alike.
func (m *member) reason(a Attempt, right bool) string {
	switch {
	case m == nil:
		return "no such user"
	case m.hash == "":
		return "he has no password"
	case !right:
		return "wrong password"
	case !m.live:
		return "he or his account is disabled"
	case !m.id.AllowedFrom(a.From):
		return "not from this network"
	case !m.admits(a):
		return "not by this door"
	}
	return "he was changed meanwhile"
}

// userKey is what the defender knows a user by: names that are tried may be of
// any length, and passwords typed in the wrong place.
func userKey(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// credential is the key under which a password is remembered.
func (r *Realm) credential(name, password string) (key [32]byte) {
	h := hmac.New(sha256.New, r.secret[:])
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(name)))
	h.Write(length[:])
	h.Write([]byte(name))
	h.Write([]byte(password))
	h.Sum(key[:0])
	return key
}

// PublicKey tells whether a user may log in with an SSH key, once he has proved
// to have it, which is for the door to see to. A key that is not his counts for
// nothing, since clients offer one after the other; doors bound how many.
func (r *Realm) PublicKey(ctx context.Context, a Attempt, key ssh.PublicKey) (Identity, error) {
	if r.defender.Banned(a.From) {
		return Identity{}, ErrBanned
	}
	m := r.member(FullName(a.User))
	if m == nil || !m.live || !m.admits(a) || !m.keys[string(key.Marshal())] {
		return Identity{}, fs.ErrPermission
	}
	return m.id, nil
}

// wait sleeps for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
