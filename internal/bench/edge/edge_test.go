package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the program of the tests be the origin and the bare server, too.
func TestMain(m *testing.M) {
	if what := os.Getenv(selfEnv); what != "" {
		fmt.Fprintln(os.Stderr, serve(what))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Every case is measured, of every server that can run here, and is in the
// report. How fast is not asked.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many servers")
	}
	if _, err := exec.LookPath("wrk"); err != nil && os.Getenv("CI") == "" {
		t.Skip("SKIPPED: wrk is not installed; run .ci/setup bench-cdn")
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"-quick"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Log(out.String())
	for _, l := range loads {
		for _, server := range servers {
			if server == "bare" && (l.name == "miss" || l.name == "mix") {
				continue
			}
			if server == "nginx" || server == "varnish" {
				if _, err := lookSystem(map[string]string{"nginx": "nginx", "varnish": "varnishd"}[server]); err != nil && os.Getenv("CI") == "" {
					continue
				}
			}
			if want := fmt.Sprintf("%-22s %s", l.title, server); !strings.Contains(out.String(), want) {
				t.Errorf("the report has no line %q", want)
			}
		}
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-only", "x"}, {"-server", "x"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}

func TestParseWrk(t *testing.T) {
	const whole = `Running 4s test @ http://127.0.0.1:1/1k
  2 threads and 64 connections
  Latency Distribution
     50%    0.93ms
     75%    1.20ms
     90%    2.00ms
     99%    1.02s 
  123456 requests in 4.00s, 1.00GB read
Requests/sec:  30864.00
Transfer/sec:    256.00MB
`
	r, n, err := parseWrk(whole)
	if err != nil || n != 123456 || r.perSecond != 30864 || r.bytes != 256<<20 || r.p50 != 930*time.Microsecond || r.p99 != 1020*time.Millisecond {
		t.Errorf("parseWrk = %+v, %d, %v", r, n, err)
	}
	for _, bad := range []string{"", "unable to connect", whole + "  Non-2xx or 3xx responses: 7\n",
		whole + "  Socket errors: connect 0, read 1, write 0, timeout 0\n"} {
		if _, _, err := parseWrk(bad); err == nil {
			t.Errorf("parseWrk(%q) succeeded", bad)
		}
	}
}

// The mix is what it says it is: as many bytes, and as uneven.
func TestMix(t *testing.T) {
	total := 0
	for i := range mixCount {
		n := mixSize(i)
		if n < 1<<10 || n > 60<<10 {
			t.Fatalf("object %d has %d bytes", i, n)
		}
		total += n
	}
	if total > mixBytes || total < mixBytes-60<<10 {
		t.Errorf("the mix has %d bytes, want nearly %d", total, mixBytes)
	}
	sums, counts := cumulate(), make([]int, mixCount)
	const n = 100_000
	for _, i := range trace(1, n) {
		counts[i]++
	}
	if want := sums[0] * n; float64(counts[0]) < want*0.9 || float64(counts[0]) > want*1.1 {
		t.Errorf("the first object is asked for %d times, want some %.0f", counts[0], want)
	}
	if ratio := float64(counts[0]) / float64(counts[1]); ratio < 1.6 || ratio > 2.2 {
		t.Errorf("the first object is asked for %.2f times as often as the second, want 2^0.9", ratio)
	}
}
