package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// ErrVersionsLeft says that a container cannot be removed for the versions of
// objects that were in it. It is ErrNotEmpty.
var ErrVersionsLeft = fmt.Errorf("versions are left: %w", ErrNotEmpty)

// visible narrows a listing of containers to those that clients may name. The
// hidden ones come after all of them.
func (q Query) visible() Query {
	end := &q.EndMarker
	if q.Reverse {
		end = &q.Marker
	}
	if *end == "" || *end > hiddenMark {
		*end = hiddenMark
	}
	return q
}

// addVersions counts the bytes of hidden versions among those of a container,
// but not them among its objects.
func (s *Store) addVersions(ctx context.Context, in *Info) error {
	if !in.Versioned() {
		return nil
	}
	hidden, err := s.b.Stat(ownEyes(ctx), in.versionsPlace())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in.Size += hidden.Size
	return nil
}

func (in *Info) versionsPlace() Path {
	return Path{Account: in.Path.Account, Container: in.Meta[metaVersionsPlace]}
}

// keeps reports whether what a move takes away or replaces is to be kept. home is
// the container it goes to.
func (s *Store) keeps(ctx context.Context, home Info, from Path) (bool, error) {
	if versioningOf(home.Meta).mode != noVersions {
		return true, nil
	}
	if home.Path == from.Parent() {
		return false, nil
	}
	home, err := s.b.Stat(ownEyes(ctx), from.Parent())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return versioningOf(home.Meta).mode != noVersions, err
}

// enable makes the hidden container of one that is to have versions, if it has
// none yet, and returns its path then.
func (s *Store) enable(ctx context.Context, in *Info) (made Path, err error) {
	if !in.Path.IsContainer() || in.Meta[MetaVersionsEnabled] == "" {
		return Path{}, nil
	}
	if in.Meta[MetaVersionsEnabled] != "True" || in.Versioned() {
		return Path{}, nil
	}
	if in.Meta[MetaVersionsLocation] != "" {
		return Path{}, &Refusal{Text: "Cannot enable object versioning on a container that is already using the legacy versioned writes feature."}
	}
	in.Meta[metaVersionsPlace] = hiddenMark + "versions" + hiddenMark + rand.Text()
	if made = in.versionsPlace(); len(made.Container) > MaxContainerName {
		return Path{}, fs.ErrInvalid
	}
	_, err = s.b.Make(ownEyes(ctx), made, nil)
	return made, err
}

// removeContainer removes a container, and the hidden one of its versions, in
// both of which nothing may be left.
func (s *Store) removeContainer(ctx context.Context, p Path, c Cond) error {
	err := s.removeEmpty(ctx, p, c)
	if err == nil {
		s.tell(OpRemove, p, 0, time.Now())
	}
	return Wrap("remove", p, err)
}

func (s *Store) removeEmpty(ctx context.Context, p Path, c Cond) error {
	if p.hidden() {
		return fs.ErrNotExist
	}
	in, err := s.b.Stat(ownEyes(ctx), p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !in.Versioned() {
		return s.b.Remove(ctx, p, c)
	}
	// Who may not remove it is told no more than that.
	err = s.b.Remove(ctx, p, Cond{Version: never})
	if !errors.Is(err, ErrPrecondition) && !errors.Is(err, ErrNotEmpty) {
		return err
	}
	// The hidden one goes first: from then on nothing comes into being there.
	own, hidden := ownEyes(ctx), in.versionsPlace()
	switch err = s.b.Remove(own, hidden, Cond{}); {
	case errors.Is(err, ErrNotEmpty):
		return ErrVersionsLeft
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err = s.b.Remove(ctx, p, c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if _, again := s.b.Make(own, hidden, nil); again != nil {
			return fmt.Errorf("%w; nor can its versions be kept any more: %w", err, again)
		}
	}
	return err
}
