package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
)

func userCommand() *cobra.Command {
	cmd := group("user", "Manage users, while serving too")
	cmd.Long = `User manages who may log in. A running server sees every change within a second:
a user who is disabled or removed, or whose password was changed, is out at once,
his tokens with him.

Users are named ACCOUNT:USER; ACCOUNT.USER and ACCOUNT/USER mean the same.`
	cmd.Example = "  memstore user add --admin ann:tester\n  memstore user list"
	cmd.AddCommand(userAddCommand(), userListCommand(), userPasswdCommand(), userSetCommand(),
		changeUser("enable", "Let a user in again", "enabled", func(ctx context.Context, r *auth.Realm, name string) error {
			return r.SetDisabled(ctx, name, false)
		}),
		changeUser("disable", "Shut a user out, with his tokens", "disabled", func(ctx context.Context, r *auth.Realm, name string) error {
			return r.SetDisabled(ctx, name, true)
		}),
		userRmCommand(), userExportCommand(), userImportCommand(), keyCommand())
	return cmd
}

func userAddCommand() *cobra.Command {
	var admin, reseller, service, readOnly bool
	var doors, networks []string
	cmd := &cobra.Command{
		Use:   "add ACCOUNT:USER",
		Short: "Add a user, and his account if it is new",
		Long: `Add adds a user, and his account if it is new. Without --admin he may do only
what access control lists grant him.

The password is asked for, unless one of --password-stdin, --generate and
--no-password says otherwise.`,
		Example: "  memstore user add --admin ann:tester\n  memstore user add --generate --read-only --network 10.0.0.0/8 ann:auditor",
		Args:    arguments("ACCOUNT:USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			u := auth.User{Name: auth.FullName(args[0]), Role: auth.RoleUser, ReadOnly: readOnly, Doors: doors}
			switch {
			case reseller:
				u.Role = auth.RoleReseller
			case admin:
				u.Role = auth.RoleAdmin
			case service:
				u.Role = auth.RoleService
			}
			for _, n := range networks {
				p, err := parseNetwork(n)
				if err != nil {
					return usage(err)
				}
				u.Networks = append(u.Networks, p)
			}
			if err := checkDoors(doors); err != nil {
				return usage(err)
			}
			if err := auth.CheckUser(u.Name); err != nil {
				return usage(err)
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
	f.BoolVar(&service, "service", false, "is a service: his token beside that of an account's admin opens SERVICE_ accounts")
	f.BoolVar(&readOnly, "read-only", false, "may never change anything")
	f.StringSliceVar(&doors, "door", nil, "let him in by this `door` only (swift, ftp, sftp); may be repeated")
	f.StringSliceVar(&networks, "network", nil, "let him in from this `network` only (10.0.0.0/8); may be repeated")
	passwordFlags(cmd)
	cmd.Flags().Bool("no-password", false, "he logs in with SSH keys only")
	completeFlag(cmd, "door", doorNames...)
	exclusive(cmd, "admin", "reseller-admin", "service")
	exclusive(cmd, "password-stdin", "generate", "no-password")
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

func userListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list [ACCOUNT]",
		ValidArgsFunction: completeAccount,
		Short:             "List users, or those of one account",
		Example:           "  memstore user list\n  memstore user list ann --json",
		Args:              arguments("[ACCOUNT]"),
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
		Use:               "passwd ACCOUNT:USER",
		ValidArgsFunction: completeUser,
		Short:             "Change a user's password, which ends his tokens",
		Example:           "  memstore user passwd ann:tester\n  memstore user passwd --generate ann:tester",
		Args:              arguments("ACCOUNT:USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := auth.FullName(args[0])
			err := withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				_, err := realm.User(ctx, name)
				return err
			})
			if err != nil { // which is better heard before a password is thought of
				return err
			}
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
	exclusive(cmd, "password-stdin", "generate")
	return cmd
}

// changeUser is a command that does one thing to one user.
func changeUser(verb, short, done string, f func(context.Context, *auth.Realm, string) error) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " ACCOUNT:USER",
		Short:             short,
		Example:           "  memstore user " + verb + " ann:tester",
		Args:              arguments("ACCOUNT:USER"),
		ValidArgsFunction: completeUser,
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
