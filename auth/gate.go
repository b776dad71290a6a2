package auth

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
)

// A gate lets as many hashes be computed at once as there are processors, and
// a bounded number wait: a flood of logins must not take the whole machine. Nor
// must one source take all the places: it may have no more of them than are
// free, so that there is always one for somebody else.
type gate struct {
	running chan struct{}
	places  int

	mu    sync.Mutex
	taken int
	by    map[netip.Prefix]int // places taken by each source
}

// maxWaiting is how many logins wait to be checked before others are ErrBusy.
const maxWaiting = 64

func newGate() *gate {
	n := runtime.GOMAXPROCS(0)
	return &gate{running: make(chan struct{}, n), places: n + maxWaiting, by: make(map[netip.Prefix]int)}
}

// do runs f when it is the turn of this attempt from a source.
func (g *gate) do(ctx context.Context, from netip.Prefix, f func()) error {
	if !g.enter(from) {
		return ErrBusy
	}
	defer g.leave(from)
	select {
	case g.running <- struct{}{}:
		defer func() { <-g.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f()
	return nil
}

func (g *gate) enter(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by[from] >= g.places-g.taken {
		return false
	}
	g.taken++
	g.by[from]++
	return true
}

func (g *gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	if g.by[from]--; g.by[from] == 0 {
		delete(g.by, from)
	}
}
