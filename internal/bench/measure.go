package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A result is what one line of the benchmark came to.
type result struct {
	ops     int
	bytes   int64 // of bodies, both ways
	elapsed time.Duration
	p50     time.Duration
	p99     time.Duration
}

func (r result) perSecond() float64 { return float64(r.ops) / r.elapsed.Seconds() }
func (r result) megabytes() float64 { return float64(r.bytes) / 1e6 / r.elapsed.Seconds() }

// An act is one request, the i-th of all connections together. It returns how
// many bytes of body it moved, and false when there is nothing left to do.
type act func(c *conn, i int) (n int64, more bool, err error)

// measure has so many connections act, one request after another on each, for
// that long or until there is nothing left to do.
func measure(s *server, conns int, d time.Duration, do act) (result, error) {
	type share struct {
		times []time.Duration
		bytes int64
		err   error
	}
	shares := make([]share, conns)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	begun := time.Now()
	for w := range shares {
		wg.Go(func() {
			c := s.dial()
			defer c.close()
			mine := &shares[w]
			for at := time.Now(); at.Sub(begun) < d && !failed.Load(); {
				n, more, err := do(c, int(next.Add(1)-1))
				if err != nil {
					mine.err = err
					failed.Store(true)
					return
				}
				if !more {
					return
				}
				now := time.Now()
				mine.times = append(mine.times, now.Sub(at))
				mine.bytes += n
				at = now
			}
		})
	}
	wg.Wait()
	r := result{elapsed: time.Since(begun)}
	var times []time.Duration
	for _, mine := range shares {
		if mine.err != nil {
			return r, fmt.Errorf("%s: %w", s.name, mine.err)
		}
		times = append(times, mine.times...)
		r.bytes += mine.bytes
	}
	if len(times) == 0 {
		return r, fmt.Errorf("%s: nothing was done in %v", s.name, d)
	}
	slices.Sort(times)
	r.ops = len(times)
	r.p50, r.p99 = times[len(times)/2], times[len(times)*99/100]
	return r, nil
}

// expect makes a request that must be answered with one of these statuses.
func (c *conn) expect(method, path string, body []byte, statuses ...int) (reply, error) {
	r, err := c.do(method, path, body)
	if err == nil && !slices.Contains(statuses, r.status) {
		err = fmt.Errorf("%s: %s %s: status %d, want %v", c.s.name, method, path, r.status, statuses)
	}
	return r, err
}
