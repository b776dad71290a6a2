package gateway

import (
	"io"
	"net/http"
	"time"
)

const (
	// writeIdle is how long a client may take to make room for the next piece
	// of an answer; long, since the kernel tells of room only when a good part
	// of its buffer, which may be megabytes, has drained.
	writeIdle = 5 * time.Minute

	piece = 256 << 10
)

// A response is an http.ResponseWriter that remembers what was answered, and
// has the deadline for writing follow the progress of the answer. What the
// one beneath can do (sendfile by ReadFrom, Flush, and by way of Unwrap all of
// http.ResponseController) it can do as well.
type response struct {
	http.ResponseWriter
	call  *call
	realm string // for Www-Authenticate

	challenge string // Www-Authenticate, if not Swift's own
	status    int    // 0 until the header is written
	sent      int64
	rolled    time.Time // when the deadline was moved last
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
		w.call.quoteETag()
		if w.call.mapped != "" {
			w.call.unmap()
		}
		if w.call.tempURL != nil {
			w.call.tempURL.dress(w.call, status)
		}
		if w.call.origin != nil {
			w.call.origin.expose(w.call)
		}
		w.call.body.leave()
		w.roll()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.roll()
	if w.sent > 0 && !w.call.current() {
		return 0, errRevoked
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

func (w *response) WriteString(s string) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := io.WriteString(w.ResponseWriter, s)
	w.sent += int64(n)
	return n, err
}

// ReadFrom sends what r has, in pieces, so that the deadline can follow, and the
// answer ends where the rights of who asked for it do.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	below, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(onlyWriter{w}, r)
	}
	// A file behind a limit is taken from under it, since sendfile knows only
	// one limit around a file.
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	var total int64
	for limited.N > 0 {
		w.roll()
		if w.sent > 0 && !w.call.current() {
			return total, errRevoked
		}
		part := io.LimitedReader{R: limited.R, N: min(piece, limited.N)}
		n, err := below.ReadFrom(&part)
		total += n
		w.sent += n
		limited.N -= n
		if err != nil || part.N > 0 {
			return total, err
		}
	}
	return total, nil
}

// onlyWriter hides ReadFrom from io.Copy.
type onlyWriter struct{ io.Writer }

func (w *response) Flush() {
	http.NewResponseController(w.ResponseWriter).Flush() // where it cannot be done, there is nothing to flush
}

// roll moves the deadline for writing ahead, but not more often than is of use:
// the first stretch of time is given by the server itself.
func (w *response) roll() {
	const often = 10 * time.Second
	last := w.rolled
	if last.IsZero() {
		last = w.call.begun
	}
	now := time.Now()
	if now.Sub(last) < often {
		return
	}
	w.rolled = now
	http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(writeIdle)) // unsupported only in tests
}
