package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// ratios are the goals that are multiples of what Swift does.
func (p plan) ratios() map[string]float64 {
	goals := map[string]float64{
		line("PUT", "1 KiB", 1):  20,
		line("PUT", "1 KiB", 16): 40,
	}
	for _, conns := range p.conns {
		goals[line("GET", "1 KiB", conns)] = 30
		goals[line("HEAD", "1 KiB", conns)] = 30
		goals[line("PUT", "1 MiB", conns)] = 2.5
		goals[line("GET", "1 MiB", conns)] = 10
		goals[line("LIST", "full page of "+count(p.few), conns)] = 8
	}
	return goals
}

// verdict says whether a goal is met, unless so little was done that nobody can
// say.
func (b *bench) verdict(met bool) string {
	switch {
	case b.plan.quick:
		return "not judged"
	case met:
		return "met"
	}
	return "MISSED"
}

const rule = "%-48s│ %9s %8s %8s %8s │ %9s %8s %8s %8s │ %7s %7s │ %s\n"

func (b *bench) report(w io.Writer) error {
	fmt.Fprintf(w, "\n"+rule, "", "memstore", "", "", "", "Swift", "", "", "", "", "of the", "")
	fmt.Fprintf(w, rule, "operation, what, connections", "ops/s", "MB/s", "p50 ms", "p99 ms", "ops/s", "MB/s", "p50 ms", "p99 ms", "ratio", "p50", "goal")
	goals := b.plan.ratios()
	for _, name := range b.memstore.order {
		mine := b.memstore.rows[name]
		theirs, both := b.other.rows[name]
		cells := append([]any{name}, columns(mine, true)...)
		cells = append(cells, columns(theirs, both)...)
		ratio, median, goal := "", "", ""
		if both {
			times := mine.perSecond() / theirs.perSecond()
			ratio = fmt.Sprintf("%.1f×", times)
			// On a machine with other work the two differ by how long it keeps
			// a disk or a processor to itself.
			median = fmt.Sprintf("%.1f×", theirs.p50.Seconds()/mine.p50.Seconds())
			if want, ok := goals[name]; ok {
				goal = fmt.Sprintf("≥ %g×: %s", want, b.verdict(times >= want))
			}
		}
		fmt.Fprintf(w, rule, append(cells, ratio, median, goal)...)
	}
	fmt.Fprintln(w)
	if b.swift && !b.swiftMany && b.plan.wants("list", "flat") {
		fmt.Fprintf(w, "Swift was not filled with %s objects, which takes it hours: -swift-million does it.\n", count(b.plan.many))
	}
	b.reportRest(w)
	return nil
}

// columns are the cells of one server's figures.
func columns(r result, known bool) []any {
	if !known {
		return []any{"", "", "", ""}
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1e3) }
	volume := ""
	if r.bytes > 0 {
		volume = fmt.Sprintf("%.1f", r.megabytes())
	}
	return []any{fmt.Sprintf("%.1f", r.perSecond()), volume, ms(r.p50), ms(r.p99)}
}

// reportRest prints what is not measured against Swift.
func (b *bench) reportRest(w io.Writer) {
	m := &b.memstore
	if put, ok := m.rows[line("PUT", "64 MiB", 1)]; ok {
		floor := min(m.md5, m.disk)
		share := put.megabytes() * 1e6 / floor
		fmt.Fprintf(w, "PUT of 64 MiB: %.0f MB/s where MD5 does %.0f and writing and syncing a file %.0f: %.0f %% of the slower (goal: ≥ 80 %%: %s)\n",
			put.megabytes(), m.md5/1e6, m.disk/1e6, share*100, b.verdict(share >= 0.8))
	}
	b.reportSegments(w)
	few, many := count(b.plan.few), count(b.plan.many)
	for _, pair := range []struct{ goal, operation, what string }{
		{"as long for as many names", "LIST", "prefix, delimiter: objects"},
		{"flat", "LIST", "100 names deep inside"},
		{"flat", "GET", "an object"},
		{"flat", "HEAD", "an object"},
		{"flat", "HEAD", "the container"},
	} {
		b.compare(w, pair.goal, pair.operation, pair.what+" of "+few, pair.what+" of "+many)
	}
	b.perName(w)
	if m.filled > 0 {
		fmt.Fprintf(w, "%s objects of 16 bytes were put by 64 connections at %.0f per second; the server came to rest %v later, and was measured then\n", many, m.filled, m.rest.Round(100*time.Millisecond))
	}
	if b.plan.wants("memory") {
		for _, mem := range m.memory {
			fmt.Fprintf(w, "memory: %4d MB, at most %4d MB, %s (goal: < 300 MB: %s)\n",
				mem.now/1e6, mem.peak/1e6, mem.during, b.verdict(mem.peak < 300e6))
		}
	}
	if m.started > 0 {
		fmt.Fprintf(w, "start after SIGKILL with %s objects: %v to the first object read (goal: < 3 s: %s)\n",
			many, m.started.Round(time.Millisecond), b.verdict(m.started < 3*time.Second))
	}
}

// compare prints how much longer one line takes than another, with one
// connection: with more, a time is mostly the wait for a processor.
func (b *bench) compare(w io.Writer, goal, operation, few, many string) {
	const most = 1.5 // what is less than that is not told from chance
	small, ok := b.memstore.rows[line(operation, few, 1)]
	large, and := b.memstore.rows[line(operation, many, 1)]
	if !ok || !and {
		return
	}
	times := large.p50.Seconds() / small.p50.Seconds()
	fmt.Fprintf(w, "%-5s %s: %.3f ms, of %s: %.3f ms: %.2f× (goal: %s, ≤ %g×: %s)\n", operation, few,
		small.p50.Seconds()*1e3, many[strings.LastIndex(many, " ")+1:], large.p50.Seconds()*1e3, times, goal, most, b.verdict(times <= most))
}

// perName prints what each name of a page with a delimiter costs.
func (b *bench) perName(w io.Writer) {
	for _, n := range []int{b.plan.few, b.plan.many} {
		for _, p := range pages(n) {
			if !strings.Contains(p.what, "delimiter") {
				continue
			}
			if r, ok := b.memstore.rows[line("LIST", p.what+" of "+count(n), 1)]; ok {
				fmt.Fprintf(w, "LIST  %-46s %6d names: %.3f ms, %.1f µs a name\n", p.what+" of "+count(n), p.names, r.p50.Seconds()*1e3, r.p50.Seconds()*1e6/float64(p.names))
			}
		}
	}
}
