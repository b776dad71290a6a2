package auth

import (
	"fmt"
	"regexp"
	"strings"

	"memstore.dev/memstore/storage"
)

// Names are plain ASCII, so that no two of them look or normalise alike, and
// fit into a URL, a header, an access control list and `sftp user@host` without
// quoting. An account's name has no dot: "ann.tester.old" can only be the user
// "tester.old" of the account "ann".
var (
	accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	userName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}$`)
)

// CheckAccount reports, as a Refusal, why an account cannot have this name.
func CheckAccount(name string) error {
	switch {
	case !accountName.MatchString(name):
		return &storage.Refusal{Text: fmt.Sprintf("Account name %q must be 1 to 64 letters, digits, hyphens and underscores, and begin with a letter or digit", clip(name))}
	case strings.HasPrefix(strings.ToUpper(name), Prefix):
		return &storage.Refusal{Text: fmt.Sprintf("Account name %q must not begin with %s, which is put before it where its containers are kept", name, Prefix)}
	}
	return nil
}

// CheckUser reports, as a Refusal, why a user cannot have this full name,
// "account:user".
func CheckUser(name string) error {
	account, user, ok := strings.Cut(name, ":")
	if !ok {
		return &storage.Refusal{Text: fmt.Sprintf("User name %q must be written ACCOUNT:USER", clip(name))}
	}
	if err := CheckAccount(account); err != nil {
		return err
	}
	if !userName.MatchString(user) {
		return &storage.Refusal{Text: fmt.Sprintf("User name %q must be 1 to 64 letters, digits and any of _ . @ + -, and begin with a letter, digit or underscore", clip(user))}
	}
	return nil
}

// clip keeps a name that is told back from filling the screen.
func clip(s string) string { return s[:min(len(s), 80)] }

// FullName is "ann:tester" for each of the ways it may be typed: "ann:tester",
// "ann/tester" and "ann.tester". The first colon parts account and user, where
// there is none the first slash, else the first dot. A name with none of them
// is returned as it is, and is nobody's.
func FullName(typed string) string {
	for _, sep := range []string{":", "/", "."} {
		if account, user, ok := strings.Cut(typed, sep); ok {
			return account + ":" + user
		}
	}
	return typed
}
