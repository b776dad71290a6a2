package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A machine is a store that can be started, and struck.
type machine interface {
	// start brings the store up on what the last life left behind.
	start(ctx context.Context) (endpoint, error)

	// stumble begins to start the store and strikes it so much later, ready or
	// not.
	stumble(ctx context.Context, after time.Duration) error

	// strike ends the store without a warning. When it returns nothing that
	// was sent to it can have an effect any more.
	strike(ctx context.Context) error

	// inspect has the store examine itself, while it is up. So many uploads are
	// kept for those who have not finished them.
	inspect(ctx context.Context, kept int) error

	// lateAcks reports whether an answer counts that came after strike was
	// called.
	lateAcks() bool
}

// A campaign strikes one store again and again and compares what is left each
// time with what was promised.
type campaign struct {
	machine machine
	world   *world
	writers int
	seed    uint64
	floods  int           // one life in so many begins with a flood and ends at rest; 0 for none
	longest time.Duration // that the load goes on before a blow
	log     io.Writer

	acked, unanswered, blows int64
	resumed, found           int64 // uploads gone on with, and found to be gone on with after a blow
}

// floodSize is how many small writes it takes until the engine's log is written
// into files that were logs before. Only then is a sync of the log no more than
// that: while files grow, the journal of the file system is written along with
// it, and with the journal whatever names were not synced.
const floodSize = 20_000

// newCampaign returns a campaign against a machine that is new.
func newCampaign(m machine, writers int, seed uint64, log io.Writer) *campaign {
	return &campaign{machine: m, world: newWorld(writers), writers: writers, seed: seed, longest: 200 * time.Millisecond, log: log}
}

// findings is an error that tells what a store did wrong.
type findings []finding

func (f findings) Error() string {
	text := f.summary()
	for i, one := range f {
		if i == 20 {
			return text + "\n  …"
		}
		text += "\n  " + one.String()
	}
	return text
}

// summary says how many there are of each kind.
func (f findings) summary() string {
	kinds := map[string]int{}
	for _, one := range f {
		kinds[one.kind]++
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	return fmt.Sprintf("%d findings (%s)", len(f), strings.Join(parts, ", "))
}

// run goes through so many cycles and a last inspection, and stops at the first
// that finds something. The error then is a findings.
func (c *campaign) run(ctx context.Context, cycles int) error {
	for i := range cycles {
		if err := c.cycle(ctx, i); err != nil {
			return fmt.Errorf("seed %d, cycle %d: %w", c.seed, i, err)
		}
		if every := max(cycles/20, 1); (i+1)%every == 0 {
			fmt.Fprintf(c.log, "  %d of %d: %d changes acknowledged and kept, %d unanswered\n", i+1, cycles, c.acked, c.unanswered)
		}
	}
	if _, err := c.rise(ctx); err != nil {
		return fmt.Errorf("seed %d, at the end: %w", c.seed, err)
	}
	return nil
}

// rise starts the store and judges what it holds.
func (c *campaign) rise(ctx context.Context) (*client, error) {
	at, err := c.machine.start(ctx)
	if err != nil && c.blows > 0 && ctx.Err() == nil {
		return nil, findings{{"start", "", err.Error()}} // it did start before
	}
	if err != nil {
		return nil, err
	}
	cl := newClient(at)
	for _, name := range c.world.shared {
		if a, err := cl.do(ctx, "PUT", path(name, "")); err != nil || !a.ok() {
			return nil, fmt.Errorf("making container %q: %v %w", name, a, err)
		}
	}
	found, err := c.world.verify(ctx, cl, c.seed)
	if err != nil {
		return nil, err
	}
	kept := 0
	for _, k := range c.world.parts {
		if k.leftover() != nil {
			kept++
		}
	}
	if c.blows > 0 {
		c.found += int64(kept)
	}
	if err := c.machine.inspect(ctx, kept); err != nil {
		found = append(found, finding{"fsck", "", err.Error()})
	}
	if len(found) > 0 {
		return nil, findings(found)
	}
	return cl, nil
}

// cycle is one life of the store, and its end.
func (c *campaign) cycle(ctx context.Context, i int) error {
	r := rand.New(rand.NewPCG(c.seed, uint64(i)))
	cl, err := c.rise(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	flood := 0
	if c.floods > 0 && i%c.floods == 0 {
		flood = floodSize
	}
	l := newLoad(c.world, cl, flood)
	l.lateAcks = c.machine.lateAcks()
	// One life in six comes to rest before it ends. It is then that what was
	// only put off, and never carried along by what came later, is lost.
	rest := flood > 0 || r.IntN(6) == 0
	length := time.Duration(r.Int64N(int64(c.longest)))
	pause := time.Duration(r.Int64N(int64(50 * time.Millisecond)))

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	seed := r.Uint64()
	written := make(chan struct{})
	wg.Go(func() { defer close(written); l.run(ctx, c.writers, seed) })
	select {
	case <-l.early:
		wait(ctx, length)
	case <-written: // in vain: nobody answers
	}
	if rest {
		l.quit.Store(true)
		wg.Wait()
		wait(ctx, pause)
	}
	l.struck.Store(true)
	if err := c.machine.strike(ctx); err != nil {
		return err
	}
	c.blows++
	wg.Wait()
	c.acked += l.acked.Load()
	c.unanswered += l.unanswered.Load()
	c.resumed += l.resumed.Load()
	if len(l.wrong) > 0 {
		return findings(l.wrong)
	}
	for r.IntN(8) == 0 { // recovery, too, may be cut short
		if err := c.machine.stumble(ctx, time.Duration(r.Int64N(int64(150*time.Millisecond)))); err != nil {
			return err
		}
		c.blows++
	}
	return ctx.Err()
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
