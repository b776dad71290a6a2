package auth

import (
	"strings"

	"memstore.dev/memstore/storage"
)

// A Ticket is a right that comes from a signature instead of from who somebody
// is: a URL signed by the owner of an account lets whoever holds it do one thing
// to one object. An Identity with a Ticket may do what the Ticket says and
// nothing else, whatever its Role and any access control list say, and is a
// stranger otherwise.
type Ticket struct {
	// By says in the log what gave the right: "tempurl", "formpost".
	By string

	// Path is the object that it is about.
	Path storage.Path

	// Prefix has it about all objects whose names begin as that of Path, and not
	// about that one alone.
	Prefix bool

	// Write lets the object be put, changed and removed, and not only be read.
	Write bool

	// Within is the account, or the container, whose key signed it. What the
	// object is made of, such as the segments of a large one or the target of a
	// link, may be read within it.
	Within storage.Path
}

// allows reports whether the holder may do a to p.
func (t *Ticket) allows(a act, p storage.Path) bool {
	if !reachable(p.Account) {
		return false
	}
	if t.names(p) {
		return a == read || t.Write
	}
	return a == read && !p.IsAccount() && p.Account == t.Within.Account &&
		(t.Within.Container == "" || p.Container == t.Within.Container)
}

// names reports whether p is what the ticket is about.
func (t *Ticket) names(p storage.Path) bool {
	if !t.Path.IsObject() || !p.IsObject() {
		return false
	}
	if t.Prefix {
		return p.Account == t.Path.Account && p.Container == t.Path.Container && strings.HasPrefix(p.Object, t.Path.Object)
	}
	return p == t.Path
}
