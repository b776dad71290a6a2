package gateway

import (
	"io/fs"
	"net/http"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// checkGone refuses whatever is asked of an account that was removed, and of what
// was in it, which is there until it has been reaped. Whom it does not belong to
// is told no more than before.
func (c *call) checkGone(p storage.Path) error {
	if c.r.Method == http.MethodOptions || c.meta(storage.Path{Account: p.Account})[storage.MetaDeleted] == "" {
		return nil
	}
	if !c.g.Owner(c.ctx, p.Account) && !(c.id.Role == auth.RoleResellerReader && reads[c.r.Method]) {
		return storage.Wrap("stat", p, fs.ErrPermission)
	}
	put := c.r.Method == http.MethodPut
	switch {
	case p.IsContainer() && put:
		return &refusal{status: http.StatusServiceUnavailable}
	case !p.IsAccount():
		return &refusal{status: http.StatusNotFound}
	}
	c.set("X-Account-Status", "Deleted")
	switch {
	case put:
		return &refusal{status: http.StatusForbidden, text: "Recently deleted"}
	case reads[c.r.Method]:
		return &refusal{status: http.StatusGone, silent: true}
	}
	return &refusal{status: http.StatusNotFound, silent: true}
}
