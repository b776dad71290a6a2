package gateway

import (
	"strings"

	"memstore.dev/memstore/storage"
)

// Whether ETags of objects stand between quotation marks, as RFC 9110 has them,
// or bare, as Swift's clients expect them, is for the owners of a container and
// of an account to say; the container goes first.
const (
	metaAccountETags   = "X-Account-Sysmeta-Rfc-Compliant-Etags"
	metaContainerETags = "X-Container-Sysmeta-Rfc-Compliant-Etags"
)

// quoteETag puts the ETag of an answer between quotation marks, if that is wanted
// where the request goes.
func (c *call) quoteETag() {
	h := c.w.Header()
	if !c.home.IsObject() || h["Etag"] == nil {
		return
	}
	tag := h["Etag"][0]
	if strings.HasSuffix(tag, `"`) && (strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, `W/"`)) {
		return
	}
	wanted := c.meta(c.home.Parent())[metaContainerETags]
	if wanted == "" {
		wanted = c.meta(storage.Path{Account: c.home.Account})[metaAccountETags]
	}
	if truth(wanted) {
		c.set("Etag", `"`+tag+`"`)
	}
}

// settleTruth brings a value that says yes or no into the form that it is kept
// in, which is Python's.
func settleTruth(m storage.Meta, key string) {
	switch v := m[key]; {
	case v == "": // not there, or to be removed
	case truth(v):
		m[key] = "True"
	default:
		m[key] = "False"
	}
}
