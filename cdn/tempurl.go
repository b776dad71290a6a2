package cdn

import (
	"log/slog"
	"net/http"
	"time"
)

// A Ticket is what a signature in a URL grants: one object, to whoever has the
// URL, private or not.
type Ticket struct {
	// Until is when it is over.
	Until time.Time

	// Disposition is the Content-Disposition of the answer, where stored is that
	// of the object.
	Disposition func(stored string) string

	// Within says how far the key reaches that signed: what was fetched by one is
	// not shown to the holder of another that reaches less far.
	Within string

	// Fetch makes the query by which the edge itself is let in at the origin, for
	// the while that a request takes.
	Fetch func() string
}

// A Judge knows signatures. It reports whether the URL of a request has one at
// all; if so, a nil Ticket is one that is worth nothing. It is asked on every
// request, before what is kept is looked at.
type Judge func(r *http.Request, s *Site, object string) (t *Ticket, signed bool)

// Keys are the secrets that owners sign URLs with, of an account and of one
// container; empty ones are none. They travel to edges, and never into a log.
type Keys struct {
	Account   [2]string `json:"account,omitzero"`
	Container [2]string `json:"container,omitzero"`
}

// String hides them.
func (Keys) String() string { return "(keys)" }

// GoString hides them.
func (Keys) GoString() string { return "(keys)" }

// LogValue hides them.
func (Keys) LogValue() slog.Value { return slog.StringValue("(keys)") }

// lent are the keys that edges on other machines are given. A key that signs for
// reading signs for writing too, so they are those of containers whose owners
// say that these are for edges (X-Container-Meta-Cdn-Enabled), and none of an
// account.
func (s *Site) lent() Keys {
	if !s.Chosen {
		return Keys{}
	}
	return Keys{Container: s.Keys.Container}
}

// held reports whether an edge elsewhere may hold anything of the site.
func (s *Site) held() bool { return s.Open() || s.Enabled && s.lent() != (Keys{}) }

// admit judges the signature in the URL of a request, if it has one. It reports
// false if the request is answered: there is one, and it is worth nothing.
func (e *Edge) admit(w http.ResponseWriter, r *http.Request, s *Site, object string) (t *Ticket, ok bool) {
	if e.Judge == nil || r.URL.RawQuery == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, true
	}
	t, signed := e.Judge(r, s, object)
	if signed && t == nil {
		refuse(w, r, http.StatusUnauthorized, "The signature in this URL is not good, or not any more.")
		return nil, false
	}
	return t, true
}

// under is p for the holder of a ticket, nil for none.
func (p Profile) under(t *Ticket) Profile {
	if t == nil {
		return p
	}
	u := *p.Upstream
	u.RawQuery = "within=" + t.Within // which tells it from what anybody may have
	p.Upstream, p.Secret, p.Forward = &u, t.Fetch, []string{}
	p.Browser = 0
	until := []string{t.Until.UTC().Format(http.TimeFormat)}
	edit := p.Edit
	p.Edit = func(h http.Header) {
		if edit != nil {
			edit(h)
		}
		if h["Etag"] == nil { // nothing of the object: an error
			return
		}
		h["Content-Disposition"] = []string{t.Disposition(h.Get("Content-Disposition"))}
		h["Expires"], h["Cache-Control"] = until, privately
	}
	return p
}

// privately is what may be done with what was signed for: to keep it for who has
// the URL, until Expires, and for nobody else.
var privately = []string{"private"}
