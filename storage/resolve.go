package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// This is the one place that knows what an object may be beyond its bytes. A
// Backend keeps bytes and metadata; that the bytes are the manifest of a large
// object is said by the metadata. Stat, Open and List of a Store show what is
// meant, to every door alike, unless they are asked for what is stored.

// MetaKind is the metadata that says that an object is more than its bytes, and
// with what size and tag it is to be shown, so that neither Stat nor a listing
// need look further:
//
//	static SIZE ETAG
//	link ACCOUNT TARGET ETAG SIZE LARGE-ETAG
//
// or that it is a version with an id, for which the word "version" comes first.
//
// Only the Store sets it, and it stays when other metadata is replaced.
const MetaKind = "X-Object-Sysmeta-Kind"

// MetaManifest makes a dynamic large object of whatever has it. Its value is
// the container and the beginning of the names of the segments, escaped as in
// a URL: "videos/film/part-".
const MetaManifest = "X-Object-Manifest"

// A kind is what an object is beyond its bytes.
type kind uint8

const (
	plain   kind = iota
	static       // its bytes are a manifest that names each segment
	dynamic      // its content is that of all objects whose names begin alike
	link         // it points to another object
)

// kindOf looks at an object as it is stored.
func kindOf(in *Info) kind {
	if len(in.Meta) == 0 {
		return plain
	}
	if v := kindText(in.Meta); v != "" {
		if strings.HasPrefix(v, "link ") {
			return link
		}
		return static
	}
	if v := in.Meta[MetaManifest]; v != "" {
		if _, _, ok := dynamicSegments("", v); ok {
			return dynamic
		}
	}
	return plain
}

// IsManifest reports whether in describes, as it is stored, the manifest of a
// static large object; see AsStored.
func (in *Info) IsManifest() bool { return kindOf(in) == static }

// Gathers reports whether in, as it is stored, is a dynamic large object, and
// then where the objects lie that it is made of, and what their names begin with.
func (in *Info) Gathers() (container Path, prefix string, ok bool) {
	if kindOf(in) != dynamic {
		return Path{}, "", false
	}
	return dynamicSegments(in.Path.Account, in.Meta[MetaManifest])
}

// asStoredKey marks a context whose calls ask for what is stored.
type asStoredKey struct{}

// AsStored returns a context with which Stat, Open, Copy and Move take a large
// object for what is stored of it, which is its manifest: an object like any
// other, whose Info has no Large.
func AsStored(ctx context.Context) context.Context {
	return context.WithValue(ctx, asStoredKey{}, true)
}

func asStored(ctx context.Context) bool { return ctx.Value(asStoredKey{}) != nil }

var errKind = fmt.Errorf("%w: what kind of object it is cannot be read", ErrDamaged)

// listed is an object of a listing as it is to be seen.
func listed(in Info) (Info, error) {
	switch kindOf(&in) {
	case static:
		return shown(in)
	case link:
		l, err := parseLink(&in)
		in.Link = l
		return in, err
	}
	return in, nil
}

// shown is an object of the kind static as it is to be seen.
func shown(in Info) (Info, error) {
	word, rest, _ := strings.Cut(kindText(in.Meta), " ")
	size, etag, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if word != "static" || err != nil || n < 0 {
		return in, errKind
	}
	in.Large = &Large{Static: true, ManifestSize: in.Size, ManifestETag: in.ETag}
	in.Size, in.ETag = n, etag
	return in, nil
}

// staticKind is the MetaKind of a static large object.
func staticKind(size int64, etag string) string {
	return "static " + strconv.FormatInt(size, 10) + " " + etag
}

// resolve describes what is meant by an object that Stat found.
func (s *Store) resolve(ctx context.Context, in Info) (Info, error) {
	if kindOf(&in) == link {
		if unfollowed(ctx) {
			return listed(in)
		}
		var err error
		in, err = walk(in, nil, false, func(p Path) (Info, error) { return s.b.Stat(ctx, p) })
		if err != nil {
			return in, err
		}
	}
	if asStored(ctx) {
		return in, nil
	}
	if kindOf(&in) == dynamic {
		in, _, err := s.segmentsOf(ctx, in)
		return in, err
	}
	return listed(in)
}

// openResolved opens what is meant by an object, of which rc is the stored
// bytes.
//
// failed is ErrRange if the range lies beyond what is stored.
func (s *Store) openResolved(ctx context.Context, rc io.ReadCloser, in Info, r Range, failed error) (io.ReadCloser, Info, error) {
	if kindOf(&in) == link {
		if unfollowed(ctx) {
			in, err := listed(in)
			if err == nil {
				err = failed
			}
			return rc, in, err
		}
		var err error
		in, err = walk(in, nil, false, func(p Path) (Info, error) {
			if rc != nil {
				rc.Close()
			}
			var in Info
			var err error
			rc, in, err = s.b.Open(ctx, p, r)
			return in, err
		})
		if err != nil && !errors.Is(err, ErrRange) || kindOf(&in) == plain || asStored(ctx) {
			if err != nil && rc != nil {
				rc.Close()
				rc = nil
			}
			return rc, in, err
		}
	}
	if asStored(ctx) {
		return rc, in, failed
	}
	p := in.Path
	if kindOf(&in) == dynamic {
		if rc != nil {
			rc.Close()
		}
		return s.openDynamic(ctx, in, r)
	}
	if r != All || rc == nil {
		// The range was of the manifest; all of that is needed.
		if rc != nil {
			rc.Close()
		}
		var err error
		if rc, in, err = s.b.Open(ctx, p, All); err != nil {
			return nil, in, err
		}
		if kindOf(&in) != static { // by now
			rc.Close()
			return s.Open(ctx, p, r)
		}
	}
	defer rc.Close()
	return s.openStatic(ctx, rc, in, r)
}

// keepKind is m with what the stored object's metadata says of its kind, which
// no client sets or removes.
func keepKind(m, stored Meta) Meta {
	kind, is := stored[MetaKind]
	if m[MetaKind] == kind {
		return m
	}
	m = m.Clone()
	if !is {
		delete(m, MetaKind)
		return m
	}
	if m == nil {
		m = Meta{}
	}
	m[MetaKind] = kind
	return m
}

// maxTries is how often the Store looks again when an object is changed by
// others between a look at it and a change.
const maxTries = 100

// updateObject replaces the metadata of an object, whose kind stays.
func (s *Store) updateObject(ctx context.Context, in Info, c Cond) (Info, error) {
	for range maxTries {
		old, err := s.b.Stat(ownEyes(ctx), in.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Info{}, err
		}
		next, cond := in, c
		next.Meta = keepKind(in.Meta, old.Meta)
		if cond.Version == 0 && err == nil {
			cond.Version = old.Version // what was looked at is what is changed
		}
		// One that is missing is asked for all the same: only who may change it
		// is to learn that.
		updated, err := s.b.Update(ctx, next, cond)
		if c.Version == 0 && errors.Is(err, ErrPrecondition) && !c.Absent && ctx.Err() == nil {
			continue
		}
		return updated, err
	}
	return Info{}, fmt.Errorf("%w: changed by others again and again", ErrUnavailable)
}
