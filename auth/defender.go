package auth

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DefenderOptions say when an address is banned, and for how long. The zero
// value means the defaults told with each field.
type DefenderOptions struct {
	Limit  int           // points within Window that ban an address; 15
	Window time.Duration // 30 minutes
	Ban    time.Duration // how long the first ban lasts; 30 minutes. Each further one is half as long again
	MaxBan time.Duration // but not longer than this; 24 hours. So long after its end a ban is remembered, too

	// Allow lists networks that are never banned; nil is loopback, from where
	// only who is on the machine already comes, or a proxy that stands for all.
	Allow []netip.Prefix

	// Sources is how many addresses and users are kept in mind; 65,536. When
	// there are more, those not seen for longest are forgotten: it is better
	// to let somebody guess a while longer than to run out of memory.
	Sources int
}

// A Failure is what counts against an address, in points.
type Failure int

// The failures. Only failures count: an honest client may log in for every
// request it makes. An unknown user counts as much as a wrong password, since
// a ban that came sooner for one would tell which names exist.
const (
	FailLogin Failure = 1  // an unknown user or a wrong password
	FailLimit Failure = 3  // a limit of the door was overrun
	FailCrash Failure = 15 // it made a handler panic
)

// A Ban is an address that is not listened to.
type Ban struct {
	Source netip.Prefix // one address, or the /64 of an IPv6 one
	Since  time.Time
	Until  time.Time
	Times  int // how often it was banned
}

// A Defender counts failures, over all doors that share it: addresses that
// fail too often are banned, and attempts on a user who is often guessed at
// are slowed down. Users are never locked out, which would be a weapon against
// them. The zero Defender is not usable; NewDefender makes one.
type Defender struct {
	o DefenderOptions

	// keep is told of each new ban, and of each that is over before its time,
	// to write it down.
	keep func(b Ban, over bool)

	mu      sync.RWMutex
	bans    map[netip.Prefix]Ban
	trying  map[netip.Prefix]int // attempts that are being looked at
	sources lru[netip.Prefix, []tick]
	users   lru[[32]byte, slowness]
}

// A tick is one failure of a source.
type tick struct {
	at     time.Time
	points Failure
}

// A slowness is how often a user was guessed at of late.
type slowness struct {
	n    int
	last time.Time
}

// NewDefender returns a Defender that remembers bans as long as it lives.
func NewDefender(o DefenderOptions) *Defender {
	o.Limit = cmp.Or(o.Limit, 15)
	o.Window = cmp.Or(o.Window, 30*time.Minute)
	o.Ban = cmp.Or(o.Ban, 30*time.Minute)
	o.MaxBan = cmp.Or(o.MaxBan, 24*time.Hour)
	o.Sources = cmp.Or(o.Sources, 65536)
	if o.Allow == nil {
		o.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return &Defender{
		o:       o,
		keep:    func(Ban, bool) {},
		bans:    make(map[netip.Prefix]Ban),
		trying:  make(map[netip.Prefix]int),
		sources: newLRU[netip.Prefix, []tick](o.Sources),
		users:   newLRU[[32]byte, slowness](o.Sources),
	}
}

// source is what failures of an address count against: of IPv6 the whole /64,
// out of which one machine may pick any address.
func source(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// exempt reports whether failures of an address do not count.
func (d *Defender) exempt(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return !a.IsValid() || slices.ContainsFunc(d.o.Allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Banned reports whether an address is not to be listened to. Doors ask when a
// connection is made, and Password asks again at each attempt.
func (d *Defender) Banned(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.bans) == 0 {
		return false
	}
	b, ok := d.bans[source(a)]
	return ok && time.Now().Before(b.Until) && !d.exempt(a)
}

// Fail counts a failure against an address, and bans it when that is one too
// many.
func (d *Defender) Fail(a netip.Addr, f Failure) {
	if d.exempt(a) {
		return
	}
	if b, banned := d.count(source(a), f); banned {
		d.keep(b, false)
	}
}

func (d *Defender) count(s netip.Prefix, f Failure) (Ban, bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.bans[s]
	if known && now.Before(old.Until) {
		return old, false // it was on its way when the ban came
	}
	ticks, sum := d.ticks(s, now)
	ticks, sum = append(ticks, tick{now, f}), sum+int(f)
	if sum < d.o.Limit {
		d.sources.put(s, ticks)
		return Ban{}, false
	}
	d.sources.drop(s)
	b := Ban{Source: s, Since: now, Times: 1}
	if known && now.Before(old.Until.Add(d.o.MaxBan)) {
		b.Times = old.Times + 1
	}
	length := d.o.Ban
	for i := 1; i < b.Times && length < d.o.MaxBan; i++ {
		length += length / 2
	}
	b.Until = now.Add(min(length, d.o.MaxBan))
	d.bans[s] = b
	d.trim(now)
	return b, true
}

// ticks are the failures of a source that count still, and their points. It is
// called with the lock held.
func (d *Defender) ticks(s netip.Prefix, now time.Time) (ticks []tick, sum int) {
	ticks, _ = d.sources.get(s)
	ticks = slices.DeleteFunc(ticks, func(t tick) bool { return now.Sub(t.at) >= d.o.Window })
	for _, t := range ticks {
		sum += int(t.points)
	}
	return ticks, sum
}

// begin reports whether an attempt from an address may be looked at now, beside
// those that are: if all of them failed there must not be more failures than
// ban it, or whoever guesses often enough at once is never banned in time. Each
// attempt that may be looked at ends with finish.
func (d *Defender) begin(a netip.Addr) bool {
	if d.exempt(a) {
		return true
	}
	s := source(a)
	d.mu.Lock()
	defer d.mu.Unlock()
	ticks, sum := d.ticks(s, time.Now())
	if sum+d.trying[s]*int(FailLogin) >= d.o.Limit {
		return false
	}
	if len(ticks) > 0 {
		d.sources.put(s, ticks) // some were deleted, and the others moved
	} else {
		d.sources.drop(s)
	}
	d.trying[s]++
	return true
}

func (d *Defender) finish(a netip.Addr) {
	if d.exempt(a) {
		return
	}
	s := source(a)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trying[s]--; d.trying[s] <= 0 {
		delete(d.trying, s)
	}
}

// trim forgets bans that are over and past, and those closest to it if there
// are still too many.
func (d *Defender) trim(now time.Time) {
	if len(d.bans) <= d.o.Sources {
		return
	}
	all := make([]Ban, 0, len(d.bans))
	for _, b := range d.bans {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Ban) int { return a.Until.Compare(b.Until) })
	for _, b := range all[:len(all)-d.o.Sources*7/8] { // an eighth at a time, not to sort at every ban
		delete(d.bans, b.Source)
	}
}

// Bans lists the addresses that are banned now, in order.
func (d *Defender) Bans() []Ban {
	now := time.Now()
	d.mu.RLock()
	defer d.mu.RUnlock()
	var bans []Ban
	for _, b := range d.bans {
		if now.Before(b.Until) {
			bans = append(bans, b)
		}
	}
	slices.SortFunc(bans, func(a, b Ban) int { return a.Source.Addr().Compare(b.Source.Addr()) })
	return bans
}

// Lift ends the ban of an address, and forgets its failures and how often it
// was banned. It reports whether there was a ban.
func (d *Defender) Lift(a netip.Addr) bool {
	s := source(a)
	d.mu.Lock()
	b, ok := d.bans[s]
	delete(d.bans, s)
	d.sources.drop(s)
	d.mu.Unlock()
	if ok {
		d.keep(b, true)
	}
	return ok && time.Now().Before(b.Until)
}

// restore puts the bans that were written down in place of those in mind.
func (d *Defender) restore(bans []Ban) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.bans)
	for _, b := range bans {
		d.bans[b.Source] = b
	}
	d.trim(time.Now())
}

// The delay of an attempt on a user: none after a few failures, then doubling
// from firstDelay to maxDelay; all is forgotten when forgiveness has passed
// without another one.
const (
	freeFailures = 3
	firstDelay   = 50 * time.Millisecond
	maxDelay     = 2 * time.Second
	forgiveness  = 5 * time.Minute
)

// failUser counts a failed attempt on a user, by a hash of his name, whether
// he exists or not.
func (d *Defender) failUser(user [32]byte) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	s, _ := d.users.get(user)
	if now.Sub(s.last) >= forgiveness {
		s.n = 0
	}
	d.users.put(user, slowness{min(s.n+1, 64), now})
}

// delay is how long an attempt on a user has to wait before it is looked at.
func (d *Defender) delay(user [32]byte) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.users.get(user)
	if !ok || s.n <= freeFailures || time.Since(s.last) >= forgiveness {
		return 0
	}
	return min(firstDelay<<min(s.n-freeFailures-1, 16), maxDelay)
}

// An lru keeps a bounded number of values, and forgets the one not used for
// longest. It is not for concurrent use.
type lru[K comparable, V any] struct {
	max   int
	items map[K]*list.Element
	order *list.List // of entry[K, V], the last used first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](max int) lru[K, V] {
	return lru[K, V]{max, make(map[K]*list.Element), list.New()}
}

func (l *lru[K, V]) get(key K) (v V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

func (l *lru[K, V]) put(key K, v V) {
	if e, ok := l.items[key]; ok {
		e.Value.(*entry[K, V]).value = v
		l.order.MoveToFront(e)
		return
	}
	l.items[key] = l.order.PushFront(&entry[K, V]{key, v})
	if l.order.Len() > l.max {
		last := l.order.Back()
		delete(l.items, l.order.Remove(last).(*entry[K, V]).key)
	}
}

func (l *lru[K, V]) drop(key K) {
	if e, ok := l.items[key]; ok {
		l.order.Remove(e)
		delete(l.items, key)
	}
}
