package cdn

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Purge ends what is kept for a key, all variants and queries of it, before it
// returns: soft makes it stale, to be revalidated with the origin and served
// while that fails; hard makes it gone. A fetch of it that is under way goes on
// for those who wait for it already and is not kept.
//
// What was purged stays so when the process is killed.
func (c *Cache) Purge(key string, hard bool) {
	c.init()
	c.purge(resourceKey(key), hard)
}

// PurgeScope is Purge for all that is in a scope, at the cost of one key.
func (c *Cache) PurgeScope(scope string, hard bool) {
	c.PurgePrefix(scope, "", hard)
}

// PurgePrefix is Purge for all keys in a scope that begin with prefix, at the
// cost of one.
func (c *Cache) PurgePrefix(scope, prefix string, hard bool) {
	c.init()
	if err := c.gens.purge(scope, prefix, hard, func(b []byte) error { return c.Store.SaveNote(gensNote, b) }); err != nil {
		c.Log.Error("purge holds until the process ends, and may be forgotten then", "scope", scope, "prefix", prefix, "error", err)
	}
}

// gensNote is the name under which the store keeps the generations.
const gensNote = "purges"

// generations are what purges of many keys at once come to: each is a number,
// higher than those before, and ends what was asked for before it.
type generations struct {
	last   atomic.Uint64 // number of the latest purge
	scopes sync.Map      // of string to *generation; immutable, replaced
	count  int           // of scopes; mu guards it
	mu     sync.Mutex    // held by purges
	floor  atomic.Uint64 // all older than it is gone
}

// A generation is what was purged of one scope.
type generation struct {
	soft, hard uint64
	prefixes   []prefixPurge // oldest first
}

type prefixPurge struct {
	prefix string
	number uint64
	hard   bool
}

// Limits on what is remembered. Beyond them older purges are taken for larger
// ones, which ends more than was asked for, and never less.
const (
	maxScopes   = 1 << 14
	maxPrefixes = 64
)

type genVerdict int

const (
	genFresh genVerdict = iota
	genStale
	genGone
)

// judge says what purges have left of a response born at a number.
func (g *generations) judge(born uint64, scopes []string, key string) genVerdict {
	if born < g.floor.Load() {
		return genGone
	}
	verdict := genFresh
	if born > g.last.Load() {
		verdict = genStale // of a time whose purges were lost
	}
	for _, scope := range scopes {
		v, ok := g.scopes.Load(scope)
		if !ok {
			continue
		}
		gen := v.(*generation)
		if born < gen.hard {
			return genGone
		}
		if born < gen.soft {
			verdict = genStale
		}
		for i := len(gen.prefixes) - 1; i >= 0 && born < gen.prefixes[i].number; i-- {
			if p := gen.prefixes[i]; strings.HasPrefix(key, p.prefix) {
				if p.hard {
					return genGone
				}
				verdict = genStale
			}
		}
	}
	return verdict
}

// purge gives out the next number, and has it saved before it counts: after a
// crash nothing is younger than what the next purge will end.
func (g *generations) purge(scope, prefix string, hard bool, save func([]byte) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := g.last.Load() + 1
	next := new(generation)
	v, known := g.scopes.Load(scope)
	if known {
		*next = *v.(*generation)
	}
	next.add(prefix, number, hard)
	floor := g.floor.Load()
	if !known && g.count >= maxScopes {
		floor = g.forget()
	}
	err := save(g.encode(number, floor, scope, next))
	g.scopes.Store(scope, next)
	g.floor.Store(floor)
	g.last.Store(number)
	if !known {
		g.count++
	}
	return err
}

// forget drops the older half of the scopes, and returns the floor that ends
// all that they did.
func (g *generations) forget() uint64 {
	var numbers []uint64
	g.scopes.Range(func(_, v any) bool {
		numbers = append(numbers, v.(*generation).number())
		return true
	})
	slices.Sort(numbers)
	floor := max(g.floor.Load(), numbers[len(numbers)/2])
	g.floor.Store(floor) // first, or for a moment nothing would hold
	g.scopes.Range(func(k, v any) bool {
		if v.(*generation).number() <= floor {
			g.scopes.Delete(k)
			g.count--
		}
		return true
	})
	return floor
}

// number is that of the latest purge.
func (g *generation) number() uint64 {
	n := max(g.soft, g.hard)
	for _, p := range g.prefixes {
		n = max(n, p.number)
	}
	return n
}

func (g *generation) add(prefix string, number uint64, hard bool) {
	if prefix == "" {
		if hard {
			g.hard, g.soft, g.prefixes = number, 0, nil
		} else {
			g.soft = number
		}
		return
	}
	var rest []prefixPurge
	for _, p := range g.prefixes {
		if strings.HasPrefix(p.prefix, prefix) && (hard || !p.hard) {
			continue // the new one ends all that it did
		}
		rest = append(rest, p)
	}
	if len(rest) >= maxPrefixes {
		if oldest := rest[0]; oldest.hard {
			g.hard = max(g.hard, oldest.number)
		} else {
			g.soft = max(g.soft, oldest.number)
		}
		rest = rest[1:]
	}
	g.prefixes = append(rest, prefixPurge{prefix, number, hard})
}

// encode writes all there will be once scope has next.
func (g *generations) encode(last, floor uint64, scope string, next *generation) []byte {
	b := []byte{gensFormat}
	b = binary.AppendUvarint(b, last)
	b = binary.AppendUvarint(b, floor)
	write := func(scope string, gen *generation) {
		b = appendString(b, scope)
		b = binary.AppendUvarint(b, gen.soft)
		b = binary.AppendUvarint(b, gen.hard)
		b = binary.AppendUvarint(b, uint64(len(gen.prefixes)))
		for _, p := range gen.prefixes {
			b = appendString(b, p.prefix)
			b = binary.AppendUvarint(b, p.number)
			b = append(b, flag(p.hard))
		}
	}
	g.scopes.Range(func(k, v any) bool {
		if k.(string) != scope || next == nil {
			write(k.(string), v.(*generation))
		}
		return true
	})
	if next != nil {
		write(scope, next)
	}
	return b
}

const gensFormat = 1

// decode reads what encode wrote. It reports whether it could.
func (g *generations) decode(b []byte) bool {
	d := decoder{b: b}
	if d.byte() != gensFormat {
		return false
	}
	last, floor := d.uvarint(), d.uvarint()
	for len(d.b) > 0 && !d.bad {
		scope := d.string()
		gen := &generation{soft: d.uvarint(), hard: d.uvarint()}
		for range d.count() {
			gen.prefixes = append(gen.prefixes, prefixPurge{d.string(), d.uvarint(), d.byte() == 1})
		}
		if !d.bad {
			g.scopes.Store(scope, gen)
			g.count++
		}
	}
	g.last.Store(last)
	g.floor.Store(floor)
	return !d.bad
}
