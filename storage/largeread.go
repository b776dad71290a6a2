package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"sort"
)

// A layout tells where the bytes of a large object are.
type layout interface {
	// find returns the manifest in which the byte at pos lies, and where in the
	// whole that manifest begins.
	find(ctx context.Context, pos int64) (m *manifest, begins int64, err error)
}

func (m *manifest) find(context.Context, int64) (*manifest, int64, error) { return m, 0, nil }

// A segmented reader reads a stretch of a large object as though it were one:
// segment by segment, each opened as who asks for the whole, and the next few
// while one is being read, so that no time is lost between them.
type segmented struct {
	s      *Store
	ctx    context.Context // of Open: segments are opened while it is read
	cancel context.CancelFunc
	path   Path // of the whole
	in     layout
	subs   map[Path]*manifest // of segments that are large objects themselves

	closed bool

	start, at, end int64 // of the whole: the stretch, and where in it reading stands

	now   part          // what is being read; its body is nil if that is nothing
	ahead chan part     // what comes after, while it is being opened; else nil
	stop  chan struct{} // closed to have no more opened
}

// opened is how many parts are open beside the one that is being read.
const opened = 3

// A part is what is read in one go: one segment, or what of it is in the
// stretch.
type part struct {
	body io.ReadCloser
	end  int64 // in the whole
	err  error
}

var (
	_ io.ReadSeekCloser = (*segmented)(nil)
	_ io.WriterTo       = (*segmented)(nil)
)

// maxSubs is how many manifests within manifests a reader remembers, so that
// nobody fills the memory by a tree of them.
const maxSubs = 2 * MaxSegmentDepth

// readSegments opens a stretch of a large object; its first segment, too, so
// that one that cannot be read is told before anything is.
func (s *Store) readSegments(ctx context.Context, p Path, in layout, offset, length int64) (io.ReadCloser, error) {
	r := &segmented{s: s, path: p, in: in, start: offset, at: offset, end: offset + length}
	r.ctx, r.cancel = context.WithCancel(AsStored(ctx))
	if length == 0 {
		return r, nil
	}
	if err := r.turn(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// turn sees to it that there is something open to read from, or returns io.EOF.
func (r *segmented) turn() error {
	if r.now.body != nil {
		return nil
	}
	if r.closed {
		return fs.ErrClosed
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.at >= r.end {
		return io.EOF
	}
	if r.ahead != nil {
		r.now = <-r.ahead
	} else if r.now = r.open(r.at); r.now.err == nil && r.now.end < r.end {
		r.ahead, r.stop = make(chan part, opened-1), make(chan struct{})
		go r.openAhead(r.now.end, r.ahead, r.stop)
	}
	if err := r.now.err; err != nil {
		r.now = part{}
		r.drop()
		return err
	}
	return nil
}

// openAhead opens part after part from a position on, until it is told to stop,
// one cannot be opened, or there are no more.
func (r *segmented) openAhead(pos int64, to chan<- part, stop <-chan struct{}) {
	defer close(to)
	for pos < r.end {
		next := r.open(pos)
		select {
		case to <- next:
		case <-stop:
			next.close()
			return
		}
		if next.err != nil {
			return
		}
		pos = next.end
	}
}

func (p *part) close() {
	if p.body != nil {
		p.body.Close()
	}
}

// open opens what is at a position. It is never called twice at a time.
func (r *segmented) open(pos int64) part {
	m, begins, err := r.in.find(r.ctx, pos)
	if err != nil {
		return part{err: err}
	}
	body, n, err := r.openIn(m, pos-begins, r.end-pos, 1)
	return part{body, pos + n, err}
}

// openIn opens what is at a position of a manifest, and at most max bytes of
// it. It returns how many it will be.
func (r *segmented) openIn(m *manifest, pos, max int64, depth int) (io.ReadCloser, int64, error) {
	i := sort.Search(len(m.ends), func(i int) bool { return m.ends[i] > pos })
	if i == len(m.ends) {
		return nil, 0, fmt.Errorf("%w: it is shorter", ErrSegment)
	}
	g := &m.segments[i]
	n := min(m.ends[i]-pos, max)
	from := g.Len() - (m.ends[i] - pos)
	if g.Data != nil {
		return io.NopCloser(bytes.NewReader(g.Data[from:][:n])), n, nil
	}
	if g.Part {
		from += g.First
	}
	if g.Static {
		if depth == MaxSegmentDepth {
			return nil, 0, fmt.Errorf("%w: %v: large objects too deep within each other", ErrSegment, g.Path)
		}
		sub, err := r.sub(g)
		if err != nil {
			return nil, 0, err
		}
		return r.openIn(sub, from, n, depth+1)
	}
	body, in, err := r.s.Open(r.ctx, g.Path, Range{from, n})
	if err == nil && !g.is(&in) {
		body.Close()
		err = fmt.Errorf("%w: %v", ErrSegment, g.Path)
	}
	return body, n, r.failed(g, err)
}

// sub reads the manifest of a segment that is a large object itself.
func (r *segmented) sub(g *Segment) (*manifest, error) {
	if m := r.subs[g.Path]; m != nil {
		return m, nil
	}
	segments, in, err := r.s.Manifest(r.ctx, g.Path)
	if err == nil && !g.is(&in) {
		err = fmt.Errorf("%w: %v", ErrSegment, g.Path)
	}
	if err != nil {
		return nil, r.failed(g, err)
	}
	m, err := newManifest(segments)
	if err != nil {
		return nil, err
	}
	if r.subs == nil || len(r.subs) == maxSubs {
		r.subs = map[Path]*manifest{}
	}
	r.subs[g.Path] = m
	return m, nil
}

// failed makes an error of a segment one of the whole. What is missing of it is
// told, not wrapped: the whole is there.
func (r *segmented) failed(g *Segment, err error) error {
	if err != nil && missing(err) {
		return fmt.Errorf("%w: %v", ErrSegment, err)
	}
	return err
}

// Read reads on.
func (r *segmented) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := r.turn(); err != nil {
			return 0, r.wrap(err)
		}
		n, err := r.now.body.Read(p)
		r.at += int64(n)
		if err == io.EOF {
			err = r.over()
		}
		if n > 0 || err != nil {
			return n, r.wrap(err)
		}
	}
}

// WriteTo writes the rest; each segment in the quickest way that it and w have.
func (r *segmented) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.turn(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, r.wrap(err)
		}
		n, err := io.Copy(w, r.now.body)
		total += n
		r.at += n
		if err != nil {
			return total, err // which may be w's own, that its owner wants to know again
		}
		if err := r.over(); err != nil {
			return total, r.wrap(err)
		}
	}
}

// over ends a part that has been read.
func (r *segmented) over() error {
	short := r.at != r.now.end
	err := r.now.body.Close()
	r.now = part{}
	if short {
		return fmt.Errorf("%w: a segment ended early", ErrDamaged)
	}
	return err
}

// Seek sets where reading goes on; positions are of the stretch.
func (r *segmented) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		offset += r.start
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.end
	default:
		return 0, r.wrap(fs.ErrInvalid)
	}
	if offset < r.start {
		return 0, r.wrap(fs.ErrInvalid)
	}
	if offset != r.at {
		r.drop()
		r.at = offset
	}
	return offset - r.start, nil
}

// drop closes what is open.
func (r *segmented) drop() {
	if r.ahead != nil {
		close(r.stop)
		for next := range r.ahead { // until nothing is opened any more
			next.close()
		}
		r.ahead = nil
	}
	r.now.close()
	r.now = part{}
}

// Close ends the reading.
func (r *segmented) Close() error {
	r.closed = true
	r.cancel()
	r.drop()
	return nil
}

func (r *segmented) wrap(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return Wrap("read", r.path, err)
}
