package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// Headers of links. Paths in them are escaped as in a URL.
const (
	linkTarget        = "X-Symlink-Target"
	linkTargetAccount = "X-Symlink-Target-Account"
	linkTargetETag    = "X-Symlink-Target-Etag"
	linkTargetBytes   = "X-Symlink-Target-Bytes"
)

var errLinkBody = badRequest("Symlink requests require a zero byte body")

// aboutLink reports whether a request is about a link itself and not about what
// it points to.
func (c *call) aboutLink() bool {
	if c.r.URL.RawQuery == "" {
		return false
	}
	v, _ := param(c.r.URL.RawQuery, "symlink")
	return v == "get"
}

// linkIn reads from the headers where a link is to point.
func (c *call) linkIn() (l storage.Link, err error) {
	h := c.r.Header
	if strings.HasPrefix(unquote(h.Get(linkTarget)), "/") {
		return l, &refusal{
			status: http.StatusPreconditionFailed, kind: plain,
			text: linkTarget + " header must be of the form <container name>/<object name>",
		}
	}
	if l.Target.Container, l.Target.Object, err = pathInHeader(h, linkTarget); err != nil {
		return l, err
	}
	l.Target.Account = c.path.Account
	if v := h[linkTargetAccount]; v != nil {
		l.Account = true
		if l.Target.Account, err = accountName(v[0]); err != nil {
			return l, err
		}
	}
	if l.Target == c.path {
		return l, badRequest("Symlink cannot target itself")
	}
	l.ETag = bareTag(h.Get(linkTargetETag))
	if strings.ContainsAny(l.ETag, ";\"\\ ") || l.ETag == "-" {
		return l, badRequest("Bad " + linkTargetETag + " format")
	}
	return l, nil
}

// putLink makes a link.
func (c *call) putLink() error {
	if n := c.r.ContentLength; n > 0 || n < 0 && !c.emptyBody() {
		return c.unlessForbidden(errLinkBody)
	}
	l, err := c.linkIn()
	if err != nil {
		return c.unlessForbidden(err)
	}
	in, cond, err := c.upload()
	if err != nil {
		return c.unlessForbidden(err)
	}
	if in.Type == "" && l.ETag == "" {
		in.Type = "application/symlink"
	}
	in, err = c.g.Store.PutLink(c.ctx, in, l, cond)
	if err != nil {
		return err
	}
	c.set("Etag", in.ETag)
	c.set("Last-Modified", httpDate(in.ModTime))
	c.tellVersion(&in)
	return c.done(http.StatusCreated)
}

// emptyBody reports whether a body that came in chunks has not a byte.
func (c *call) emptyBody() bool {
	var b [1]byte
	n, _ := c.body.Read(b[:])
	return n == 0
}

// describeLink sets the headers that tell of a link, or that what is told is of
// what it points to.
func (c *call) describeLink(in *storage.Info) {
	if l := in.Link; l != nil {
		c.set(linkTarget, quote(l.Target.Container+"/"+l.Target.Object))
		if l.Account {
			c.set(linkTargetAccount, quote(l.Target.Account))
		}
		if l.ETag != "" {
			c.set(linkTargetETag, l.ETag)
			c.set(linkTargetBytes, strconv.FormatInt(l.Size, 10))
		}
	} else if in.Linked {
		c.set("Content-Location", location(in.Path))
	}
}

// location is where an object is, within this server.
func location(p storage.Path) string {
	return "/v1/" + quote(p.Account) + "/" + quote(p.Container+"/"+p.Object)
}

// postedLink answers that metadata was put on a link, and where it might have
// been meant to go.
func (c *call) postedLink(l *storage.Link) error {
	c.set("Location", location(l.Target))
	if l.ETag != "" {
		c.set(linkTargetETag, l.ETag)
	}
	c.say(http.StatusTemporaryRedirect, html, "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.")
	return nil
}

// copyLink copies a link as what it is.
func (c *call) copyLink(source *storage.Info, target storage.Info, cond storage.Cond) error {
	l := *source.Link
	if v := c.r.Header[linkTargetAccount]; v != nil {
		account, err := accountName(v[0])
		if err != nil {
			return c.unlessForbidden(err)
		}
		l.Account, l.Target.Account = true, account
	}
	in, err := c.g.Store.PutLink(c.ctx, target, l, cond)
	if err != nil {
		return err
	}
	return c.copied(source, &in)
}

// appendLink appends what a listing in JSON tells of a link.
func appendLink(b []byte, l *storage.Link) []byte {
	if l.ETag != "" {
		b = storage.AppendJSON(append(b, `, "symlink_etag": `...), l.ETag)
		b = strconv.AppendInt(append(b, `, "symlink_bytes": `...), l.Size, 10)
	}
	b = storage.AppendJSON(append(b, `, "symlink_path": `...), location(l.Target))
	if l.LargeETag != "" {
		b = storage.AppendJSON(append(b, `, "slo_etag": `...), `"`+l.LargeETag+`"`)
	}
	return b
}
