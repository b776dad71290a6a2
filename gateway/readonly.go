package gateway

import (
	"net/http"
	"strings"

	"memstore.dev/memstore/storage"
)

// metaReadOnly, kept with an account by its operator, says for it alone whether
// it is read-only.
const metaReadOnly = "X-Account-Sysmeta-Read-Only"

var errReadOnly = &refusal{status: http.StatusMethodNotAllowed, text: "Writes are disabled for this account."}

// checkWritable refuses changes where there may be none, whoever asks.
func (c *call) checkWritable(p storage.Path) error {
	switch c.r.Method {
	case http.MethodPut, http.MethodPost, "COPY":
	case http.MethodDelete:
		if c.g.ReadOnlyDeletes {
			return nil
		}
	default:
		return nil
	}
	account := p.Account
	if v := c.r.Header["Destination-Account"]; c.r.Method == "COPY" && v != nil {
		var err error
		if account, err = accountName(strings.TrimSpace(v[0])); err != nil {
			return err
		}
	}
	readOnly := c.g.ReadOnly
	if v := c.meta(storage.Path{Account: account})[metaReadOnly]; v != "" {
		readOnly = truth(v)
	}
	if readOnly {
		return errReadOnly
	}
	return nil
}
