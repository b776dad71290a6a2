package storagetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"memstore.dev/memstore/storage"
)

// A Verb is a point at which a Faulty backend can fail.
type Verb string

// The verbs of a Backend, of what it opens and creates, and of its powers.
const (
	Stat    Verb = "stat"
	List    Verb = "list" // each entry counts
	Open    Verb = "open"
	Read    Verb = "read" // of what Open opened; each byte counts
	Create  Verb = "create"
	Write   Verb = "write" // to what Create created; each byte counts
	Commit  Verb = "commit"
	Make    Verb = "make"
	Update  Verb = "update"
	Remove  Verb = "remove"
	Copy    Verb = "copy"
	Move    Verb = "move"
	Expire  Verb = "expire"
	Changes Verb = "changes" // each change counts
)

// A Fault is one way to fail.
type Fault struct {
	On    Verb
	Skip  int64 // calls (or entries, or bytes) to let through first
	Times int   // how often to fail after that; 0 for ever
	Err   error // what to fail with

	// Late faults are reported when the work has been done: an answer lost on
	// its way. A late fault of Read or Write lets the bytes pass.
	Late bool

	// Wait, if not nil, holds the call up until it is closed or the context of
	// the call ends; then the call fails with Err, or goes on if Err is nil.
	Wait <-chan struct{}
}

// Faulty is a Backend around another that fails when it is told to. Its zero
// value but for Backend never fails. It has every extra power, and answers
// errors.ErrUnsupported where the backend within has not.
type Faulty struct {
	storage.Backend

	mu     sync.Mutex
	faults []*Fault
	calls  map[Verb]int64
}

var (
	_ storage.Backend = (*Faulty)(nil)
	_ storage.Copier  = (*Faulty)(nil)
	_ storage.Mover   = (*Faulty)(nil)
	_ storage.Expirer = (*Faulty)(nil)
	_ storage.Journal = (*Faulty)(nil)
)

// Fail makes every call of the verb fail with err from now on.
func (f *Faulty) Fail(on Verb, err error) { f.Inject(Fault{On: on, Err: err}) }

// Inject adds a fault to those that may strike. Of several that fit, the one
// injected first strikes.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Heal takes all faults away.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls tells how often a verb was called; of List, Read, Write and Changes
// how many entries or bytes were asked for.
func (f *Faulty) Calls(v Verb) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[v]
}

// strike counts n steps of a verb. It returns how many of them pass, and the
// fault that ends them, if one does.
func (f *Faulty) strike(v Verb, n int64) (pass int64, hit *Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[Verb]int64{}
	}
	f.calls[v] += n
	for i, fault := range f.faults {
		if fault.On != v {
			continue
		}
		if fault.Skip >= n {
			fault.Skip -= n
			continue
		}
		struck := *fault
		fault.Skip = 0
		if fault.Times == 1 {
			f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return struck.Skip, &struck
	}
	return n, nil
}

// err waits as the fault says, and returns what to fail with. No fault is no
// error.
func (fault *Fault) err(ctx context.Context) error {
	if fault == nil {
		return nil
	}
	if fault.Wait != nil {
		select {
		case <-fault.Wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fault.Err
}

// attempt does a call, unless a fault strikes it.
func attempt[T any](ctx context.Context, f *Faulty, v Verb, call func() (T, error)) (T, error) {
	var none T
	_, fault := f.strike(v, 1)
	if fault == nil || !fault.Late {
		if err := fault.err(ctx); err != nil {
			return none, err
		}
		return call()
	}
	done, err := call()
	if err == nil {
		err = fault.err(ctx)
	}
	if err != nil {
		return none, err
	}
	return done, nil
}

func (f *Faulty) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	return attempt(ctx, f, Stat, func() (storage.Info, error) { return f.Backend.Stat(ctx, p) })
}

func (f *Faulty) List(ctx context.Context, p storage.Path, q storage.Query) iter.Seq2[storage.Info, error] {
	return interrupted(ctx, f, List, f.Backend.List(ctx, p, q))
}

// interrupted is seq until a fault strikes.
func interrupted[T any](ctx context.Context, f *Faulty, v Verb, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for entry, err := range seq {
			if err == nil {
				_, fault := f.strike(v, 1)
				if err = fault.err(ctx); err != nil {
					yield(*new(T), err)
					return
				}
			}
			if !yield(entry, err) {
				return
			}
		}
		// Past the last entry is a step as well, so that nothing listed can fail.
		if _, fault := f.strike(v, 1); fault != nil {
			if err := fault.err(ctx); err != nil {
				yield(*new(T), err)
			}
		}
	}
}

func (f *Faulty) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	type opened struct {
		body io.ReadCloser
		in   storage.Info
	}
	var inner opened // an unsatisfiable range has an Info beside its error
	_, err := attempt(ctx, f, Open, func() (_ opened, err error) {
		inner.body, inner.in, err = f.Backend.Open(ctx, p, r)
		return inner, err
	})
	if err != nil {
		if inner.body != nil {
			inner.body.Close()
		}
		return nil, inner.in, err
	}
	return &faultyReader{inner.body, ctx, f}, inner.in, nil
}

type faultyReader struct {
	io.ReadCloser
	ctx context.Context // of Open
	f   *Faulty
}

func (r *faultyReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return r.f.cut(r.ctx, Read, n, err)
}

// cut counts n bytes that went through, and says how many of them, and with
// which error, the caller is to see.
func (f *Faulty) cut(ctx context.Context, v Verb, n int, err error) (int, error) {
	pass, fault := f.strike(v, int64(n))
	if fault == nil {
		return n, err
	}
	if failed := fault.err(ctx); failed != nil {
		if fault.Late {
			pass = int64(n)
		}
		return int(pass), failed
	}
	return n, err
}

func (f *Faulty) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	w, err := attempt(ctx, f, Create, func() (storage.Writer, error) { return f.Backend.Create(ctx, in) })
	if err != nil {
		return nil, err
	}
	return &faultyWriter{w, ctx, f}, nil
}

type faultyWriter struct {
	storage.Writer
	ctx context.Context // of Create
	f   *Faulty
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	pass, fault := w.f.strike(Write, int64(len(p)))
	if err := fault.err(w.ctx); err != nil {
		if fault.Late {
			pass = int64(len(p))
		}
		n, inner := w.Writer.Write(p[:pass])
		return n, errors.Join(err, inner)
	}
	return w.Writer.Write(p)
}

func (w *faultyWriter) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	return attempt(ctx, w.f, Commit, func() (storage.Info, error) { return w.Writer.Commit(ctx, in, c) })
}

func (f *Faulty) Make(ctx context.Context, p storage.Path, m storage.Meta) (bool, error) {
	return attempt(ctx, f, Make, func() (bool, error) { return f.Backend.Make(ctx, p, m) })
}

func (f *Faulty) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	return attempt(ctx, f, Update, func() (storage.Info, error) { return f.Backend.Update(ctx, in, c) })
}

func (f *Faulty) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	_, err := attempt(ctx, f, Remove, func() (struct{}, error) { return struct{}{}, f.Backend.Remove(ctx, p, c) })
	return err
}

func (f *Faulty) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (storage.Info, error) {
	inner, ok := f.Backend.(storage.Copier)
	if !ok {
		return storage.Info{}, errors.ErrUnsupported
	}
	return attempt(ctx, f, Copy, func() (storage.Info, error) { return inner.Copy(ctx, from, to, c) })
}

func (f *Faulty) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (storage.Info, error) {
	inner, ok := f.Backend.(storage.Mover)
	if !ok {
		return storage.Info{}, errors.ErrUnsupported
	}
	return attempt(ctx, f, Move, func() (storage.Info, error) { return inner.Move(ctx, from, to, c) })
}

func (f *Faulty) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	inner, ok := f.Backend.(storage.Expirer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return attempt(ctx, f, Expire, func() ([]storage.Path, error) { return inner.Expire(ctx, now, max) })
}

func (f *Faulty) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	inner, ok := f.Backend.(storage.Journal)
	if !ok {
		return func(yield func(storage.Change, error) bool) { yield(storage.Change{}, errors.ErrUnsupported) }
	}
	return interrupted(ctx, f, Changes, inner.Changes(ctx, after))
}
