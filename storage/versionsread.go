package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"
)

// ErrUnversioned says that a version is asked for where there never were any.
var ErrUnversioned = errors.New("container has no versions")

// ErrVersionID says that something is no id of a version.
var ErrVersionID = errors.New("no id of a version")

// A MarkerError says that the version asked for is the marker of a removal. It
// is fs.ErrNotExist.
type MarkerError struct{ ID string }

func (e *MarkerError) Error() string { return "version " + e.ID + " is a removal" }
func (e *MarkerError) Unwrap() error { return fs.ErrNotExist }

// versionKey marks a context whose calls are about one version.
type versionKey struct{}

// OfVersion returns a context with which Stat, Open and Manifest are about the
// version of an object with this id, and Copy copies that. NullVersion means an
// object that has no id.
func OfVersion(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, versionKey{}, id)
}

// askedVersion is the version that ctx is about, "" if none, and a context for
// what else there is to look at.
func askedVersion(ctx context.Context) (string, context.Context) {
	id, _ := ctx.Value(versionKey{}).(string)
	if id == "" {
		return "", ctx
	}
	return id, context.WithValue(ctx, versionKey{}, "")
}

// IsVersionID reports whether id could be that of a version.
func IsVersionID(id string) bool {
	_, ok := parseVersionID(id)
	return ok || id == NullVersion
}

// versionAt is where the version of p with this id is, if it is not the current
// one, and when it was put. NullVersion is nowhere else.
func (s *Store) versionAt(ctx context.Context, p Path, id string) (Path, time.Time, error) {
	if id == NullVersion {
		return p, time.Time{}, nil
	}
	home, err := s.b.Stat(ownEyes(ctx), p.Parent())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Path{}, time.Time{}, err
	}
	place := home.Meta[metaVersionsPlace]
	if place == "" {
		return Path{}, time.Time{}, ErrUnversioned
	}
	at, ok := parseVersionID(id)
	if !ok {
		return Path{}, time.Time{}, ErrVersionID
	}
	return versionPath(p, place, at), at, nil
}

// isVersion reports whether the current object is the version put at this time,
// or has no id if at is zero.
func (in *Info) isVersion(at time.Time) bool {
	if at.IsZero() {
		return !in.hasID()
	}
	return in.hasID() && in.Created.Equal(at)
}

// vouchedKey marks a context in which who may see an object may see what it was.
type vouchedKey struct{}

// Vouched returns a context in which whoever may see, change or remove an object
// may do so with each of its versions. Else it takes a right to the account, for
// what an object was is not given away together with what it is.
func Vouched(ctx context.Context) context.Context {
	return context.WithValue(ctx, vouchedKey{}, true)
}

// hiddenEyes is for calls about the hidden versions of p, once who asks may make
// such a call about p.
func hiddenEyes(ctx context.Context) context.Context {
	if ctx.Value(vouchedKey{}) != nil {
		return ownEyes(ctx)
	}
	return ctx
}

// lookVersion looks for one version of p where it may be. Most are found at the
// first look, and the current one at the second.
func (s *Store) lookVersion(ctx context.Context, p Path, id string, look func(context.Context, Path) (Info, error)) (Info, error) {
	place, at, err := s.versionAt(ctx, p, id)
	if err != nil {
		return Info{}, err
	}
	if ctx.Value(vouchedKey{}) != nil {
		if _, err := s.b.Stat(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Info{}, err
		}
	}
	for range 2 { // it may go from the one place to the other meanwhile
		if place != p {
			// First, for also the current version takes the right to see the others.
			in, err := look(hiddenEyes(ctx), place)
			if !errors.Is(err, fs.ErrNotExist) {
				in.Path = p
				return in, err
			}
		}
		in, err := look(ctx, p)
		found := err == nil || errors.Is(err, ErrRange)
		if found && in.isVersion(at) || !found && !errors.Is(err, fs.ErrNotExist) {
			return in, err
		}
		if place == p {
			break
		}
		if err := s.settle(ctx, p); err != nil {
			return Info{}, err
		}
	}
	return Info{}, fs.ErrNotExist
}

// settle makes a version of p if its time has come but it is there yet.
func (s *Store) settle(ctx context.Context, p Path) error {
	own := ownEyes(ctx)
	home, err := s.b.Stat(own, p.Parent())
	if err != nil {
		return err
	}
	keep := KeepDue(home.Meta, p)
	if keep == nil {
		return nil
	}
	old := keep.Old
	keep.Old = func(in Info) Info {
		if !in.Expired(time.Now()) {
			return Info{}
		}
		return old(in)
	}
	// Of an object that is there nothing is kept, and no such version is.
	err = s.b.Remove(own, p, Cond{Absent: true, Keep: keep})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrPrecondition) {
		return nil
	}
	return err
}

// statVersion describes one version of p as it is stored.
func (s *Store) statVersion(ctx context.Context, p Path, id string) (Info, error) {
	in, err := s.lookVersion(ctx, p, id, s.b.Stat)
	if err == nil {
		err = marked(&in, id)
	}
	return in, err
}

// marked is what there is to say instead of an object if in is a marker.
func marked(in *Info, id string) error {
	if in.Type == MarkerType {
		return &MarkerError{id}
	}
	return nil
}

// openVersion opens one version of p as it is stored.
func (s *Store) openVersion(ctx context.Context, p Path, id string, r Range) (rc io.ReadCloser, in Info, err error) {
	in, err = s.lookVersion(ctx, p, id, func(ctx context.Context, at Path) (in Info, err error) {
		if rc != nil { // what was found at the first look is another version
			rc.Close()
		}
		rc, in, err = s.b.Open(ctx, at, r)
		return in, err
	})
	if err == nil || errors.Is(err, ErrRange) {
		if is := marked(&in, id); is != nil {
			err = is
		}
	}
	if err != nil && rc != nil {
		rc.Close()
		rc = nil
	}
	return rc, in, err
}
