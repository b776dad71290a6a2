// Package door is what the doors for files have in common, whichever protocol
// is spoken at them: a Keeper accepts connections and knows all that are there;
// each is a Visit, which says for whom it comes, has a place among those who
// are on their way in or are in, and reports what its client did with files.
//
// It knows neither a protocol nor a filesystem.
package door

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Rules are how a door treats its visitors. Where a limit is concerned zero
// means the default, and a negative value none.
type Rules struct {
	Name string // of the door, "ftp", as the log has it
	Log  *slog.Logger

	// Admit is asked before a single byte is read from a new connection, but for
	// the header of a proxy, and ends it by returning an error. May be nil.
	Admit func(remote net.Addr) error

	// Proxies are the networks of proxies, whose connections must begin with a
	// header of the PROXY protocol, of either version.
	Proxies []netip.Prefix

	NewID func() string // makes a transaction id; random if nil

	// Connect is told of every connection that was let come, and Disconnect of
	// its end; Operation of each operation when it is over. May be nil.
	Connect, Disconnect func(remote net.Addr)
	Operation           func(Operation)

	// Known reports whether an error of an operation is one that happens, and not
	// a fault of ours.
	Known func(error) bool

	MaxHandshakes      int // connections on their way in; 64
	MaxConns           int // connections that are in; 10,000
	MaxConnsPerAddress int // of these from one IPv4 address or IPv6 /64; 256
	MaxConnsPerUser    int // of these of one user; 256
}

func (r *Rules) newID() string {
	if r.NewID != nil {
		return r.NewID()
	}
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (r *Rules) log() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.Default()
}

// A Visitor is a Visit with a protocol. What a Visit has of it comes by
// embedding one.
type Visitor interface {
	// Serve is the whole life of the connection. It calls Arrive before
	// anything else.
	Serve()

	// LeaveWhenQuiet ends the connection as soon as nothing is under way.
	LeaveWhenQuiet()

	// Cut ends the connection now, in so many words.
	Cut(why string)

	// Describe says who it is, and whether he is logged in.
	Describe() (Session, bool)
}

// A Session describes a connection that is logged in.
type Session struct {
	ID     string
	User   string
	Remote net.Addr
	Client string
	Since  time.Time
}

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("door closed")

// A Keeper stands at a door. Its zero value is one at whose door nobody is.
type Keeper struct {
	gate gate

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	visitors  map[Visitor]struct{}
	wg        sync.WaitGroup // one per visitor

	closing atomic.Bool // set with mu held
}

// Serve accepts connections from l, and has each served by the Visitor that
// meet makes of it, until Shutdown or an error that does not pass. It closes l.
func (k *Keeper) Serve(l net.Listener, r *Rules, meet func(*Visit) Visitor) error {
	defer l.Close()
	if !k.track(l) {
		return ErrClosed
	}
	defer k.untrack(l)
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		if err != nil {
			if k.closing.Load() {
				return ErrClosed
			}
			// Out of descriptors, most likely: they come back as clients leave.
			//lint:ignore SA1019 net/http's Serve asks the same, for want of a better question
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Temporary() {
				r.log().Error(r.Name+": accept failed", "err", err, "retry", pause)
				time.Sleep(pause)
				pause = min(2*pause, time.Second)
				continue
			}
			return err
		}
		pause = 5 * time.Millisecond
		k.welcome(nc, r, meet)
	}
}

// Visit is a connection that came by another way than a listener.
func (k *Keeper) Visit(nc net.Conn, r *Rules) *Visit {
	return &Visit{raw: nc, keeper: k, rules: r, Conn: nc, Remote: nc.RemoteAddr(), Began: time.Now()}
}

// welcome starts to serve a connection, unless the door is closing.
func (k *Keeper) welcome(nc net.Conn, r *Rules, meet func(*Visit) Visitor) {
	v := k.Visit(nc, r)
	guest := meet(v)
	v.cut = guest.Cut
	k.mu.Lock()
	if k.closing.Load() {
		k.mu.Unlock()
		nc.Close()
		return
	}
	if k.visitors == nil {
		k.visitors = make(map[Visitor]struct{})
	}
	k.visitors[guest] = struct{}{}
	k.wg.Add(1)
	k.mu.Unlock()

	go func() {
		defer k.wg.Done()
		defer func() {
			k.mu.Lock()
			delete(k.visitors, guest)
			k.mu.Unlock()
		}()
		guest.Serve()
	}()
}

// Shutdown stops accepting and has every connection leave as soon as it has
// nothing under way. When ctx ends it cuts those that remain, and returns the
// error of ctx. Either way no connection is left when Shutdown returns.
func (k *Keeper) Shutdown(ctx context.Context) error {
	k.mu.Lock()
	k.closing.Store(true)
	for l := range k.listeners {
		l.Close()
	}
	for v := range k.visitors {
		v.LeaveWhenQuiet()
	}
	k.mu.Unlock()

	gone := make(chan struct{})
	go func() { k.wg.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		k.Disconnect(func(Session) bool { return true })
		<-gone
		return ctx.Err()
	}
}

// Closing reports whether Shutdown was called.
func (k *Keeper) Closing() bool { return k.closing.Load() }

// Sessions are the connections that are logged in at this moment, in no order.
func (k *Keeper) Sessions() []Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Session
	for v := range k.visitors {
		if s, in := v.Describe(); in {
			list = append(list, s)
		}
	}
	return list
}

// Disconnect cuts the connections that match, and says how many those were. It
// cuts those that are still logging in as well, as a Session that says only
// where they come from, but does not count them.
func (k *Keeper) Disconnect(match func(Session) bool) int {
	k.mu.Lock()
	var cut []Visitor
	n := 0
	for v := range k.visitors {
		s, in := v.Describe()
		if match(s) {
			cut = append(cut, v)
			if in {
				n++
			}
		}
	}
	k.mu.Unlock()
	for _, v := range cut {
		v.Cut("disconnected")
	}
	return n
}

// Counts are how many connections are on their way in, and how many are in.
func (k *Keeper) Counts() (entering, inside int) { return k.gate.counts() }

func (k *Keeper) track(l net.Listener) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closing.Load() {
		return false
	}
	if k.listeners == nil {
		k.listeners = make(map[net.Listener]struct{})
	}
	k.listeners[l] = struct{}{}
	return true
}

func (k *Keeper) untrack(l net.Listener) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.listeners, l)
}
