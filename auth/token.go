package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"aidanwoods.dev/go-paseto"
	"golang.org/x/time/rate"
)

// A token is a PASETO (v4.local: sealed, not only signed) written as
//
//	AUTH_tk <sealed claims> . <id of the key>
//
// with "v4.local." left out, which all of them would begin with. Whoever has
// the key can open it, so any process on the same control database accepts what
// another issued, and nothing is stored for a token unless it is revoked.
const (
	tokenPrefix  = "AUTH_tk"
	pasetoPrefix = "v4.local."
	maxToken     = 1024
)

// sealedFor is bound into each token without being in it: what else may be
// sealed with these keys one day is no token.
var sealedFor = []byte("memstore token 1")

// claims are what a token says, with short names since it travels with every
// request.
type claims struct {
	User    string `json:"u"`
	Epoch   int64  `json:"e"`
	Issued  int64  `json:"i"` // in seconds
	Expires int64  `json:"x"`
	ID      string `json:"j"`
}

// A ticket is a token that was opened and found genuine.
type ticket struct {
	claims
	key string // id of the key it was sealed with
}

// seals are the keys of tokens, and the tokens revoked.
type seals struct {
	keys    []seal   // the youngest first
	revoked sync.Map // of ids; grows by what is revoked here
}

type seal struct {
	id      string
	key     paseto.V4SymmetricKey
	created time.Time
}

// settle is how old a key must be to seal new tokens with, if there is another
// one: by then every process has seen it.
const settle = 10 * time.Second

func (s *seals) sealing() seal {
	for _, k := range s.keys {
		if time.Since(k.created) >= settle {
			return k
		}
	}
	return s.keys[len(s.keys)-1]
}

func (s *seals) find(id string) (seal, bool) {
	for _, k := range s.keys {
		if k.id == id {
			return k, true
		}
	}
	return seal{}, false
}

// Issue makes a token for an Identity that came from this realm and is still
// Current, else the answer is fs.ErrPermission.
func (r *Realm) Issue(ctx context.Context, id Identity) (Token, error) {
	if !r.Current(id) {
		return Token{}, fs.ErrPermission
	}
	now := time.Now()
	var random [9]byte
	rand.Read(random[:]) // never fails
	c := claims{
		User:    id.User,
		Epoch:   id.epoch,
		Issued:  now.Unix(),
		Expires: now.Add(r.o.TokenLife).Unix(),
		ID:      base64.RawURLEncoding.EncodeToString(random[:]),
	}
	text, err := json.Marshal(c)
	if err != nil {
		return Token{}, err
	}
	s := r.tokens.Load().sealing()
	t, err := paseto.NewTokenFromClaimsJSON(text, []byte(s.id))
	if err != nil {
		return Token{}, err
	}
	secret := tokenPrefix + strings.TrimPrefix(t.V4Encrypt(s.key, sealedFor), pasetoPrefix)
	return c.token(secret), nil
}

func (c *claims) token(secret string) Token {
	return Token{Secret: secret, Issued: time.Unix(c.Issued, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC()}
}

// Verify returns whom a token was issued for, as he is now.
func (r *Realm) Verify(ctx context.Context, secret string) (Identity, Token, error) {
	t, err := r.ticket(secret)
	if err != nil {
		return Identity{}, Token{}, err
	}
	s := r.tokens.Load()
	m := r.member(t.User)
	if m == nil || !m.live || m.id.epoch != t.Epoch || time.Now().Unix() >= t.Expires {
		return Identity{}, Token{}, fs.ErrPermission
	}
	_, sealed := s.find(t.key)
	if _, revoked := s.revoked.Load(t.ID); revoked || !sealed {
		return Identity{}, Token{}, fs.ErrPermission
	}
	return m.id, t.token(secret), nil
}

// ticket opens a token, or remembers having opened it.
func (r *Realm) ticket(secret string) (*ticket, error) {
	if len(secret) > maxToken || !strings.HasPrefix(secret, tokenPrefix) {
		return nil, fs.ErrPermission
	}
	var text [maxToken]byte // kept off the heap, since this is done for every request
	hash := sha256.Sum256(text[:copy(text[:], secret)])
	if t, ok := r.issued.get(hash); ok {
		return t, nil
	}
	t, ok := r.tokens.Load().open(secret)
	if !ok {
		return nil, fs.ErrPermission
	}
	r.issued.put(hash, t)
	return t, nil
}

// open opens a token, if it is genuine. Whether it still counts is for Verify
// to say.
func (s *seals) open(secret string) (*ticket, bool) {
	sealed := pasetoPrefix + strings.TrimPrefix(secret, tokenPrefix)
	p := paseto.NewParserWithoutExpiryCheck()
	id, err := p.UnsafeParseFooter(paseto.V4Local, sealed)
	if err != nil {
		return nil, false
	}
	k, ok := s.find(string(id))
	if !ok {
		return nil, false
	}
	t, err := p.ParseV4Local(k.key, sealed, sealedFor)
	if err != nil {
		return nil, false
	}
	found := ticket{key: k.id}
	if json.Unmarshal(t.ClaimsJSON(), &found.claims) != nil || found.User == "" || found.ID == "" {
		return nil, false
	}
	return &found, true
}

// Revoke ends a token before its time, here at once and in other processes
// within Options.Poll. One that is over already needs no revoking. Each is kept
// until it would have expired, so of one user no more than revokeBurst are taken
// at once and then one in revokeEvery; further ones are ErrBusy. (All of a user's
// tokens end together when his password is changed.)
func (r *Realm) Revoke(ctx context.Context, secret string) error {
	t, err := r.ticket(secret)
	if err != nil {
		return err
	}
	if time.Now().Unix() >= t.Expires {
		return nil
	}
	if _, revoked := r.tokens.Load().revoked.Load(t.ID); revoked {
		return nil
	}
	if !r.mayRevoke(t.User) {
		return ErrBusy
	}
	return r.change(ctx, partTokens, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO revoked_tokens (id, expires) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`,
			t.ID, micros(time.Unix(t.Expires, 0)))
		return err
	}, func() { r.tokens.Load().revoked.Store(t.ID, true) })
}

const (
	revokeBurst = 100
	revokeEvery = 10 * time.Second
)

// mayRevoke reports whether one more token of a user may be revoked now.
func (r *Realm) mayRevoke(user string) bool {
	r.revoking.Lock()
	defer r.revoking.Unlock()
	pace, ok := r.revocations.get(user)
	if !ok {
		pace = rate.NewLimiter(rate.Every(revokeEvery), revokeBurst)
		r.revocations.put(user, pace)
	}
	return pace.Allow()
}

// RotateKeys makes a new key, to seal tokens with from a few seconds on. Those
// before it still open what they sealed for as long as that lives.
func (r *Realm) RotateKeys(ctx context.Context) error {
	return r.change(ctx, partTokens, func(tx *sql.Tx) error { return addKey(ctx, tx, r.o.TokenLife) }, nil)
}

// ReplaceKeys makes a new key and drops all others, which ends every token: for
// the day when somebody has seen the keys.
func (r *Realm) ReplaceKeys(ctx context.Context) error {
	return r.change(ctx, partTokens, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM token_keys`); err != nil {
			return err
		}
		return addKey(ctx, tx, r.o.TokenLife)
	}, nil)
}

// A TokenKey is a key that tokens are sealed with, without what is secret of it.
type TokenKey struct {
	ID      string // the end of the tokens it sealed, behind the dot
	Created time.Time
	Seals   bool // new tokens
}

// TokenKeys lists the keys of tokens, the youngest first.
func (r *Realm) TokenKeys() []TokenKey {
	s := r.tokens.Load()
	sealing := s.sealing().id
	var list []TokenKey
	for _, k := range s.keys {
		list = append(list, TokenKey{ID: k.id, Created: k.created, Seals: k.id == sealing})
	}
	return list
}

// addKey makes a new key, and drops those whose tokens, which live so long, are
// all over: those that are older than one that has sealed for that long.
func addKey(ctx context.Context, tx *sql.Tx, life time.Duration) error {
	var random [3]byte
	rand.Read(random[:]) // never fails
	key := paseto.NewV4SymmetricKey()
	if _, err := tx.ExecContext(ctx, `INSERT INTO token_keys (id, secret, created) VALUES ($1, $2, $3)`,
		base64.RawURLEncoding.EncodeToString(random[:]), base64.StdEncoding.EncodeToString(key.ExportBytes()), micros(time.Now())); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM token_keys WHERE created < (SELECT MAX(created) FROM token_keys WHERE created <= $1)`,
		micros(time.Now().Add(-life-2*settle)))
	return err
}

func (r *Realm) loadSeals(ctx context.Context) (*seals, error) {
	s := new(seals)
	rows, err := r.db.QueryContext(ctx, `SELECT id, secret, created FROM token_keys`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k seal
		var text string
		var created int64
		if err := rows.Scan(&k.id, &text, &created); err != nil {
			return nil, err
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if k.key, err = paseto.V4SymmetricKeyFromBytes(raw); err != nil {
			return nil, err
		}
		k.created = fromMicros(created)
		s.keys = append(s.keys, k)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	slices.SortFunc(s.keys, func(a, b seal) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id)) })
	gone, err := r.db.QueryContext(ctx, `SELECT id FROM revoked_tokens WHERE expires > $1`, micros(time.Now()))
	if err != nil {
		return nil, err
	}
	defer gone.Close()
	for gone.Next() {
		var id string
		if err := gone.Scan(&id); err != nil {
			return nil, err
		}
		s.revoked.Store(id, true)
	}
	return s, gone.Err()
}

// forgetRevoked has what is in memory of revoked tokens shrink to what is
// revoked still.
func (r *Realm) forgetRevoked(ctx context.Context) error {
	n, err := r.counters(ctx)
	if err != nil {
		return err
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	return r.load(ctx, partTokens, n[partTokens])
}

// tend makes a new key when the youngest is old, and forgets revoked tokens and
// bans whose time is over.
func (r *Realm) tend(ctx context.Context) error {
	now := time.Now()
	if s := r.tokens.Load(); len(s.keys) == 0 || now.Sub(s.keys[0].created) > r.o.KeyLife {
		if err := r.change(ctx, partTokens, func(tx *sql.Tx) error {
			// Another process may have been faster.
			var youngest sql.NullInt64
			if err := tx.QueryRowContext(ctx, `SELECT MAX(created) FROM token_keys`).Scan(&youngest); err != nil {
				return err
			}
			if youngest.Valid && now.Sub(fromMicros(youngest.Int64)) <= r.o.KeyLife {
				return nil
			}
			return addKey(ctx, tx, r.o.TokenLife)
		}, nil); err != nil {
			return err
		}
	}
	if _, err := r.db.ExecContext(ctx, `DELETE FROM revoked_tokens WHERE expires <= $1`, micros(now)); err != nil {
		return err
	}
	if err := r.forgetRevoked(ctx); err != nil {
		return err
	}
	_, err := r.db.ExecContext(ctx, `DELETE FROM bans WHERE until <= $1`, micros(now.Add(-r.defender.o.MaxBan)))
	return err
}
