package store

import (
	"container/list"
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/maypok86/otter/v2"
)

// A trace is what an edge sees: objects asked for by Zipf's law, and among them
// some that nobody asks for again.
type trace struct {
	keys  []Key
	sizes map[Key]int
	total int64 // bytes of the objects that are asked for by Zipf's law
}

func zipfTrace(objects, requests int, exponent, wonders float64) trace {
	r := rand.New(rand.NewPCG(1, 2))
	sums := make([]float64, objects)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -exponent)
		sums[i] = sum
	}
	t := trace{sizes: make(map[Key]int)}
	size := func() int { return 200 + int(4000*math.Pow(r.Float64(), 3)) }
	random := func(n uint64) (k Key) {
		h := rand.New(rand.NewPCG(n, 7))
		for i := range k {
			k[i] = byte(h.Uint32())
		}
		return k
	}
	keys := make([]Key, objects)
	for i := range keys {
		keys[i] = random(uint64(i))
		n := size()
		t.sizes[keys[i]] = n
		t.total += int64(n + itemOverhead)
	}
	for i := range requests {
		k := keys[min(sort.SearchFloat64s(sums, r.Float64()*sum), objects-1)]
		if r.Float64() < wonders {
			k = random(1<<40 + uint64(i))
			t.sizes[k] = size()
		}
		t.keys = append(t.keys, k)
	}
	return t
}

// ratio plays a trace, and returns the share of hits after a warm-up.
func (t trace) ratio(get func(Key) bool, add func(Key, int)) float64 {
	hits, from := 0, len(t.keys)/4
	for i, k := range t.keys {
		if get(k) {
			if i >= from {
				hits++
			}
			continue
		}
		add(k, t.sizes[k])
	}
	return float64(hits) / float64(len(t.keys)-from)
}

func (t trace) store(tb testing.TB, budget int64) float64 {
	s := open(tb, Options{Memory: budget})
	body := make([]byte, 8<<10)
	return t.ratio(
		func(k Key) bool { return s.Get(k) != nil },
		func(k Key, n int) {
			f := s.Create(k, nil, int64(n))
			f.Write(body[:n])
			f.Commit()
		})
}

func (t trace) otter(budget int64) float64 {
	c := otter.Must(&otter.Options[Key, int]{
		MaximumWeight: uint64(budget),
		Weigher:       func(_ Key, n int) uint32 { return uint32(n + itemOverhead) },
		Executor:      func(f func()) { f() },
	})
	return t.ratio(
		func(k Key) bool { _, ok := c.GetIfPresent(k); return ok },
		func(k Key, n int) { c.Set(k, n) })
}

func (t trace) lru(budget int64) float64 {
	type entry struct {
		k Key
		n int64
	}
	order, at, used := list.New(), make(map[Key]*list.Element), int64(0)
	return t.ratio(
		func(k Key) bool {
			e := at[k]
			if e != nil {
				order.MoveToFront(e)
			}
			return e != nil
		},
		func(k Key, n int) {
			at[k] = order.PushFront(entry{k, int64(n + itemOverhead)})
			for used += int64(n + itemOverhead); used > budget; {
				e := order.Remove(order.Back()).(entry)
				used -= e.n
				delete(at, e.k)
			}
		})
}

// TestHitRatio holds the policy against LRU and against otter, whose policy is
// W-TinyLFU, with the same bytes; ours has to pay for its ghosts out of them.
func TestHitRatio(t *testing.T) {
	if testing.Short() {
		t.Skip("a matter of numbers, not of races")
	}
	for _, wonders := range []float64{0, 0.2} {
		tr := zipfTrace(50_000, 500_000, 0.9, wonders)
		for _, share := range []float64{0.01, 0.1} {
			budget := int64(float64(tr.total) * share)
			ours, otters, lru := tr.store(t, budget), tr.otter(budget), tr.lru(budget)
			t.Logf("one-hit wonders %.0f %%, cache of %4.0f %%: hit ratio %.4f; otter %.4f, LRU %.4f", 100*wonders, 100*share, ours, otters, lru)
			if ours < lru {
				t.Errorf("hit ratio %.4f, and LRU has %.4f", ours, lru)
			}
			if ours < otters-0.01 {
				t.Errorf("hit ratio %.4f, and otter has %.4f", ours, otters)
			}
		}
	}
}
