package cdn

import (
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// hopByHop are fields that speak of one connection (RFC 9110, section 7.6.1).
var hopByHop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Http2-Settings": true, "Proxy-Authenticate": true,
	"Proxy-Authentication-Info": true, "Proxy-Authorization": true,
}

// endToEnd returns the fields of h that are not for one connection only. The
// slices are h's own.
func endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h)+2)
	for name, values := range h {
		if !hopByHop[name] && len(values) > 0 {
			out[name] = values
		}
	}
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			delete(out, textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t")))
		}
	}
	return out
}

// ownFields are those of requests that the cache makes itself, or that some
// origins believe and that no key contains: with them one client could have
// another be shown what he likes.
var ownFields = map[string]bool{
	"If-Match": true, "If-None-Match": true, "If-Modified-Since": true, "If-Unmodified-Since": true, "If-Range": true,
	"Range": true, "Surrogate-Capability": true, "Via": true, "Cdn-Loop": true, "Expect": true, "Max-Forwards": true, "Content-Length": true,
	"Forwarded": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true, "X-Forwarded-Scheme": true,
	"X-Forwarded-Port": true, "X-Forwarded-Prefix": true, "X-Forwarded-Server": true, "X-Forwarded-For": true,
	"X-Host": true, "X-Original-Url": true, "X-Rewrite-Url": true, "X-Original-Host": true,
	"X-Http-Method-Override": true, "X-Http-Method": true, "X-Method-Override": true,
}

// forwarded is the header that the origin sees of this request, conditions and
// ranges aside. Variants are told apart by it.
func (x *exchange) forwarded() http.Header {
	if x.fields != nil {
		return x.fields
	}
	all := endToEnd(x.r.Header)
	h := make(http.Header, len(all)+4)
	for name, values := range all {
		switch {
		case ownFields[name], strings.Contains(name, "_"): // which CGI takes for "-"
		case x.profile.Forward != nil && name != "Accept-Encoding" && !slices.Contains(x.profile.Forward, name):
		case name == "Accept-Encoding":
			h[name] = []string{"identity"}
			if v := acceptEncoding(values); v != "" {
				h[name][0] = v
			}
		default:
			h[name] = values
		}
	}
	x.fields = h
	return h
}

// request makes the request for the origin; the caller may change its header.
func (x *exchange) request(ctx context.Context, method string) *http.Request {
	u := x.profile.Upstream
	if u == nil {
		u = &url.URL{Scheme: scheme(x.r), Host: x.r.Host, Path: x.r.URL.Path, RawPath: x.r.URL.RawPath,
			RawQuery: x.r.URL.RawQuery, ForceQuery: x.r.URL.ForceQuery, Opaque: x.r.URL.Opaque}
		if x.r.URL.Host != "" {
			u.Opaque = "" // the absolute form names a host as well; Host is what counts
		}
	}
	if x.profile.Secret != nil {
		asked := *u
		asked.RawQuery = strings.TrimPrefix(asked.RawQuery+"&"+x.profile.Secret(), "&")
		u = &asked
	}
	h := make(http.Header, len(x.forwarded())+6)
	for name, values := range x.forwarded() {
		h[name] = values
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // or the transport would name itself
	}
	h["Via"] = append(slices.Clone(x.r.Header["Via"]), protocol(x.r)+" "+x.c.via)
	if x.profile.Key == "" {
		h["Surrogate-Capability"] = append(slices.Clone(x.r.Header["Surrogate-Capability"]), surrogate+`="Surrogate/1.0"`)
	}
	h["Cdn-Loop"] = append(slices.Clone(x.r.Header["Cdn-Loop"]), x.c.via)
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return r.WithContext(ctx)
}

func protocol(r *http.Request) string {
	if r.ProtoMajor >= 2 {
		return strconv.Itoa(r.ProtoMajor)
	}
	return strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor)
}

// loops says whether the request has been here before.
func (c *Cache) loops(r *http.Request) bool {
	for _, v := range r.Header["Cdn-Loop"] {
		for part := range strings.SplitSeq(v, ",") {
			id, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.Trim(id, " \t"), c.via) {
				return true
			}
		}
	}
	for _, v := range r.Header["Via"] {
		for part := range strings.SplitSeq(v, ",") {
			if f := strings.Fields(part); len(f) >= 2 && f[1] == c.via {
				return true
			}
		}
	}
	return false
}

// sound says whether the host of a request is one: a name or an address, with a
// port or without. What else is in it could mean one thing to the cache and
// another to the origin.
func soundHost(host string) bool {
	if host == "" || len(host) > 300 {
		return false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == ':', c == '_', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}
