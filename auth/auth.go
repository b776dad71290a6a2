// Package auth says who somebody is and what he may do: users and their
// passwords, tokens, access control lists, the guard that stands between the
// Store and what keeps the bytes, and the defender that counts failures over
// all doors.
package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// Prefix is what the names of storage accounts begin with: the user
// "ann:tester" works in the storage account "AUTH_ann".
const Prefix = "AUTH_"

// ServicePrefix is what the names of storage accounts begin with that an account
// shares with the services which work for it: "SERVICE_ann". Its admin reaches
// it only together with a service, so that neither can change behind the other's
// back what a service keeps there.
const ServicePrefix = "SERVICE_"

// StorageAccount is the name under which an account's containers are kept.
func StorageAccount(account string) string { return Prefix + account }

// An Identity is who a request acts for. The zero Identity is a stranger, whom
// only a public container lets in.
type Identity struct {
	User    string   // "ann:tester"; empty for a stranger
	Account string   // "ann"
	Groups  []string // what else an access control list may name him by, besides User and Account
	Role    Role

	// ReadOnly takes from the Role and from every access control list whatever
	// would change anything.
	ReadOnly bool

	// epoch is that of the user's record when he logged in: once the record has
	// another, the Identity is no longer current.
	epoch int64

	// networks are those he may act from, none for anywhere; see AllowedFrom.
	networks []netip.Prefix

	// Referrer is the URL of the page an HTTP client says it comes from, for
	// ".r:" rules. It proves nothing and is not part of who somebody is.
	Referrer string

	// Service says that a service vouches for what he does: that the door was
	// also shown a token of a user with RoleService.
	Service bool

	// Ticket, if not nil, is all that he may do.
	Ticket *Ticket
}

// Stranger reports whether nobody has logged in.
func (id Identity) Stranger() bool { return id.User == "" }

// AllowedFrom reports whether he may act from an address: whether it is within
// one of his networks, if he is confined to any. Logins are held to it by the
// Authenticator; who holds a token is by the door, which knows where he is.
func (id Identity) AllowedFrom(a netip.Addr) bool {
	if len(id.networks) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(id.networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// owns reports whether a storage account is the one that id's account has.
func (id Identity) owns(storageAccount string) bool {
	return id.has(Prefix, storageAccount) || id.Service && id.has(ServicePrefix, storageAccount)
}

func (id Identity) has(prefix, storageAccount string) bool {
	return len(storageAccount) == len(prefix)+len(id.Account) && id.Account != "" &&
		storageAccount[:len(prefix)] == prefix && storageAccount[len(prefix):] == id.Account
}

// A Role is what a user may do before any access control list is asked.
type Role string

// The roles, from least to most.
const (
	RoleUser           Role = "user"            // only what access control lists grant
	RoleService        Role = "service"         // the same; his token beside that of an admin opens the account of ServicePrefix
	RoleAdmin          Role = "admin"           // anything within his own account
	RoleResellerReader Role = "reseller-reader" // may read every account
	RoleReseller       Role = "reseller-admin"  // anything within every account; makes and removes accounts
)

type identityKey struct{}

// NewContext returns a context that acts for id.
func NewContext(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// FromContext is who ctx acts for; a stranger if nobody was named.
func FromContext(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}

// An Attempt is a login as a door saw it.
type Attempt struct {
	User string     // "ann:tester" or "ann.tester"
	From netip.Addr // where it came from; the zero Addr is exempt from the defender
	Door string     // "swift", "ftp", "sftp", …
}

// Errors of a login beside fs.ErrPermission.
var (
	ErrBanned = errors.New("address is banned")       // it failed too often; the attempt was not looked at
	ErrBusy   = errors.New("too many logins at once") // try again in a moment; the attempt was not looked at
)

// A Token is what the Swift door gives out after a login.
type Token struct {
	Secret  string // as sent in X-Auth-Token
	Issued  time.Time
	Expires time.Time
}

// An Authenticator turns what a client shows into an Identity. A wrong
// password, an unknown or disabled user and one that is not allowed at this
// door or from there are the same fs.ErrPermission, after the same time; a
// banned address is ErrBanned at once, and when more passwords wait to be
// checked than can be, the answer is ErrBusy.
type Authenticator interface {
	Password(ctx context.Context, a Attempt, password string) (Identity, error)
	PublicKey(ctx context.Context, a Attempt, key ssh.PublicKey) (Identity, error)

	// Issue makes a token for id that lives as long as tokens do.
	Issue(ctx context.Context, id Identity) (Token, error)

	// Verify returns whom a token was issued for, as he is now: a user who was
	// disabled, removed or given another password or role since is refused with
	// fs.ErrPermission, and so is a token that is expired, revoked or not ours.
	Verify(ctx context.Context, secret string) (Identity, Token, error)

	// Revoke ends a token before its time.
	Revoke(ctx context.Context, secret string) error
}
