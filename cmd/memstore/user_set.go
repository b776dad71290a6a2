package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/auth"
)

// What "user set" gives a user who is to have no bounds.
const everywhere = "all"

// doorNames are the doors that a user can be confined to.
var doorNames = []string{"swift", "ftp", "sftp"}

func checkDoors(doors []string) error {
	for _, d := range doors {
		if !slices.Contains(doorNames, d) {
			return fmt.Errorf("%q is none of the doors, %s", d, strings.Join(doorNames, ", "))
		}
	}
	return nil
}

var roles = []string{string(auth.RoleUser), string(auth.RoleService), string(auth.RoleAdmin), string(auth.RoleResellerReader), string(auth.RoleReseller)}

func userSetCommand() *cobra.Command {
	var role string
	var readOnly bool
	var doors, networks []string
	cmd := &cobra.Command{
		Use:   "set ACCOUNT:USER",
		Short: "Change what a user may do, which ends his tokens",
		Long: `Set changes a user's role, and from where and whereby he may come. What no flag
names stays as it is. His tokens end, so that he logs in anew as what he is now.`,
		Example: "  memstore user set --role admin ann:tester\n  memstore user set --read-only=false --network all ann:auditor",
		Args:    arguments("ACCOUNT:USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			if !given("role") && !given("read-only") && !given("door") && !given("network") {
				return usage(errors.New("nothing is to be changed: give --role, --read-only, --door or --network"))
			}
			if given("role") && !slices.Contains(roles, role) {
				return usage(fmt.Errorf("%q is none of the roles, %s", role, strings.Join(roles, ", ")))
			}
			var prefixes []netip.Prefix
			if slices.Equal(networks, []string{everywhere}) {
				networks = nil
			}
			for _, n := range networks {
				p, err := parseNetwork(n)
				if err != nil {
					return usage(err)
				}
				prefixes = append(prefixes, p)
			}
			if slices.Equal(doors, []string{everywhere}) {
				doors = nil
			}
			if err := checkDoors(doors); err != nil {
				return usage(err)
			}
			return withRealm(cmd, false, func(ctx context.Context, realm *auth.Realm, _ string) error {
				u, err := realm.User(ctx, auth.FullName(args[0]))
				if err != nil {
					return err
				}
				if given("role") {
					u.Role = auth.Role(role)
				}
				if given("read-only") {
					u.ReadOnly = readOnly
				}
				if given("door") {
					u.Doors = doors
				}
				if given("network") {
					u.Networks = prefixes
				}
				if err := realm.SetUser(ctx, u); err != nil {
					return err
				}
				return say(cmd, "user %s is changed", u.Name)
			})
		},
		ValidArgsFunction: completeUser,
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "make him a user, an admin, a reseller-reader or a reseller-admin: his `role`")
	f.BoolVar(&readOnly, "read-only", false, "may never change anything; --read-only=false takes it back")
	f.StringSliceVar(&doors, "door", nil, "let him in by this `door` only (swift, ftp, sftp), or by all; may be repeated")
	f.StringSliceVar(&networks, "network", nil, "let him in from this `network` only (10.0.0.0/8), or from all; may be repeated")
	completeFlag(cmd, "role", roles...)
	completeFlag(cmd, "door", append(slices.Clone(doorNames), everywhere)...)
	return cmd
}

func userRmCommand() *cobra.Command {
	var force bool
	cmd := changeUser("rm", "Remove a user and his keys; what he stored stays", "removed", func(ctx context.Context, r *auth.Realm, name string) error {
		if force {
			return r.RemoveUser(ctx, name)
		}
		u, err := r.User(ctx, name)
		if err != nil {
			return err
		}
		users, err := r.Users(ctx, u.Account())
		if err != nil {
			return err
		}
		another := slices.ContainsFunc(users, func(o auth.User) bool { return o.Role == auth.RoleAdmin && o.Name != name })
		if u.Role == auth.RoleAdmin && !another {
			return fmt.Errorf("user %s is the last admin of %s: nobody could get at what that account stores any more; --force removes him all the same", name, u.Account())
		}
		return r.RemoveUser(ctx, name)
	})
	cmd.Long = `Rm removes a user and his keys. The last admin of an account stays unless --force
is given, since what the account stores could not be got at without him.`
	cmd.Flags().BoolVar(&force, "force", false, "remove the last admin of an account too")
	return cmd
}
