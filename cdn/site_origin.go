package cdn

import (
	"net/http"
	"net/url"
	"strings"
)

// Where a Memstore keeps what the edge asks it for, as a stranger would.
const originPath = "/v1/"

// siteOrigin makes what a Memstore answers fit to be kept, on its way into the
// cache: so it is done once and not for each request.
type siteOrigin struct{ http.RoundTripper }

// private are headers that are about the request that fetched, or about the
// store, and mean nothing to a browser.
var private = []string{
	"X-Trans-Id", "X-Openstack-Request-Id", "X-Storage-Policy", "Www-Authenticate",
	"X-Container-Object-Count", "X-Container-Bytes-Used", "X-Container-Read",
}

// RoundTrip asks the origin.
func (o siteOrigin) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header["If-None-Match"] != nil && r.Header["If-Modified-Since"] != nil {
		// Swift answers 304 if either says so, and a second is long enough for
		// two versions of an object. The tag alone is right.
		r = r.Clone(r.Context())
		r.Header.Del("If-Modified-Since")
	}
	resp, err := o.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	h := resp.Header
	for _, name := range private {
		h.Del(name)
	}
	if tag := h.Get("Etag"); tag != "" && !strings.HasSuffix(tag, `"`) {
		h.Set("Etag", `"`+tag+`"`) // Swift's are bare, which HTTP does not know
	}
	if l := h.Get("Location"); l != "" {
		h.Set("Location", withinSite(l, r.URL.Path))
	}
	if (h.Get("X-Object-Manifest") != "" || h.Get("Content-Location") != "") && h.Get("Cdn-Cache-Control") == "" {
		// Its bytes are those of other objects, whose changes are not its own.
		h.Set("Cdn-Cache-Control", "no-cache")
	}
	if strings.Contains(r.URL.RawQuery, "temp_url_sig=") {
		h.Del("Expires") // of the signature that it was fetched by
	}
	h.Del("Content-Location") // of the store, which nobody here can reach
	return resp, nil
}

// withinSite is where a redirect leads as a path within the container, of which
// the request was; one that leads elsewhere stays.
func withinSite(location, asked string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	rest, ok := strings.CutPrefix(asked, originPath)
	account, rest, ok2 := strings.Cut(rest, "/")
	container, _, _ := strings.Cut(rest, "/")
	root := originPath + account + "/" + container
	if !ok || !ok2 || !strings.HasPrefix(u.Path, root+"/") {
		return location
	}
	u.Scheme, u.Host = "", ""
	u.Path, u.RawPath = u.Path[len(root):], ""
	if strings.HasPrefix(u.Path, "//") {
		u.Path = "/." + u.Path // or what follows would be a host
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).RequestURI()
}
