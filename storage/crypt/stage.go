package crypt

import (
	"context"
	"crypto/aes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"sync"

	"memstore.dev/memstore/storage"
)

// Stage opens what was kept under key, or begins anew. What was kept without
// being encrypted goes on so, and what is written from now on is.
func (b *Backend) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	st, ok := b.b.(storage.Stager)
	if !ok {
		return nil, storage.Wrap("put", p, errors.ErrUnsupported)
	}
	behind, err := st.Stage(ctx, p, key)
	if err != nil {
		return nil, err
	}
	g := &stage{Stage: behind, b: b, path: p, counter: unset, note: behind.Note()}
	o, note, err := b.openNote(g.note)
	if err != nil {
		// It is not to be lost, only because a key is missing.
		return nil, storage.Wrap("put", p, errors.Join(err, behind.Keep(g.note)))
	}
	if o == nil {
		o = &object{key: newKey()}
	}
	g.note = note
	g.begin(o)
	return g, nil
}

// Staged yields what is kept, or open, under keys with this prefix. A note that
// cannot be read is none.
func (b *Backend) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	st, ok := b.b.(storage.Stager)
	if !ok {
		return failed[storage.Kept](errors.ErrUnsupported)
	}
	return func(yield func(storage.Kept, error) bool) {
		for k, err := range st.Staged(ctx, prefix) {
			_, note, nerr := b.openNote(k.Note)
			if k.Note = note; nerr != nil {
				k.Note = nil
			}
			if !yield(k, err) {
				return
			}
		}
	}
}

// Forget drops what is kept under key.
func (b *Backend) Forget(ctx context.Context, key string) error {
	st, ok := b.b.(storage.Stager)
	if !ok {
		return errors.ErrUnsupported
	}
	return st.Forget(ctx, key)
}

// sealNote returns what is kept beside the bytes of a stage: its caller's note,
// which may know of the bytes, and how they are encrypted.
func (b *Backend) sealNote(o *object, note []byte) []byte {
	plain := append(make([]byte, 0, 128+len(note)), 1) // version of the form
	plain = append(plain, o.key[:]...)
	plain = appendString(plain, string(note))
	return b.keys.seal(sealsNote, o.layout.append(plain))
}

// openNote opens what sealNote has made, and returns what is no such thing as
// it is.
func (b *Backend) openNote(kept []byte) (*object, []byte, error) {
	if !sealed(string(kept)) {
		return nil, kept, nil
	}
	plain, err := b.keys.open(sealsNote, string(kept))
	if err != nil {
		return nil, nil, err
	}
	d := decoder{b: plain}
	o := new(object)
	if d.byte() != 1 {
		return nil, nil, errSealed
	}
	copy(o.key[:], d.bytes(keySize))
	note := []byte(d.string())
	if len(note) == 0 {
		note = nil
	}
	o.layout = d.layout()
	return o, note, d.end()
}

// unset is the counter as long as nothing is written that needs one.
const unset = -1

// A stage encrypts what is written to an object-to-be.
type stage struct {
	storage.Stage
	b    *Backend
	path storage.Path
	note []byte // its caller's, as it was kept

	// gate is held to read and write the bytes, and alone to change all of them
	// or to tell what they are.
	gate  sync.RWMutex
	fixed int64         // bytes that a checkpoint is made of; changed with gate held alone
	over  chan struct{} // closed when it is made

	mu      sync.RWMutex // below gate; guards what follows
	key     [keySize]byte
	content     // whose counters and spans change
	counter int // with which to encrypt, unset if that is a new one
}

var (
	_ storage.Stage        = (*stage)(nil)
	_ storage.Cloner       = (*stage)(nil)
	_ storage.Checkpointer = (*stage)(nil)
)

func (g *stage) Note() []byte { return slices.Clone(g.note) }

// begin takes over how the bytes are encrypted. What is written to them gets a
// counter of its own: nobody knows what else was encrypted with the others.
func (g *stage) begin(o *object) {
	block, err := aes.NewCipher(o.key[:])
	if err != nil {
		panic(err) // the size is right, and nothing else can be wrong
	}
	g.key, g.counter = o.key, unset
	g.content = content{block, layout{slices.Clone(o.counters), slices.Clone(o.spans)}}
}

// object is how the first bytes are encrypted.
func (g *stage) object(size int64) *object {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return &object{key: g.key, layout: g.upTo(size)}
}

func (g *stage) ReadAt(p []byte, off int64) (int, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	n, err := g.Stage.ReadAt(p, off)
	if n > 0 {
		g.mu.RLock()
		defer g.mu.RUnlock()
		g.turn(p[:n], off)
	}
	return n, err
}

// WriteAt encrypts into a buffer: p is its caller's.
func (g *stage) WriteAt(p []byte, off int64) (written int, err error) {
	if len(p) == 0 || off < 0 || off+int64(len(p)) < 0 {
		return g.Stage.WriteAt(p, off)
	}
	if written, err = g.write(p, off); err == nil {
		g.thin()
	}
	return written, err
}

func (g *stage) write(p []byte, off int64) (written int, err error) {
	g.enter(off)
	defer g.gate.RUnlock()
	buf := takeBuffer(len(p))
	defer giveBuffer(buf)
	for {
		part := (*buf)[:min(len(p)-written, len(*buf))]
		at := off + int64(written)
		before, key := g.claim(at, at+int64(len(part)))
		copy(part, p[written:])
		if key != nil {
			key.turn(part, at)
		}
		n, err := g.Stage.WriteAt(part, at)
		written += n
		if err != nil {
			g.unclaim(at+int64(n), at+int64(len(part)), before)
			return written, err
		}
		if written == len(p) {
			return written, nil
		}
	}
}

// enter takes the gate to write at an offset, when no checkpoint is made of
// what lies there.
func (g *stage) enter(off int64) {
	for {
		g.gate.RLock()
		if off >= g.fixed {
			return
		}
		over := g.over
		g.gate.RUnlock()
		<-over
	}
}

// claim notes that a stretch is about to be written, and returns with what to
// encrypt it, nil if it is not to be, and what was there before.
func (g *stage) claim(from, to int64) (before layout, key *content) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.b.encrypt {
		return layout{g.counters, g.cut(from, to)}, nil
	}
	if g.counter == unset || g.uses(g.counter, from, to) {
		if len(g.counters) > 2*len(g.spans)+maxSpans {
			g.layout = g.upTo(math.MaxInt64) // most were for bytes that were written over since
		}
		g.counter = len(g.counters)
		g.counters = append(g.counters, newCounter())
	}
	before = layout{g.counters, g.cut(from, to)}
	g.put(span{from, to, g.counter})
	return before, &content{g.block, layout{g.counters, []span{{from, to, g.counter}}}}
}

// unclaim notes that a stretch, of which this was there before, was not
// written. What of it has come to the disk all the same has used its counter
// up.
func (g *stage) unclaim(from, to int64, before layout) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut(from, to)
	for _, s := range before.cut(from, to) {
		g.counters = append(g.counters, before.counters[s.counter])
		g.put(span{s.from, s.to, len(g.counters) - 1})
	}
	g.counter = unset
}

// Truncate makes the object of that size.
func (g *stage) Truncate(size int64) error {
	g.gate.Lock()
	defer g.gate.Unlock()
	before := g.Size()
	if err := g.Stage.Truncate(size); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.cut(size, max(size, before)) {
		if s.counter == g.counter {
			g.counter = unset
		}
	}
	return nil
}

// Clone takes the bytes of an object as they are, and its key.
func (g *stage) Clone(ctx context.Context, from storage.Info) error {
	c, ok := g.Stage.(storage.Cloner)
	if !ok {
		return storage.Wrap("put", g.path, errors.ErrUnsupported)
	}
	g.gate.Lock()
	defer g.gate.Unlock()
	const tries = 100
	for n := 1; ; n++ {
		in, err := g.b.b.Stat(ctx, from.Path)
		if err != nil {
			return err
		}
		if from.Version != 0 && from.Version != in.Version {
			return storage.Wrap("open", from.Path, storage.ErrPrecondition)
		}
		o, err := g.b.look(in.ETag)
		if err != nil {
			return storage.Wrap("open", from.Path, err)
		}
		err = c.Clone(ctx, storage.Info{Path: from.Path, Version: in.Version})
		if errors.Is(err, storage.ErrPrecondition) && from.Version == 0 && n < tries {
			continue // it was replaced between the two looks
		}
		if err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.cut(g.Size(), math.MaxInt64) // of what was there before, this is left
			g.counter = unset
			return err
		}
		if o == nil {
			o = &object{key: newKey()}
		}
		g.mu.Lock()
		g.begin(o)
		g.mu.Unlock()
		return nil
	}
}

// Commit makes the object appear. One of which no byte is encrypted, as it was
// written while nothing is to be, has its ETag as it is.
func (g *stage) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	g.gate.Lock()
	defer g.gate.Unlock()
	o := g.object(g.Size())
	if g.b.encrypt || len(o.spans) > 0 {
		o.etag = in.ETag
		in.ETag = g.b.sealETag(o)
	}
	in.Meta = g.b.sealMeta(in.Meta)
	committed, err := g.Stage.Commit(ctx, in, g.b.cond(c))
	if err != nil {
		return committed, err
	}
	return g.b.shown("put", committed)
}

// Keep puts the bytes aside.
func (g *stage) Keep(note []byte) error {
	g.gate.Lock()
	defer g.gate.Unlock()
	return g.Stage.Keep(g.toKeep(g.Size(), note))
}

// toKeep is the note to keep beside the first bytes.
func (g *stage) toKeep(size int64, note []byte) []byte {
	o := g.object(size)
	if !g.b.encrypt && len(o.spans) == 0 {
		return note
	}
	return g.b.sealNote(o, note)
}

// Checkpoint puts the first bytes aside while others come.
func (g *stage) Checkpoint(size int64, note []byte) error {
	c, ok := g.Stage.(storage.Checkpointer)
	if !ok {
		return storage.Wrap("keep", g.path, errors.ErrUnsupported)
	}
	note, err := g.fix(size, note)
	if err != nil {
		return storage.Wrap("keep", g.path, err)
	}
	defer g.unfix()
	return c.Checkpoint(size, note)
}

// fix has whatever comes to be written below size wait until unfix, so that how
// it is encrypted stays as the note says that it returns.
func (g *stage) fix(size int64, note []byte) ([]byte, error) {
	g.gate.Lock()
	defer g.gate.Unlock()
	if g.fixed > 0 {
		return nil, fs.ErrExist
	}
	g.fixed, g.over = size, make(chan struct{})
	return g.toKeep(size, note), nil
}

func (g *stage) unfix() {
	g.gate.Lock()
	defer g.gate.Unlock()
	g.fixed = 0
	close(g.over)
}

// An object may have so many spans, and one more for each spanBytes of it: who
// writes here and there over what he has written makes them. Beyond it those
// that lie closest are encrypted anew, with one counter.
const (
	maxSpans  = 512
	mostSpans = 8192
	spanBytes = 1 << 20
	joinSpans = maxSpans / 4
)

// thin makes one span of many, if there are too many.
func (g *stage) thin() {
	g.mu.RLock()
	many := len(g.spans) > int(min(maxSpans+g.Size()/spanBytes, mostSpans))
	g.mu.RUnlock()
	if !many {
		return
	}
	g.gate.Lock()
	defer g.gate.Unlock()
	if g.fixed > 0 || len(g.spans) < joinSpans {
		return // after the next write
	}
	best := 0
	for i := range g.spans[joinSpans-1:] {
		if g.spans[i+joinSpans-1].to-g.spans[i].from < g.spans[best+joinSpans-1].to-g.spans[best].from {
			best = i
		}
	}
	// Should it fail halfway, what was encrypted anew is read so, and the rest as
	// it was.
	_ = g.again(g.spans[best].from, g.spans[best+joinSpans-1].to)
}

// again encrypts a stretch anew, with a new counter. It is called with the gate
// held alone.
func (g *stage) again(from, to int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counters = append(g.counters, newCounter())
	counter := len(g.counters) - 1
	buf := takeBuffer(bufferSize)
	defer giveBuffer(buf)
	for from < to {
		part := (*buf)[:min(to-from, bufferSize)]
		n, err := g.Stage.ReadAt(part, from)
		if n < len(part) {
			return fmt.Errorf("read back: %w", err)
		}
		g.turn(part, from)
		next := span{from, from + int64(len(part)), counter}
		(&content{g.block, layout{g.counters, []span{next}}}).turn(part, from)
		if n, err := g.Stage.WriteAt(part, from); err != nil {
			next.to = from + int64(n)
			if n > 0 {
				g.cut(next.from, next.to)
				g.put(next)
			}
			return err
		}
		g.cut(next.from, next.to)
		g.put(next)
		from = next.to
	}
	return nil
}
