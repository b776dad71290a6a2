package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// jsonManifest is the type a manifest is sent as.
const jsonManifest = "application/json; charset=utf-8"

// manifestParam is the parameter by which a request is about the manifest of a
// large object: "get", "put" or "delete", or "" if it is about the whole.
func (c *call) manifestParam() string {
	if c.r.URL.RawQuery == "" {
		return ""
	}
	v, _ := param(c.r.URL.RawQuery, "multipart-manifest")
	return v
}

// asAsked has what follows see objects as they are stored, if the request asks
// for the manifest, and links as links, if it asks for those, and the version
// that it asks for.
func (c *call) asAsked() {
	if c.manifestParam() == "get" {
		c.ctx = storage.AsStored(c.ctx)
	}
	if c.aboutLink() {
		c.ctx = storage.Unfollowed(c.ctx)
	}
	if id := c.versionParam(); id != "" {
		c.ctx = storage.OfVersion(c.vouched(), id)
	}
}

// describeLarge sets the headers that tell that an object is a large one.
func (c *call) describeLarge(in *storage.Info) {
	switch {
	case in.Large != nil:
		c.set("Etag", `"`+in.ETag+`"`)
		if in.Large.Static {
			c.set("X-Static-Large-Object", "True")
			c.set("X-Manifest-Etag", in.Large.ManifestETag)
		}
	case in.IsManifest():
		c.set("X-Static-Large-Object", "True")
		c.set("Content-Type", jsonManifest)
	}
}

// checkLarge refuses headers by which nobody makes a large object.
func checkLarge(h http.Header) error {
	if h["X-Static-Large-Object"] != nil {
		return &refusal{status: http.StatusBadRequest, text: "X-Static-Large-Object is a reserved header. " +
			"To create a static large object add query param multipart-manifest=put."}
	}
	return nil
}

// checkDynamic refuses an X-Object-Manifest that points nowhere.
func checkDynamic(h http.Header) error {
	values := h[storage.MetaManifest]
	if values == nil {
		return nil
	}
	v := joined(values)
	container, prefix, _ := strings.Cut(v, "/")
	if container == "" || prefix == "" || strings.ContainsAny(v, "?&") || prefix[0] == '/' {
		return &refusal{status: http.StatusBadRequest, text: "X-Object-Manifest must be in the format container/prefix"}
	}
	return nil
}

// getRaw answers with the manifest of a static large object in the form in which
// clients put one.
func (c *call) getRaw() (answered bool, err error) {
	if v, _ := param(c.r.URL.RawQuery, "format"); v != "raw" || c.manifestParam() != "get" {
		return false, nil
	}
	segments, in, err := c.g.Store.Manifest(c.ctx, c.path)
	if err != nil {
		return false, nil // what is no manifest is sent as always, and errors are found again
	}
	if status := judge(c.r.Header, &in); status != 0 {
		return true, c.answerCondition(status, &in)
	}
	text := rawManifest(segments)
	kind := in.Type
	in.Large, in.ETag = nil, md5Hex(text)
	c.describe(&in)
	c.set("Content-Type", kind)
	c.set("Content-Length", strconv.Itoa(len(text)))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method != http.MethodHead {
		_, err = c.w.Write(text)
	}
	return true, storage.Wrap("get", c.path, err)
}
