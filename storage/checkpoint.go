package storage

import (
	"encoding"
	"encoding/json"
	"sync"
	"time"
)

// A Checkpointer is a Stage of which a part can be made safe while more of it
// is written; an extra power of a Stage.
type Checkpointer interface {
	// Checkpoint makes the first size bytes, which have been written, durable
	// under the key that the stage was opened with, as Keep does, and the stage
	// goes on: should the process die, they are found as though they had been
	// kept with that note. What comes to be written below size waits meanwhile,
	// and gives up the checkpoint; everything else goes on. One call at a time
	// is made.
	Checkpoint(size int64, note []byte) error
}

// An upload is made safe whenever so much of it has come, or so much time has
// passed since it was last. As a Stage may have to tell anew each time what it
// knows of all bytes, a long one is made safe at longer distances.
const (
	checkEvery  = 64 << 20        // bytes, or
	checkAfter  = 3 * time.Second // if it is any worth
	checkPart   = 16              // and not before it has grown by one part in so many,
	checkAtOnce = 256             // or one in so many when time has passed
)

// checkpoints are when an upload was made safe. They are guarded by mu of the
// Staging.
type checkpoints struct {
	size    int64     // hashed when it was last tried
	at      time.Time // when that was
	busy    bool
	running sync.WaitGroup
}

// due reports whether it is time to make safe an upload of which so much is
// hashed.
func (c *checkpoints) due(hashed int64, now time.Time) bool {
	grown := hashed - c.size
	return grown >= max(checkEvery, hashed/checkPart) ||
		now.Sub(c.at) >= checkAfter && grown >= max(pieceSize, hashed/checkAtOnce)
}

// checkpoint begins to make safe what is hashed, if it is time to. It is called
// with mu held, between two pieces, by the goroutine that hashes.
func (u *Staging) checkpoint() {
	c := &u.checks
	g, ok := u.g.(Checkpointer)
	if !ok || u.key == "" || u.dirty || c.busy {
		return
	}
	now := time.Now()
	if c.at.IsZero() {
		c.size, c.at = u.hashed-pieceSize, now
		return
	}
	if !c.due(u.hashed, now) {
		return
	}
	size, bounded := u.hashed, u.limit >= 0
	k := kept{Format: 1, Note: u.Note()}
	// The state of the hash is that of the bytes only if none of them can have
	// changed since, unnoticed yet. Without it what is found is hashed anew.
	if !u.rewritten {
		if state, err := u.sum.(encoding.BinaryMarshaler).MarshalBinary(); err == nil {
			k.Hashed, k.MD5 = u.hashed, state
		}
	}
	c.busy = true
	c.running.Go(func() {
		// If it cannot be done the upload goes on as before, and it is tried again
		// later: this is not what its client was promised.
		if note, err := json.Marshal(k); err == nil {
			if !bounded || u.s.mayKeep(u.ctx, u.Info.Path, size) == nil {
				g.Checkpoint(size, note)
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		c.busy, c.size, c.at = false, size, time.Now()
	})
}
