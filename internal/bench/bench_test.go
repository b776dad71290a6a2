package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"memstore.dev/memstore/internal/peer"
)

// Every line of the benchmark runs, and is in the report. How fast is not asked
// here.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two servers")
	}
	var out strings.Builder
	err := run(t.Context(), []string{"-quick", "-dir", t.TempDir()}, &out)
	if errors.Is(err, peer.ErrUnavailable) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, want := range []string{
		line("PUT", "1 KiB", 1), line("GET", "64 KiB", 16), line("HEAD", "1 MiB", 1), line("DELETE", "64 MiB", 16),
		line("LIST", "full page of 1,000", 1), line("LIST", "full page of 20,000", 16), line("HEAD", "the container of 20,000", 1),
		"PUT of 64 MiB:", "start after SIGKILL", "memory: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no line %q", want)
		}
	}
	if !strings.Contains(out.String(), "×") {
		t.Error("the report compares nothing")
	}
}

// A server that answers wrongly ends the run.
func TestFailures(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-bin", "/nonexistent/memstore", "-swift=false"}, {"-dir", "/nonexistent"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}

func TestChild(t *testing.T) {
	for _, n := range []int{1_000, 10_000, 20_000} {
		names := map[string]bool{}
		for i := range n {
			names[child(i, n)] = true
		}
		if len(names) != n {
			t.Errorf("%d names for %d objects", len(names), n)
		}
		for _, p := range pages(n)[2:] {
			prefix := map[string]string{"prefix, delimiter: objects": "a00/b00/", "delimiter: subdirectories": "", "prefix, delimiter: subdirs": "a00/"}[p.what]
			entries := map[string]bool{}
			for name := range names {
				if rest, ok := strings.CutPrefix(name, prefix); ok {
					sub, _, _ := strings.Cut(rest, "/")
					entries[sub] = true
				}
			}
			if len(entries) != p.names {
				t.Errorf("%s of %d: %d names, want %d", p.what, n, len(entries), p.names)
			}
		}
	}
}
