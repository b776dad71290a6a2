package gateway

import (
	"errors"
	"io/fs"
	"strings"

	"memstore.dev/memstore/auth"
)

// identify finds out who the request is from: whom its token was issued for,
// or a stranger if it has none. A token that looks like ours but is not good
// is refused at once, also where a stranger would be let in, for whoever sent
// it believes that he has logged in; any other token is as good as none. A
// second token, X-Service-Token, adds nothing here.
func (c *call) identify(realm string) error {
	c.w.realm = realm
	token := c.r.Header.Get("X-Auth-Token")
	if token == "" {
		token = c.r.Header.Get("X-Storage-Token")
	}
	if token != "" {
		id, _, err := c.g.Auth.Verify(c.ctx, token)
		switch {
		case err == nil:
			c.id = id
		case !errors.Is(err, fs.ErrPermission):
			return err
		case strings.HasPrefix(token, auth.Prefix):
			return errUnauthorized
		}
	}
	c.id.Referrer = c.r.Referer()
	c.ctx = auth.NewContext(c.ctx, c.id)
	return nil
}

// realm is the account that a path names, for the eyes of one who is to log in.
func realm(path string) string {
	account, _, _ := strings.Cut(path, "/")
	return account
}
