// Memstore is an object store in one binary: it keeps objects on its own disk
// and speaks the OpenStack Swift API.
//
// This package joins the parts. It is the only place that knows them all:
// what keeps the bytes, the guard around it, the Store over both, the doors,
// and the commands to look after them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as docs/operating.md tells them.
const (
	exitFailed  = 1 // it did not work; the reason is on standard error
	exitUsage   = 2 // the command line or the configuration is wrong
	exitDamaged = 3 // fsck found something wrong that it did not repair
	exitFault   = 4 // the disk failed under a running server
)

// An exit is an error that ends the process with a code of its own.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }
func (e exit) Unwrap() error { return e.err }

// usage makes err one of the caller's making.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return exit{exitUsage, err}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks, the second ends
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with everything it touches handed in, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "memstore:", err)
	if e := (exit{}); errors.As(err, &e) {
		return e.code
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "memstore",
		Short: "An object store that speaks the OpenStack Swift API",
		Long: `Memstore keeps objects on its own disk and speaks the OpenStack Swift API.

"memstore serve" starts it, with nothing to configure first.

Settings come from flags, then MEMSTORE_... variables, then the file that
--config or $MEMSTORE_CONFIG names (or ` + systemFile + `).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().String("config", "", "`file` to read settings from")
	root.PersistentFlags().String("data", "", "`directory` that holds everything Memstore keeps")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(
		serveCommand(), healthCommand(),
		accountCommand(), userCommand(),
		fsckCommand(), backupCommand(), restoreCommand(),
		configCommand(), versionCommand(),
	)
	judgeArgs(root)
	return root
}

// judgeArgs has wrong arguments of every command end with exitUsage.
func judgeArgs(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, list []string) error { return usage(args(cmd, list)) }
	}
	for _, c := range cmd.Commands() {
		judgeArgs(c)
	}
}

// load reads the configuration for a command.
func load(cmd *cobra.Command) (*Loaded, error) {
	in := Inputs{Env: os.Environ(), Flags: map[string]string{}}
	in.File, _ = cmd.Flags().GetString("config")
	for _, s := range new(Config).settings() {
		if f := cmd.Flags().Lookup(s.flag); f != nil && f.Changed {
			in.Flags[s.flag] = f.Value.String()
		}
	}
	l, err := Load(in)
	return l, usage(err)
}
