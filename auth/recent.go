package auth

import "sync"

// A recent remembers what was used lately, under keys that are hashes, in a
// bounded amount of memory: when the young half is full it becomes the old
// one, whose entries are forgotten unless they are used again before the next
// such turn.
type recent[V any] struct {
	half int // entries of each half

	mu         sync.RWMutex
	young, old map[[32]byte]V
}

func (r *recent[V]) get(key [32]byte) (V, bool) {
	r.mu.RLock()
	v, ok := r.young[key]
	if ok {
		r.mu.RUnlock()
		return v, true
	}
	v, ok = r.old[key]
	r.mu.RUnlock()
	if ok {
		r.put(key, v)
	}
	return v, ok
}

func (r *recent[V]) put(key [32]byte, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young == nil || len(r.young) >= r.half {
		r.young, r.old = make(map[[32]byte]V), r.young
	}
	r.young[key] = v
}
