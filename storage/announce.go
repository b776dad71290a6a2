package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// The kinds of Change by which nothing changes in the store: what caches hold
// of the path is no longer to be trusted, because somebody who may change it
// says so. (4 is taken in the journal's format.)
const (
	OpStale Op = 5 + iota // it is to be asked for again before it is used
	OpDrop                // it is to be forgotten
)

// An Announcer enters an announcement into its Journal.
type Announcer interface {
	// Announce returns c with the Version and Time that it got.
	Announce(ctx context.Context, c Change) (Change, error)
}

// Announce tells those who Watch, and those who follow the Journal, to mistrust
// what they hold: of an object, of all whose names begin so if c.Tree is set,
// or of a container. c.Op is OpStale or OpDrop. It is for those who may change
// what it is about.
func (s *Store) Announce(ctx context.Context, c Change) error {
	if c.Op != OpStale && c.Op != OpDrop || c.Path.IsAccount() {
		return Wrap("announce", c.Path, fs.ErrInvalid)
	}
	told := Change{Op: c.Op, Path: c.Path, Tree: c.Tree, Time: time.Now()}
	if a, ok := s.b.(Announcer); ok {
		kept, err := a.Announce(ctx, told)
		switch {
		case err == nil:
			told = kept
		case !errors.Is(err, errors.ErrUnsupported):
			return Wrap("announce", c.Path, err)
		}
	}
	s.spread(told)
	return nil
}
