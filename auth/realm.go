package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"
)

// Options of a Realm. The zero value is good.
type Options struct {
	TokenLife time.Duration   // how long tokens live; 24 hours
	KeyLife   time.Duration   // after which a new key is made to seal tokens with; 30 days, and never less than TokenLife
	Poll      time.Duration   // how often a change made by another process is looked for; 250 ms
	Defender  DefenderOptions // of the Defender that all logins share
	Log       *slog.Logger    // told of logins that failed and of faults; nil for none
}

// A Realm is who may log in: the users of a control database, their passwords
// and keys, the tokens that were issued to them and what is held against
// addresses that guess. It is the Authenticator of all doors.
//
// All that a login or a token needs is in memory. Other processes, such as a
// command of the operator, may have the same database open as a Realm, and
// change it: each notices within Options.Poll, so that a user who is disabled
// or removed, or whose password or rights were changed, is out everywhere
// within a second.
type Realm struct {
	o        Options
	db       *sql.DB
	log      *slog.Logger
	defender *Defender
	gate     *gate
	secret   [32]byte // keys the credentials that were seen; of this process only

	users   atomic.Pointer[map[string]*member] // by full name
	slowest atomic.Pointer[cost]               // what a refusal costs
	tokens  atomic.Pointer[seals]
	edges   atomic.Pointer[edges]

	issued   recent[*ticket]     // tokens that were opened, by hash
	verified recent[credentials] // passwords that were right, by keyed hash

	revoking    sync.Mutex
	revocations lru[string, *rate.Limiter] // by user

	loading sync.Mutex       // held while a part is read and put in place
	seen    map[string]int64 // the counter of each part that is sure to be in memory

	watching sync.Mutex
	watches  map[int]func()
	watchID  int

	stop func()
	done sync.WaitGroup
}

var _ Authenticator = (*Realm)(nil)

// A member is a user as logins need him. Only better is changed once it is
// loaded.
type member struct {
	id    Identity
	live  bool // neither he nor his account is disabled
	hash  string
	doors []string
	keys  map[string]bool // ssh keys in wire form

	better atomic.Pointer[string] // hash of the same password; nil if there is none
}

// admits reports whether an attempt comes by a door and from a network that
// the member may use.
func (m *member) admits(a Attempt) bool {
	return (len(m.doors) == 0 || slices.Contains(m.doors, a.Door)) && m.id.AllowedFrom(a.From)
}

// Open opens the control database at path, which is made if it is not there.
func Open(ctx context.Context, path string, o Options) (*Realm, error) {
	o.TokenLife = cmp.Or(o.TokenLife, 24*time.Hour)
	o.KeyLife = max(cmp.Or(o.KeyLife, 30*24*time.Hour), o.TokenLife)
	o.Poll = cmp.Or(o.Poll, 250*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	db, err := openDatabase(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("control database %s: %w", path, err)
	}
	r := &Realm{
		o:        o,
		db:       db,
		log:      o.Log,
		defender: NewDefender(o.Defender),
		gate:     newGate(),
		issued:   recent[*ticket]{half: 1 << 14},
		verified: recent[credentials]{half: 1 << 12},
		watches:  make(map[int]func()),

		revocations: newLRU[string, *rate.Limiter](1 << 14),
	}
	rand.Read(r.secret[:]) // never fails
	r.defender.keep = r.keepBan
	if err := r.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("control database %s: %w", path, err), db.Close())
	}
	// The realm's own work goes on until Close, however short the life of the
	// context it was opened in.
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.done.Go(func() { r.follow(ctx) })
	return r, nil
}

func (r *Realm) begin(ctx context.Context) (err error) {
	r.seen = map[string]int64{partUsers: -1, partTokens: -1, partBans: -1, partEdges: -1}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	return r.tend(ctx)
}

// Close ends the realm's own work and closes the database.
func (r *Realm) Close() error {
	r.stop()
	r.done.Wait()
	return r.db.Close()
}

// Defender is what all doors count failures with.
func (r *Realm) Defender() *Defender { return r.defender }

// follow sees to it that what others change in the database is noticed. It
// reads the counters instead of SQLite's own sign of a change
// (PRAGMA data_version), since they tell which part has to be read again, and
// any database has them.
func (r *Realm) follow(ctx context.Context) {
	broken := "" // what was wrong the last time, which is said once
	look, tend := time.NewTicker(r.o.Poll), time.NewTicker(time.Hour)
	defer look.Stop()
	defer tend.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			err = r.catchUp(ctx)
		case <-tend.C:
			err = r.tend(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			broken = ""
		case err.Error() != broken:
			broken = err.Error()
			r.log.Error("control database cannot be followed", "err", err)
		}
	}
}

func (r *Realm) catchUp(ctx context.Context) error {
	now, err := r.counters(ctx)
	if err != nil {
		return err
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	for part, n := range now {
		if r.seen[part] >= n {
			continue
		}
		if err := r.load(ctx, part, n); err != nil {
			return err
		}
	}
	return nil
}

// load reads a part of the database and puts it in place. It is called with
// the lock held, and with a counter of the part that was read before.
func (r *Realm) load(ctx context.Context, part string, n int64) error {
	switch part {
	case partUsers:
		users, err := r.loadUsers(ctx)
		if err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		most := slowest(users)
		r.slowest.Store(&most)
		r.users.Store(&users)
		r.tell()
	case partTokens:
		s, err := r.loadSeals(ctx)
		if err != nil {
			return fmt.Errorf("read token keys: %w", err)
		}
		r.tokens.Store(s)
	case partBans:
		bans, err := r.loadBans(ctx)
		if err != nil {
			return fmt.Errorf("read bans: %w", err)
		}
		r.defender.restore(bans)
	case partEdges:
		e, err := r.loadEdges(ctx)
		if err != nil {
			return fmt.Errorf("read edges: %w", err)
		}
		r.edges.Store(e)
	}
	r.seen[part] = max(r.seen[part], n)
	return nil
}

func (r *Realm) loadUsers(ctx context.Context) (map[string]*member, error) {
	rows, err := r.db.QueryContext(ctx, `
		SELECT u.name, u.account, u.role, u.read_only, u.disabled, a.disabled,
		       u.password, u.epoch, u.doors, u.networks
		FROM users u JOIN accounts a ON a.name = u.account`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	users := make(map[string]*member)
	for rows.Next() {
		var m member
		var off, accountOff bool
		var doors, networks string
		if err := rows.Scan(&m.id.User, &m.id.Account, &m.id.Role, &m.id.ReadOnly, &off, &accountOff,
			&m.hash, &m.id.epoch, &doors, &networks); err != nil {
			return nil, err
		}
		m.live = !off && !accountOff
		m.doors = words(doors)
		if m.id.networks, err = prefixes(networks); err != nil {
			// Whoever may come from somewhere only must not come from anywhere
			// because what is written there cannot be read.
			m.live = false
			r.log.Error("user is shut out: his networks cannot be read", "user", m.id.User, "err", err)
		}
		users[m.id.User] = &m
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	return users, r.loadKeys(ctx, users)
}

func (r *Realm) loadKeys(ctx context.Context, users map[string]*member) error {
	rows, err := r.db.QueryContext(ctx, `SELECT user_name, public_key FROM ssh_keys`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		m := users[name]
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
		if m == nil || err != nil {
			continue // removed meanwhile, or nothing anybody could show
		}
		if m.keys == nil {
			m.keys = make(map[string]bool)
		}
		m.keys[string(key.Marshal())] = true
	}
	return rows.Err()
}

// OnChange has f called after every change of users, until stop is called.
// What holds an Identity for long, such as the session of a file door, asks
// then whether it is still Current. f must be quick, and must not change the
// realm.
func (r *Realm) OnChange(f func()) (stop func()) {
	r.watching.Lock()
	defer r.watching.Unlock()
	r.watchID++
	id := r.watchID
	r.watches[id] = f
	return func() {
		r.watching.Lock()
		defer r.watching.Unlock()
		delete(r.watches, id)
	}
}

func (r *Realm) tell() {
	r.watching.Lock()
	watches := make([]func(), 0, len(r.watches))
	for _, f := range r.watches {
		watches = append(watches, f)
	}
	r.watching.Unlock()
	for _, f := range watches {
		f()
	}
}

// Current reports whether an Identity that this realm gave out is still that
// of its user: he was neither disabled nor removed, and neither his password
// nor his rights were changed since.
func (r *Realm) Current(id Identity) bool {
	m := r.member(id.User)
	return m != nil && m.live && m.id.epoch == id.epoch
}

// While returns a context that lasts as long as ctx and no longer than id is
// Current: what a file door gives to a session, which then ends with its user's
// rights, the cause being fs.ErrPermission. cancel must be called when the
// session is over.
func (r *Realm) While(ctx context.Context, id Identity) (_ context.Context, cancel func()) {
	ctx, end := context.WithCancelCause(NewContext(ctx, id))
	look := func() {
		if !r.Current(id) {
			end(fs.ErrPermission)
		}
	}
	stop := r.OnChange(look)
	look() // he may have been changed before anybody listened
	return ctx, func() {
		stop()
		end(nil)
	}
}

func (r *Realm) member(name string) *member { return (*r.users.Load())[name] }

// words parts a comma list.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// prefixes parts a comma list of networks.
func prefixes(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, w := range words(s) {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}
