package door

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A gate counts those on their way in and those who are in.
//
// Against connections that never log in it does not shut: when all places for
// those on their way are taken, the newcomer gets the place of whoever has come
// least far, and of those, of the address that holds the most places, and of
// those, of the one that came first. One whose password or key is being judged
// never has to go; if all are, it is the newcomer who does.
type gate struct {
	mu         sync.Mutex // guards what follows, and what is in places
	entering   []*place
	inside     int
	perAddress map[netip.Prefix]int
	perUser    map[string]int
}

// A place is what a gate knows of a connection.
type place struct {
	source netip.Prefix
	began  time.Time
	cut    func(why string)

	stage   Stage   // how far the login has come
	counted *string // the user it is counted under; nil if it is not inside
}

// A Stage is how far a connection on its way in has come.
type Stage int

const (
	Greeting Stage = iota // the client has done nothing that costs him
	Asking                // the client is to say who it is
	Judging               // the server is looking at what it said
)

// Why somebody who may come in cannot. Each is ErrFull to errors.Is.
var (
	ErrFull        = errors.New("too many connections")
	errFullAddress = &full{"too many connections from this address"}
	errFullUser    = &full{"too many connections of this user"}
)

type full struct{ text string }

func (e *full) Error() string        { return e.text }
func (e *full) Is(target error) bool { return target == ErrFull }

// enter gives p a place among those on their way in, and reports whether there
// is one.
func (g *gate) enter(p *place, places, most int) bool {
	g.mu.Lock()
	if g.inside >= most {
		g.mu.Unlock()
		return false
	}
	g.entering = append(g.entering, p)
	var evicted *place
	if len(g.entering) > places {
		evicted = g.victim()
		g.remove(evicted)
	}
	g.mu.Unlock()
	if evicted != nil && evicted != p {
		evicted.cut("gave way to another client while logging in")
	}
	return evicted != p
}

func (g *gate) victim() *place {
	held := make(map[netip.Prefix]int)
	for _, p := range g.entering {
		held[p.source]++
	}
	newest := g.entering[len(g.entering)-1]
	rank := func(p *place) int {
		switch {
		case p.stage == Judging:
			return 2
		case p == newest:
			return 1
		}
		return 0
	}
	return slices.MinFunc(g.entering, func(a, b *place) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.stage, b.stage),
			cmp.Compare(held[b.source], held[a.source]),
			a.began.Compare(b.began),
		)
	})
}

func (g *gate) remove(p *place) {
	g.entering = slices.DeleteFunc(g.entering, func(e *place) bool { return e == p })
}

// reach records how far p has come.
func (g *gate) reach(p *place, s Stage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.stage = s
}

// admit counts p, who has shown that he is user, among those inside; an error
// says which limit is in the way.
func (g *gate) admit(p *place, user string, most, mostPerAddress, mostPerUser int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case p.counted != nil:
		return nil
	case g.inside >= most:
		return ErrFull
	case g.perAddress[p.source] >= mostPerAddress:
		return errFullAddress
	case g.perUser[user] >= mostPerUser:
		return errFullUser
	}
	if g.perUser == nil {
		g.perUser, g.perAddress = make(map[string]int), make(map[netip.Prefix]int)
	}
	g.remove(p)
	g.inside++
	g.perAddress[p.source]++
	g.perUser[user]++
	p.counted = &user
	return nil
}

// leave forgets p, wherever it was.
func (g *gate) leave(p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(p)
	if p.counted == nil {
		return
	}
	g.inside--
	decrement(g.perAddress, p.source)
	decrement(g.perUser, *p.counted)
	p.counted = nil
}

func (g *gate) counts() (entering, inside int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.entering), g.inside
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}
