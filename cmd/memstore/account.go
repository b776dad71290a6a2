package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// controlDatabase is the file in the data directory that holds the users. A
// running server sees within a second what these commands change in it.
const controlDatabase = "control.db"

// withRealm runs f on the users of the data directory. Only a command that adds
// something may begin a data directory.
func withRealm(cmd *cobra.Command, adds bool, f func(ctx context.Context, realm *auth.Realm, dir string) error) error {
	l, err := load(cmd)
	if err != nil {
		return err
	}
	if err := withUsers(cmd, l.Data, adds); err != nil {
		return err
	}
	realm, err := openRealm(cmd.Context(), l, nil)
	if err != nil {
		return err
	}
	err = handOver(l.Data)
	if err == nil {
		err = f(cmd.Context(), realm, l.Data)
	}
	// A name that cannot be is the caller's mistake, like a wrong flag.
	if refused := (*storage.Refusal)(nil); errors.As(err, &refused) {
		err = usage(err)
	}
	return errors.Join(reworded(err), realm.Close())
}

// withUsers sees to it that there are users in a data directory, or can be. To
// begin one here is more often a slip, while the server's is elsewhere, than
// meant, so it is said.
func withUsers(cmd *cobra.Command, dir string, adds bool) error {
	_, err := os.Stat(filepath.Join(dir, controlDatabase))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return err
	case !adds:
		return notData(dir)
	}
	created, err := makeData(dir)
	if created {
		fmt.Fprintf(cmd.ErrOrStderr(), "memstore: %s was no data directory, and is a new one now; if your server's is another, name it with --data\n", dir)
	}
	return err
}

// reworded says of a user what io/fs says of a file.
func reworded(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return exit{exitFailed, errors.New(strings.ReplaceAll(err.Error(), fs.ErrExist.Error(), "exists already"))}
	case errors.Is(err, fs.ErrNotExist):
		return exit{exitFailed, errors.New(strings.ReplaceAll(err.Error(), fs.ErrNotExist.Error(), "there is none of that name"))}
	}
	return err
}

func accountCommand() *cobra.Command {
	cmd := group("account", "Manage accounts, while serving too")
	cmd.Example = "  memstore account list\n  memstore account disable ann"
	add := &cobra.Command{
		Use:     "add ACCOUNT",
		Short:   "Add an account without users",
		Example: "  memstore account add ann",
		Args:    arguments("ACCOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, true, func(ctx context.Context, realm *auth.Realm, dir string) error {
				if err := realm.AddAccount(ctx, args[0]); err != nil {
					return err
				}
				return say(cmd, "account %s added in %s", args[0], dir)
			})
		},
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List accounts",
		Example: "  memstore account list\n  memstore account list --json",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				accounts, err := realm.Accounts(ctx)
				if err != nil {
					return err
				}
				t := table{head: []string{"ACCOUNT", "STORED AS", "STATE", "CREATED"}}
				for _, a := range accounts {
					t.add(a.Name, auth.StorageAccount(a.Name), state(a.Disabled), day(a.Created))
				}
				return t.print(cmd)
			})
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	rm := &cobra.Command{
		Use:               "rm ACCOUNT",
		ValidArgsFunction: completeAccount,
		Short:             "Remove an account that has no users; what it stored stays",
		Example:           "  memstore account rm ann",
		Args:              arguments("ACCOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				err := realm.RemoveAccount(ctx, args[0])
				if errors.Is(err, storage.ErrNotEmpty) {
					return fmt.Errorf("account %s still has users; remove them first", args[0])
				} else if err != nil {
					return err
				}
				return say(cmd, "account %s removed", args[0])
			})
		},
	}
	disable := changeAccount("disable", "Shut all users of an account out, with their tokens", true)
	enable := changeAccount("enable", "Let the users of an account in again", false)
	cmd.AddCommand(add, list, disable, enable, rm)
	return cmd
}

func changeAccount(verb, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " ACCOUNT",
		Short:             short,
		Example:           "  memstore account " + verb + " ann",
		Args:              arguments("ACCOUNT"),
		ValidArgsFunction: completeAccount,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if err := realm.SetAccountDisabled(ctx, args[0], disabled); err != nil {
					return err
				}
				return say(cmd, "account %s %s", args[0], state(disabled))
			})
		},
	}
}

func say(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}

func state(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// A table is a list to print, as columns for the eye or as JSON.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(cmd *cobra.Command) error {
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return t.json(cmd.OutOrStdout())
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.head, "\t"))
	for _, row := range t.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// json writes an array of objects whose keys are the heads in lower case.
func (t *table) json(w io.Writer) error {
	list := make([]map[string]string, 0, len(t.rows))
	for _, row := range t.rows {
		object := map[string]string{}
		for i, cell := range row {
			object[strings.ReplaceAll(strings.ToLower(t.head[i]), " ", "_")] = cell
		}
		list = append(list, object)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}
