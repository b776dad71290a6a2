package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// paceSpan is the time spent waiting for bytes over which the pace of an upload
// is judged.
const paceSpan = time.Minute

// A body is what a client sends, with its count and its patience: a client
// that sends nothing for Config.BodyIdle is given up, and so is one that sends
// a byte now and then to hold on to what an upload takes up here.
type body struct {
	io.ReadCloser
	call   *call
	read   int64
	left   int64     // bytes it may still have; negative for any number
	ended  bool      // all of it has been read
	rolled time.Time // when the deadline was moved last
	until  time.Time // when all of it must be here; zero for no such time
	waited time.Duration
	came   int64 // while we waited so long
	err    error // what went wrong, on the client's side by definition
}

func (b *body) Read(p []byte) (int, error) {
	began := time.Now()
	if began.Sub(b.rolled) > b.call.g.BodyIdle/8 {
		if !b.call.current() {
			b.err = errRevoked
			return 0, b.err
		}
		b.rolled = began
		b.deadline(b.patience(began))
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err == nil && b.tooSlow(time.Since(began), n) {
		err = os.ErrDeadlineExceeded
	}
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
		b.deadline(b.patience(time.Now()))
	}
}

// patience is when the next bytes must have come.
func (b *body) patience(now time.Time) time.Time {
	at := now.Add(b.call.g.BodyIdle)
	if !b.until.IsZero() && b.until.Before(at) {
		return b.until
	}
	return at
}

// tooSlow counts the bytes that came and the time they took to come, which
// leaves out what it took to store them, and judges both once in a paceSpan.
func (b *body) tooSlow(took time.Duration, n int) bool {
	b.waited += took
	b.came += int64(n)
	if b.waited < paceSpan {
		return false
	}
	slow := float64(b.came) < float64(b.call.g.UploadRate)*b.waited.Seconds()
	b.waited, b.came = 0, 0
	return slow
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
