package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
)

// A cdnLedger keeps what edges tell of themselves, the one in this process and
// those on other machines: what they have served for each container and day, in
// a file of JSON for each day below cdn-usage/ in the data directory, and
// access logs, in the accounts that they are of.
type cdnLedger struct {
	dir   string
	store *storage.Store
	log   *slog.Logger

	mu    sync.Mutex // guards all below
	day   *usageDay
	total map[cdn.Ref]cdn.Counts // since the start
	order []cdn.Ref              // of total, as they came
	edges map[string]cdn.Counts  // since the start, by edge
}

var _ cdn.Ledger = (*cdnLedger)(nil)

// A usageDay is a file of usage. Its day is that of UTC on which a report came.
type usageDay struct {
	Day   string           `json:"day"`
	Sites []cdn.SiteCounts `json:"sites"`

	// Heard are the reports that are in it, or in the day before: the last one of
	// each run of an edge.
	Heard map[string]heardReport `json:"heard"`
}

// A heardReport is the last one of a run.
type heardReport struct {
	Edge string    `json:"edge"`
	Seq  uint64    `json:"seq"`
	At   time.Time `json:"at"`
}

// heardFor is how long a run is remembered that nothing is heard of.
const heardFor = 7 * 24 * time.Hour

const usageDir = "cdn-usage"

// openLedger opens the usage of a data directory.
func openLedger(data string, s *storage.Store, log *slog.Logger) (*cdnLedger, error) {
	l := &cdnLedger{
		dir: filepath.Join(data, usageDir), store: s, log: log,
		total: make(map[cdn.Ref]cdn.Counts), edges: make(map[string]cdn.Counts),
	}
	if err := durable.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(l.dir, "????-??-??.json"))
	if err != nil {
		return nil, err
	}
	l.day = &usageDay{Heard: make(map[string]heardReport)}
	if len(names) > 0 {
		last := slices.Max(names)
		data, err := os.ReadFile(last)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, l.day); err != nil {
			return nil, fmt.Errorf("%s: %w", last, err)
		}
	}
	return l, nil
}

// Count adds a report to the usage of today. It is on the disk when Count
// returns.
func (l *cdnLedger) Count(_ context.Context, r cdn.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.day.Heard[r.Run].Seq >= r.Seq {
		return nil
	}
	now := time.Now().UTC()
	next := &usageDay{Day: now.Format(time.DateOnly), Heard: maps.Clone(l.day.Heard)}
	if next.Heard == nil {
		next.Heard = make(map[string]heardReport)
	}
	maps.DeleteFunc(next.Heard, func(_ string, h heardReport) bool { return now.Sub(h.At) > heardFor })
	next.Heard[r.Run] = heardReport{r.Edge, r.Seq, now}
	if l.day.Day == next.Day {
		next.Sites = slices.Clone(l.day.Sites)
	}
	for _, s := range r.Sites {
		i, ok := slices.BinarySearchFunc(next.Sites, s, bySite)
		if ok {
			next.Sites[i].Add(s.Counts)
		} else {
			next.Sites = slices.Insert(next.Sites, i, s)
		}
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(l.dir, next.Day+".json"), data, 0o600); err != nil {
		return err
	}
	l.day = next
	sum := l.edges[r.Edge]
	for _, s := range r.Sites {
		ref := cdn.Ref{Account: s.Account, Container: s.Container}
		all, known := l.total[ref]
		if !known {
			l.order = append(l.order, ref)
		}
		all.Add(s.Counts)
		l.total[ref] = all
		sum.Add(s.Counts)
	}
	l.edges[r.Edge] = sum
	return nil
}

func bySite(a, b cdn.SiteCounts) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Container, b.Container))
}

// today is what was served today: for one container, or for all if it has no
// name.
func (l *cdnLedger) today(ref cdn.Ref) (sum cdn.Counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.day.Day != time.Now().UTC().Format(time.DateOnly) {
		return sum
	}
	for _, s := range l.day.Sites {
		if ref.Container == "" || s.Account == ref.Account && s.Container == ref.Container {
			sum.Add(s.Counts)
		}
	}
	return sum
}

// clerk is who puts logs into accounts: no user, whose names have a colon.
const clerk = ".clerk"

// Deliver puts a part of an access log into its account's container of logs,
// which is made with the first.
func (l *cdnLedger) Deliver(ctx context.Context, p cdn.LogPart) error {
	ctx = auth.NewContext(ctx, auth.Identity{User: clerk, Role: auth.RoleReseller})
	if _, err := l.store.Stat(ctx, storage.Path{Account: p.Account}); err != nil {
		return err // and no account is made for logs
	}
	err := l.put(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := l.store.Make(ctx, storage.Path{Account: p.Account, Container: cdn.LogContainer}, nil); err != nil {
			return hideAbsence(err)
		}
		err = l.put(ctx, p)
	}
	return hideAbsence(err)
}

func (l *cdnLedger) put(ctx context.Context, p cdn.LogPart) error {
	u, err := l.store.Create(ctx, storage.Info{
		Path: storage.Path{Account: p.Account, Container: cdn.LogContainer, Object: p.Object()},
		Type: "application/gzip", Size: int64(len(p.Lines)),
	}, storage.Cond{})
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := u.Write(p.Lines); err != nil {
		return err
	}
	_, err = u.Commit(ctx)
	return err
}

// hideAbsence makes of what is not there an error like others: only an account
// that is not there means that nobody wants its logs.
func hideAbsence(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// localLedger is the ledger for the edge in this process.
type localLedger struct{ *cdnLedger }

// Count adds a report of that edge.
func (l localLedger) Count(ctx context.Context, r cdn.Report) error {
	r.Edge = "(local)"
	return l.cdnLedger.Count(ctx, r)
}

// inBackground starts something that ends with its context, and returns what
// ends it and waits for that.
func inBackground(ctx context.Context, run func(context.Context)) func() error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}
}
