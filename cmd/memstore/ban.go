package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
)

func banCommand() *cobra.Command {
	cmd := group("ban", "Look at banned addresses, and let them in again")
	cmd.Long = `Ban lists the addresses that failed to log in too often, and lifts their bans,
while a server runs, too: it hears of it within a second. The section "bans" of
the configuration says when an address is banned, and for how long.`
	cmd.Example = "  memstore ban list\n  memstore ban lift 203.0.113.5"
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the addresses that are banned now",
		Example: "  memstore ban list\n  memstore ban list --json",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRealm(cmd, false, func(_ context.Context, realm *auth.Realm, _ string) error {
				t := table{head: []string{"ADDRESS", "SINCE", "UNTIL", "TIMES"}}
				for _, b := range realm.Defender().Bans() {
					address := b.Source.String()
					if b.Source.IsSingleIP() {
						address = b.Source.Addr().String()
					}
					t.add(address, b.Since.UTC().Format(time.DateTime), b.Until.UTC().Format(time.DateTime), strconv.Itoa(b.Times))
				}
				return t.print(cmd)
			})
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	lift := &cobra.Command{
		Use:     "lift ADDRESS",
		Short:   "Listen to an address again, and forget what was held against it",
		Example: "  memstore ban lift 203.0.113.5",
		Args:    arguments("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			network, err := parseNetwork(args[0])
			if err != nil {
				return usage(fmt.Errorf("%q is not an address such as 203.0.113.5", args[0]))
			}
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if !realm.Defender().Lift(network.Addr()) {
					return fmt.Errorf("%s is not banned; memstore ban list says who is", args[0])
				}
				return say(cmd, "%s is listened to again", args[0])
			})
		},
	}
	cmd.AddCommand(list, lift)
	return cmd
}
