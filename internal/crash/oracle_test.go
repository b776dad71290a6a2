package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAllowed(t *testing.T) {
	a, b, c := state{present: true, mark: "a"}, state{present: true, mark: "b"}, state{present: true, mark: "c"}
	nothing := state{}
	tests := []struct {
		name string
		then []event
		want []state
	}{
		{"untouched", nil, []state{nothing}},
		{"acknowledged", []event{{1, 2, true, a}}, []state{a}},
		{"unanswered", []event{{1, never, false, a}}, []state{nothing, a}},
		{"one after another", []event{{1, 2, true, a}, {3, 4, true, b}}, []state{b}},
		{"at the same time", []event{{1, 3, true, a}, {2, 4, true, b}}, []state{a, b}},
		{"at the same time, then one more", []event{{1, 3, true, a}, {2, 4, true, b}, {5, 6, true, c}}, []state{c}},
		{"overlapping in a chain", []event{{1, 3, true, a}, {2, 5, true, b}, {4, 6, true, c}}, []state{b, c}},
		{"unanswered, then acknowledged", []event{{1, never, false, a}, {2, 3, true, b}}, []state{a, b}},
		{"acknowledged, then unanswered", []event{{1, 2, true, a}, {3, never, false, nothing}}, []state{a, nothing}},
		{"removed", []event{{1, 2, true, a}, {3, 4, true, nothing}}, []state{nothing}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newKey("c", "o")
			for _, e := range tt.then {
				k.record(e)
			}
			got := k.allowed()
			for _, s := range tt.want {
				if !slices.Contains(got, s) {
					t.Errorf("allowed() = %v, want also %v", got, s)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("allowed() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBody(t *testing.T) {
	seen := map[string]bool{}
	for id, size := range []int{0, 1, 7, 8, 9, 4096, len(noise), 3 << 20, 3 << 20} {
		b := newBody(uint64(id), size)
		if err := iotest.TestReader(b.reader(), b.slice(0, size)); size < 5000 && err != nil {
			t.Errorf("body of %d: %v", size, err)
		}
		if seen[b.etag] {
			t.Errorf("body of %d is like another", size)
		}
		seen[b.etag] = true
	}
}

// A harness that finds nothing proves nothing unless it finds what is there.
func TestCampaignFindsLies(t *testing.T) {
	tests := []struct {
		lie  string
		want []string // kinds of findings, one of which is enough; none for none
	}{
		{"", nil},
		{"late", nil}, // no lie: answers after the blow are not counted
		{"forgets the last change", []string{"lost"}},
		{"forgets the last hundred", []string{"lost"}},
		{"forgets an object", []string{"lost"}},
		{"tears", []string{"torn"}},
		{"keeps bytes of another", []string{"alien"}},
		{"forgets metadata", []string{"alien", "lost"}},
		{"brings back", []string{"listing"}},
		{"lists too little", []string{"listing"}},
		{"miscounts", []string{"totals"}},
		{"forgets what was kept", []string{"lost"}},
		{"keeps too little", []string{"lost"}},
		{"leaves an orphan", []string{"orphan"}},
	}
	for _, tt := range tests {
		t.Run("lie="+tt.lie, func(t *testing.T) {
			c := newCampaign(newFake(tt.lie), 16, 7, t.Output())
			err := c.run(t.Context(), 6)
			named := func(kind string) bool { return strings.Contains(err.Error(), kind+": ") }
			switch {
			case tt.want == nil && err != nil:
				t.Fatalf("an honest store was accused: %v", err)
			case tt.want == nil && c.acked < 20: // far fewer than any machine manages, and enough to be judged
				t.Fatalf("only %d changes were acknowledged", c.acked)
			case tt.want == nil && (c.resumed == 0 || c.found == 0):
				t.Fatalf("%d unfinished uploads survived a blow, and %d were gone on with", c.found, c.resumed)
			case tt.want != nil && (!errors.As(err, new(findings)) || !slices.ContainsFunc(tt.want, named)):
				t.Fatalf("run() = %v, want a finding of kind %q", err, tt.want)
			}
		})
	}
}
