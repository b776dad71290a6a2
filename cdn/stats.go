package cdn

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Counts are what an edge has done for one container.
type Counts struct {
	// Requests is the sum of those below it: answers from what is kept and fresh;
	// from what is kept though its time has passed; from what another request was
	// fetching already; after the origin said that what is kept still holds; with
	// what it gave; and by the edge itself, which refused.
	Requests    uint64 `json:"requests"`
	Hits        uint64 `json:"hits"`
	Stale       uint64 `json:"stale"`
	Collapsed   uint64 `json:"collapsed"`
	Revalidated uint64 `json:"revalidated"`
	Misses      uint64 `json:"misses"`
	Refused     uint64 `json:"refused"`

	// Status counts the answers by the first digit of their status: 0 is for
	// those cut off before there was any.
	Status [6]uint64 `json:"status"`

	Bytes          uint64 `json:"bytes"`           // of bodies, to clients
	OriginBytes    uint64 `json:"origin_bytes"`    // of bodies, from the origin
	OriginRequests uint64 `json:"origin_requests"` // that it answered
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	mine, theirs := c.fields(), o.fields()
	for i := range mine {
		*mine[i] += *theirs[i]
	}
}

// Sub takes o from c.
func (c *Counts) Sub(o Counts) {
	mine, theirs := c.fields(), o.fields()
	for i := range mine {
		*mine[i] -= *theirs[i]
	}
}

func (c *Counts) fields() []*uint64 {
	all := []*uint64{&c.Requests, &c.Hits, &c.Stale, &c.Collapsed, &c.Revalidated, &c.Misses, &c.Refused, &c.Bytes, &c.OriginBytes, &c.OriginRequests}
	for i := range c.Status {
		all = append(all, &c.Status[i])
	}
	return all
}

// HitRatio is what part of the requests that were not refused had an answer
// without a body from the origin; 0 of none.
func (c *Counts) HitRatio() float64 {
	asked := c.Requests - c.Refused
	if asked == 0 {
		return 0
	}
	return float64(asked-c.Misses) / float64(asked)
}

// A fate is what a request came to.
type fate int

const (
	fateRefused fate = iota
	fateHit
	fateStale
	fateCollapsed
	fateRevalidated
	fateMiss
	fates
)

// A tally counts for one container. To count a request takes two additions: its
// outcome and the class of its status are one cell.
type tally struct {
	cells          [fates][6]atomic.Uint64
	bytes          atomic.Uint64
	originBytes    atomic.Uint64
	originRequests atomic.Uint64
}

func (t *tally) add(s *status, code int, bytes int64) {
	class := code / 100
	if class > 5 {
		class = 0
	}
	t.cells[s.fate()][class].Add(1)
	if bytes > 0 {
		t.bytes.Add(uint64(bytes))
	}
}

func (t *tally) counts() (c Counts) {
	sums := [fates]*uint64{&c.Refused, &c.Hits, &c.Stale, &c.Collapsed, &c.Revalidated, &c.Misses}
	for o := range t.cells {
		for class := range t.cells[o] {
			n := t.cells[o][class].Load()
			*sums[o] += n
			c.Status[class] += n
			c.Requests += n
		}
	}
	c.Bytes, c.OriginBytes, c.OriginRequests = t.bytes.Load(), t.originBytes.Load(), t.originRequests.Load()
	return c
}

// fate is what Cache-Status says, for those who count.
func (s *status) fate() fate {
	switch {
	case s.stale:
		return fateStale
	case s.hit:
		return fateHit
	case s.collapsed:
		return fateCollapsed
	case s.code == 304 && s.forward != "":
		return fateRevalidated
	case s.forward != "":
		return fateMiss
	}
	return fateRefused
}

// tallies are those of all containers that were asked for since the start.
// Records of sites come and go with what their owners set; these stay.
type tallies struct {
	mu sync.RWMutex
	of map[Ref]*tally // by account and container

	reporting sync.Mutex // held while a report is made and sent
	// Guarded by reporting:
	told    map[Ref]Counts // what the ledger knows of
	pending *Report        // sent, and perhaps not heard
	seq     uint64         // of the last that was heard
	since   time.Time      // and when that ended
}

// at returns the tally of a site.
func (t *tallies) at(s *Site) *tally {
	ref := Ref{Account: s.Account, Container: s.Container}
	t.mu.RLock()
	one := t.of[ref]
	t.mu.RUnlock()
	if one != nil {
		return one
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if one = t.of[ref]; one == nil {
		if t.of == nil {
			t.of = make(map[Ref]*tally)
		}
		one = new(tally)
		t.of[ref] = one
	}
	return one
}

// SiteCounts are the Counts of one container.
type SiteCounts struct {
	Account   string `json:"account"`
	Container string `json:"container"`
	Counts
}

// Counts returns what the edge has done since it was made, for each container,
// in the order of their names.
func (e *Edge) Counts() []SiteCounts {
	t := &e.tallies
	t.mu.RLock()
	list := make([]SiteCounts, 0, len(t.of))
	for ref, one := range t.of {
		list = append(list, SiteCounts{ref.Account, ref.Container, one.counts()})
	}
	t.mu.RUnlock()
	slices.SortFunc(list, func(a, b SiteCounts) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Container, b.Container))
	})
	return list
}

// A Report is what an edge has done since its last one.
type Report struct {
	Edge  string       `json:"edge,omitempty"` // who it is, as its key says
	Run   string       `json:"run"`            // tells one start of an edge from others
	Seq   uint64       `json:"seq"`            // counts the reports of a run from 1
	From  time.Time    `json:"from"`           // when what it counts was done
	To    time.Time    `json:"to"`
	Sites []SiteCounts `json:"sites"`
}

// A Ledger keeps what edges tell of themselves.
type Ledger interface {
	// Count takes a report. One that it has taken before changes nothing.
	Count(ctx context.Context, r Report) error

	// Deliver puts a part of an access log where its owner finds it. A part that
	// was delivered before replaces itself. fs.ErrNotExist says that there is
	// nobody who could want it.
	Deliver(ctx context.Context, p LogPart) error
}

// report tells a ledger what was done since it was told last. A report that may
// not have been heard is told again, as it was, before there is another.
func (e *Edge) report(ctx context.Context, l Ledger, run string) error {
	t := &e.tallies
	t.reporting.Lock()
	defer t.reporting.Unlock()
	if t.told == nil {
		t.told = make(map[Ref]Counts)
	}
	for range 2 { // what was not heard last time, and what came since
		if t.pending == nil {
			t.pending = e.nextReport(run)
		}
		if t.pending == nil {
			return nil
		}
		if err := l.Count(ctx, *t.pending); err != nil {
			return err
		}
		for _, s := range t.pending.Sites {
			ref := Ref{Account: s.Account, Container: s.Container}
			sum := t.told[ref]
			sum.Add(s.Counts)
			t.told[ref] = sum
		}
		t.seq, t.since = t.pending.Seq, t.pending.To
		t.pending = nil
	}
	return nil
}

// nextReport is what was done since the last; nil if that is nothing. The mutex
// of reports is held.
func (e *Edge) nextReport(run string) *Report {
	t := &e.tallies
	r := &Report{Run: run, Seq: t.seq + 1, From: t.since, To: time.Now()}
	for _, s := range e.Counts() {
		s.Sub(t.told[Ref{Account: s.Account, Container: s.Container}])
		if s.Counts != (Counts{}) {
			r.Sites = append(r.Sites, s)
		}
	}
	if len(r.Sites) == 0 {
		return nil
	}
	return r
}
