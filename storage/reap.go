package storage

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// MetaDeleted is kept with an account that was removed with all that is in it:
// since when, as a Unix time. Doors treat it as gone; Reap sees to the rest.
const MetaDeleted = "X-Account-Sysmeta-Deleted"

// condemned is the account whose containers are named as the accounts that are
// to be reaped, so that a restart forgets none. Nobody but the Store reaches it.
const condemned = "AUTH_.condemned"

// accounts are a set that is looked at much more often than it changes.
type accounts struct {
	mu  sync.Mutex // held to change it
	set atomic.Pointer[map[string]bool]
}

func (a *accounts) has(name string) bool {
	set := a.set.Load()
	return set != nil && (*set)[name]
}

func (a *accounts) put(name string, is bool) {
	if a.has(name) == is {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next := make(map[string]bool)
	if old := a.set.Load(); old != nil {
		maps.Copy(next, *old)
	}
	if next[name] = true; !is {
		delete(next, name)
	}
	a.set.Store(&next)
}

// Gone reports whether an account is condemned and not reaped yet, for guards:
// nobody is to have what is in it any more. It is quick. A Store that is new
// over a Backend with such accounts learns of them by Reap, or by Condemned.
func (s *Store) Gone(account string) bool { return s.gone.has(account) }

// Condemned looks for the accounts that were condemned and not reaped, before
// the doors open.
func (s *Store) Condemned(ctx context.Context) error {
	own := ownEyes(ctx)
	for entry, err := range s.b.List(own, Path{Account: condemned}, Query{}) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			_, err = s.marked(own, Path{Account: entry.Path.Container})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// marked reports whether an account has the mark of those that are condemned.
func (s *Store) marked(own context.Context, p Path) (bool, error) {
	in, err := s.b.Stat(own, p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, Wrap("reap", p, err)
	}
	is := in.Meta[MetaDeleted] != ""
	s.gone.put(p.Account, is)
	return is, nil
}

// Condemn removes an account and all that is in it, of which only the account
// is gone at once: it is marked, and Reap, sooner or later, removes what is in
// it. Who may is whoever may remove the account.
func (s *Store) Condemn(ctx context.Context, p Path) error {
	// Asked by a removal that cannot happen, for no path is ever of that version.
	const never = 1<<64 - 1
	err := s.b.Remove(ctx, p, Cond{Version: never})
	if !errors.Is(err, ErrPrecondition) && !errors.Is(err, ErrNotEmpty) {
		return Wrap("remove", p, err)
	}
	own := ownEyes(ctx)
	for _, entry := range []Path{{Account: condemned}, {Account: condemned, Container: p.Account}} {
		if _, err := s.b.Make(own, entry, nil); err != nil {
			return Wrap("remove", p, err)
		}
	}
	if err := s.Merge(own, p, Meta{MetaDeleted: strconv.FormatInt(time.Now().Unix(), 10)}); err != nil {
		return err
	}
	s.gone.put(p.Account, true)
	return nil
}

// Reap removes what is in accounts that are condemned, and then these, and
// returns how many of them there were. One that cannot be emptied now is left
// for the next time.
func (s *Store) Reap(ctx context.Context) (int, error) {
	own := ownEyes(ctx)
	n := 0
	var failed error
	for entry, err := range s.b.List(own, Path{Account: condemned}, Query{}) {
		if errors.Is(err, fs.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := s.reap(own, Path{Account: entry.Path.Container}); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := s.b.Remove(own, entry.Path, Cond{}); err != nil {
			return n, err
		}
		n++
	}
	return n, failed
}

// reap empties one account and removes it.
func (s *Store) reap(ctx context.Context, p Path) error {
	if is, err := s.marked(ctx, p); err != nil || !is {
		return err // or it was reaped before somebody could say so, or was never marked
	}
	for container, err := range s.b.List(ctx, p, Query{}) {
		if err != nil {
			return Wrap("reap", p, err)
		}
		if err := s.removeObjects(ctx, container.Path); err != nil {
			return err
		}
		if err := s.removeOwn(ctx, container.Path); err != nil {
			return err
		}
	}
	if err := s.removeOwn(ctx, p); err != nil {
		return err
	}
	s.gone.put(p.Account, false)
	return nil
}

// reapers is how many objects are removed at once, so that they share what makes
// that durable.
const reapers = 16

func (s *Store) removeObjects(ctx context.Context, container Path) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan Path)
	var workers sync.WaitGroup
	for range reapers {
		workers.Go(func() {
			for p := range todo {
				if err := s.removeOwn(ctx, p); err != nil {
					cancel(err)
				}
			}
		})
	}
	for object, err := range s.b.List(ctx, container, Query{}) {
		if err != nil {
			cancel(Wrap("reap", container, err))
		}
		if ctx.Err() != nil {
			break
		}
		todo <- object.Path
	}
	close(todo)
	workers.Wait()
	return context.Cause(ctx)
}

// removeOwn removes something for the Store's own purposes, and tells of it.
func (s *Store) removeOwn(ctx context.Context, p Path) error {
	err := s.b.Remove(ctx, p, Cond{})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Wrap("reap", p, err)
	}
	s.tell(OpRemove, p, 0, time.Now())
	return nil
}
