package storage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PutManifest makes in.Path a static large object of these segments, whose
// Path, Size and ETag the caller has found to be so. If in.ETag is set it must
// be that of the whole, else ErrChecksum. Type, DeleteAt and Meta are those of
// in, and c must hold, as with Create.
func (s *Store) PutManifest(ctx context.Context, in Info, segments []Segment, c Cond) (Info, error) {
	etag := SegmentsETag(segments)
	if in.ETag != "" && in.ETag != etag {
		return Info{}, Wrap("put", in.Path, ErrChecksum)
	}
	whole, err := newManifest(segments)
	if err != nil {
		return Info{}, Wrap("put", in.Path, err)
	}
	manifest := encodeManifest(segments)
	in.ETag, in.Size = "", int64(len(manifest))
	in.Meta = keepKind(in.Meta, Meta{MetaKind: staticKind(whole.size(), etag)})
	up, err := s.create(ctx, in, c)
	if err != nil {
		return Info{}, err
	}
	defer up.Close()
	if _, err := up.Write(manifest); err != nil {
		return Info{}, err
	}
	if in, err = up.Commit(ctx); err != nil {
		return Info{}, err
	}
	return shown(in)
}

// Manifest returns the segments that the manifest of a static large object
// names, and the object's Info. What is no such object is ErrNoManifest.
func (s *Store) Manifest(ctx context.Context, p Path) ([]Segment, Info, error) {
	rc, in, err := s.Open(AsStored(ctx), p, All)
	if err != nil {
		return nil, in, Wrap("open", p, err)
	}
	defer rc.Close()
	if kindOf(&in) != static {
		return nil, in, Wrap("open", p, ErrNoManifest)
	}
	m, err := s.readManifest(rc, &in)
	if err != nil {
		return nil, in, Wrap("open", p, err)
	}
	in, err = shown(in)
	return slices.Clone(m.segments), in, Wrap("open", p, err)
}

// readManifest reads the manifest that in is stored as.
func (s *Store) readManifest(r io.Reader, in *Info) (*manifest, error) {
	if m := s.manifests.get(in); m != nil {
		return m, nil
	}
	segments, err := decodeManifest(r, in.Path.Account, in.Size)
	if err != nil {
		return nil, err
	}
	m, err := newManifest(segments)
	if err != nil {
		return nil, err
	}
	s.manifests.add(in, m)
	return m, nil
}

// ErrNoManifest says that an object is not a static large one.
var ErrNoManifest = errors.New("not a static large object")

// openStatic opens a static large object, the manifest of which is in rc.
func (s *Store) openStatic(ctx context.Context, rc io.Reader, in Info, r Range) (io.ReadCloser, Info, error) {
	whole, err := shown(in)
	if err != nil {
		return nil, in, err
	}
	offset, length, err := r.Resolve(whole.Size)
	if err != nil {
		return nil, whole, err
	}
	m, err := s.readManifest(rc, &in)
	if err != nil {
		return nil, whole, err
	}
	if m.size() != whole.Size {
		return nil, whole, fmt.Errorf("%w: the segments of a manifest do not add up", ErrDamaged)
	}
	body, err := s.readSegments(ctx, whole.Path, m, offset, length)
	return body, whole, err
}

// A manifest is the segments of an object in their order.
type manifest struct {
	segments []Segment
	ends     []int64 // where each ends in the whole
}

// newManifest fails with ErrTooLarge if the segments are more than can be
// counted: manifests within manifests reach that with few bytes.
func newManifest(segments []Segment) (*manifest, error) {
	m := &manifest{segments, make([]int64, len(segments))}
	var end int64
	for i := range segments {
		n := segments[i].Len()
		if n > math.MaxInt64-end {
			return nil, ErrTooLarge
		}
		end += n
		m.ends[i] = end
	}
	return m, nil
}

func (m *manifest) size() int64 {
	if len(m.ends) == 0 {
		return 0
	}
	return m.ends[len(m.ends)-1]
}

// encodeManifest writes a manifest as Swift keeps it, to the byte: clients may
// ask for it, and its size counts.
func encodeManifest(segments []Segment) []byte {
	b := append(make([]byte, 0, 256*len(segments)), '[')
	for i := range segments {
		if i > 0 {
			b = append(b, ", "...)
		}
		g := &segments[i]
		if g.Data != nil {
			b = append(b, `{"data": "`...)
			b = base64.StdEncoding.AppendEncode(b, g.Data)
			b = append(b, `"}`...)
			continue
		}
		b = AppendJSON(append(b, `{"name": `...), "/"+g.Path.Container+"/"+g.Path.Object)
		b = strconv.AppendInt(append(b, `, "bytes": `...), g.Size, 10)
		b = AppendJSON(append(b, `, "hash": `...), g.ETag)
		b = AppendJSON(append(b, `, "content_type": `...), g.Type)
		b = append(b, `, "last_modified": "`...)
		b = append(g.ModTime.UTC().AppendFormat(b, manifestTime), '"')
		if g.Part {
			b = append(g.appendRange(append(b, `, "range": "`...)), '"')
		}
		if g.Static {
			b = append(b, `, "sub_slo": true`...)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

const manifestTime = "2006-01-02T15:04:05.000000"

func (g *Segment) appendRange(b []byte) []byte {
	return strconv.AppendInt(append(strconv.AppendInt(b, g.First, 10), '-'), g.Last, 10)
}

// decodeManifest reads what encodeManifest wrote; the segments are of an
// account.
// ReadManifest reads the manifest that in, as a Backend describes it, keeps as
// its bytes; see IsManifest. Who is not beneath the Store asks Store.Manifest.
func ReadManifest(in Info, r io.Reader) ([]Segment, error) {
	return decodeManifest(r, in.Path.Account, in.Size)
}

func decodeManifest(r io.Reader, account string, size int64) ([]Segment, error) {
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	var items []struct {
		Data  []byte `json:"data"`
		Name  string `json:"name"`
		Bytes int64  `json:"bytes"`
		Hash  string `json:"hash"`
		Type  string `json:"content_type"`
		Time  string `json:"last_modified"`
		Range string `json:"range"`
		Sub   bool   `json:"sub_slo"`
	}
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, fmt.Errorf("%w: a manifest: %w", ErrDamaged, err)
	}
	segments := make([]Segment, len(items))
	for i := range items {
		item, g := &items[i], &segments[i]
		if item.Data != nil {
			g.Data = item.Data
			continue
		}
		container, object, _ := strings.Cut(strings.TrimPrefix(item.Name, "/"), "/")
		*g = Segment{
			Path: Path{account, container, object}, Size: item.Bytes, ETag: item.Hash, Type: item.Type, Static: item.Sub,
		}
		var err error
		if g.ModTime, err = time.Parse(manifestTime, item.Time); err == nil && item.Range != "" {
			first, last, _ := strings.Cut(item.Range, "-")
			g.Part = true
			if g.First, err = strconv.ParseInt(first, 10, 64); err == nil {
				g.Last, err = strconv.ParseInt(last, 10, 64)
			}
		}
		if err != nil || g.Size < 0 || object == "" || g.Part && (g.First < 0 || g.First > g.Last || g.Last >= g.Size) {
			return nil, fmt.Errorf("%w: segment %d of a manifest", ErrDamaged, i)
		}
	}
	return segments, nil
}

// missing tells of an error at a segment whether it is the segment's own: that
// it is gone, or not for who asks. Those are not errors of the whole, which is
// there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrRange) ||
		errors.Is(err, ErrNoManifest)
}
