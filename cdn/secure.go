package cdn

import (
	"net"
	"net/http"
	"strconv"
	"strings"
)

// insist has a browser come by HTTPS if the owner of the site wants it: now, by a
// redirect, and from now on, by what it is told to remember (RFC 6797). It
// reports whether the request is answered.
func (e *Edge) insist(w http.ResponseWriter, r *http.Request, s *Site) bool {
	if r.TLS != nil {
		if s.HSTS > 0 {
			w.Header()["Strict-Transport-Security"] = []string{"max-age=" + strconv.FormatInt(s.HSTS, 10)}
		}
		return false
	}
	if !s.Redirect || !s.Open() && s.Keys == (Keys{}) || e.SecurePort == "" || r.Method == "PURGE" {
		return false
	}
	host := plainHost(r.Host)
	if s.ID != "" && strings.HasSuffix(host, "."+s.ID+"."+e.domain()) {
		// One certificate covers the names of one label.
		host = strings.TrimSuffix(host, "."+s.ID+"."+e.domain()) + "-" + s.ID + "." + e.domain()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if e.SecurePort != "443" {
		host = net.JoinHostPort(strings.Trim(host, "[]"), e.SecurePort)
	}
	w.Header()["Location"] = []string{"https://" + host + r.URL.RequestURI()}
	refuse(w, r, http.StatusPermanentRedirect, "This is to be had by HTTPS.")
	return true
}
