package cdn

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Directory knows the sites there are.
type Directory interface {
	// Site is the site that ref means, as it is now; fs.ErrNotExist if there is
	// none. It is asked when the Edge has no record of it, and so need not
	// remember anything.
	Site(ctx context.Context, ref Ref) (Site, error)
}

const (
	// maxRecords bounds the sites in memory, unknown names included.
	maxRecords = 1 << 16

	// lease is how long a record is relied upon by an edge that does not hear of
	// changes, and for how long it may be used if nobody can be asked.
	lease      = 10 * time.Second
	lostRecord = 24 * time.Hour

	// patience is how long an answer is waited for, and for how long nobody is
	// asked after one that did not come.
	patience = 3 * time.Second

	// domainLease is how long what the DNS said is relied upon.
	domainLease = time.Minute

	// maxLookups is how many domains the DNS is asked for at once. Anybody can
	// make up names, and each costs others something.
	maxLookups = 64
)

// A record is a site as requests need it, made once.
type record struct {
	site    Site
	missing bool      // there is no such site
	at      time.Time // when it was asked for
	scopes  []string
	parts   string // scope of large objects
	forward []string
	tally   *tally
}

func newRecord(s Site) *record {
	scope := containerScope(s.Account, s.Container)
	r := &record{site: s, scopes: []string{everything, s.Account, scope}, parts: composedScope(s.Account), forward: []string{}}
	if !s.Everybody() {
		// The origin judges again, by the page that the edge has found good.
		r.forward = []string{"Referer"}
	}
	return r
}

// records are the sites in memory. What is asked for while something changes is
// used and not kept.
type records struct {
	mu     sync.RWMutex
	sites  map[Ref]*record
	hosts  map[string]hostEntry // of custom domains
	change uint64               // grows with every change that is told
	failed time.Time            // when the directory could not be asked last
	why    error
	good   atomic.Int64 // when the records were known to be good, in seconds since 1970
	asking singleflight.Group

	looking atomic.Int32 // questions to the DNS that are under way
}

// A hostEntry is what the DNS says of a domain.
type hostEntry struct {
	ref   Ref
	known bool
	at    time.Time
}

// find returns the record that ref means. Only an error of who was asked is an
// error; that there is no such site is in the record.
func (e *Edge) find(ctx context.Context, ref Ref) (*record, error) {
	c := &e.records
	c.mu.RLock()
	rec := c.sites[ref]
	c.mu.RUnlock()
	if rec != nil {
		age := time.Since(rec.at)
		if live := e.live(); live && (!rec.missing || age < lease) {
			c.confirm()
			return rec, nil
		} else if age < lease {
			return rec, nil
		}
	}
	c.mu.RLock()
	change, failed, why := c.change, c.failed, c.why
	c.mu.RUnlock()
	err := why
	if failed.IsZero() || time.Since(failed) > patience {
		// Who joins a question that was put before the last change must not have
		// its answer, so that the change is part of the question.
		var v any
		v, err, _ = c.asking.Do(ref.key(change), func() (any, error) {
			// For all who wait, and not for the one who came first.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			return e.ask(ctx, ref, change)
		})
		if err == nil {
			return v.(*record), nil
		}
	}
	if rec != nil && time.Since(rec.at) < lostRecord || c.confirmed(rec) {
		return rec, nil
	}
	return nil, err
}

// confirm notes that all records were good at this moment, to the minute.
func (c *records) confirm() {
	if now := time.Now().Unix(); now-c.good.Load() > 60 {
		c.good.Store(now)
	}
}

// confirmed reports whether a record was known to be good not too long ago.
func (c *records) confirmed(rec *record) bool {
	return rec != nil && !rec.missing && time.Since(time.Unix(c.good.Load(), 0)) < lostRecord
}

func (e *Edge) ask(ctx context.Context, ref Ref, change uint64) (*record, error) {
	c := &e.records
	at := time.Now()
	site, err := e.Directory.Site(ctx, ref)
	var rec *record
	switch {
	case err == nil:
		rec = newRecord(site)
		rec.tally = e.tallies.at(&rec.site)
	case errors.Is(err, fs.ErrNotExist):
		rec = &record{missing: true}
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed, c.why = time.Now(), err
		return nil, err
	}
	rec.at = at
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = time.Time{}
	if c.change == change {
		if c.sites == nil {
			c.sites = make(map[Ref]*record)
		}
		evict(c.sites)
		c.sites[ref] = rec
	}
	return rec, nil
}

// evict makes room in a map that is full, by dropping any of its entries: what
// is in use is back at once.
func evict[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) < maxRecords {
			return
		}
		delete(m, k)
	}
}

// forget drops the records of an account or, if container is not empty, of one
// container, and of all names that meant nothing.
func (e *Edge) forget(account, container string) {
	c := &e.records
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change++
	for ref, rec := range c.sites {
		if rec.missing || rec.site.Account == account && (container == "" || rec.site.Container == container) {
			delete(c.sites, ref)
		}
	}
}

// forgetAll drops all records.
func (e *Edge) forgetAll() {
	c := &e.records
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change++
	clear(c.sites)
}

// custom finds what a domain means that is not below ours.
func (e *Edge) custom(ctx context.Context, host string) (Ref, bool) {
	if e.Resolver == nil || len(host) > 253 {
		return Ref{}, false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return Ref{}, false
	}
	c := &e.records
	c.mu.RLock()
	h, ok := c.hosts[host]
	c.mu.RUnlock()
	if ok && time.Since(h.at) < domainLease {
		return h.ref, h.known
	}
	v, _, _ := c.asking.Do("host\x00"+host, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		defer c.looking.Add(-1)
		if c.looking.Add(1) > maxLookups {
			if time.Since(h.at) > lostRecord {
				return hostEntry{}, nil
			}
			return h, nil
		}
		now := hostEntry{at: time.Now()}
		now.ref, now.known = lookUp(ctx, e.Resolver, host, e.domain())
		if !now.known && ok && h.known && time.Since(h.at) < lostRecord && ctx.Err() != nil {
			now.ref, now.known = h.ref, true // the DNS is out of order, not the domain
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.hosts == nil {
			c.hosts = make(map[string]hostEntry)
		}
		evict(c.hosts)
		c.hosts[host] = now
		return now, nil
	})
	h = v.(hostEntry)
	return h.ref, h.known
}
