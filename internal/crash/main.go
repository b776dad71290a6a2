// Command crash ends Memstore's server without warning, again and again, while
// sixteen writers are at work, and holds what is left against what was
// acknowledged.
//
//	crash kill [-n 300]                          kill -9
//	crash powercut [-n 50] [-fs ext4,xfs]        as when the power fails
//
// In each cycle the server starts on what the last one left; every object is
// read and compared, and so are listings and totals; fsck must be clean; then
// the writers put, overwrite, copy, mark and remove until the blow, which falls
// at a random moment, in the middle of a recovery sometimes.
//
// A power cut is made with a file system of its own on a loop device, which is
// told to shut down at once (FS_IOC_SHUTDOWN without a flush of its log): what
// was not synced is not there when it is mounted again. That must lose data if
// the server is told not to sync, or the whole run proves nothing, so such runs
// are part of it: they are its controls.
//
// What harnesses like this one have got wrong before, and how it is kept right
// here:
//
//   - A change that was not answered may have happened, and may happen later if
//     something outlives the server, as a listening socket would. Each life has
//     a port of its own, and nobody judges before the process is gone.
//   - An answer that arrives after a file system was shut down promises nothing:
//     a sync that races with it may succeed. Only those before it count.
//   - The server's output is read to its end before it is waited for, else what
//     it said last is lost.
//   - Every run has its own directory and its own mount, which vanish with the
//     run however it ends: they are in a mount namespace of its own.
//   - Reading back after a failed sync proves nothing, as the page cache
//     answers. All reading is done after the file system is mounted again.
//   - A harness that finds nothing must be seen to find something: besides the
//     controls, its tests run it against a server that lies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"memstore.dev/memstore/internal/spawn"
)

// options are those of one run.
type options struct {
	n       int
	writers int
	seed    uint64
	bin     string // the program to strike
	dir     string // where directories are made; "" for the usual place
	systems []string
	log     io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "crash: %v\n", err)
		if errors.Is(err, errCannotCut) {
			os.Exit(exitCannotCut)
		}
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: crash kill|powercut [flags]")

func run(ctx context.Context, args []string, log io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	o := options{log: log}
	f := flag.NewFlagSet("crash "+args[0], flag.ContinueOnError)
	f.IntVar(&o.n, "n", 0, "how many blows; 0 for 300 kills, or 50 cuts of each file system")
	f.IntVar(&o.writers, "writers", 16, "how many clients write at the same time")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "where chance begins; a failure prints it")
	f.StringVar(&o.bin, "bin", "", "the memstore program to strike; built if empty")
	f.StringVar(&o.dir, "dir", "", "where to make a directory for the run; a place in memory for power cuts if empty")
	systems := f.String("fs", "ext4,xfs", "file systems to cut the power of")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	o.systems = strings.Split(*systems, ",")
	if args[0] == "powercut" {
		if here, err := alone(ctx, args, log); !here || err != nil {
			return err
		}
	}
	if o.bin == "" {
		dir, err := os.MkdirTemp("", "memstore-crash-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if o.bin, err = spawn.Build(ctx, dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "seed %d\n", o.seed)
	switch args[0] {
	case "kill":
		if o.n == 0 {
			o.n = 300
		}
		return kills(ctx, o)
	case "powercut":
		if o.n == 0 {
			o.n = 50
		}
		return powercuts(ctx, o)
	}
	return errUsage
}
