package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A meter adds up what a process and all that descend from it have of the
// processors. It looks often enough to know children that do not live long,
// and whose parents do not wait for them.
type meter struct {
	first map[int]time.Duration // what each had when it was met first, if that was at the beginning
	last  map[int]time.Duration
	stop  chan struct{}
	done  chan struct{}
}

// meterEvery is how often a meter looks.
const meterEvery = 20 * time.Millisecond

func startMeter(pid int) *meter {
	m := &meter{first: map[int]time.Duration{}, last: map[int]time.Duration{}, stop: make(chan struct{}), done: make(chan struct{})}
	m.look(pid)
	for id, had := range m.last {
		m.first[id] = had
	}
	go func() {
		defer close(m.done)
		t := time.NewTicker(meterEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				m.look(pid)
			case <-m.stop:
				m.look(pid)
				return
			}
		}
	}()
	return m
}

// total is what they had since the meter was started, which ends with it.
func (m *meter) total() (all time.Duration) {
	close(m.stop)
	<-m.done
	for id, had := range m.last {
		all += had - m.first[id]
	}
	return all
}

// look notes what a process has had, and those that descend from it and those
// that did once.
func (m *meter) look(pid int) {
	seen := map[int]bool{}
	var visit func(pid int)
	visit = func(pid int) {
		if seen[pid] {
			return
		}
		seen[pid] = true
		had, err := worked(pid)
		if err != nil {
			return // it is gone: what it had last counts
		}
		m.last[pid] = had
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				visit(child)
			}
		}
	}
	visit(pid)
	for id := range m.last {
		visit(id)
	}
}

// worked is how long a process itself has had a processor.
func worked(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	var ticks int64 // of user and system, a hundredth of a second each
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil
}
