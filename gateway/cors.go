package gateway

import (
	"net/http"
	"slices"
	"strings"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// Metadata of a container by which its owner lets pages of other sites use it
// from a browser.
const (
	metaAllowOrigin   = "X-Container-Meta-Access-Control-Allow-Origin"
	metaMaxAge        = "X-Container-Meta-Access-Control-Max-Age"
	metaExposeHeaders = "X-Container-Meta-Access-Control-Expose-Headers"
)

// An origin is the site of the page on whose behalf a browser asks, and what
// the container's owner says about it.
type origin struct {
	name    string
	allowed bool
	any     bool // all are
	meta    storage.Meta
}

// askOrigin finds out what the container says about the request's origin. The
// browser needs the answer whoever asks, so the gateway looks for itself here;
// of what it sees nothing else gets out.
func (c *call) askOrigin() *origin {
	o := &origin{name: c.r.Header.Get("Origin")}
	if o.name == "" {
		return nil
	}
	own := auth.NewContext(c.r.Context(), auth.Identity{User: ".gateway", Role: auth.RoleResellerReader})
	in, err := c.g.Store.Stat(own, storage.Path{Account: c.path.Account, Container: c.path.Container})
	if err != nil {
		return o // a container that is not there, or not to be had, allows nothing
	}
	o.meta = in.Meta
	list := strings.Fields(in.Meta[metaAllowOrigin])
	o.any = len(list) == 1 && list[0] == "*"
	o.allowed = slices.Contains(list, o.name) || slices.Contains(list, "*")
	return o
}

// exposed is what every page may see of an answer besides metadata.
const exposed = "cache-control, content-language, content-type, expires, last-modified, pragma, etag, x-timestamp, x-trans-id, x-openstack-request-id"

// expose adds to an answer what lets the page see it.
func (o *origin) expose(c *call) {
	if !o.allowed || c.r.Method == http.MethodOptions {
		return
	}
	h := c.w.Header()
	list := []byte(exposed)
	var more []string
	for key := range h {
		if strings.HasPrefix(key, "X-Container-Meta") || strings.HasPrefix(key, "X-Object-Meta") {
			more = append(more, strings.ToLower(key))
		}
	}
	for _, key := range strings.Fields(o.meta[metaExposeHeaders]) {
		more = append(more, strings.ToLower(key))
	}
	slices.Sort(more)
	for _, key := range slices.Compact(more) {
		list = append(append(list, ", "...), key...)
	}
	c.set("Access-Control-Expose-Headers", string(list))
	if o.any {
		c.set("Access-Control-Allow-Origin", "*")
		return
	}
	c.set("Access-Control-Allow-Origin", o.name)
	c.vary("Origin")
}

// vary says that the answer would be another if this header were.
func (c *call) vary(header string) {
	if old := c.w.Header().Get("Vary"); old != "" {
		header = old + ", " + header
	}
	c.set("Vary", header)
}

// options answers OPTIONS: what can be done here and, to a browser, whether a
// page may do it.
func (c *call) options() error {
	methods := allowed
	if c.path.IsObject() {
		methods += ", COPY"
	}
	if c.origin == nil {
		c.set("Allow", methods)
		return c.done(http.StatusOK)
	}
	h := c.r.Header
	asked := h.Get("Access-Control-Request-Method")
	if !c.origin.allowed || !slices.Contains(strings.Split(methods, ", "), asked) {
		c.set("Allow", allowed)
		c.say(http.StatusUnauthorized, html, bare(http.StatusUnauthorized))
		return nil
	}
	c.set("Allow", methods)
	if c.origin.any {
		c.set("Access-Control-Allow-Origin", "*")
	} else {
		c.set("Access-Control-Allow-Origin", c.origin.name)
		c.vary("Origin")
	}
	if age := c.origin.meta[metaMaxAge]; age != "" {
		c.set("Access-Control-Max-Age", age)
	}
	c.set("Access-Control-Allow-Methods", methods)
	var headers []string
	for key := range strings.SplitSeq(joined(h["Access-Control-Request-Headers"]), ",") {
		if key = strings.TrimSpace(key); key != "" {
			headers = append(headers, key)
		}
	}
	if len(headers) > 0 {
		c.set("Access-Control-Allow-Headers", strings.Join(headers, ", "))
		c.vary("Access-Control-Request-Headers")
	}
	c.set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}
