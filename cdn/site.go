package cdn

import (
	"net/url"
	"slices"
	"strings"
)

// A Site is a container as the edge knows it: what its owner has set, decoded
// from the container's metadata by ReadSite. It travels as JSON from a Memstore
// to the edges on other machines.
type Site struct {
	Account   string `json:"account"` // the storage account, "AUTH_ann"
	Container string `json:"container"`
	ID        string `json:"id,omitempty"` // the account's short name in host names
	Version   uint64 `json:"version"`      // of the metadata that this was read from

	// Enabled says whether the container is to be had here at all.
	Enabled bool `json:"enabled"`

	// Readers are the ".r:" items of the container's read access control list in
	// their order, without that prefix: "*", "example.com", ".example.com",
	// "-bad.example.com". None makes the container private.
	Readers []string `json:"readers,omitempty"`

	// TTL is how long an edge that cannot hear of changes reuses an object that
	// says nothing itself; Browser is what browsers are told. In seconds.
	TTL     int64 `json:"ttl"`
	Browser int64 `json:"browser"`

	Index    string `json:"index,omitempty"`    // name of the page of a directory
	Error    string `json:"error,omitempty"`    // what follows the status in names of error pages
	Listings bool   `json:"listings,omitempty"` // directories without an index are listed
	CSS      string `json:"css,omitempty"`      // of the listings

	CORS      CORS     `json:"cors,omitzero"`
	KeepQuery bool     `json:"keep_query,omitempty"` // the query tells one answer from another
	Rules     []Rule   `json:"rules,omitempty"`
	Domains   []string `json:"domains,omitempty"` // host names of the owner's own

	Redirect bool  `json:"redirect,omitempty"` // to HTTPS, where that is spoken
	HSTS     int64 `json:"hsts,omitempty"`     // for how long browsers are to come by HTTPS only, in seconds
	Keys     Keys  `json:"keys,omitzero"`      // for signed URLs
	Chosen   bool  `json:"chosen,omitempty"`   // the owner says himself that it is enabled
	Logs     bool  `json:"logs,omitempty"`     // access logs are wanted
}

// CORS says which pages of other sites may use what a browser fetches here.
type CORS struct {
	Origins []string `json:"origins,omitempty"` // "*" is any
	Expose  []string `json:"expose,omitempty"`  // headers, in lower case
	MaxAge  string   `json:"max_age,omitempty"` // of a preflight, in seconds
}

// Open reports whether anybody may read the site here.
func (s *Site) Open() bool { return s.Enabled && len(s.Readers) > 0 }

// Everybody reports whether the site is for all, whatever page they come from.
func (s *Site) Everybody() bool { return len(s.Readers) == 1 && s.Readers[0] == "*" }

// Admits reports whether the site is for who comes from the page with this URL,
// which may be empty. As in Swift the last item that fits counts.
func (s *Site) Admits(page string) bool {
	if s.Everybody() {
		return true
	}
	host, allowed := "unknown", false
	if u, err := url.Parse(page); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	for _, item := range s.Readers {
		want, deny := strings.CutPrefix(item, "-")
		switch {
		case want == "*" && !deny:
			allowed = true
		case fits(host, want):
			allowed = !deny
		}
	}
	return allowed
}

// fits reports whether a host is the one wanted, or within the domain that is
// wanted with a leading dot.
func fits(host, want string) bool {
	if want == "" {
		return false
	}
	if len(host) > len(want) && want[0] == '.' {
		host = host[len(host)-len(want):]
	}
	return strings.EqualFold(host, want)
}

// allows reports whether pages of an origin may use the site, and whether those
// of any may.
func (c *CORS) allows(origin string) (ok, any bool) {
	any = len(c.Origins) == 1 && c.Origins[0] == "*"
	return any || slices.Contains(c.Origins, origin) || slices.Contains(c.Origins, "*"), any
}

// Scopes are what purges name. Every key is in that of everything, of its
// account and of its container.
const everything = "*"

// composedScope is that of the static large objects of an account. Their
// segments may be in any of its containers.
func composedScope(account string) string { return account + "//" }

func containerScope(account, container string) string { return account + "/" + container }

// keyOf names an object in the cache. An account has no slash in its name, and
// neither has a container.
func keyOf(account, container, object string) string { return account + "/" + container + "/" + object }
