package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// A body is what a client sends, with its count and its patience: a client
// that sends nothing for Config.BodyIdle is given up.
type body struct {
	io.ReadCloser
	call   *call
	read   int64
	left   int64     // bytes it may still have; negative for any number
	ended  bool      // all of it has been read
	rolled time.Time // when the deadline was moved last
	err    error     // what went wrong, on the client's side by definition
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.rolled) > b.call.g.BodyIdle/8 {
		b.rolled = now
		b.deadline(now.Add(b.call.g.BodyIdle))
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if b.left >= 0 {
		if int64(n) > b.left {
			n, err = int(b.left), errTooLarge
		}
		b.left -= int64(n)
	}
	if err == io.EOF {
		// From here on the server itself listens whether the client hangs up,
		// and must not take the end of our patience for that.
		b.ended = true
		b.deadline(time.Time{})
	} else if err != nil && b.err == nil {
		b.err = broken(err)
	}
	return n, err
}

// leave is called when the answer begins. What is left of the body is read by
// the server then, up to a bound, before it sends the answer; that must not
// wait for ever, either.
func (b *body) leave() {
	if !b.ended && b.call.r.ContentLength != 0 {
		b.deadline(time.Now().Add(b.call.g.BodyIdle))
	}
}

func (b *body) deadline(t time.Time) {
	http.NewResponseController(b.call.w.ResponseWriter).SetReadDeadline(t) // unsupported only in tests
}

// broken is the answer to an upload that could not be read to its end.
func broken(err error) error {
	status := statusDisconnected
	if errors.Is(err, os.ErrDeadlineExceeded) {
		status = http.StatusRequestTimeout
	}
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r
	}
	return &refusal{status: status, hangUp: true}
}
