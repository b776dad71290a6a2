package cdn

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxJoins bounds of how many parts one body is made.
const maxJoins = 16

// A joinedBody is a body that goes on at another origin where it breaks off, if
// what there is has the same strong tag, and so the same bytes. Where it cannot,
// the break is passed on as it came.
type joinedBody struct {
	o     *Origins
	asked *http.Request
	tag   string // as it was sent, quoted
	code  string // Content-Encoding
	at    int64  // of the next byte, in the whole
	end   int64  // behind the last byte; -1 is unknown
	size  int64  // of the whole; -1 is unknown
	joins int

	mu     sync.Mutex // guards what follows
	body   io.ReadCloser
	from   int // the origin
	closed bool
}

// joined makes the body of an answer go on elsewhere, if it is one that can.
func (o *Origins) joined(r *http.Request, resp *http.Response, from int) *http.Response {
	h := resp.Header
	b := &joinedBody{o: o, asked: r, tag: o.strongTag(h), code: strings.Join(h["Content-Encoding"], ","),
		body: resp.Body, from: from, end: -1, size: -1}
	if r.Method == http.MethodHead || r.Method == http.MethodOptions || b.tag == "" || resp.Uncompressed {
		return resp
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.Close && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
			return resp // it ends where the connection does, and nobody can tell a break
		}
		if resp.ContentLength >= 0 {
			b.end, b.size = resp.ContentLength, resp.ContentLength
		}
	case http.StatusPartialContent:
		s, size, ok := contentRange(h.Get("Content-Range"))
		if !ok || size < 0 || resp.ContentLength >= 0 && resp.ContentLength != s.n {
			return resp
		}
		b.at, b.end, b.size = s.off, s.end(), size
	default:
		return resp
	}
	resp.Body = b
	return resp
}

// strongTag is the entity tag of an answer if it says that the bytes are the same,
// or "". A Memstore's, which are alone Together, are bare, and mean it.
func (o *Origins) strongTag(h http.Header) string {
	tag := h.Get("Etag")
	switch {
	case isStrong(tag):
		return tag
	case o.Together && tag != "" && !strings.ContainsAny(tag, `"/ `):
		return `"` + tag + `"`
	}
	return ""
}

func (b *joinedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := b.read(p)
		b.at += int64(n)
		switch {
		case b.end >= 0 && b.at > b.end:
			return n, errors.New("origin sent more than it said")
		case err == io.EOF && b.at < b.end:
			err = io.ErrUnexpectedEOF
		case err == nil || err == io.EOF:
			return n, err
		}
		if b.at == b.end {
			return n, io.EOF // it was all there
		}
		if !b.join(err) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// read reads from the origin that it has, for as long as that is patience.
func (b *joinedBody) read(p []byte) (int, error) {
	b.mu.Lock()
	body, closed := b.body, b.closed
	b.mu.Unlock()
	if closed {
		return 0, http.ErrBodyReadAfterClose
	}
	cut, ok := body.(*attemptBody)
	if !ok {
		return body.Read(p)
	}
	slow := time.AfterFunc(b.o.Patience, func() { cut.cancel(errSlow) })
	n, err := body.Read(p)
	if !slow.Stop() && err != nil && err != io.EOF {
		err = errSlow
	}
	return n, err
}

// join has the body go on elsewhere, and reports whether it does.
func (b *joinedBody) join(broke error) bool {
	ctx := b.asked.Context()
	b.o.judge(ctx, b.from, nil, broke)
	b.joins++
	if ctx.Err() != nil || b.joins > maxJoins {
		return false
	}
	b.mu.Lock()
	from, closed := b.from, b.closed
	b.mu.Unlock()
	if closed {
		return false
	}
	var avoid []int
	if !b.o.Together {
		avoid = []int{from}
	}
	resp, from, err := b.o.ask(b.rest(ctx), avoid)
	if err != nil {
		return false
	}
	if !b.fits(resp) {
		resp.Body.Close()
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		resp.Body.Close()
		return false
	}
	b.body.Close()
	b.body, b.from = resp.Body, from
	b.o.Log.Debug("a body goes on elsewhere", "origin", b.o.List[from].Name, "at", b.at, "error", broke)
	return true
}

// rest is the request for what has not come.
func (b *joinedBody) rest(ctx context.Context) *http.Request {
	r := b.asked.Clone(ctx)
	for _, name := range conditional {
		delete(r.Header, name)
	}
	v := "bytes=" + strconv.FormatInt(b.at, 10) + "-"
	if b.end >= 0 {
		v += strconv.FormatInt(b.end-1, 10)
	}
	r.Header["Range"], r.Header["If-Range"] = []string{v}, []string{b.tag}
	return r
}

// fits says whether an answer goes on where the body broke off.
func (b *joinedBody) fits(resp *http.Response) bool {
	s, size, ok := contentRange(resp.Header.Get("Content-Range"))
	end, whole := b.end, b.size
	if end < 0 {
		end, whole = size, size // it was not said before, and the tag vouches for it
	}
	if ok && size >= 0 && resp.StatusCode == http.StatusPartialContent && !resp.Uncompressed &&
		s.off == b.at && s.end() == end && size == whole && (resp.ContentLength < 0 || resp.ContentLength == s.n) &&
		strongEqual(b.o.strongTag(resp.Header), b.tag) &&
		strings.Join(resp.Header["Content-Encoding"], ",") == b.code {
		b.end, b.size = end, whole
		return true
	}
	return false
}

func (b *joinedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.body.Close()
}
