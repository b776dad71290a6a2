package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// identify finds out who the request is from: whom its token was issued for,
// or a stranger if it has none. A token that looks like ours but is not good
// is refused at once, also where a stranger would be let in, for whoever sent
// it believes that he has logged in; any other token is as good as none. A
// second token, X-Service-Token, says whether a service vouches for him; nothing
// else of whoever that is counts.
func (c *call) identify(realm string) error {
	c.w.realm = realm
	// Two tokens are none: what stands before us may have looked at the other.
	token := joined(c.r.Header["X-Auth-Token"])
	if token == "" {
		token = joined(c.r.Header["X-Storage-Token"])
	}
	if token != "" {
		id, _, err := c.verify(c.g.Auth, token)
		switch {
		case err == nil:
			c.id = id
		case !errors.Is(err, fs.ErrPermission):
			return err
		case strings.HasPrefix(token, auth.Prefix):
			return errUnauthorized
		}
	}
	if v := c.r.Header["X-Service-Token"]; v != nil && !c.id.Stranger() {
		service, _, err := c.verify(c.g.Auth, joined(v))
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		c.id.Service = err == nil && service.Role == auth.RoleService
	}
	c.id.Referrer = c.r.Referer()
	if !reads[c.r.Method] {
		// A change that was asked for is made, whether or not the client stays to
		// hear of it: net/http takes one that has only ended its own sending for
		// gone. (One that is gone in the midst of a body is noticed there.)
		c.ctx = context.WithoutCancel(c.ctx)
	}
	c.ctx = auth.NewContext(c.ctx, c.id)
	return nil
}

// reads are the methods that change nothing.
var reads = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true}

// realm is the account that a path names, for the eyes of one who is to log in.
func realm(path string) string {
	account, _, _ := strings.Cut(path, "/")
	return account
}

// unlessForbidden is what is wrong with a request to change something, unless
// the one who sent it may not do so anyway: whoever has no business here is
// told that first, as in Swift, and nothing else. An upload is also told first
// that its container is missing.
func (c *call) unlessForbidden(wrong error) error {
	if c.path.IsObject() && c.r.Method != http.MethodPost {
		any := storage.Path{Account: c.path.Account, Container: c.path.Container, Object: "any"}
		up, err := c.g.Store.Create(c.ctx, storage.Info{Path: any}, storage.Cond{})
		if err == nil {
			up.Close() // and nothing came of it
		} else if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return wrong
	}
	// Asked by a change that cannot happen, for no path is ever of that version.
	const never = 1<<64 - 1
	_, err := c.g.Store.Update(c.ctx, storage.Info{Path: c.path}, storage.Cond{Version: never})
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return wrong
}
