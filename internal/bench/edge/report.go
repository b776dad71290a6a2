package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"
)

func processors() int { return runtime.NumCPU() }

// A goal is what Memstore is to reach beside another server.
type goal struct {
	of    string
	other string
	ratio float64
	bytes bool // of bytes, which count headers too; else of requests
}

var goals = []goal{
	{"1k", "bare", 0.9, false},
	{"64k", "nginx", 1, true},
	{"1m", "nginx", 1, true},
	{"range", "nginx", 1, true},
}

const rule = "%-22s %-9s │ %9s %9s │ %8s %8s │ %9s │ %7s │ %s\n"

// report prints the figures of each server's fastest run, what part of the
// others' Memstore reaches, and whether the goals are met.
func (b *bench) report(out io.Writer) {
	fmt.Fprintf(out, "\n"+rule, "", "", "req/s", "MiB/s", "p50 ms", "p99 ms", "CPU µs/req", "others", "memstore is")
	for _, name := range b.cases {
		for _, server := range b.servers {
			rounds := b.results[name][server]
			if len(rounds) == 0 {
				continue
			}
			best := slices.MaxFunc(rounds, func(a, b result) int { return cmpFloat(a.perSecond, b.perSecond) })
			relation := ""
			if server != "memstore" {
				if ratio, cost, ok := b.ratio(name, server, false); ok {
					relation = fmt.Sprintf("%.2f ×, at %.2f × the cost", ratio, cost)
				}
			}
			fmt.Fprintf(out, rule, loadOf(name).title, server, fmt.Sprintf("%.0f", best.perSecond), fmt.Sprintf("%.0f", best.bytes/(1<<20)),
				ms(best.p50), ms(best.p99), fmt.Sprintf("%.1f", float64(cheapest(rounds).Nanoseconds())/1e3),
				fmt.Sprintf("%.0f %%", 100*best.others), relation)
		}
	}
	fmt.Fprintln(out)
	for _, g := range goals {
		ratio, _, ok := b.ratio(g.of, g.other, g.bytes)
		if !ok {
			continue
		}
		fmt.Fprintf(out, "%s: %.2f × %s (goal: ≥ %g: %s)\n", loadOf(g.of).title, ratio, g.other, g.ratio, b.verdict(ratio >= g.ratio))
	}
	if len(b.hits) == 0 {
		return
	}
	best, who := 0.0, ""
	for _, server := range b.servers {
		if h, ok := b.hits[server]; ok {
			fmt.Fprintf(out, "hits of the mix, %-9s %.2f %%\n", server+":", 100*h)
			if server != "memstore" && h > best {
				best, who = h, server
			}
		}
	}
	if mine, ok := b.hits["memstore"]; ok && who != "" {
		fmt.Fprintf(out, "hits of the mix: %.3f × %s (goal: ≥ 1: %s)\n", mine/best, who, b.verdict(mine >= best))
	}
}

// ratio is the median of what Memstore's rounds are to another's, and how much
// more of a processor each request has cost it.
func (b *bench) ratio(name, other string, bytes bool) (rate, cost float64, ok bool) {
	mine, theirs := b.results[name]["memstore"], b.results[name][other]
	n := min(len(mine), len(theirs))
	if n == 0 {
		return 0, 0, false
	}
	rates := make([]float64, n)
	for i := range n {
		rates[i] = mine[i].perSecond / theirs[i].perSecond
		if bytes {
			rates[i] = mine[i].bytes / theirs[i].bytes
		}
	}
	slices.Sort(rates)
	cost = math.NaN()
	if t := cheapest(theirs); t > 0 {
		cost = float64(cheapest(mine)) / float64(t)
	}
	return (rates[(n-1)/2] + rates[n/2]) / 2, cost, true
}

// cheapest is the least that a request has cost in a round: other work can only
// make it dearer.
func cheapest(rounds []result) time.Duration {
	return slices.MinFunc(rounds, func(a, b result) int { return int(a.cpu - b.cpu) }).cpu
}

func cmpFloat(a, b float64) int {
	if a < b {
		return -1
	}
	return 1
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }

// verdict says whether a goal is met, unless so little was done that nobody can
// say.
func (b *bench) verdict(met bool) string {
	switch {
	case b.quick:
		return "not judged"
	case met:
		return "met"
	}
	return "MISSED"
}
