package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/auth"
)

func userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Manage users, while serving too",
		Long: `User manages who may log in. A running server sees every change within a second:
a user who is disabled or removed, or whose password was changed, is out at once,
his tokens with him.

Users are named ACCOUNT:USER; ACCOUNT.USER and ACCOUNT/USER mean the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(userAddCommand(), userListCommand(), userPasswdCommand(),
		changeUser("enable", "Let a user in again", "enabled", func(ctx context.Context, r *auth.Realm, name string) error {
			return r.SetDisabled(ctx, name, false)
		}),
		changeUser("disable", "Shut a user out, with his tokens", "disabled", func(ctx context.Context, r *auth.Realm, name string) error {
			return r.SetDisabled(ctx, name, true)
		}),
		changeUser("rm", "Remove a user and his keys; what he stored stays", "removed", func(ctx context.Context, r *auth.Realm, name string) error {
			return r.RemoveUser(ctx, name)
		}),
		keyCommand())
	return cmd
}

func userAddCommand() *cobra.Command {
	var admin, reseller, readOnly bool
	var doors, networks []string
	cmd := &cobra.Command{
		Use:   "add ACCOUNT:USER",
		Short: "Add a user, and his account if it is new",
		Long: `Add adds a user, and his account if it is new. Without --admin he may do only
what access control lists grant him.

The password is asked for, unless one of --password-stdin, --generate and
--no-password says otherwise.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u := auth.User{Name: auth.FullName(args[0]), Role: auth.RoleUser, ReadOnly: readOnly, Doors: doors}
			switch {
			case reseller:
				u.Role = auth.RoleReseller
			case admin:
				u.Role = auth.RoleAdmin
			}
			for _, n := range networks {
				p, err := parseNetwork(n)
				if err != nil {
					return usage(err)
				}
				u.Networks = append(u.Networks, p)
			}
			password, generated, err := choosePassword(cmd)
			if err != nil {
				return err
			}
			return withRealm(cmd, true, func(ctx context.Context, realm *auth.Realm, dir string) error {
				if err := realm.AddUser(ctx, u, password); err != nil {
					return err
				}
				if generated {
					return say(cmd, "user %s added in %s, with the password %s", u.Name, dir, password)
				}
				return say(cmd, "user %s added in %s", u.Name, dir)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&admin, "admin", false, "may do anything in his account")
	f.BoolVar(&reseller, "reseller-admin", false, "may do anything in every account, and make accounts")
	f.BoolVar(&readOnly, "read-only", false, "may never change anything")
	f.StringSliceVar(&doors, "door", nil, "let him in by this `door` only (swift); may be repeated")
	f.StringSliceVar(&networks, "network", nil, "let him in from this `network` only (10.0.0.0/8); may be repeated")
	passwordFlags(cmd)
	cmd.Flags().Bool("no-password", false, "he logs in with SSH keys only")
	cmd.MarkFlagsMutuallyExclusive("admin", "reseller-admin")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "generate", "no-password")
	return cmd
}

func passwordFlags(cmd *cobra.Command) {
	cmd.Flags().Bool("password-stdin", false, "read the password from the first line of standard input")
	cmd.Flags().Bool("generate", false, "make a password up and print it")
}

// choosePassword does what the flags of passwordFlags say.
func choosePassword(cmd *cobra.Command) (password string, generated bool, err error) {
	if none, _ := cmd.Flags().GetBool("no-password"); none {
		return "", false, nil
	}
	if generate, _ := cmd.Flags().GetBool("generate"); generate {
		return newPassword(), true, nil
	}
	stdin, _ := cmd.Flags().GetBool("password-stdin")
	password, err = readPassword(cmd.InOrStdin(), cmd.ErrOrStderr(), stdin)
	return password, false, err
}

// parseNetwork reads a prefix, or a single address.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8", s)
	}
	return p, nil
}

func userListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [ACCOUNT]",
		Short: "List users, or those of one account",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			account := strings.Join(args, "")
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				users, err := realm.Users(ctx, account)
				if err != nil {
					return err
				}
				t := table{head: []string{"USER", "ROLE", "STATE", "DOORS", "NETWORKS", "CREATED"}}
				for _, u := range users {
					role := string(u.Role)
					if u.ReadOnly {
						role += ", read-only"
					}
					var networks []string
					for _, n := range u.Networks {
						networks = append(networks, n.String())
					}
					t.add(u.Name, role, state(u.Disabled), orAll(u.Doors), orAll(networks), day(u.Created))
				}
				return t.print(cmd)
			})
		},
	}
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func orAll(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ",")
}

func userPasswdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "passwd ACCOUNT:USER",
		Short: "Change a user's password, which ends his tokens",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := auth.FullName(args[0])
			password, generated, err := choosePassword(cmd)
			if err != nil {
				return err
			}
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if err := realm.SetPassword(ctx, name, password); err != nil {
					return err
				}
				if generated {
					return say(cmd, "user %s has the password %s now", name, password)
				}
				return say(cmd, "user %s has a new password", name)
			})
		},
	}
	passwordFlags(cmd)
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "generate")
	return cmd
}

// changeUser is a command that does one thing to one user.
func changeUser(verb, short, done string, f func(context.Context, *auth.Realm, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ACCOUNT:USER",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := auth.FullName(args[0])
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				if err := f(ctx, realm, name); err != nil {
					return err
				}
				return say(cmd, "user %s %s", name, done)
			})
		},
	}
}

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Manage the SSH keys of users",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add := &cobra.Command{
		Use:   "add ACCOUNT:USER [FILE]",
		Short: "Let a user log in with the public keys in FILE, or on standard input",
		Args:  cobra.RangeArgs(1, 2),
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
		Use:   "list [ACCOUNT:USER]",
		Short: "List keys, or those of one user",
		Args:  cobra.MaximumNArgs(1),
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
		Use:   "rm ACCOUNT:USER FINGERPRINT",
		Short: "Take a key from a user, which ends his tokens",
		Args:  cobra.ExactArgs(2),
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
