// Memstore is an object store in one binary: it keeps objects on its own disk
// and speaks the OpenStack Swift API, SFTP and FTP, with a CDN for what is public.
//
// This package joins the parts. It is the only place that knows them all:
// what keeps the bytes, the guard around it, the Store over both, the doors,
// and the commands to look after them.
package main

import (
	"context"
	"errors"
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
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	printError(stderr, cmd, err)
	if e := (exit{}); errors.As(err, &e) {
		return e.code
	}
	return exitUsage // no command has run: see ranErrors
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "memstore",
		Short: "An object store that speaks the OpenStack Swift API",
		Long: `Memstore keeps objects on its own disk. It speaks the OpenStack Swift API, SFTP
and FTP, and serves to browsers what is public.

"memstore serve" starts it, with nothing to configure first.

Settings come from flags, then MEMSTORE_... variables, then the file that
--config or $MEMSTORE_CONFIG names (or ` + systemFile + `).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Example:       "  memstore serve\n  memstore user add --admin ann:tester",
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       version(),
	}
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.PersistentFlags().String("config", "", "`file` to read settings from")
	root.PersistentFlags().String("data", defaultData(), "`directory` that holds everything Memstore keeps")
	root.PersistentFlags().SetAnnotation("data", isSetting, nil)
	root.MarkPersistentFlagDirname("data")
	root.AddCommand(
		serveCommand(), edgeCommand(), cdnCommand(), healthCommand(),
		accountCommand(), userCommand(), tokenKeyCommand(), encryptionCommand(), banCommand(),
		fsckCommand(), backupCommand(), restoreCommand(),
		configCommand(), versionCommand(),
	)
	ranErrors(root)
	return root
}

// ranErrors gives the errors of commands that have run the code exitFailed if
// they have none. What is left without one is cobra's own: a command, flag or
// argument that cannot be.
func ranErrors(cmd *cobra.Command) {
	if f := cmd.RunE; f != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := f(cmd, args)
			if e := (exit{}); err != nil && !errors.As(err, &e) {
				return exit{exitFailed, err}
			}
			return err
		}
	}
	for _, c := range cmd.Commands() {
		ranErrors(c)
	}
}

// isSetting marks the flags that go over a setting. Others may share a name
// with one: "user add --admin" opens no door.
const isSetting = "setting"

// settingFlag gives a command the flag of a setting; with a few values to choose
// from, these are completed.
func settingFlag(cmd *cobra.Command, name, usage string, values ...string) {
	c := Defaults()
	value := ""
	for _, s := range c.settings() {
		if s.flag == name {
			value = s.text()
		}
	}
	cmd.Flags().String(name, value, usage)
	if len(values) > 0 {
		completeFlag(cmd, name, values...)
	}
	cmd.Flags().SetAnnotation(name, isSetting, nil)
}

// load reads the configuration for a command.
func load(cmd *cobra.Command) (*Loaded, error) {
	in := Inputs{Env: os.Environ(), Flags: map[string]string{}}
	in.File, _ = cmd.Flags().GetString("config")
	for _, s := range new(Config).settings() {
		f := cmd.Flags().Lookup(s.flag)
		if f == nil || !f.Changed {
			continue
		}
		if _, ours := f.Annotations[isSetting]; ours {
			in.Flags[s.flag] = f.Value.String()
		}
	}
	l, err := Load(in)
	return l, usage(err)
}
