package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A meter shows how far long work has come: a bar on a terminal, elsewhere a
// plain line now and then.
type meter struct {
	w     io.Writer
	what  string
	bar   *progressbar.ProgressBar
	bytes bool
	said  time.Time
	total int64
}

// newMeter shows on w the progress of what, counted in bytes or else in things.
func newMeter(w io.Writer, what string, bytes bool) *meter {
	m := &meter{w: w, what: what, bytes: bytes, said: time.Now()}
	if isTerminal(w) {
		m.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(bytes),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return m
}

// at tells that done of total have been worked through. It is not for
// concurrent use.
func (m *meter) at(done, total int64) {
	if m.bar != nil {
		if total != m.total {
			m.total = total
			m.bar.ChangeMax64(total)
		}
		m.bar.Set64(done)
		return
	}
	const every = 10 * time.Second
	if time.Since(m.said) < every {
		return
	}
	m.said = time.Now()
	unit := ""
	if m.bytes {
		unit = " bytes"
	}
	fmt.Fprintf(m.w, "%s: %d of %d%s\n", m.what, done, total, unit)
}

// end takes the bar away.
func (m *meter) end() {
	if m.bar != nil {
		m.bar.Finish()
	}
}
