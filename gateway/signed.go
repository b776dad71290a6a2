package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// admit lets a request in by the signature in its URL, whoever sends it. What is
// left of its query is nothing but what concerns the signature, so that a right
// to put one object can neither make a manifest nor reach a version.
func (c *call) admit(t *TempURL, path storage.Path, wrong error) error {
	if wrong != nil || !strings.HasPrefix(c.r.URL.Path, "/v1/") {
		return errTempURL
	}
	keys := c.signatureKeys(path)
	within, ok := t.Grants(c.r.Method, path, c.g.peer(c.r), &keys, c.g.Digests)
	if !ok {
		return errTempURL
	}
	if !reads[c.r.Method] {
		for _, header := range pointers {
			if c.r.Header[header] != nil {
				return &refusal{status: http.StatusBadRequest, text: "The header '" + header + "' is not allowed in this tempurl"}
			}
		}
	}
	c.tempURL = t
	c.withQuery("")
	c.actFor(auth.Identity{Ticket: &auth.Ticket{
		By: "tempurl", Path: path, Write: !reads[c.r.Method], Within: within,
	}})
	return nil
}

// pointers are headers of an upload that make it, or have it be made of, another
// object: what only those may do who may read that one.
var pointers = []string{"X-Copy-From", "X-Object-Manifest", "X-Symlink-Target"}

var errTempURL = &refusal{status: http.StatusUnauthorized, text: "401 Unauthorized: Temp URL invalid\n"}

// actFor has the call act for somebody who has not shown a token.
func (c *call) actFor(id auth.Identity) {
	c.id = id
	c.id.Referrer = c.r.Referer()
	if !reads[c.r.Method] {
		c.ctx = context.WithoutCancel(c.ctx) // for the reason that identify gives
	}
	c.ctx = auth.NewContext(c.ctx, c.id)
}

// withQuery gives the request another query.
func (c *call) withQuery(query string) {
	u, r := *c.r.URL, *c.r
	u.RawQuery = query
	r.URL = &u
	c.r = &r
}

// signatureKeys are the keys by which a path can be signed for. The gateway looks
// for itself, and shows them to nobody.
func (c *call) signatureKeys(p storage.Path) SignatureKeys {
	account := c.meta(storage.Path{Account: p.Account})
	if account[storage.MetaDeleted] != "" {
		return SignatureKeys{} // nothing in it can be had any more
	}
	var container storage.Meta
	if p.Container != "" {
		container = c.meta(storage.Path{Account: p.Account, Container: p.Container})
	}
	return KeysOf(account, container) // what is not there has no keys
}

// ownEyes is a context in which the gateway reads for itself what it needs to
// know to answer, whoever asks.
func (c *call) ownEyes() context.Context {
	return auth.NewContext(c.r.Context(), auth.Identity{User: ".gateway", Role: auth.RoleResellerReader})
}

// dress makes an answer fit for the holder of a signed URL: without the owner's
// metadata, and with the name to save it by.
func (t *TempURL) dress(c *call, status int) {
	h := c.w.Header()
	for key := range h {
		if strings.HasPrefix(key, "X-Object-Meta-") && !strings.HasPrefix(key, "X-Object-Meta-Public-") {
			delete(h, key)
		}
	}
	if status/100 != 2 || c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return
	}
	c.set("Content-Disposition", t.saveAs(h.Get("Content-Disposition"), c.path.Object))
	c.set("Expires", time.Unix(t.Expires, 0).UTC().Format(http.TimeFormat))
}

// signedURL reports whether the request is to be judged by a signature in its
// URL, and what that says.
func (c *call) signedURL() (*TempURL, bool) {
	if c.r.URL.RawQuery == "" || c.r.Method == http.MethodOptions {
		return nil, false
	}
	t, signed := ParseTempURL(c.r.URL.RawQuery, c.begun)
	return &t, signed
}
