package cdn

import (
	"crypto/rand"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"sync"
	"time"
)

// answer gives the client the response, or as much of it as he wants. It reports
// false if the body has become another before anything was said.
func (x *exchange) answer(f *found) bool {
	if x.w == nil {
		return true
	}
	r := f.response
	size, known, code, spans := r.length, r.length >= 0, r.status, []span(nil)
	if r.piece != nil && x.status.hit {
		size, known = r.piece.size, true
		code = http.StatusOK // for the range, which makes it 206 again
	} else if r.sliced == nil && !known {
		size, known = f.entry.Size()
	}
	if isConditional(x.r.Header) {
		switch conditions(x.r.Header, r) {
		case notModified:
			code = http.StatusNotModified
		case failed:
			code = http.StatusPreconditionFailed
		}
	}
	if v := x.r.Header["Range"]; len(v) > 0 && known && code == http.StatusOK && x.r.Method == http.MethodGet && ifRange(x.r.Header, r) {
		var ok bool
		if asked := parseRange(v[0]); len(asked) > 0 {
			if spans, ok = fit(asked, size); !ok {
				spans = nil
			} else if len(spans) == 0 {
				code = http.StatusRequestedRangeNotSatisfiable
			} else {
				code = http.StatusPartialContent
			}
		}
	}
	b := body{x: x, f: f}
	defer b.close()
	if r.sliced != nil && x.r.Method == http.MethodGet && (code == http.StatusOK || code == http.StatusPartialContent) {
		b.slicer = x.newSlicer(f)
		first := int64(0)
		if len(spans) > 0 {
			first = spans[0].off
		}
		if err := b.slicer.try(first); err != nil {
			if x.r.Context().Err() == nil && errors.Is(err, errVersion) {
				return false
			}
			x.broken(err, "fwd=partial")
			return true
		}
	}

	h := x.w.Header()
	x.header(h, f, size, known)
	switch code {
	case http.StatusNotModified:
		for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range"} {
			delete(h, name)
		}
	case http.StatusPreconditionFailed:
		for _, name := range []string{"Content-Type", "Content-Encoding", "Etag", "Last-Modified"} {
			delete(h, name)
		}
		h["Content-Length"] = []string{"0"}
	case http.StatusRequestedRangeNotSatisfiable:
		delete(h, "Content-Type")
		delete(h, "Content-Encoding")
		h["Content-Length"] = []string{"0"}
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(size, 10)}
	}
	var parts *parts
	if len(spans) == 1 {
		h["Content-Range"] = []string{string(appendContentRange(nil, spans[0], size))}
		h["Content-Length"] = []string{strconv.FormatInt(spans[0].n, 10)}
	} else if len(spans) > 1 {
		parts = newParts(spans, size, h["Content-Type"])
		h["Content-Type"] = []string{"multipart/byteranges; boundary=" + parts.boundary}
		h["Content-Length"] = []string{strconv.FormatInt(parts.length, 10)}
	}
	if x.profile.Edit != nil {
		x.profile.Edit(h)
	}
	x.w.WriteHeader(code)
	if x.r.Method == http.MethodHead || code == http.StatusNotModified || code >= 400 && code != r.status {
		return true
	}
	var err error
	switch {
	case parts != nil:
		err = parts.write(x.w, spans, b.write)
	case len(spans) == 1:
		err = b.write(x.w, spans[0])
	case known:
		err = b.write(x.w, span{0, size})
	default:
		err = b.write(x.w, span{0, -1})
	}
	if err != nil {
		panic(http.ErrAbortHandler) // a cut connection, not a short body called whole
	}
	return true
}

// header gives h the fields of the answer.
func (x *exchange) header(h http.Header, f *found, size int64, known bool) {
	r := f.response
	for name, values := range r.header {
		h[name] = values
	}
	if r.header["Content-Type"] == nil {
		h["Content-Type"] = nil // or net/http would guess one
	}
	if r.encoded != nil && x.profile.Encode {
		h["Vary"] = r.encoded.vary
	}
	if r.length < 0 && known && f.response.status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	}
	if x.profile.Browser > 0 && r.header["Cache-Control"] == nil && r.header["Expires"] == nil {
		d := x.profile.Browser
		if r.status >= 400 { // what is missing or fails may be there in a moment, and nobody purges browsers
			d = min(d, max(x.profile.Negative, 0))
		}
		h["Cache-Control"] = browserControl(d)
	}
	if x.status.hit {
		age := x.age
		if x.live {
			// As if the origin had just been asked: clients count from here.
			age = 0
			h["Date"] = []string{x.now.UTC().Format(http.TimeFormat)}
		}
		m := r.moment(x.now, x.c.via, age, x.life)
		h["Age"], h["Cache-Status"] = m.age, m.status
		return
	}
	if age := r.age(x.now); age >= time.Second {
		h["Age"] = []string{strconv.FormatInt(int64(age/time.Second), 10)}
	}
	h["Cache-Status"] = x.status.field(x.c.via, r.header["Cache-Status"])
}

// browserControls are the fields that tell browsers how long; there are few.
var browserControls sync.Map // of time.Duration to []string

func browserControl(d time.Duration) []string {
	if v, ok := browserControls.Load(d); ok {
		return v.([]string)
	}
	v := []string{"public, max-age=" + strconv.FormatInt(int64(d/time.Second), 10)}
	browserControls.Store(d, v)
	return v
}

// A body is where the bytes of an answer are.
type body struct {
	x      *exchange
	f      *found
	slicer *slicer
}

func (b *body) close() {
	if b.slicer != nil {
		b.slicer.close()
	}
}

// write writes a span of the body, all to the end if n < 0.
func (b *body) write(w io.Writer, s span) error {
	if b.slicer != nil {
		return b.slicer.write(w, s)
	}
	e := b.f.entry
	if p := b.f.piece; p != nil && b.x.status.hit {
		s.off -= p.off
	}
	if whole := e.Bytes(); whole != nil && s.n >= 0 && s.end() <= int64(len(whole)) {
		_, err := w.Write(whole[s.off:s.end()])
		return ignoreClient(err)
	}
	rd := e.Reader(b.x.r.Context(), s.off, s.n)
	defer rd.Close()
	var n int64
	var err error
	if b.f.shared {
		n, err = follow(w, rd, s.n)
	} else {
		n, err = io.Copy(w, rd)
	}
	if err == nil && s.n >= 0 && n != s.n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// follow copies a body that may still be on its way. What has come goes out at
// once: the next may be long in coming.
func follow(w io.Writer, rd io.Reader, want int64) (total int64, err error) {
	b := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(b)
	flusher, _ := w.(http.Flusher)
	for {
		n, err := rd.Read(b[:])
		if n > 0 {
			m, err := w.Write(b[:n])
			total += int64(m)
			if err != nil {
				return total, err
			}
			if flusher != nil && total != want {
				flusher.Flush()
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// ignoreClient makes nothing of an error in writing to the client: net/http
// knows of it already.
func ignoreClient(error) error { return nil }

// parts are a multipart/byteranges in the making.
type parts struct {
	boundary string
	headers  []textproto.MIMEHeader
	length   int64
}

func newParts(spans []span, size int64, contentType []string) *parts {
	p := &parts{boundary: rand.Text()}
	var count counter
	m := multipart.NewWriter(&count)
	m.SetBoundary(p.boundary)
	for _, s := range spans {
		h := textproto.MIMEHeader{"Content-Range": {string(appendContentRange(nil, s, size))}}
		if len(contentType) > 0 {
			h["Content-Type"] = contentType[:1]
		}
		m.CreatePart(h)
		p.headers = append(p.headers, h)
		count += counter(s.n)
	}
	m.Close()
	p.length = int64(count)
	return p
}

func (p *parts) write(w io.Writer, spans []span, write func(io.Writer, span) error) error {
	m := multipart.NewWriter(w)
	m.SetBoundary(p.boundary)
	for i, s := range spans {
		part, err := m.CreatePart(p.headers[i])
		if err == nil {
			err = write(part, s)
		}
		if err != nil {
			return err
		}
	}
	return m.Close()
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
