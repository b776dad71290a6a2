package front

import (
	"io"
	"net"
	"net/http"
	"strings"
)

// A gate is what requests pass before the handler has them.
type gate struct{ s *Server }

var (
	retrySoon = []string{"1"}
	closes    = []string{"close"}
	noStore   = []string{"no-store"}
	plainText = []string{"text/plain; charset=utf-8"}
)

// ServeHTTP answers one request.
func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := g.s
	if src, ok := r.Context().Value(sourceKey{}).(*source); ok && !src.take(s.Limits.Requests) {
		w.Header()["Retry-After"] = retrySoon
		refuse(w, http.StatusTooManyRequests, "Too many requests.\n")
		return
	}
	if r.TLS != nil {
		if !s.speaksFor(r.TLS.ServerName, r.Host) {
			if r.ProtoMajor == 1 {
				w.Header()["Connection"] = closes
			}
			refuse(w, http.StatusMisdirectedRequest, "This connection is for another host.\n")
			return
		}
		if alt := s.altSvc.Load(); alt != nil && r.ProtoMajor < 3 {
			w.Header()["Alt-Svc"] = *alt
		}
	}
	s.Handler.ServeHTTP(s.pace(w, r), r)
}

// speaksFor reports whether a connection that was made for one name may ask for
// a host: for the name itself, and for what one certificate covers with it.
func (s *Server) speaksFor(name, host string) bool {
	if name == "" { // of a client that came by an address
		return true
	}
	host = bare(host)
	if strings.EqualFold(name, host) {
		return true
	}
	return s.Domain != "" && below(name, s.Domain) && below(host, s.Domain)
}

// bare is a host without its port and the dot that may end it.
func bare(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(host, ".")
}

// below reports whether a name is one label below a domain, as wildcards of
// certificates mean it, or the domain itself.
func below(name, domain string) bool {
	if len(name) <= len(domain) {
		return strings.EqualFold(name, domain)
	}
	label := name[:len(name)-len(domain)]
	return strings.EqualFold(name[len(label):], domain) && strings.IndexByte(label, '.') == len(label)-1
}

// refuse answers without the handler.
func refuse(w http.ResponseWriter, code int, text string) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = plainText, noStore
	w.WriteHeader(code)
	io.WriteString(w, text)
}
