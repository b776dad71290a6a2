// Command files measures Memstore's doors for files beside the servers that
// people have now: OpenSSH's for SFTP, vsftpd and proftpd for FTP.
//
//	files [-quick] [-runs 3] [-only put,get,many,up,down,list] [-proto sftp,ftp,ftps]
//
// All are started in the same run, on the same disk, and asked the same by the
// same clients: OpenSSH's sftp with AES-GCM, curl and lftp, whose own files are
// in memory. The runs take turns, so that what else the machine does meets
// everybody; of each line the fastest run counts. What a line costs the server
// is the processor time of its processes, all of them.
//
// Beside the peers there is "bare": the libraries that our doors are built on,
// over a plain directory, neither hashing nor syncing. It is the ceiling. And
// there is our own Swift door.
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
	"slices"
	"strings"
	"syscall"

	"memstore.dev/memstore/internal/peer"
	"memstore.dev/memstore/internal/spawn"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "bare" {
		if err := serveBare(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "bare: %v\n", err)
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

// A plan is what is measured, and how much of it.
type plan struct {
	quick   bool
	runs    int
	size    int64 // of the large file
	files   int   // that are mirrored, of so many bytes each
	small   int64
	entries int // of the directory that is listed
	workers int // that upload, or mirror, at once
	cases   []string
	protos  []string
	servers []string
}

// cases are what is measured, in this order: one large file up and down, several
// up at once, many small files up and down, and a long listing.
var cases = []string{"put", "get", "many", "up", "down", "list"}

var protos = []string{"sftp", "ftp", "ftps", "swift"}

// A bench is one run of the program.
type bench struct {
	plan
	bin  string // memstore's
	dir  string // on the disk, for the servers
	work string // in memory, for the clients
	log  io.Writer

	targets []*target
	results map[row]result
	failed  []string
	md5     float64 // bytes per second
	disk    float64
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	f := flag.NewFlagSet("files", flag.ContinueOnError)
	b := &bench{log: os.Stderr, results: map[row]result{}}
	b.plan = plan{runs: 3, size: 1 << 30, files: 2000, small: 4 << 10, entries: 10_000, workers: 8}
	f.BoolVar(&b.quick, "quick", false, "everything, but so little of it that the figures mean nothing: to see that it works")
	f.IntVar(&b.runs, "runs", b.runs, "how often each line is measured; the fastest counts")
	f.Int64Var(&b.size, "size", b.size, "bytes of the large file")
	only := f.String("only", "", "what to measure, of "+strings.Join(cases, ", ")+"; everything if empty")
	proto := f.String("proto", "", "by what, of "+strings.Join(protos, ", ")+"; everything if empty")
	server := f.String("server", "", "whom, of memstore, bare, sshd, vsftpd, proftpd; everybody if empty")
	f.StringVar(&b.bin, "bin", "", "the memstore program to measure; built if empty")
	dir := f.String("dir", "", "a directory on the disk to measure on; that of temporary files if empty")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.quick {
		b.runs, b.size, b.files, b.entries = 1, 4<<20, 20, 50
	}
	if b.cases, err = choose(*only, cases); err != nil {
		return err
	}
	if b.protos, err = choose(*proto, protos); err != nil {
		return err
	}
	if b.servers, err = choose(*server, []string{"memstore", "bare", "sshd", "vsftpd", "proftpd"}); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*dir, "memstore-bench-files-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil { // peers serve it as somebody else
		return err
	}
	if b.work, err = os.MkdirTemp(inMemory(), "memstore-bench-files-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	if b.bin == "" {
		if b.bin, err = spawn.Build(ctx, b.dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d processors, %s, %s; load average before: %s\n", runtime.NumCPU(), runtime.GOARCH, b.dir, loadAverage())
	if err := b.makeFiles(); err != nil {
		return err
	}
	defer func() {
		for _, t := range b.targets {
			if t.stop != nil {
				t.stop()
			}
		}
	}()
	if err := b.startAll(ctx); err != nil {
		return err
	}
	if b.md5, b.disk, err = b.floors(); err != nil {
		return err
	}
	for i := range b.runs {
		for _, c := range b.cases {
			for _, t := range b.targets {
				if err := ctx.Err(); err != nil {
					return err
				}
				b.measure(ctx, t, c, i)
			}
		}
	}
	b.report(out)
	fmt.Fprintf(out, "load average after: %s\n", loadAverage())
	if len(b.failed) > 0 {
		return fmt.Errorf("%d lines could not be measured: %s", len(b.failed), strings.Join(b.failed, "; "))
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

// inMemory is where files cost no disk, if there is such a place.
func inMemory() string {
	if in, err := os.Stat("/dev/shm"); err == nil && in.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// loadAverage tells whether the machine has other work.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:2], " ")
}

// startAll starts all servers and prepares them. A peer that cannot run here is
// left out, and that is said.
func (b *bench) startAll(ctx context.Context) error {
	if slices.Contains(b.servers, "memstore") {
		if err := b.startMemstore(ctx); err != nil {
			return fmt.Errorf("memstore: %w", err)
		}
	}
	if slices.Contains(b.servers, "bare") {
		if err := b.startBare(ctx); err != nil {
			return fmt.Errorf("bare: %w", err)
		}
	}
	for _, name := range []string{"sshd", "vsftpd", "proftpd"} {
		if !slices.Contains(b.servers, name) {
			continue
		}
		dir := filepath.Join(b.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		p, err := peer.StartFileServer(ctx, name, dir)
		if errors.Is(err, peer.ErrUnavailable) && os.Getenv("CI") == "" {
			fmt.Fprintln(b.log, err)
			continue
		}
		if err != nil {
			return err
		}
		b.addPeer(p)
	}
	b.targets = slices.DeleteFunc(b.targets, func(t *target) bool { return !slices.Contains(b.protos, t.proto) && t.stop == nil })
	for _, t := range b.targets {
		if err := t.prepare(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}

// makeFiles makes what the clients upload.
func (b *bench) makeFiles() error {
	for _, f := range []struct {
		name  string
		size  int64
		cases []string
	}{{"large", b.size, []string{"put", "get"}}, {"part", b.size / int64(b.workers), []string{"many"}}} {
		if !slices.ContainsFunc(f.cases, func(what string) bool { return slices.Contains(b.cases, what) }) {
			continue
		}
		if err := writeNoise(filepath.Join(b.work, f.name), f.size); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(b.work, "tree"), 0o755); err != nil {
		return err
	}
	for i := range b.files {
		if err := writeNoise(filepath.Join(b.work, "tree", fmt.Sprintf("f%05d", i)), b.small); err != nil {
			return err
		}
	}
	return nil
}
