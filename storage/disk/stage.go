package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/storage"
)

// Stage opens what was kept under key, or begins anew.
func (b *Backend) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	g, err := b.stage(ctx, p, key)
	if err != nil {
		return nil, storage.Wrap("put", p, err)
	}
	return g, nil
}

func (b *Backend) stage(ctx context.Context, p storage.Path, key string) (_ *stage, err error) {
	g := &stage{key: key}
	if err := g.start(ctx, b, p, 0); err != nil {
		return nil, err
	}
	g.touch()
	if key == "" {
		return g, nil
	}
	if g.kept, err = b.stages.open(key, g); err != nil {
		b.space.release(&g.promise)
		return nil, err
	}
	if g.kept != nil {
		if err := g.resume(); err != nil {
			g.release()
			return nil, err
		}
	}
	return g, nil
}

// A stage is an upload whose bytes come in any order. As long as it is in
// memory it is changed with mu held alone; a file is written to by many at once.
type stage struct {
	upload
	key  string
	note []byte // as it was kept

	size    atomic.Int64
	written atomic.Int64 // ticks of the last write

	mu    sync.RWMutex // held to read and write; held alone to change anything else
	small []byte       // the bytes, as long as there is no file
	ended bool
	err   error // why there is no way on

	keeping sync.Mutex // guards kept, where mu is not held alone
	kept    *keptStage // what is found if this ends with the process; nil if nothing

	writing sync.RWMutex  // held to write to the file, below mu; held alone to change what follows
	fixed   int64         // bytes that a checkpoint is made of, and that must not change meanwhile
	over    chan struct{} // closed when it is made
}

var (
	_ storage.Stage        = (*stage)(nil)
	_ storage.Cloner       = (*stage)(nil)
	_ storage.Checkpointer = (*stage)(nil)
)

func (g *stage) touch() { g.written.Store(ticks(time.Now())) }

func (g *stage) Size() int64 { return g.size.Load() }

func (g *stage) Note() []byte { return slices.Clone(g.note) }

// usable is called with mu held.
func (g *stage) usable() error {
	if g.ended {
		return fs.ErrClosed
	}
	return g.err
}

func (g *stage) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.readAt(p, off)
	if err != io.EOF {
		err = storage.Wrap("put", g.path, err)
	}
	return n, err
}

func (g *stage) readAt(p []byte, off int64) (n int, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.usable(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	left := g.size.Load() - off
	if left <= 0 {
		return 0, io.EOF
	}
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	if g.file == nil {
		n = copy(p, g.small[off:])
	} else if n, err = g.file.ReadAt(p, off); err != nil && !(err == io.EOF && n == len(p)) {
		return n, fmt.Errorf("read back: %w", err)
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

func (g *stage) WriteAt(p []byte, off int64) (int, error) {
	n, err := g.writeAt(p, off)
	return n, storage.Wrap("put", g.path, err)
}

func (g *stage) writeAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) < 0 {
		return 0, fs.ErrInvalid
	}
	g.mu.RLock()
	if g.file == nil {
		g.mu.RUnlock()
		if n, done, err := g.writeSmall(p, off); done || err != nil {
			return n, err
		}
		g.mu.RLock() // there is a file now
	}
	defer g.mu.RUnlock()
	if err := g.usable(); err != nil || len(p) == 0 {
		return 0, err
	}
	g.beginWrite(off)
	defer g.writing.RUnlock()
	if err := g.loosen(off); err != nil {
		return 0, err
	}
	if err := g.b.space.use(&g.promise, int64(len(p))); err != nil {
		return 0, err
	}
	g.sums.add(off, p)
	n, err := g.file.WriteAt(p, off)
	if n < len(p) {
		g.sums.spoil(off, int64(len(p)))
	}
	if n > 0 {
		g.grow(off + int64(n))
	}
	g.writeBehind()
	return n, noSpace(err)
}

// beginWrite takes writing, when no checkpoint is made of what is to be written.
func (g *stage) beginWrite(off int64) {
	for {
		g.writing.RLock()
		if off >= g.fixed {
			return
		}
		over := g.over
		g.writing.RUnlock()
		<-over
	}
}

// grow raises the size to at least this.
func (g *stage) grow(size int64) {
	for old := g.size.Load(); old < size && !g.size.CompareAndSwap(old, size); {
		old = g.size.Load()
	}
	g.touch()
}

// writeSmall writes to memory, or makes a file if there would be too much.
func (g *stage) writeSmall(p []byte, off int64) (n int, done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil || len(p) == 0 || g.file != nil {
		return 0, err != nil || len(p) == 0, err
	}
	end := off + int64(len(p))
	if end > g.b.o.InlineLimit {
		return 0, false, g.spill()
	}
	if err := g.b.space.use(&g.promise, int64(len(p))); err != nil {
		return 0, false, err
	}
	g.resizeSmall(max(end, int64(len(g.small))))
	return copy(g.small[off:], p), true, nil
}

func (g *stage) resizeSmall(size int64) {
	old := len(g.small)
	if int(size) > old {
		g.small = slices.Grow(g.small, int(size)-old)[:size]
		clear(g.small[old:]) // where something may have been before it was cut off
	}
	g.small = g.small[:size]
	g.size.Store(size)
	g.touch()
}

// spill goes over from memory to a file.
func (g *stage) spill() error {
	f, err := g.b.newSpool()
	if err != nil {
		return noSpace(err)
	}
	if _, err := f.WriteAt(g.small, 0); err != nil {
		f.discard()
		return noSpace(err)
	}
	g.sums.add(0, g.small)
	g.file, g.small = f, nil
	return nil
}

// Truncate makes the object of that size.
func (g *stage) Truncate(size int64) error {
	return storage.Wrap("put", g.path, g.truncate(size))
}

func (g *stage) truncate(size int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	if size < 0 {
		return fs.ErrInvalid
	}
	if err := g.loosen(size); err != nil {
		return err
	}
	if g.file == nil {
		if size <= max(g.b.o.InlineLimit, 0) {
			g.resizeSmall(size)
			return nil
		}
		if err := g.spill(); err != nil {
			return err
		}
	}
	return g.resize(size)
}

// resize changes the size of the file.
func (g *stage) resize(size int64) error {
	if err := g.file.Truncate(size); err != nil {
		return noSpace(err)
	}
	g.sums.cut(size)
	g.size.Store(size)
	g.touch()
	return nil
}

// Clone takes the bytes of an object: those of a file by way of the kernel,
// which on some file systems shares them, together with their checksums.
func (g *stage) Clone(ctx context.Context, from storage.Info) error {
	return storage.Wrap("open", from.Path, g.clone(ctx, from))
}

func (g *stage) clone(ctx context.Context, from storage.Info) error {
	rc, in, err := g.b.openObject(ctx, from.Path, storage.All)
	if err != nil {
		return err
	}
	defer rc.Close()
	if from.Version != 0 && from.Version != in.Version {
		return storage.ErrPrecondition
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	if err := g.loosen(0); err != nil {
		return err
	}
	if err := g.b.space.use(&g.promise, in.Size); err != nil {
		return err
	}
	if g.file != nil {
		if err := g.resize(0); err != nil {
			return err
		}
	}
	r, ok := rc.(*fileReader)
	if !ok && g.file == nil && in.Size <= g.b.o.InlineLimit {
		g.resizeSmall(in.Size)
		_, err := io.ReadFull(rc, g.small)
		return err
	}
	if g.file == nil {
		g.small = nil
		if err := g.spill(); err != nil {
			return err
		}
	}
	defer func() { // whatever has come
		if err != nil {
			err = errors.Join(err, g.resize(0))
		}
	}()
	if !ok {
		n, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(g.file, 0), &summing{&g.sums, 0}), rc)
		g.grow(n)
		return noSpace(err)
	}
	if err := copyBytes(ctx, g.file.File, r.f, in.Size); err != nil {
		return noSpace(err)
	}
	if r.foot.shift == blockShift {
		g.sums.load(r.foot.blocks, in.Size)
	}
	g.grow(in.Size)
	return nil
}

// A summing adds what is written to sums.
type summing struct {
	sums *sums
	at   int64
}

func (w *summing) Write(p []byte) (int, error) {
	w.sums.add(w.at, p)
	w.at += int64(len(p))
	return len(p), nil
}

// Commit makes the object appear.
func (g *stage) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	committed, err := g.commit(ctx, in, c)
	if err != nil {
		return storage.Info{}, storage.Wrap("put", g.path, err)
	}
	return handOut(committed), nil
}

func (g *stage) commit(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil {
		return committed, err
	}
	if err := ctx.Err(); err != nil {
		return committed, err
	}
	if !g.b.enter() { // Close waits: it gives up the directory
		return committed, storage.ErrUnavailable
	}
	defer g.b.leave()
	in.Path, in.Meta = g.path, in.Meta.Clone()
	along := func(t *tx) {
		if g.kept != nil {
			t.batch.Delete(stageKey(g.key), nil)
		}
	}
	if size := g.size.Load(); size <= max(g.b.o.InlineLimit, 0) {
		data := g.small
		if g.file != nil {
			data = make([]byte, size)
			if _, err := g.file.ReadAt(data, 0); err != nil && size > 0 {
				return committed, fmt.Errorf("read back: %w", err)
			}
		}
		committed, err = g.commitSmall(ctx, data, in, c, along)
	} else {
		committed, err = g.commitFile(ctx, size, in, c, along)
		if err != nil {
			// A footer is in the way of what may be written yet.
			if cut := g.file.Truncate(size); cut != nil {
				g.err = cut
			}
		}
	}
	if err == nil {
		g.kept = nil
		g.end()
	}
	return committed, err
}

// Close ends the stage and leaves no trace, neither of what was kept before.
func (g *stage) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	err := g.unkeep()
	if g.kept != nil { // the store is closed, or has failed: it is found as it was kept
		g.release()
	} else {
		g.end()
	}
	return storage.Wrap("put", g.path, err)
}

// end gives up what is not committed.
func (g *stage) end() {
	g.ended, g.small = true, nil
	g.giveUp()
	if g.key != "" {
		g.b.stages.end(g.key, nil)
	}
}

// release ends the stage and leaves what was kept.
func (g *stage) release() {
	g.ended = true
	g.b.space.release(&g.promise)
	if g.file != nil {
		g.file.Close()
		g.file = nil
	}
	if g.id != 0 {
		g.b.forsake(g.id)
		g.id = 0
	}
	g.b.stages.end(g.key, g.kept)
}
