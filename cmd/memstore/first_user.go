package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"memstore.dev/memstore/auth"
)

// firstUser makes the user that c names, if there is none at all yet. It
// returns whom to welcome, and the password only if it has just made one up.
func firstUser(ctx context.Context, realm *auth.Realm, c FirstUserConfig) (name, generated string, err error) {
	users, err := realm.Users(ctx, "")
	if err != nil {
		return "", "", err
	}
	if len(users) > 0 {
		return hostOf(users, c.Name), "", nil
	}
	if c.Name == "" {
		return "", "", nil
	}
	password := string(c.Password)
	if password == "" {
		generated = newPassword()
		password = generated
	}
	err = realm.AddUser(ctx, auth.User{Name: c.Name, Role: auth.RoleAdmin}, password)
	if errors.Is(err, fs.ErrExist) { // "memstore user add" was faster
		return c.Name, "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("first user: %w", err)
	}
	return c.Name, generated, nil
}

// hostOf is the user whom the printed commands are for: the first user, or
// else the first admin, who can log in, so that they work.
func hostOf(users []auth.User, first string) string {
	able := func(u auth.User) bool {
		return u.Role == auth.RoleAdmin && !u.Disabled && !u.ReadOnly && u.HasPassword
	}
	for _, u := range users {
		if u.Name == first && able(u) {
			return u.Name
		}
	}
	for _, u := range users {
		if able(u) {
			return u.Name
		}
	}
	return users[0].Name
}
