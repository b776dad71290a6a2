package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
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
// for one hash a minute.
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
	who := userKey(name)
	if err := wait(ctx, r.defender.delay(who)); err != nil {
		return Identity{}, err
	}
	hash := "" // nobody's, which takes as long
	if m != nil {
		hash = m.hash
	}
	right := false
	if err := r.gate.do(ctx, func() { right = compare(hash, password) }); err != nil {
		return Identity{}, err
	}
	if right && m.live && m.admits(a) && r.Current(m.id) { // he may have been changed while we hashed
		r.verified.put(key, credentials{m.id.epoch, time.Now()})
		return m.id, nil
	}
	r.defender.Fail(a.From, FailLogin)
	r.defender.failUser(who)
	r.log.Info("login failed", "user", clip(a.User), "from", a.From, "door", a.Door, "reason", m.reason(a, right))
	return Identity{}, fs.ErrPermission
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
