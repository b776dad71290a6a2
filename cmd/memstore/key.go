package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
)

func keyCommand() *cobra.Command {
	cmd := group("key", "Manage the SSH keys of users")
	cmd.Example = "  memstore user key add ann:tester ~/.ssh/id_ed25519.pub"
	add := &cobra.Command{
		Use:     "add ACCOUNT:USER [FILE]",
		Short:   "Let a user log in with the public keys in FILE, or on standard input",
		Example: "  memstore user key add ann:tester ~/.ssh/id_ed25519.pub",
		Args:    arguments("ACCOUNT:USER", "[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := auth.FullName(args[0])
			text, err := readKeys(cmd.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				for n := 0; ; n++ {
					key, comment, _, rest, err := ssh.ParseAuthorizedKey(text)
					if err != nil && n > 0 {
						return nil
					} else if err != nil {
						return usage(errors.New("there is no public key in it, as in ~/.ssh/id_ed25519.pub"))
					}
					if err := realm.AddKey(ctx, name, key, comment); err != nil {
						return err
					}
					if err := say(cmd, "user %s may log in with %s", name, ssh.FingerprintSHA256(key)); err != nil {
						return err
					}
					text = rest
				}
			})
		},
	}
	list := &cobra.Command{
		Use:               "list [ACCOUNT:USER]",
		ValidArgsFunction: completeUser,
		Short:             "List keys, or those of one user",
		Example:           "  memstore user key list ann:tester",
		Args:              arguments("[ACCOUNT:USER]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				keys, err := realm.Keys(ctx, auth.FullName(strings.Join(args, "")))
				if err != nil {
					return err
				}
				t := table{head: []string{"USER", "TYPE", "FINGERPRINT", "COMMENT", "CREATED"}}
				for _, k := range keys {
					t.add(k.User, k.Public.Type(), k.Fingerprint, k.Comment, day(k.Created))
				}
				return t.print(cmd)
			})
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	rm := &cobra.Command{
		Use:               "rm ACCOUNT:USER FINGERPRINT",
		ValidArgsFunction: completeUser,
		Short:             "Take a key from a user, which ends his tokens",
		Example:           "  memstore user key rm ann:tester SHA256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
		Args:              arguments("ACCOUNT:USER", "FINGERPRINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := auth.FullName(args[0])
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if err := realm.RemoveKey(ctx, name, args[1]); err != nil {
					return err
				}
				return say(cmd, "key %s taken from %s", args[1], name)
			})
		},
	}
	cmd.AddCommand(add, list, rm)
	return cmd
}

// readKeys reads the named file, or stdin where there is none.
func readKeys(stdin io.Reader, files []string) ([]byte, error) {
	if len(files) == 0 || files[0] == "-" {
		return io.ReadAll(io.LimitReader(stdin, 1<<20))
	}
	return os.ReadFile(files[0])
}
