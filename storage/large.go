package storage

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"time"
)

// Limits of static large objects, as OpenStack Swift has them and as the
// gateway's /info tells them.
const (
	MaxSegments     = 1000    // that are objects, in one manifest
	MaxManifest     = 8 << 20 // bytes of a manifest that a client sends
	MaxSegmentDepth = 10      // of manifests within manifests
)

// ErrSegment says that a segment of a large object is missing, may not be read
// by who asks, or is not any more what the manifest says.
var ErrSegment = errors.New("a segment is not as it was")

// A Large tells how an object is kept whose content lies in other objects, its
// segments.
type Large struct {
	// Static objects have a manifest that names each segment with its size and
	// ETag; others are dynamic: their segments are all objects of a container
	// whose names begin alike, whatever these are at the moment.
	Static bool

	// Size and ETag of what is stored, while those of the Info are of the whole:
	// the sum of the sizes, and the MD5 of the ETags of all segments.
	ManifestSize int64
	ManifestETag string
}

// A Segment is a part of a large object: a stretch of another object, or a few
// bytes that stand in the manifest itself.
type Segment struct {
	Data []byte // the bytes themselves; the other fields are unset then

	Path    Path
	Size    int64 // of all of the object
	ETag    string
	Type    string
	ModTime time.Time
	Static  bool // it is a static large object itself

	// Part says that only the bytes from First to Last count, both included.
	Part        bool
	First, Last int64

	version uint64 // that it must be of, if not 0
}

// SegmentOf is the segment that is all of an object, as Stat describes it.
func SegmentOf(in Info) Segment {
	return Segment{
		Path: in.Path, Size: in.Size, ETag: in.ETag, Type: in.Type, ModTime: in.ModTime,
		Static: in.Large != nil && in.Large.Static,
	}
}

// Len is how many bytes the segment adds to the whole.
func (g *Segment) Len() int64 {
	switch {
	case g.Data != nil:
		return int64(len(g.Data))
	case g.Part:
		return g.Last - g.First + 1
	}
	return g.Size
}

// is reports whether an object is the one that the segment names. Of a stored
// manifest the Info must be of the whole.
func (g *Segment) is(in *Info) bool {
	return in.Size == g.Size && in.ETag == g.ETag && (in.Large != nil && in.Large.Static) == g.Static &&
		(g.version == 0 || in.Version == g.version)
}

// SegmentsETag is the ETag of the static large object of these segments: the
// MD5 of theirs, one after the other, with the range where one is set.
func SegmentsETag(segments []Segment) string {
	sum := md5.New()
	var b []byte
	for i := range segments {
		g := &segments[i]
		if g.Data != nil {
			of := md5.Sum(g.Data)
			b = hex.AppendEncode(b[:0], of[:])
		} else if b = append(b[:0], g.ETag...); g.Part {
			b = append(g.appendRange(append(b, ':')), ';')
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
