package main

import (
	"context"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
)

// edgeKeyCommand manages the keys that edges on other machines show here.
func edgeKeyCommand() *cobra.Command {
	cmd := group("key", "Manage the keys of edges on other machines")
	cmd.Long = `Key manages which edges may follow this server: hear what changes in it, and so
serve public containers as fresh as it would itself. A running server sees every
change within a second.`
	cmd.Example = "  memstore edge key add london > london.key\n  memstore edge key list"
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a key for an edge, and print it",
		Long: `Add makes a key for an edge and prints it, once: what is kept is a hash of it.
Give it to the edge in a file that nobody else can read (--key-file).`,
		Example: "  memstore edge key add london > london.key",
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				key, err := realm.AddEdge(ctx, args[0])
				if err != nil {
					return err
				}
				return say(cmd, "%s", key)
			})
		},
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the edges that have a key",
		Example: "  memstore edge key list",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				edges, err := realm.Edges(ctx)
				if err != nil {
					return err
				}
				t := table{head: []string{"EDGE", "CREATED"}}
				for _, e := range edges {
					t.add(e.Name, day(e.Created))
				}
				return t.print(cmd)
			})
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	rm := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Take its key from an edge, which hears nothing more",
		Example: "  memstore edge key rm london",
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if err := realm.RemoveEdge(ctx, args[0]); err != nil {
					return err
				}
				return say(cmd, "edge %s has no key any more", args[0])
			})
		},
	}
	cmd.AddCommand(add, list, rm)
	return cmd
}
