package storage

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"
)

const (
	// segmentPage is how many segments of a dynamic large object are held in
	// memory at a time.
	segmentPage = 10000

	// maxPages bounds what one look at a dynamic large object costs: it has to
	// list all of its segments.
	maxPages = 100
)

// dynamicSegments are those of a dynamic large object: the container and the beginning
// of the names that its MetaManifest gives, false if that is no such thing.
func dynamicSegments(account, value string) (container Path, prefix string, ok bool) {
	if value == "" {
		return Path{}, "", false
	}
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	name, prefix, ok := strings.Cut(value, "/")
	return Path{Account: account, Container: name}, prefix, ok && name != ""
}

// pages is the layout of a dynamic large object: its segments as a listing has
// them, a page of which is held at a time.
type pages struct {
	s         *Store
	container Path
	prefix    string

	found []page
	held  int // which page now is
	now   *manifest
}

type page struct {
	marker string // behind which its names come
	begins int64  // in the whole
	size   int64
}

var _ layout = (*pages)(nil)

// segmentsOf looks at the segments of a dynamic large object, and describes the
// whole. Who asks must be allowed to list them.
func (s *Store) segmentsOf(ctx context.Context, in Info) (Info, *pages, error) {
	container, prefix, _ := dynamicSegments(in.Path.Account, in.Meta[MetaManifest])
	l := &pages{s: s, container: container, prefix: prefix}
	sum := md5.New()
	var size int64
	for marker := ""; ; {
		m, err := l.read(ctx, marker)
		if err != nil {
			return in, nil, err
		}
		for i := range m.segments {
			io.WriteString(sum, m.segments[i].ETag)
		}
		if m.size() > math.MaxInt64-size {
			return in, nil, Wrap("open", in.Path, ErrTooLarge)
		}
		l.found = append(l.found, page{marker, size, m.size()})
		size += m.size()
		l.held, l.now = len(l.found)-1, m
		if len(m.segments) < segmentPage {
			break
		}
		if len(l.found) == maxPages {
			return in, nil, fmt.Errorf("%w: it has more than %d segments", ErrTooLarge, maxPages*segmentPage)
		}
		marker = m.segments[len(m.segments)-1].Path.Object
	}
	in.Large = &Large{ManifestSize: in.Size, ManifestETag: in.ETag}
	in.Size, in.ETag = size, hex.EncodeToString(sum.Sum(nil))
	return in, l, nil
}

// read lists a page.
func (l *pages) read(ctx context.Context, marker string) (*manifest, error) {
	var segments []Segment
	for in, err := range l.s.List(ctx, l.container, Query{Prefix: l.prefix, Marker: marker, Limit: segmentPage}) {
		if err != nil {
			return nil, err
		}
		if in.Link != nil {
			in = l.target(ctx, in)
		}
		g := SegmentOf(in)
		g.version = in.Version
		segments = append(segments, g)
	}
	return newManifest(segments)
}

// target is a segment that is a link as what it points to. If that is a dynamic
// large object it stands for what is stored of it, as one among the segments
// does: it may be the very one whose segments these are, and looking at it would
// never end.
func (l *pages) target(ctx context.Context, in Info) Info {
	found, err := l.s.Stat(AsStored(ctx), in.Path)
	if err == nil {
		found, err = listed(found)
	}
	if err != nil {
		return in // nothing comes of it
	}
	found.Path = in.Path
	return found
}

func (l *pages) find(ctx context.Context, pos int64) (*manifest, int64, error) {
	for i, p := range l.found {
		if pos >= p.begins+p.size {
			continue
		}
		if l.held != i {
			m, err := l.read(ctx, p.marker)
			if err != nil {
				return nil, 0, err
			}
			if m.size() != p.size {
				return nil, 0, fmt.Errorf("%w: there are others now", ErrSegment)
			}
			l.held, l.now = i, m
		}
		return l.now, p.begins, nil
	}
	return nil, 0, fmt.Errorf("%w: there are fewer", ErrSegment)
}

// openDynamic opens a dynamic large object.
func (s *Store) openDynamic(ctx context.Context, in Info, r Range) (io.ReadCloser, Info, error) {
	whole, l, err := s.segmentsOf(ctx, in)
	if err != nil {
		return nil, in, err
	}
	offset, length, err := r.Resolve(whole.Size)
	if err != nil {
		return nil, whole, err
	}
	body, err := s.readSegments(ctx, whole.Path, l, offset, length)
	return body, whole, err
}
