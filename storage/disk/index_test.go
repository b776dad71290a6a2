package disk

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSetbacksAreCounted: what fails thousands of times a second is said once
// a minute, and none is forgotten.
func TestSetbacksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := small(t)
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		options := indexOptions(o.withDefaults(), nil)
		defer options.Cache.Unref()
		fail := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { options.EventListener.BackgroundError(errors.New("too many open files")) })
			}
			wg.Wait()
		}
		fail(1000)
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("1000 setbacks at once make %d lines, want 1", n)
		}
		time.Sleep(setbackEvery)
		log.Reset()
		fail(1)
		if got := log.String(); !strings.Contains(got, "times=1000") || !strings.Contains(got, "too many open files") {
			t.Errorf("a minute later the log says %q, want 1000 times", got)
		}
	})
}
