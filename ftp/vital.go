package ftp

import "time"

// A client whose process is killed in the middle of an upload in the clear
// leaves a data connection that ends as one does behind the last byte of a file.
// What tells is the control connection, which the kernel closes along with it;
// one who lives keeps it open to hear what came of the upload. Nobody is waited
// for who has told the size by ALLO and has
// sent so much.
//
// The two ends may come apart on the way. So before an upload appears its
// client is given a moment to be missed: a part of the time that the upload
// took, since where that is long the way may be, and so that nobody's uploads
// become slower by more than that part.
const (
	momentPart = 50                     // one part in so many
	momentLess = 500 * time.Microsecond // but never less: the two are closed one right after the other
	momentMost = 250 * time.Millisecond // and never more
)

// moment is how long the client of an upload that took so long is waited for.
func moment(took time.Duration) time.Duration {
	return min(max(took/momentPart, momentLess), momentMost)
}

// missing reports whether the client has gone, or does so within a moment. One
// who has said QUIT may go: what he asked for before is done.
func (c *session) missing(moment time.Duration) bool {
	if c.quitting.Load() {
		return c.over()
	}
	t := time.NewTimer(moment)
	defer t.Stop()
	select {
	case <-c.hungUp:
	case <-c.gone:
	case <-t.C:
	}
	if c.over() {
		return true
	}
	select {
	case <-c.hungUp:
	default:
		if !ended(c.Raw()) { // nor has an end come that is not read yet
			return false
		}
	}
	return !c.quitting.Load()
}

// endKnown reports whether the end of the upload under way was told, and not
// only that nothing more comes: TLS tells, if it is held to that.
func (c *session) endKnown() bool {
	c.mu.Lock()
	d := c.data
	c.mu.Unlock()
	return d != nil && d.private && !c.srv.LenientTLS
}
