package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"memstore.dev/memstore/auth"
)

// group is a command that only holds others.
func group(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// knownCommand refuses what a group is followed by if it is none of its
// commands, and names the one that may have been meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], meant(args[0], names))
}

// arguments wants as many arguments as there are names; those in brackets may
// be left out.
func arguments(names ...string) cobra.PositionalArgs {
	least := len(names)
	for least > 0 && strings.HasPrefix(names[least-1], "[") {
		least--
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):least], " and "))
		case len(args) > len(names) && len(names) == 0:
			return fmt.Errorf("%s takes no arguments, and %q is one", cmd.CommandPath(), args[0])
		case len(args) > len(names):
			return fmt.Errorf("%s takes %s only, and %q is too much", cmd.CommandPath(), strings.Join(names, " "), args[len(names)])
		}
		return nil
	}
}

// exclusive refuses more than one of these flags at once.
func exclusive(cmd *cobra.Command, names ...string) {
	before := cmd.PreRunE
	cmd.MarkFlagsMutuallyExclusive(names...) // which has completion know
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return fmt.Errorf("%s contradict each other: give one of them", strings.Join(given, " and "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// flagError says what is wrong with a flag, and which may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	name := "--" + unknown.GetSpecifiedName()
	return fmt.Errorf("%s has no flag %s%s", cmd.CommandPath(), name, meant(name, names))
}

// alsoCalled is what other programs call our commands.
var alsoCalled = map[string]string{
	"remove": "rm", "delete": "rm", "del": "rm", "ls": "list", "show": "list", "create": "add", "new": "add",
	"password": "passwd", "modify": "set", "unban": "lift", "start": "serve", "check": "fsck", "status": "health",
}

// meant ends a sentence about a name that is none with the one most like it.
func meant(name string, names []string) string {
	if other := alsoCalled[name]; slices.Contains(names, other) {
		return fmt.Sprintf("; did you mean %s?", other)
	}
	best, least := "", max(2, len(name)/3)+1
	for _, n := range names {
		d := distance(name, n)
		if strings.HasPrefix(n, name) && len(name) > 2 {
			d = 0
		}
		if d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is how many letters must be put in, taken out or changed to make b
// of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0] // above and to the left of row[j+1]
		row[0] = i + 1
		for j := range len(b) {
			change := left
			if a[i] != b[j] {
				change++
			}
			left = row[j+1]
			row[j+1] = min(change, left+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// printError tells the caller what went wrong, a line for each thing, and how
// the command is used if that was it.
func printError(w io.Writer, cmd *cobra.Command, err error) {
	for _, err := range parts(err) {
		fmt.Fprintln(w, "memstore:", err)
	}
	if e := (exit{}); errors.As(err, &e) {
		return // the command line was right
	}
	if len(cmd.Commands()) == 0 {
		fmt.Fprintf(w, "usage: %s\n", cmd.UseLine())
	}
	fmt.Fprintf(w, "See \"%s --help\".\n", cmd.CommandPath())
}

// parts are the errors that one was joined of.
func parts(err error) []error {
	if e, ok := err.(exit); ok {
		return parts(e.err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || strings.Count(err.Error(), "\n") == 0 { // one sentence about several
		return []error{err}
	}
	var list []error
	for _, err := range joined.Unwrap() {
		list = append(list, parts(err)...)
	}
	return list
}

// helpCommand is cobra's, but that of a command which is none it says so.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Tell about a command",
		Example: "  memstore help user add",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usage(err)
			}
			if len(rest) > 0 {
				return usage(knownCommand(about, rest))
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

// completeFlag has a shell complete the value of a flag.
func completeFlag(cmd *cobra.Command, name string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag, or it has one
	}
}

// completeUser has a shell complete the name of a user as the first argument.
func completeUser(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, args, func(realm *auth.Realm) (names []string, err error) {
		users, err := realm.Users(cmd.Context(), "")
		for _, u := range users {
			names = append(names, u.Name)
		}
		return names, err
	})
}

// completeAccount does the same with accounts.
func completeAccount(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, args, func(realm *auth.Realm) (names []string, err error) {
		accounts, err := realm.Accounts(cmd.Context())
		for _, a := range accounts {
			names = append(names, a.Name)
		}
		return names, err
	})
}

func complete(cmd *cobra.Command, args []string, names func(*auth.Realm) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	l, err := load(cmd)
	if err != nil || len(args) > 0 || !hasUsers(l.Data) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	realm, err := openRealm(cmd.Context(), l, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer realm.Close()
	list, err := names(realm)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
