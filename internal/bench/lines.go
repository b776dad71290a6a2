package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A size is how large the objects of one group of lines are, and how many of
// them a run may leave on the disk.
type size struct {
	name  string
	bytes int
	most  int
}

var sizes = []size{
	{"1 KiB", 1 << 10, 1 << 30},
	{"64 KiB", 64 << 10, 20_000},
	{"1 MiB", 1 << 20, 2_000},
	{"64 MiB", 64 << 20, 48},
}

// A plan is how much is done.
type plan struct {
	quick bool
	only  map[string]bool // empty for everything
	time  time.Duration   // for each line
	few   int             // objects of the smaller listing
	many  int             // objects of the larger
	conns []int
	sizes []size
	large int // objects of 64 MiB at most
}

func newPlan(quick bool, only string, d time.Duration) plan {
	p := plan{quick: quick, time: d, few: 10_000, many: 1_000_000, conns: []int{1, 16}, large: 48}
	if quick {
		p.few, p.many, p.large = 1_000, 20_000, 2
		p.time = min(d, 150*time.Millisecond)
	}
	if only != "" {
		p.only = map[string]bool{}
		for _, name := range strings.Split(only, ",") {
			p.only[strings.ToLower(name)] = true
		}
	}
	return p
}

// parseSizes reads a list of sizes; an empty one is all of them.
func parseSizes(list string) ([]size, error) {
	if list == "" {
		return sizes, nil
	}
	var some []size
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(sizes, func(sz size) bool {
			return strings.EqualFold(strings.ReplaceAll(sz.name, " ", ""), strings.ReplaceAll(name, " ", ""))
		})
		if i < 0 {
			return nil, fmt.Errorf("size %q is none of those that are measured", name)
		}
		some = append(some, sizes[i])
	}
	return some, nil
}

// wants reports whether a group of lines is to be measured.
func (p plan) wants(groups ...string) bool {
	if len(p.only) == 0 {
		return true
	}
	for _, g := range groups {
		if p.only[g] {
			return true
		}
	}
	return false
}

// line names one row of the table.
func line(operation, what string, conns int) string {
	return fmt.Sprintf("%-6s %-38s %2d", operation, what, conns)
}

// results are the lines that were measured, in their order.
type results struct {
	order []string
	rows  map[string]result
}

func (rs *results) add(name string, r result) {
	if rs.rows == nil {
		rs.rows = map[string]result{}
	}
	rs.order = append(rs.order, name)
	rs.rows[name] = r
}

// count writes 1000000 as 1,000,000.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// child is the name of object i of a container of n: two levels of directories,
// with as many names in each of the lowest however large the container is, so
// that a page of those returns the same.
func child(i, n int) string {
	return fmt.Sprintf("a%02d/b%02d/o%06d", i/leaves%branches(n), i/leaves/branches(n), i)
}

// leaves is how many objects have the same directory.
const leaves = 100

// branches is how many directories each of the two upper levels has.
func branches(n int) int {
	b := 1
	for b*b*leaves < n {
		b++
	}
	return b
}
