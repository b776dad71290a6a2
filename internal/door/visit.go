package door

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Visit is one connection, from its first byte to its last. Its exported
// fields are those of the goroutine that serves it, and of those it starts;
// others ask Describe, and may HangUp.
type Visit struct {
	Conn    net.Conn     // to the client, without the header of a proxy once it has arrived
	Remote  net.Addr     // where the client is
	Proxied bool         // the connection comes through a proxy
	ID      string       // the transaction id; "" until it has arrived
	Began   time.Time    // when it was accepted
	Log     *slog.Logger // says whose lines they are; nil until it has arrived

	raw    net.Conn // Conn as it was accepted
	keeper *Keeper
	rules  *Rules
	cut    func(why string) // of the Visitor
	place  place            // guarded by the gate
	placed bool

	mu      sync.Mutex // held to change Conn, Remote and ID, and guards what follows
	session Session    // once logged in
	in      bool

	operations atomic.Uint64
}

// Arrive looks who comes before he has said anything: behind a proxy it waits
// for the header that tells, then Admit is asked, and last whether there is a
// place. An error, which is logged, means that he may not come; it is ErrFull
// if he could have at another time. Who arrives must Leave.
func (v *Visit) Arrive() error {
	r := v.rules
	if from := v.Conn.RemoteAddr(); Proxied(from, r.Proxies) {
		nc, err := ThroughProxy(v.Conn)
		if err != nil {
			r.log().Debug(r.Name+": connection refused", "from", AddrString(from), "err", err)
			return err
		}
		v.mu.Lock()
		v.Conn, v.Remote, v.Proxied = nc, nc.RemoteAddr(), true
		v.mu.Unlock()
	}
	v.mu.Lock()
	v.ID = r.newID()
	v.mu.Unlock()
	v.Log = r.log().With("txid", v.ID, "door", r.Name, "from", AddrString(v.Remote))
	if r.Admit != nil {
		if err := r.Admit(v.Remote); err != nil {
			v.Log.Debug(r.Name+": connection refused", "err", err)
			return err
		}
	}
	v.place = place{source: SourceOf(v.Remote), began: v.Began, cut: v.cut}
	if !v.keeper.gate.enter(&v.place, Limit(r.MaxHandshakes, 64), Limit(r.MaxConns, 10_000)) {
		v.Log.Warn(r.Name+": connection refused", "err", ErrFull)
		return ErrFull
	}
	v.placed = true
	if r.Connect != nil {
		r.Connect(v.Remote)
	}
	return nil
}

// Leave gives up the place that Arrive gave.
func (v *Visit) Leave() {
	if !v.placed {
		return
	}
	if f := v.rules.Disconnect; f != nil {
		f(v.Remote)
	}
	v.keeper.gate.leave(&v.place)
}

// Reach says how far the client has come on his way in.
func (v *Visit) Reach(s Stage) { v.keeper.gate.reach(&v.place, s) }

// Admit counts one who has shown that he is user among those inside, once. An
// error, ErrFull to errors.Is, says which limit is in the way, in words for the
// client.
func (v *Visit) Admit(user string) error {
	r := v.rules
	return v.keeper.gate.admit(&v.place, user, Limit(r.MaxConns, 10_000), Limit(r.MaxConnsPerAddress, 256), Limit(r.MaxConnsPerUser, 256))
}

// Enter notes that the client is logged in.
func (v *Visit) Enter(user, client string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.in = true
	v.session = Session{ID: v.ID, User: user, Remote: v.Remote, Client: client, Since: v.Began}
}

// User is who is logged in, as Enter was told.
func (v *Visit) User() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.session.User
}

// Describe says who has come, and whether he is logged in; if not, then only
// from where and since when.
func (v *Visit) Describe() (Session, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.in {
		return Session{Remote: v.Remote, Since: v.Began}, false
	}
	return v.session, true
}

// Raw is the connection as it was accepted: from a proxy, if there is one.
func (v *Visit) Raw() net.Conn { return v.raw }

// HangUp closes the connection. Anybody may call it.
func (v *Visit) HangUp() {
	v.mu.Lock()
	nc := v.Conn
	v.mu.Unlock()
	nc.Close()
}

// operationID is the transaction id of the next operation.
func (v *Visit) operationID() string { return fmt.Sprintf("%s-%d", v.ID, v.operations.Add(1)) }
