package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// RateLimits slow down clients that change or list too much at once: requests
// wait for their turn, and those that would wait too long are refused with 498.
// The zero RateLimits limit nothing.
type RateLimits struct {
	// Containers is how many containers of one account may be made and removed
	// in a second.
	Containers float64

	// Objects is how many objects of one container may be changed in a second,
	// and Listings how many listings of it made, by how many objects there are
	// in it: what holds between two sizes is drawn as a line between them.
	Objects, Listings []SizeRate

	// MaxWait is how long a request may wait for its turn; 60 seconds if zero.
	MaxWait time.Duration
}

// A SizeRate is how many requests per second a container takes that has so many
// objects.
type SizeRate struct {
	Objects int64
	Rate    float64
}

// metaWriteRate, kept with an account by its operator, is how many changes it may
// make in a second, or one of the words "WHITELIST", for any number of anything,
// and "BLACKLIST", for none.
const metaWriteRate = "X-Account-Sysmeta-Global-Write-Ratelimit"

// Statuses that Swift has made up.
const (
	statusBlacklisted = 497
	statusRateLimited = 498
)

var (
	errSlowDown    = &refusal{status: statusRateLimited, text: "Slow down"}
	errBlacklisted = &refusal{status: statusBlacklisted, text: "Your account has been blacklisted"}
)

const (
	defaultMaxWait = 60 * time.Second
	rateBurst      = 5 * time.Second // how much of a quiet time may be made up for
	maxTurns       = 100_000
)

// rateFor is the rate that holds for a container with so many objects, 0 for none.
func rateFor(rates []SizeRate, objects int64) float64 {
	i, exact := slices.BinarySearchFunc(rates, objects, func(r SizeRate, n int64) int { return cmp.Compare(r.Objects, n) })
	switch {
	case exact:
		return rates[i].Rate
	case i == 0:
		return 0
	case i == len(rates):
		return rates[i-1].Rate
	}
	a, b := rates[i-1], rates[i]
	return a.Rate + (b.Rate-a.Rate)*float64(objects-a.Objects)/float64(b.Objects-a.Objects)
}

// turns are when the next request of each kind has its turn.
type turns struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// wait takes a turn at a rate, and returns how long it is until then; false if
// that is longer than most.
func (t *turns) wait(key string, rate float64, now time.Time, most time.Duration) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == nil {
		t.next = make(map[string]time.Time)
	}
	if len(t.next) >= maxTurns {
		for k, next := range t.next {
			if now.Sub(next) > rateBurst {
				delete(t.next, k)
			}
		}
	}
	turn := t.next[key]
	if now.Sub(turn) > rateBurst {
		turn = now
	}
	until := max(turn.Sub(now), 0)
	if until >= most {
		return 0, false
	}
	t.next[key] = turn.Add(time.Duration(float64(time.Second) / rate))
	return until, true
}

// waitTurn has the request wait for its turn.
func (c *call) waitTurn(p storage.Path) error {
	changes := !reads[c.r.Method]
	limits := &c.g.RateLimits
	var global string
	if changes || limits.Listings != nil {
		global = c.meta(storage.Path{Account: p.Account})[metaWriteRate]
	}
	switch global {
	case "WHITELIST":
		return nil
	case "BLACKLIST":
		return errBlacklisted
	}
	type lane struct {
		key  string
		rate float64
	}
	var lanes []lane
	container := storage.Path{Account: p.Account, Container: p.Container}
	bySize := func(prefix string, rates []SizeRate) {
		if len(rates) == 0 {
			return
		}
		if in, err := c.g.Store.Stat(c.ownEyes(), container); err == nil {
			lanes = append(lanes, lane{prefix + container.String(), rateFor(rates, in.Objects)})
		}
	}
	switch {
	case p.IsContainer() && (c.r.Method == http.MethodPut || c.r.Method == http.MethodDelete):
		lanes = append(lanes, lane{"a/" + p.Account, limits.Containers})
	case p.IsObject() && changes:
		bySize("o", limits.Objects)
	case p.IsContainer() && c.r.Method == http.MethodGet:
		bySize("l", limits.Listings)
	}
	if rate, err := strconv.ParseFloat(global, 64); err == nil && changes {
		lanes = append(lanes, lane{"w/" + p.Account, rate})
	}
	for _, l := range lanes {
		if l.rate <= 0 {
			continue
		}
		d, ok := c.g.turns.wait(l.key, l.rate, time.Now(), cmp.Or(limits.MaxWait, defaultMaxWait))
		if !ok {
			return errSlowDown
		}
		if err := sleep(c.r.Context(), d); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// info is what /info tells of them.
func (l *RateLimits) info() map[string]any {
	pairs := func(rates []SizeRate) [][2]float64 {
		list := [][2]float64{}
		for _, r := range rates {
			list = append(list, [2]float64{float64(r.Objects), r.Rate})
		}
		return list
	}
	return map[string]any{
		"account_ratelimit":            l.Containers,
		"max_sleep_time_seconds":       cmp.Or(l.MaxWait, defaultMaxWait).Seconds(),
		"container_ratelimits":         pairs(l.Objects),
		"container_listing_ratelimits": pairs(l.Listings),
	}
}
