// Command bench measures Memstore beside a real OpenStack Swift.
//
//	bench [-quick] [-only put,get,head,delete,segments,list,flat,memory,start]
//
// It starts one after the other on the same disk, each as it is shipped: the
// memstore program with its default settings and a user who logs in, and Swift
// with one node, one replica, as many workers as there are processors, and its
// own durability. Both are asked the same by the same clients, which are frugal
// since they share the processors with the servers. Times are those a client
// sees, from the first byte of a request to the last of the answer.
//
// What came out is printed as a table, with the goals beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"memstore.dev/memstore/internal/peer"
	"memstore.dev/memstore/internal/spawn"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// A bench is one run.
type bench struct {
	plan      plan
	bin       string // the memstore program
	dir       string // where both servers keep their data, one after the other
	swift     bool
	swiftMany bool
	log       io.Writer // how far it is

	memstore measured
	other    measured // Swift
}

// measured is what is known of one server.
type measured struct {
	results
	started time.Duration // time from SIGKILL to the first answer, with plan.many objects
	md5     float64       // bytes per second
	disk    float64
	filled  float64       // objects per second into the large container
	rest    time.Duration // until it had done what it had put off meanwhile
	memory  []memory      // in the order of what was done
}

// A memory is how much the server had at the end of something, and at most
// during it.
type memory struct {
	during    string
	now, peak int64
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := f.Bool("quick", false, "everything, but so little of it that the figures mean nothing: to see that it works")
	only := f.String("only", "", "what to measure, of put, get, head, delete, segments, list, flat, memory, start; everything if empty")
	sized := f.String("size", "", "sizes of objects to measure, of 1KiB, 64KiB, 1MiB, 64MiB; all if empty")
	each := f.Duration("time", 3*time.Second, "how long to measure each line")
	b := &bench{log: os.Stderr}
	f.StringVar(&b.bin, "bin", "", "the memstore program to measure; built if empty")
	dir := f.String("dir", "", "a directory on the disk to measure on; that of temporary files if empty")
	f.BoolVar(&b.swift, "swift", true, "measure OpenStack Swift, too")
	f.BoolVar(&b.swiftMany, "swift-million", false, "fill Swift with as many objects as memstore; that takes hours")
	keep := f.Bool("keep", false, "leave the data where they are, to be looked at")
	if err := f.Parse(args); err != nil {
		return err
	}
	b.plan = newPlan(*quick, *only, *each)
	var err error
	if b.plan.sizes, err = parseSizes(*sized); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*dir, "memstore-bench-"); err != nil {
		return err
	}
	if !*keep {
		defer os.RemoveAll(b.dir)
	}
	if b.bin == "" {
		if b.bin, err = spawn.Build(ctx, b.dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d processors, %s, %s; load average before: %s\n", runtime.NumCPU(), runtime.GOARCH, b.dir, loadAverage())
	if err := b.measureMemstore(ctx); err != nil {
		return fmt.Errorf("memstore: %w", err)
	}
	if b.swift {
		if err := b.measureSwift(ctx); err != nil {
			return fmt.Errorf("OpenStack Swift: %w", err)
		}
	}
	fmt.Fprintf(out, "load average after: %s\n", loadAverage())
	return b.report(out)
}

// loadAverage tells whether the machine has other work.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:2], " ")
}

// line measures one line of the table.
func (b *bench) line(ctx context.Context, s *server, group, name string, conns int, do act) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := measure(s, conns, b.plan.time, do)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(strings.Fields(name), " "), err)
	}
	if b.plan.wants(group) {
		fmt.Fprintf(b.log, "%s  %s  %9.1f/s\n", s.name, name, r.perSecond())
		to := &b.memstore
		if s.name != "memstore" {
			to = &b.other
		}
		to.add(name, r)
	}
	return nil
}

// forever is longer than any run.
const forever = 1000 * time.Hour

func (b *bench) measureMemstore(ctx context.Context) error {
	data := filepath.Join(b.dir, "memstore-data")
	p, err := spawn.Start(b.bin, data, nil, nil)
	if err != nil {
		return err
	}
	defer func() { p.Kill() }()
	s, err := ready(ctx, p)
	if err != nil {
		return err
	}
	m := &b.memstore
	during := func(what string, do func() error) error {
		p.ForgetPeak()
		if err := do(); err != nil {
			return err
		}
		now, peak, err := p.Resident()
		m.memory = append(m.memory, memory{what, now, peak})
		return err
	}
	if b.plan.wants("put") {
		m.md5 = md5Floor()
		if m.disk, err = diskFloor(b.dir); err != nil {
			return err
		}
	}
	for _, sz := range b.plan.sizes {
		if !b.plan.wants("put", "get", "head", "delete") {
			break
		}
		for _, conns := range b.plan.conns {
			err := during(fmt.Sprintf("objects of %s, %d connections", sz.name, conns), func() error { return b.objects(ctx, s, sz, conns) })
			if err != nil {
				return err
			}
		}
	}
	if b.plan.wants("segments") {
		if err := b.largeObjects(ctx, s); err != nil {
			return err
		}
	}
	if !b.plan.wants("list", "flat", "memory", "start") {
		return nil
	}
	if err := b.container(ctx, s, b.plan.few, p); err != nil {
		return err
	}
	err = during(count(b.plan.many)+" objects put and listed", func() error { return b.container(ctx, s, b.plan.many, p) })
	if err != nil || !b.plan.wants("start") {
		return err
	}
	// It is killed with its hands full.
	_, err = measure(s, 64, b.plan.time, func(c *conn, i int) (int64, bool, error) {
		_, err := c.expect("PUT", fmt.Sprintf("/list-%d/zz%d", b.plan.few, i), content[:1<<10], 201)
		return 0, true, err
	})
	if err != nil {
		return err
	}
	p.Kill()
	begun := time.Now()
	if p, err = spawn.Start(b.bin, data, nil, nil); err != nil {
		return err
	}
	if s, err = ready(ctx, p); err != nil {
		return err
	}
	c := s.dial()
	defer c.close()
	_, err = c.expect("GET", fmt.Sprintf("/list-%d/%s", b.plan.many, child(b.plan.many/2, b.plan.many)), nil, 200)
	m.started = time.Since(begun)
	return err
}

// container fills a container with n objects, lets the server come to rest if
// it is process p, and measures it.
func (b *bench) container(ctx context.Context, s *server, n int, p *spawn.Process) error {
	begun := time.Now()
	container, err := b.fill(ctx, s, n)
	if err != nil {
		return err
	}
	rate := float64(n) / time.Since(begun).Seconds()
	fmt.Fprintf(b.log, "%s  %s objects put in %s, %.0f/s\n", s.name, count(n), time.Since(begun).Round(100*time.Millisecond), rate)
	if p != nil {
		rest, err := p.Idle(ctx, time.Minute)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.log, "%s  came to rest after %v\n", s.name, rest.Round(100*time.Millisecond))
		if n == b.plan.many {
			b.memstore.filled, b.memstore.rest = rate, rest
		}
	}
	if b.plan.wants("list") {
		if err := b.listings(ctx, s, container, n); err != nil {
			return err
		}
	}
	if b.plan.wants("flat") {
		return b.points(ctx, s, container, n)
	}
	return nil
}

// ready waits until the process answers, and logs in.
func ready(ctx context.Context, p *spawn.Process) (*server, error) {
	if err := p.Ready(ctx); err != nil {
		return nil, err
	}
	url, token, err := p.Login(ctx)
	if err != nil {
		return nil, err
	}
	return newServer("memstore", url, token)
}

func (b *bench) measureSwift(ctx context.Context) (err error) {
	sw, err := peer.StartSwift(ctx, filepath.Join(b.dir, "swift-data"), peer.SwiftOptions{Workers: runtime.NumCPU()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sw.Stop()) }()
	url, token, err := spawn.Login(ctx, sw.AuthURL, peer.Tester.Name, peer.Tester.Password)
	if err != nil {
		return err
	}
	s, err := newServer("Swift", url, token)
	if err != nil {
		return err
	}
	for _, sz := range b.plan.sizes {
		if !b.plan.wants("put", "get", "head", "delete") {
			break
		}
		for _, conns := range b.plan.conns {
			if err := b.objects(ctx, s, sz, conns); err != nil {
				return err
			}
		}
	}
	if !b.plan.wants("list", "flat") {
		return nil
	}
	if err := b.container(ctx, s, b.plan.few, nil); err != nil {
		return err
	}
	if b.swiftMany {
		return b.container(ctx, s, b.plan.many, nil)
	}
	return nil
}
