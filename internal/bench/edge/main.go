// Command edge measures "memstore edge" beside the caches that people have now,
// nginx and Varnish, and beside the least that Go's net/http can do.
//
//	edge [-quick] [-runs 3] [-time 4s] [-only 1k,64k,1m,range,miss,mix] [-server memstore,bare,nginx,varnish]
//
// All stand before one origin, on loopback, and are asked by wrk with 64
// connections, by turns within each round, so that what else the machine does
// meets everybody. A ratio is the median of those of each round, of two figures
// taken one after the other; the other figures are of each server's fastest
// run. Server and client share the processors, so what a request costs the
// server's processes is told, too, which other work disturbs least.
//
// "mix" is asked of caches of their own, which have as many bytes each: objects
// of 1 to 60 KiB whose popularity follows Zipf's law, four times as many bytes
// as Memstore keeps in memory. Hits are counted by the origin, of a sequence of
// requests which is the same for all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"memstore.dev/memstore/internal/spawn"
)

func main() {
	if len(os.Args) == 2 && (os.Args[1] == "origin" || os.Args[1] == "bare") {
		if err := serve(os.Args[1]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

var servers = []string{"memstore", "bare", "nginx", "varnish"}

// A bench is one run of the program.
type bench struct {
	quick       bool
	runs        int
	time        time.Duration // of each run
	connections int
	cases       []string
	servers     []string
	bin         string // memstore's
	dir         string
	log         io.Writer

	origin  *server
	results map[string]map[string][]result // by case and server, a result for each round
	hits    map[string]float64             // of the mix, by server
	failed  []string
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{runs: 3, time: 4 * time.Second, log: os.Stderr, results: map[string]map[string][]result{}, hits: map[string]float64{}}
	f := flag.NewFlagSet("edge", flag.ContinueOnError)
	f.BoolVar(&b.quick, "quick", false, "everything, but so little of it that the figures mean nothing: to see that it works")
	f.IntVar(&b.runs, "runs", b.runs, "rounds")
	f.DurationVar(&b.time, "time", b.time, "how long each server is asked in a round")
	f.IntVar(&b.connections, "connections", 64, "of wrk")
	only := f.String("only", "", "what to measure, of "+strings.Join(caseNames(), ", ")+"; everything if empty")
	who := f.String("server", "", "whom, of "+strings.Join(servers, ", ")+"; everybody if empty")
	f.StringVar(&b.bin, "bin", "", "the memstore program to measure; built if empty")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.quick {
		b.runs, b.time, b.connections = 1, time.Second, 8 // wrk knows no shorter time
	}
	if b.cases, err = choose(*only, caseNames()); err != nil {
		return err
	}
	if b.servers, err = choose(*who, servers); err != nil {
		return err
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("%w; \"make bench-cdn\" installs it", err)
	}
	if b.dir, err = os.MkdirTemp("", "memstore-bench-edge-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil { // peers work there as somebody else
		return err
	}
	if b.bin == "" {
		if b.bin, err = spawn.Build(ctx, b.dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d processors, %s, wrk with %d connections for %v, %d rounds; load average before: %s\n",
		runtime.NumCPU(), runtime.GOARCH, b.connections, b.time, b.runs, loadAverage())
	if b.origin, err = b.startSelf("origin"); err != nil {
		return err
	}
	defer b.origin.stop()
	if err := b.measureHits(ctx); err != nil {
		return err
	}
	if slices.Contains(b.cases, "mix") {
		if err := b.measureMix(ctx); err != nil {
			return err
		}
	}
	b.report(out)
	fmt.Fprintf(out, "load average after: %s\n", loadAverage())
	if len(b.failed) > 0 {
		return fmt.Errorf("%d runs went wrong: %s", len(b.failed), strings.Join(b.failed, "; "))
	}
	return nil
}

// startAll starts the servers with that much room each.
func (b *bench) startAll(ctx context.Context, room room) (all []*server, err error) {
	defer func() {
		if err != nil {
			stopAll(all)
		}
	}()
	for _, name := range b.servers {
		dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, room.memory))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return all, err
		}
		s, err := b.start(name, dir, room)
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
			fmt.Fprintf(b.log, "%s is not measured: %v\n", name, err)
			continue
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
		if err := s.ready(ctx); err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

func stopAll(all []*server) {
	for _, s := range all {
		s.stop()
	}
}

// measureHits measures all cases but the mix.
func (b *bench) measureHits(ctx context.Context) error {
	cases := slices.DeleteFunc(slices.Clone(b.cases), func(c string) bool { return c == "mix" })
	if len(cases) == 0 {
		return nil
	}
	all, err := b.startAll(ctx, large)
	defer stopAll(all)
	if err != nil {
		return err
	}
	for round := range b.runs {
		for _, c := range cases {
			for i := range all {
				s := all[(i+round)%len(all)]
				if c == "miss" && s.name == "bare" {
					continue // it has no origin to ask
				}
				if err := b.measure(ctx, s, c, round); err != nil {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					b.failed = append(b.failed, fmt.Sprintf("%s of %s: %v", c, s.name, err))
				}
			}
		}
	}
	return nil
}

// choose reads a list of some of all; an empty one is all of them.
func choose(list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	some := strings.Split(list, ",")
	for _, name := range some {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(all, ", "))
		}
	}
	return some, nil
}

// loadAverage tells whether the machine has other work.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:2], " ")
}
