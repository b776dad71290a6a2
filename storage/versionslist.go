package storage

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// A Version is an entry of a listing of versions: one version of an object, or a
// Subdir.
type Version struct {
	Info
	ID     string
	Latest bool // it is what the object is now, or that it is removed
}

// A VersionQuery narrows a listing of versions. A Delimiter must have neither
// digits nor dots in it.
type VersionQuery struct {
	Query

	// MarkerID, if set, has the listing begin behind this version of the object
	// that Marker names, and not behind all of them.
	MarkerID string
}

// Versions lists the versions of the objects in a container, in order of name
// and, of each object, the latest first; with Reverse the other way round, but
// for those without id, which come first always. Limit must be set.
func (s *Store) Versions(ctx context.Context, p Path, q VersionQuery) ([]Version, error) {
	list, err := s.versions(ctx, p, q)
	return list, Wrap("list", p, err)
}

func (s *Store) versions(ctx context.Context, p Path, q VersionQuery) ([]Version, error) {
	if p.hidden() {
		return nil, fs.ErrNotExist
	}
	q.Meta = false
	current, err := s.currents(ctx, p, q)
	if err != nil {
		return nil, err
	}
	live := make(map[string]bool, len(current))
	for i := range current {
		live[current[i].Path.Object] = true
	}
	list, err := s.hiddenVersions(ctx, p, q, live)
	if err != nil {
		return nil, err
	}
	list = append(current, list...)
	slices.SortStableFunc(list, func(a, b Version) int {
		order := strings.Compare(a.Path.Object, b.Path.Object)
		if order == 0 {
			switch {
			case a.Subdir || b.Subdir:
				return 0
			case a.ID == NullVersion:
				return -1
			case b.ID == NullVersion:
				return 1
			}
			order = b.Created.Compare(a.Created)
		}
		if q.Reverse {
			order = -order
		}
		return order
	})
	list = slices.CompactFunc(list, func(a, b Version) bool {
		return a.Subdir && b.Subdir && a.Path == b.Path
	})
	return list[:min(len(list), q.Limit)], nil
}

// currents lists what the objects are now.
func (s *Store) currents(ctx context.Context, p Path, q VersionQuery) ([]Version, error) {
	var list []Version
	add := func(in Info) error {
		id := in.VersionID()
		in, err := listed(in)
		list = append(list, Version{Info: in, ID: id, Latest: !in.Subdir})
		return err
	}
	if at, ok := parseVersionID(q.MarkerID); ok && q.Marker != "" {
		// The current version may be behind an earlier one, once that was restored.
		in, err := s.b.Stat(ctx, Path{p.Account, p.Container, q.Marker})
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case !in.hasID() || in.Created.Equal(at) || in.Created.After(at) != q.Reverse || !strings.HasPrefix(q.Marker, q.Prefix):
		default:
			if err := add(in); err != nil {
				return nil, err
			}
		}
	}
	for in, err := range s.b.List(ctx, p, q.Query) {
		if err == nil {
			err = add(in)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// hiddenVersions lists what the objects were; live are those that are there now.
func (s *Store) hiddenVersions(ctx context.Context, p Path, q VersionQuery, live map[string]bool) ([]Version, error) {
	own := ownEyes(ctx)
	home, err := s.b.Stat(own, p)
	if err != nil {
		return nil, err
	}
	if !home.Versioned() {
		return nil, nil
	}
	if q.MarkerID != "" && !q.Reverse {
		live[q.Marker] = true // what is latest is before the marker
	}
	var list []Version
	for in, err := range s.b.List(own, home.versionsPlace(), q.hidden()) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		name, at, ok := splitVersion(in.Path.Object)
		switch {
		case in.Subdir:
			name = unescapeVersioned(in.Path.Object)
			if name == q.Marker {
				continue // which is behind it, as Query.Page has it
			}
		case !ok:
			continue
		default:
			in.Created = at
		}
		in.Path = Path{p.Account, p.Container, name}
		if in, err = listed(in); err != nil {
			return nil, err
		}
		v := Version{Info: in}
		if !in.Subdir {
			v.ID = versionID(at)
		}
		list = append(list, v)
	}
	markLatest(list, q, live)
	return list, nil
}

// markLatest finds the markers of the removals that are the latest there is to
// say of an object.
func markLatest(list []Version, q VersionQuery, live map[string]bool) {
	order := slices.All(list)
	if q.Reverse {
		order = slices.Backward(list)
		if len(list) > q.Limit {
			live[list[q.Limit].Path.Object] = true // what is latest may be on the next page
		}
	}
	for i, v := range order {
		if name := v.Path.Object; v.Type == MarkerType && !live[name] {
			live[name], list[i].Latest = true, true
		}
	}
}

// hidden is the query as it is put to the hidden container.
func (q VersionQuery) hidden() Query {
	h := Query{
		Prefix: escapeVersioned(q.Prefix), Delimiter: escapeVersioned(q.Delimiter),
		Reverse: q.Reverse, Limit: q.Limit + 1, // one may be a subdir that is left out
	}
	if q.EndMarker != "" {
		h.EndMarker = versionPrefix(q.EndMarker)
		if q.Reverse {
			h.EndMarker += versionsEnd
		}
	}
	if q.Marker != "" {
		h.Marker = versionPrefix(q.Marker)
		if at, ok := parseVersionID(q.MarkerID); ok {
			h.Marker = versionPath(Path{Object: q.Marker}, "", at).Object
		} else if q.MarkerID == "" && !q.Reverse {
			h.Marker += versionsEnd
		}
	}
	return h
}

// versionsEnd comes after all digits.
const versionsEnd = ":"
