package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// A difference is a field in which two answers differ.
type difference struct {
	field, ours, theirs string
}

// compare returns all differences. Of bodies that are JSON and not the same
// value it names the members that differ.
func compare(ours, theirs *answer) (all []difference) {
	if ours.status != theirs.status {
		all = append(all, difference{"status", ours.status, theirs.status})
	}
	names := map[string]bool{}
	for _, f := range slices.Concat(ours.fields, theirs.fields) {
		name, _, _ := strings.Cut(f, ": ")
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		mine, has := ours.field(name)
		other, had := theirs.field(name)
		if mine != other || has != had {
			all = append(all, difference{name, presence(mine, has), presence(other, had)})
		}
	}
	if ours.body == theirs.body {
		return all
	}
	var mine, other any
	if json.Unmarshal([]byte(ours.body), &mine) == nil && json.Unmarshal([]byte(theirs.body), &other) == nil {
		if parts := compareValues("body", mine, other); len(parts) > 0 {
			return append(all, parts...)
		}
	}
	return append(all, difference{"body", excerpt(ours.body), excerpt(theirs.body)})
}

func presence(value string, has bool) string {
	if !has {
		return "(absent)"
	}
	return fmt.Sprintf("%q", value)
}

func excerpt(body string) string {
	if len(body) > 600 {
		return fmt.Sprintf("%q… (%d bytes)", body[:600], len(body))
	}
	return fmt.Sprintf("%q", body)
}

// compareValues walks two JSON values.
func compareValues(at string, ours, theirs any) (all []difference) {
	mine, ok1 := ours.(map[string]any)
	other, ok2 := theirs.(map[string]any)
	if !ok1 || !ok2 {
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		if string(a) != string(b) {
			all = append(all, difference{at, excerpt(string(a)), excerpt(string(b))})
		}
		return all
	}
	keys := maps.Clone(mine)
	maps.Copy(keys, other)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		a, has := mine[key]
		b, had := other[key]
		switch {
		case has && had:
			all = append(all, compareValues(at+"."+key, a, b)...)
		case has:
			all = append(all, difference{at + "." + key, "present", "(absent)"})
		default:
			all = append(all, difference{at + "." + key, "(absent)", "present"})
		}
	}
	return all
}

// A rule accepts a difference. In accepted.txt it is
//
//	FIELD, ours VALUE, Swift VALUE
//	    in SCRIPT METHOD TARGET
//	    the reason
//
// where FIELD is "status", a header's name, "body" or a member of it; either
// VALUE may be left out; and the lines with "in" say in which cases, by patterns
// in which "*" is anything. Or it is
//
//	@LABEL
//	    the reason
//
// and accepts whatever differs in the cases that have a directive of that label.
type rule struct {
	line                int
	label               string
	field, ours, theirs string
	where               []string
	struck              map[string]bool
	reason              string
}

type rules []*rule

func readAccepted(file string) (rules, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all rules
	for i, line := range strings.Split(string(text), "\n") {
		indented := strings.TrimLeft(line, " ")
		where, isWhere := strings.CutPrefix(indented, "in ")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '@':
			all = append(all, &rule{line: i + 1, label: line[1:], struck: map[string]bool{}})
		case indented == line:
			line, theirs, _ := strings.Cut(line, ", Swift ")
			field, ours, _ := strings.Cut(line, ", ours ")
			all = append(all, &rule{line: i + 1, field: field, ours: ours, theirs: theirs, struck: map[string]bool{}})
		case isWhere && all[len(all)-1].reason == "":
			r := all[len(all)-1]
			r.where = append(r.where, where)
		default:
			all[len(all)-1].reason += indented
		}
	}
	for _, r := range all {
		if (r.where == nil) == (r.label == "") || r.reason == "" {
			return nil, fmt.Errorf("%s:%d: says not where, or not why", file, r.line)
		}
	}
	return all, nil
}

// covers reports whether a rule accepts the difference.
func (all rules) covers(s *script, c *testCase, d difference) (covered bool) {
	for _, r := range all {
		if r.label != "" {
			if r.label == c.differs {
				r.struck[place(s, c)] = true
				covered = true
			}
			continue
		}
		if !like(r.field, d.field) || r.ours != "" && !like(r.ours, d.ours) || r.theirs != "" && !like(r.theirs, d.theirs) {
			continue
		}
		for _, where := range r.where {
			if like(where, s.name+" "+c.name()) {
				r.struck[where] = true
				covered = true
			}
		}
	}
	return covered
}

// like reports whether s matches a pattern whose only special sign is "*".
func like(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	s, ok := strings.CutPrefix(s, first)
	if !ok || !star {
		return ok && s == ""
	}
	for i := range len(s) + 1 {
		if like(rest, s[i:]) {
			return true
		}
	}
	return false
}

// idle returns where the rule's difference has not occurred.
func (r *rule) idle(all []*script) (idle []string) {
	for _, where := range r.where {
		if !r.struck[where] {
			idle = append(idle, where)
		}
	}
	if r.label == "" {
		return idle
	}
	labelled := false
	for _, s := range all {
		for _, c := range s.cases {
			if r.label != c.differs {
				continue
			}
			labelled = true
			if where := place(s, c); !r.struck[where] {
				idle = append(idle, where)
			}
		}
	}
	if !labelled {
		idle = append(idle, "any case")
	}
	return idle
}

// place is where to look for a case.
func place(s *script, c *testCase) string { return fmt.Sprintf("%s.txt:%d", s.name, c.line) }
