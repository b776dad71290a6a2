package auth

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"strings"

	"memstore.dev/memstore/storage"
)

// A Guard is a Backend that judges every call by whom its context acts for
// (FromContext), and lets the Backend behind it answer only those that may ask.
// Everybody else gets fs.ErrPermission, before anything is looked at that
// could tell him what is there.
//
// The rules are those of Swift's TempAuth:
//
//   - A reseller admin may do everything, a reseller reader read everything.
//   - An admin may do everything within his own account, but neither make nor
//     remove the account itself, nor change its quota.
//   - Anybody else may do what an access control list grants him: that of the
//     account (X-Account-Access-Control), or of the container, where reading is
//     Stat, List and Open, and writing is changing objects, never the container.
//   - Who is let in for the page he comes from (".r:" items) may read objects,
//     and what is said about the container itself only with ".rlistings".
//   - A read-only user changes nothing, whatever a list says.
//   - Who has a Ticket may do what it says, and nothing else.
//
// Only storage accounts whose names begin with Prefix or ServicePrefix can be
// reached at all, the latter by their admin only if a service vouches for him.
type Guard struct {
	b storage.Backend

	// Current, if not nil, reports whether an Identity is still as it was when
	// its user logged in; usually Realm's method of that name. It is asked
	// before what took time to write is committed, beside whether the rules
	// still allow it. It must be set before the Guard is used.
	Current func(Identity) bool

	// Gone, if not nil, reports whether a storage account was removed and only
	// what is in it is still there: nobody has any right to that, but resellers to
	// look. It must be quick, and be set before the Guard is used.
	Gone func(account string) bool
}

var _ storage.Backend = (*Guard)(nil)

// NewGuard returns a Guard in front of b.
func NewGuard(b storage.Backend) *Guard { return &Guard{b: b} }

// An act is what is to be done to a path.
type act uint8

const (
	read   act = iota // see it, or what lies beneath
	write             // change it
	govern            // make or remove it, if it is an account; else as write
)

// Owner reports whether who ctx acts for is to be treated as the owner of a
// storage account ("AUTH_ann"): he may see and set what Swift shows to owners
// only, such as access control lists and keys that sign URLs. A read-only user
// never is, since such a key would let him write.
func (g *Guard) Owner(ctx context.Context, account string) bool {
	id := FromContext(ctx)
	switch {
	case id.ReadOnly || id.Stranger() || id.Ticket != nil || !reachable(account):
		return false
	case id.Role == RoleReseller, id.Role == RoleAdmin && id.owns(account):
		return true
	}
	return g.accountACL(ctx, account).grantsTo(id, "admin")
}

// Writable reports whether who ctx acts for may write objects into a container
// or, of an account, make containers in it: what a door shows as modes before
// anybody tries. Whether he then succeeds is judged when he does.
func (g *Guard) Writable(ctx context.Context, p storage.Path) bool {
	switch {
	case p.IsAccount():
		p.Container = "-" // as good as any
	case p.IsContainer():
		p.Object = "-"
	}
	return g.may(ctx, write, p)
}

// reachable keeps everybody out of storage accounts that belong to nobody.
// Names behind the prefix that begin with a dot are kept for Memstore's own use.
func reachable(account string) bool {
	name, ok := strings.CutPrefix(account, Prefix)
	if !ok {
		name, ok = strings.CutPrefix(account, ServicePrefix)
	}
	return ok && name != "" && name[0] != '.'
}

// may reports whether who ctx acts for may do a to p.
func (g *Guard) may(ctx context.Context, a act, p storage.Path) bool {
	return g.allows(ctx, FromContext(ctx), a, p)
}

// allows is may for somebody else than whom ctx acts for.
func (g *Guard) allows(ctx context.Context, id Identity, a act, p storage.Path) bool {
	if g.Gone != nil && g.Gone(p.Account) && !storage.ByStore(ctx) {
		return a == read && id.Ticket == nil && (id.Role == RoleReseller || id.Role == RoleResellerReader)
	}
	if id.Ticket != nil {
		return storage.ByStore(ctx) || id.Ticket.allows(a, p)
	}
	if id.Role == RoleAdmin && id.owns(p.Account) && reachable(p.Account) && (a == read || !id.ReadOnly && (a == write || !p.IsAccount())) {
		return true // first, and without a look at anything: the road nearly all requests take
	}
	if storage.ByStore(ctx) {
		return true
	}
	if !reachable(p.Account) || a != read && id.ReadOnly {
		return false
	}
	if id.Role == RoleReseller || id.Role == RoleResellerReader && a == read {
		return true
	}
	if a == govern && p.IsAccount() {
		return false
	}
	return !p.IsAccount() && g.container(ctx, id, a, p) || !id.Stranger() && g.account(ctx, id, a, p)
}

// container judges by the access control list of p's container.
func (g *Guard) container(ctx context.Context, id Identity, a act, p storage.Path) bool {
	if a != read && !p.IsObject() {
		return false
	}
	in, err := g.b.Stat(ctx, storage.Path{Account: p.Account, Container: p.Container})
	if err != nil {
		return false
	}
	if a != read {
		return ACL(in.Meta[MetaContainerWrite]).Grants(id)
	}
	list := ACL(in.Meta[MetaContainerRead])
	return list != "" && (list.Grants(id) || (p.IsObject() || list.Lists()) && list.Refers(id.Referrer))
}

// account judges by the access control list of p's account.
func (g *Guard) account(ctx context.Context, id Identity, a act, p storage.Path) bool {
	list := g.accountACL(ctx, p.Account)
	if list == nil {
		return false
	}
	return list.grantsTo(id, "admin") ||
		(a == read || !p.IsAccount()) && list.grantsTo(id, "read-write") ||
		a == read && list.grantsTo(id, "read-only")
}

func (g *Guard) accountACL(ctx context.Context, account string) accountACL {
	in, err := g.b.Stat(ctx, storage.Path{Account: account})
	if err != nil {
		return nil
	}
	return parseAccountACL(in.Meta[MetaAccountACL])
}

// Stat describes a path.
func (g *Guard) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	if !g.may(ctx, read, p) {
		return storage.Info{}, storage.Wrap("stat", p, fs.ErrPermission)
	}
	return g.b.Stat(ctx, p)
}

// List yields what lies directly beneath a path.
func (g *Guard) List(ctx context.Context, p storage.Path, q storage.Query) iter.Seq2[storage.Info, error] {
	if !g.may(ctx, read, p) {
		return failed[storage.Info](storage.Wrap("list", p, fs.ErrPermission))
	}
	return g.b.List(ctx, p, q)
}

// Open returns a stretch of an object.
func (g *Guard) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	if !g.may(ctx, read, p) {
		return nil, storage.Info{}, storage.Wrap("open", p, fs.ErrPermission)
	}
	return g.b.Open(ctx, p, r)
}

// Create starts an object. Who starts it must be allowed to write there still
// when it is committed.
func (g *Guard) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	if !g.may(ctx, write, in.Path) {
		return nil, storage.Wrap("put", in.Path, fs.ErrPermission)
	}
	w, err := g.b.Create(ctx, in)
	if err != nil {
		return nil, err
	}
	return &guardedWriter{w, g.commitment(ctx, in.Path)}, nil
}

// Make creates a container or, for resellers, an account.
func (g *Guard) Make(ctx context.Context, p storage.Path, m storage.Meta) (bool, error) {
	if !g.may(ctx, govern, p) {
		return false, storage.Wrap("make", p, fs.ErrPermission)
	}
	return g.b.Make(ctx, p, m)
}

// Update replaces the metadata of a path. That of an account must keep its
// quota, unless a reseller asks.
func (g *Guard) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if !g.may(ctx, write, in.Path) {
		return storage.Info{}, storage.Wrap("update", in.Path, fs.ErrPermission)
	}
	if in.Path.IsAccount() && !storage.ByStore(ctx) && FromContext(ctx).Role != RoleReseller {
		old, err := g.b.Stat(ctx, in.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storage.Info{}, err
		}
		if old.Meta[storage.MetaAccountQuotaBytes] != in.Meta[storage.MetaAccountQuotaBytes] {
			if c.Version != 0 && c.Version != old.Version {
				// The quota changed since the caller looked, perhaps not by him.
				return storage.Info{}, storage.Wrap("update", in.Path, storage.ErrPrecondition)
			}
			return storage.Info{}, storage.Wrap("update", in.Path, fs.ErrPermission)
		}
		if c.Version == 0 {
			c.Version = old.Version // what was judged is what is replaced
		}
	}
	return g.b.Update(ctx, in, c)
}

// Remove deletes an object, a container or, for resellers, an account.
func (g *Guard) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	if !g.may(ctx, govern, p) {
		return storage.Wrap("remove", p, fs.ErrPermission)
	}
	return g.b.Remove(ctx, p, c)
}
