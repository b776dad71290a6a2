package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"sync"
	"time"
)

// A Store is what every door of Memstore talks to. It adds to a Backend what
// must be the same whatever keeps the bytes: names and metadata are held to
// their limits, checksums computed and compared, quotas set by owners kept,
// expired objects swept away, copies made, and every change told to those who
// Watch.
//
// Its Backend is usually a guard around the one that keeps the bytes: the
// Store itself never asks who is calling.
type Store struct {
	b Backend

	mu      sync.RWMutex
	watches []func(Change)

	live      stagings
	manifests manifests
	gone      accounts // that are condemned
}

// New returns the Store over b.
func New(b Backend) *Store { return &Store{b: b} }

// Watch has f called after each change made through s, before the call that
// made it returns. f must be quick and must not call s.
func (s *Store) Watch(f func(Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches = append(s.watches, f)
}

func (s *Store) tell(op Op, p Path, version uint64, at time.Time) {
	s.spread(Change{Op: op, Path: p, Version: version, Time: at})
}

func (s *Store) spread(c Change) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.watches {
		f(c)
	}
}

// asStore marks calls the Store makes for its own purposes, such as to read a
// quota, which do not show their result to whoever the request is from.
type asStore struct{}

func ownEyes(ctx context.Context) context.Context {
	return context.WithValue(ctx, asStore{}, true)
}

// ByStore reports whether a Backend is called by the Store for its own
// purposes. A guard lets such calls pass; only this package can make them.
func ByStore(ctx context.Context) bool { return ctx.Value(asStore{}) != nil }

// Stat describes a path. What an object is beyond its bytes, this and the other
// methods that read it see to; see AsStored and Unfollowed. Of a link all is
// that of its target, Path too.
func (s *Store) Stat(ctx context.Context, p Path) (Info, error) {
	var in Info
	var err error
	switch id, rest := askedVersion(ctx); {
	case p.hidden():
		err = fs.ErrNotExist
	case id != "" && p.IsObject():
		ctx = rest
		in, err = s.statVersion(ctx, p, id)
	default:
		in, err = s.b.Stat(ctx, p)
	}
	if err == nil && p.IsObject() && kindOf(&in) != plain {
		in, err = s.resolve(ctx, in)
	}
	if err == nil && p.IsContainer() {
		err = s.addVersions(ctx, &in)
	}
	return in, Wrap("stat", p, err)
}

// List yields what lies directly beneath an account or a container; see
// Backend.List. Static large objects are described as by Stat, dynamic ones as
// they are stored.
func (s *Store) List(ctx context.Context, p Path, q Query) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if p.hidden() {
			yield(Info{}, Wrap("list", p, fs.ErrNotExist))
			return
		}
		meta := q.Meta
		if p.IsAccount() {
			q = q.visible()
			q.Meta = true // which tells of hidden versions
		}
		for in, err := range s.b.List(ctx, p, q) {
			if err == nil && p.IsAccount() {
				if err = s.addVersions(ctx, &in); !meta {
					in.Meta = nil
				}
			}
			if err == nil && in.Meta != nil && !p.IsAccount() {
				in, err = listed(in)
			}
			if !yield(in, Wrap("list", p, err)) || err != nil {
				return
			}
		}
	}
}

// Open returns a stretch of an object, and the Info of all of it; see
// Backend.Open. Of a large object whose first segment in that stretch is not as
// it was the error is ErrSegment and the Info is valid nevertheless; where a
// later one is not, reading ends with that error.
func (s *Store) Open(ctx context.Context, p Path, r Range) (io.ReadCloser, Info, error) {
	var rc io.ReadCloser
	var in Info
	var err error
	switch id, rest := askedVersion(ctx); {
	case p.hidden():
		err = fs.ErrNotExist
	case id != "":
		ctx = rest
		rc, in, err = s.openVersion(ctx, p, id, r)
	default:
		rc, in, err = s.b.Open(ctx, p, r)
	}
	if kindOf(&in) != plain && (err == nil || errors.Is(err, ErrRange)) {
		rc, in, err = s.openResolved(ctx, rc, in, r, err)
	}
	return rc, in, Wrap("open", p, err)
}

// Make creates a container or an account with metadata m, and reports whether
// it was absent before; one that was there has m merged into its metadata. The
// account of a container is made on the way if need be.
func (s *Store) Make(ctx context.Context, p Path, m Meta) (created bool, err error) {
	if err := CheckName(p); err != nil {
		return false, Wrap("make", p, err)
	}
	fresh := merged(nil, m)
	if err := CheckMeta(p, fresh); err != nil {
		return false, Wrap("make", p, err)
	}
	var later Meta
	if p.IsContainer() && fresh[MetaVersionsEnabled] == "True" {
		// Versions take a container of their own, which Merge makes.
		later = Meta{MetaVersionsEnabled: "True"}
		delete(fresh, MetaVersionsEnabled)
	}
	created, err = s.b.Make(ctx, p, fresh)
	if errors.Is(err, fs.ErrNotExist) && p.IsContainer() {
		// Whoever may make the container may have its account made.
		if _, err := s.b.Make(ownEyes(ctx), p.Parent(), nil); err != nil {
			return false, Wrap("make", p.Parent(), err)
		}
		created, err = s.b.Make(ctx, p, fresh)
	}
	if err != nil {
		return false, Wrap("make", p, err)
	}
	if created {
		s.tell(OpPut, p, 0, time.Now())
		if later != nil {
			return true, s.Merge(ctx, p, later)
		}
	} else if len(m) > 0 {
		return false, s.Merge(ctx, p, m)
	}
	return created, nil
}

// Merge changes metadata of a container or an account: the items of m are set,
// those with an empty value removed, all others kept. An account that does not
// exist yet is made.
//
// If others change it again and again at the same time, Merge gives up in the
// end with ErrUnavailable, or with what ctx ended with.
func (s *Store) Merge(ctx context.Context, p Path, m Meta) error {
	for range maxMerges {
		err := s.merge(ctx, p, m)
		switch {
		case errors.Is(err, ErrPrecondition): // another change came between; theirs is merged first
		case errors.Is(err, fs.ErrNotExist) && p.IsAccount():
			if _, err := s.b.Make(ownEyes(ctx), p, nil); err != nil {
				return Wrap("update", p, err)
			}
		default:
			return Wrap("update", p, err)
		}
		if err := ctx.Err(); err != nil {
			return Wrap("update", p, err)
		}
	}
	return Wrap("update", p, fmt.Errorf("%w: changed by others again and again", ErrUnavailable))
}

// maxMerges is how often a merge is tried. Each time somebody else's change was
// made in between, so that so many in a row are no accident.
const maxMerges = 1000

func (s *Store) merge(ctx context.Context, p Path, m Meta) error {
	old, err := s.b.Stat(ownEyes(ctx), p)
	if errors.Is(err, fs.ErrNotExist) {
		// Only who may change it is to learn that it is not there.
		_, err = s.b.Update(ctx, Info{Path: p}, Cond{})
	}
	if err != nil {
		return err
	}
	if p.hidden() {
		return fs.ErrNotExist
	}
	in := Info{Path: p, Meta: merged(old.Meta, m)}
	if err := CheckMeta(p, in.Meta); err != nil {
		return err
	}
	place, err := s.enable(ctx, &in)
	if err != nil {
		return err
	}
	in, err = s.b.Update(ctx, in, Cond{Version: old.Version})
	if err != nil {
		if place != (Path{}) {
			s.b.Remove(ownEyes(ctx), place, Cond{}) // for nothing
		}
		return err
	}
	s.tell(OpUpdate, p, in.Version, in.ModTime)
	return nil
}

// merged is old with the changes of m, as a new Meta.
func merged(old, m Meta) Meta {
	sum := make(Meta, len(old)+len(m))
	maps.Copy(sum, old)
	for k, v := range m {
		if v == "" {
			delete(sum, k)
		} else {
			sum[k] = v
		}
	}
	return sum
}

// Update replaces the metadata of an object: all of Meta and DeleteAt, and Type
// unless in.Type is empty. A static large object stays one; a dynamic one does
// as long as in.Meta has its MetaManifest.
func (s *Store) Update(ctx context.Context, in Info, c Cond) (Info, error) {
	if in.Path.hidden() {
		return Info{}, Wrap("update", in.Path, fs.ErrNotExist)
	}
	if err := CheckMeta(in.Path, in.Meta); err != nil {
		return Info{}, Wrap("update", in.Path, err)
	}
	p := in.Path
	in, err := s.updateObject(ctx, in, c)
	if err != nil {
		return Info{}, Wrap("update", p, err)
	}
	s.tell(OpUpdate, p, in.Version, in.ModTime)
	return listed(in)
}

// Remove deletes an object, or a container or account in which nothing is left.
// Of an object there may be left what its container wants of what is removed;
// see Delete.
func (s *Store) Remove(ctx context.Context, p Path, c Cond) error {
	if p.IsObject() {
		_, err := s.Delete(ctx, p, c)
		return err
	}
	if p.IsContainer() {
		return s.removeContainer(ctx, p, c)
	}
	if err := s.b.Remove(ctx, p, c); err != nil {
		return Wrap("remove", p, err)
	}
	s.tell(OpRemove, p, 0, time.Now())
	return nil
}

// Sweep removes the objects whose DeleteAt has come, and returns how many.
// Backends that see to it themselves have none left to remove.
func (s *Store) Sweep(ctx context.Context, now time.Time) (int, error) {
	const batch = 1000
	e, ok := s.b.(Expirer)
	if !ok {
		return 0, nil
	}
	for n := 0; ; {
		gone, err := e.Expire(ownEyes(ctx), now, batch)
		for _, p := range gone {
			s.tell(OpRemove, p, 0, now)
		}
		n += len(gone)
		if errors.Is(err, errors.ErrUnsupported) {
			return n, nil
		}
		if err != nil || len(gone) < batch {
			return n, err
		}
	}
}
