package disk

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestFlusherShares: who comes while a flush is running waits for the next,
// and all who wait share it; there is never more than one at a time, and after
// one has failed nothing is flushed again.
func TestFlusherShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flusher
		var wg sync.WaitGroup
		failed := errors.New("failed")
		begun, running, next := 0, 0, make(chan error)
		call := func(want error) {
			wg.Go(func() {
				err := f.do(func() error {
					if begun, running = begun+1, running+1; running != 1 {
						t.Errorf("%d flushes at a time", running)
					}
					err := <-next
					running--
					return err
				})
				if err != want {
					t.Errorf("flush: %v, want %v", err, want)
				}
			})
			synctest.Wait()
		}
		call(nil)
		for range 10 {
			call(nil)
		}
		next <- nil // only for the first: the others came after it had begun
		synctest.Wait()
		if begun != 2 {
			t.Errorf("%d flushes have begun, want 2", begun)
		}
		next <- nil
		wg.Wait()
		call(failed)
		next <- failed
		wg.Wait()
		call(failed)
		wg.Wait()
		if begun != 3 {
			t.Errorf("%d flushes have begun, want 3: a failed one was tried again", begun)
		}
	})
}
