package front

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// paceChunk is how much of a file is sent to a client at once: each chunk has
// its time.
const paceChunk = 4 << 20

// deadliner is what the writers of answers of all versions of HTTP can do.
type deadliner interface{ SetWriteDeadline(time.Time) error }

// pace has a client take the answer at no less than the slowest rate. The
// deadline moves on with what he takes; it is set once a second at most, since
// most answers are gone long before.
func (s *Server) pace(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	d, ok := w.(deadliner)
	if !ok {
		return w
	}
	p := &paced{ResponseWriter: w, deadline: d, limits: &s.Limits, armed: time.Now()}
	if r.ProtoMajor >= 3 { // net/http sets the first for the others
		p.arm(p.armed, 0)
	}
	if rf, ok := w.(io.ReaderFrom); ok && r.TLS == nil {
		return &pacedFile{p, rf}
	}
	return p
}

// A paced is a ResponseWriter with a deadline that moves.
type paced struct {
	http.ResponseWriter
	deadline deadliner
	limits   *Limits
	armed    time.Time // when the deadline was set last
}

// Unwrap is for http.ResponseController.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Flush sends what there is.
func (p *paced) Flush() {
	p.ready(0)
	if f, ok := p.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (p *paced) arm(now time.Time, n int64) {
	p.armed = now
	p.deadline.SetWriteDeadline(now.Add(p.limits.Patience + time.Duration(n)*time.Second/time.Duration(p.limits.Slowest)))
}

// ready gives the client time to take n bytes.
func (p *paced) ready(n int64) {
	if now := time.Now(); n > int64(p.limits.Slowest)*64 || now.Sub(p.armed) > time.Second {
		p.arm(now, n)
	}
}

func (p *paced) Write(b []byte) (int, error) {
	p.ready(int64(len(b)))
	return p.ResponseWriter.Write(b)
}

// WriteString is Write for strings.
func (p *paced) WriteString(s string) (int, error) {
	p.ready(int64(len(s)))
	return io.WriteString(p.ResponseWriter, s)
}

// A pacedFile is one that can send files without copying: over plain TCP.
type pacedFile struct {
	*paced
	from io.ReaderFrom
}

var chunks = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// ReadFrom sends what r has. Of a file that is limited, which needs no copying, a
// chunk goes at a time.
func (p *pacedFile) ReadFrom(r io.Reader) (total int64, err error) {
	l, ok := r.(*io.LimitedReader)
	if !ok {
		b := chunks.Get().(*[64 << 10]byte)
		defer chunks.Put(b)
		return io.CopyBuffer(struct{ io.Writer }{p.paced}, struct{ io.Reader }{r}, b[:])
	}
	for l.N > 0 {
		n := min(l.N, paceChunk)
		p.ready(n)
		sent, err := p.from.ReadFrom(&io.LimitedReader{R: l.R, N: n})
		total += sent
		l.N -= sent
		if err != nil || sent < n {
			return total, err
		}
	}
	return total, nil
}
