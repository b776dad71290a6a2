package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Delete removes an object as Remove does, and returns the id of the marker that
// it left, or "" if none. Where markers with ids are left, one is also for what
// was not there, which is fs.ErrNotExist nevertheless.
func (s *Store) Delete(ctx context.Context, p Path, c Cond) (marker string, err error) {
	marker, err = s.removeObject(ctx, p, c)
	return marker, Wrap("remove", p, err)
}

func (s *Store) removeObject(ctx context.Context, p Path, c Cond) (marker string, err error) {
	if p.hidden() {
		return "", fs.ErrNotExist
	}
	home, err := s.b.Stat(ownEyes(ctx), p.Parent())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	switch v := versioningOf(home.Meta); v.mode {
	case stackVersions:
		return "", s.pop(ctx, p, v, c)
	case historyVersions, idVersions, suspendedVersions:
		return s.retire(ctx, p, v, c)
	}
	if err := s.b.Remove(ctx, p, c); err != nil {
		return "", err
	}
	s.tell(OpRemove, p, 0, time.Now())
	return "", nil
}

// retire removes an object, keeps it as a version, and leaves a marker, unless
// versions are suspended.
func (s *Store) retire(ctx context.Context, p Path, v versioning, c Cond) (marker string, err error) {
	var there bool
	var kept, mark Path
	keep := v.keep(p)
	c.Keep = &Keep{Old: func(old Info) Info {
		there = !old.Expired(time.Now())
		as := keep.Old(old)
		kept = as.Path
		return as
	}}
	if v.mode != suspendedVersions {
		c.Keep.Mark = func(at time.Time) Info {
			if mark = archivePath(p, v.place, at); v.mode == idVersions {
				mark = versionPath(p, v.place, at)
				marker = versionID(at)
			}
			return Info{Path: mark, Type: MarkerType}
		}
	}
	if err := s.b.Remove(ctx, p, c); err != nil {
		return "", err
	}
	now := time.Now()
	if v.mode == historyVersions {
		s.tell(OpPut, mark, 0, now)
		if kept != (Path{}) {
			s.tell(OpPut, kept, 0, now)
		}
	}
	if !there {
		return marker, fs.ErrNotExist
	}
	s.tell(OpRemove, p, 0, now)
	return marker, nil
}

// pop removes an object by bringing back what was there before it: the latest in
// the archive. If that is a marker, from the time when the archive was one of
// history, the object as it is now goes; and if there is none now, the marker
// does, with what was there before it coming back.
func (s *Store) pop(ctx context.Context, p Path, v versioning, c Cond) error {
	// Who may not remove it is not to learn what was there.
	err := s.b.Remove(ctx, p, Cond{Version: never})
	there := errors.Is(err, ErrPrecondition)
	if !there && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for range maxTries {
		before, err := s.archived(ctx, p, v)
		if err != nil {
			return err
		}
		if len(before) > 0 && before[0].Type == MarkerType {
			if there {
				break
			}
			marker := before[0].Path
			if before = before[1:]; len(before) > 0 && before[0].Type != MarkerType {
				err := s.bringBack(ctx, before[0].Path, p, c)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			return s.removeOwn(ownEyes(ctx), marker)
		}
		if len(before) == 0 {
			break
		}
		err = s.bringBack(ctx, before[0].Path, p, c)
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return err
		} // else it was brought back by somebody else, or is due
	}
	if err := s.b.Remove(ctx, p, c); err != nil {
		return err
	}
	s.tell(OpRemove, p, 0, time.Now())
	return nil
}

// archived lists the latest two versions of p in the archive.
func (s *Store) archived(ctx context.Context, p Path, v versioning) (list []Info, err error) {
	q := Query{Prefix: archivePrefix(p.Object), Reverse: true, Limit: 2}
	for in, err := range s.b.List(ownEyes(ctx), Path{Account: p.Account, Container: v.place}, q) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !in.Expired(time.Now()) {
			list = append(list, in)
		}
	}
	return list, nil
}

// bringBack moves a version to where it was, in place of what is there.
func (s *Store) bringBack(ctx context.Context, from, to Path, c Cond) error {
	m, ok := s.b.(Mover)
	if !ok {
		return errors.ErrUnsupported
	}
	in, err := m.Move(ownEyes(ctx), from, to, c)
	if err != nil {
		return err
	}
	s.tell(OpPut, to, in.Version, in.ModTime)
	s.tell(OpRemove, from, in.Version, in.ModTime)
	return nil
}

// DeleteVersion removes one version of an object for good, and returns the id of
// the version that is current then; NullVersion if none is, or one without id.
// The id NullVersion means the current version, which, if it has an id, is not
// lost.
func (s *Store) DeleteVersion(ctx context.Context, p Path, id string) (current string, err error) {
	current, err = s.deleteVersion(ctx, p, id)
	return current, Wrap("remove", p, err)
}

func (s *Store) deleteVersion(ctx context.Context, p Path, id string) (current string, err error) {
	place, at, err := s.versionAt(ctx, p, id)
	if err != nil {
		return "", err
	}
	own := ownEyes(ctx)
	if id == NullVersion {
		var v versioning
		home, err := s.b.Stat(own, p.Parent())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if v = versioningOf(home.Meta); v.mode == stackVersions || v.mode == historyVersions {
			_, err = s.removeObject(ctx, p, Cond{})
		} else {
			_, err = s.retire(ctx, p, versioning{suspendedVersions, home.Meta[metaVersionsPlace]}, Cond{})
		}
		return NullVersion, err
	}
	// Who may not remove the object may not remove what it was.
	err = s.b.Remove(ctx, p, Cond{Version: never})
	if !errors.Is(err, ErrPrecondition) && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for range maxTries {
		// This judges whether he may.
		if _, err := s.b.Stat(hiddenEyes(ctx), place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		in, err := s.b.Stat(own, p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		there := err == nil
		if !there || !in.isVersion(at) {
			current = NullVersion
			if there {
				current = in.VersionID()
			}
			return current, s.b.Remove(hiddenEyes(ctx), place, Cond{})
		}
		err = s.b.Remove(ctx, p, Cond{Version: in.Version})
		if errors.Is(err, ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
			continue // it was replaced or removed since we looked, and is a hidden one by now
		}
		if err == nil {
			s.tell(OpRemove, p, 0, time.Now())
		}
		return NullVersion, err
	}
	return "", ErrUnavailable
}

// RestoreVersion makes a version the current one. What is current before stays a
// version, if it is one or versions are made of all.
func (s *Store) RestoreVersion(ctx context.Context, p Path, id string) (Info, error) {
	in, err := s.restoreVersion(ctx, p, id)
	return in, Wrap("put", p, err)
}

func (s *Store) restoreVersion(ctx context.Context, p Path, id string) (Info, error) {
	place, at, err := s.versionAt(ctx, p, id)
	if err != nil {
		return Info{}, err
	}
	if place == p {
		return Info{}, ErrVersionID
	}
	// Asked by an upload that comes to nothing: who may not put the object may
	// not bring back what it was.
	w, err := s.b.Create(ctx, Info{Path: p})
	if err != nil {
		return Info{}, err
	}
	w.Close()
	own := ownEyes(ctx)
	mover, ok := s.b.(Mover)
	if !ok {
		return Info{}, errors.ErrUnsupported
	}
	home, err := s.b.Stat(own, p.Parent())
	if err != nil {
		return Info{}, err
	}
	if in, err := s.b.Stat(own, p); err == nil && in.isVersion(at) {
		return in, nil
	}
	v := versioning{suspendedVersions, home.Meta[metaVersionsPlace]}
	if home.Meta[MetaVersionsEnabled] == "True" {
		v.mode = idVersions
	}
	in, err := s.b.Stat(hiddenEyes(ctx), place)
	if err == nil && in.Type == MarkerType {
		err = fs.ErrNotExist
	}
	if err == nil {
		in, err = mover.Move(own, place, p, Cond{Keep: v.keep(p)})
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = &Refusal{Text: "The specified version does not exist", Err: fs.ErrNotExist}
	}
	if err != nil {
		return Info{}, err
	}
	s.tell(OpPut, p, in.Version, in.ModTime)
	return listed(in)
}
