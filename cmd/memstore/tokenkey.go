package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
)

func tokenKeyCommand() *cobra.Command {
	cmd := group("key", "Look at the keys of tokens, and change them, while serving too")
	cmd.Long = `Key is about the keys that tokens are sealed with. A server makes a new one every
30 days by itself. (The SSH keys of users are those of "memstore user key".)`
	cmd.Example = "  memstore key list\n  memstore key rotate"
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the keys, the youngest first, without their secrets",
		Example: "  memstore key list",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRealm(cmd, false, func(_ context.Context, realm *auth.Realm, _ string) error {
				t := table{head: []string{"KEY", "CREATED", "USE"}}
				for i, k := range realm.TokenKeys() {
					use := "opens tokens it sealed"
					if k.Seals {
						use = "seals new tokens"
					} else if i == 0 {
						use = "seals in a few seconds"
					}
					t.add(k.ID, k.Created.UTC().Format(time.DateTime), use)
				}
				return t.print(cmd)
			})
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	var all bool
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Seal tokens with a new key",
		Long: `Rotate makes a new key, which seals tokens from a few seconds on. Tokens that
were given out before are good until they expire, since the keys before stay for
so long, unless --end-tokens ends them all at once: for when somebody has seen
the keys, as in a backup that was lost. Everybody logs in anew then.`,
		Example: "  memstore key rotate\n  memstore key rotate --end-tokens",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if all {
					if err := realm.ReplaceKeys(ctx); err != nil {
						return err
					}
					return say(cmd, "all tokens have ended; key %s seals new ones", realm.TokenKeys()[0].ID)
				}
				if err := realm.RotateKeys(ctx); err != nil {
					return err
				}
				return say(cmd, "key %s seals new tokens in a few seconds; those before it open theirs until they expire", realm.TokenKeys()[0].ID)
			})
		},
	}
	rotate.Flags().BoolVar(&all, "end-tokens", false, "drop the keys before, which ends every token")
	cmd.AddCommand(list, rotate)
	return cmd
}
