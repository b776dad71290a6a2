package cdn

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Metadata of a container that its owner, by any Swift client, rules the edge
// with.
const (
	headerRead    = "X-Container-Read"
	headerEnabled = "X-Container-Meta-Cdn-Enabled"
	headerTTL     = "X-Container-Meta-Cdn-Ttl"
	headerBrowser = "X-Container-Meta-Cdn-Browser-Ttl"
	headerLogs    = "X-Container-Meta-Cdn-Log-Retention"
	headerQuery   = "X-Container-Meta-Cdn-Query"
	headerDomains = "X-Container-Meta-Cdn-Domains"
	headerHTTPS   = "X-Container-Meta-Cdn-Https"
	headerHSTS    = "X-Container-Meta-Cdn-Hsts"
	headerRules   = "X-Container-Meta-Cdn-Rules" // and those that begin so, with a hyphen behind it
	headerIndex   = "X-Container-Meta-Web-Index"
	headerError   = "X-Container-Meta-Web-Error"
	headerList    = "X-Container-Meta-Web-Listings"
	headerCSS     = "X-Container-Meta-Web-Listings-Css"
	headerOrigins = "X-Container-Meta-Access-Control-Allow-Origin"
	headerExpose  = "X-Container-Meta-Access-Control-Expose-Headers"
	headerMaxAge  = "X-Container-Meta-Access-Control-Max-Age"
)

// maxTTL is the longest lifetime, a year: what Rackspace allowed, and as long
// as HTTP recommends.
const maxTTL = 31536000

// ReadSite decodes what the owner of a container has set in its metadata, by
// canonical names of headers. What is not said is in s already: who the
// container is, and the operator's TTL. What makes no sense is passed over, as
// whoever set it was told that it is metadata like any other.
//
// A container whose owner says nothing of the CDN is enabled if it is public.
func ReadSite(s Site, meta map[string]string) Site {
	for item := range strings.SplitSeq(meta[headerRead], ",") {
		if who, ok := strings.CutPrefix(strings.TrimSpace(item), ".r:"); ok && who != "" {
			s.Readers = append(s.Readers, who)
		}
	}
	s.Enabled = true
	if v, ok := meta[headerEnabled]; ok {
		s.Enabled = truth(v)
		s.Chosen = s.Enabled
	}
	if n, ok := lifetime(meta[headerTTL]); ok {
		s.TTL = n
	}
	s.Browser = s.TTL
	if n, ok := lifetime(meta[headerBrowser]); ok {
		s.Browser = n
	}
	s.Index, s.Error, s.CSS = meta[headerIndex], meta[headerError], meta[headerCSS]
	s.Listings = truth(meta[headerList])
	s.Logs = truth(meta[headerLogs])
	s.KeepQuery = strings.EqualFold(strings.TrimSpace(meta[headerQuery]), "keep")
	s.CORS.Origins = strings.Fields(meta[headerOrigins])
	s.CORS.Expose = strings.Fields(strings.ToLower(meta[headerExpose]))
	s.CORS.MaxAge = meta[headerMaxAge]
	for _, d := range strings.FieldsFunc(meta[headerDomains], func(r rune) bool { return r == ',' || r == ' ' }) {
		s.Domains = append(s.Domains, strings.TrimSuffix(strings.ToLower(d), "."))
	}
	s.Redirect = strings.EqualFold(strings.TrimSpace(meta[headerHTTPS]), "redirect")
	if n, ok := lifetime(meta[headerHSTS]); ok {
		s.HSTS = n
	}
	var lists []string
	for name := range meta {
		if name == headerRules || strings.HasPrefix(name, headerRules+"-") {
			lists = append(lists, name)
		}
	}
	slices.Sort(lists)
	for _, name := range lists {
		s.Rules = append(s.Rules, ParseRules(meta[name])...)
	}
	return s
}

// A Rule is what holds for the objects whose names match a pattern, instead of
// what holds for the container. The first that matches counts.
type Rule struct {
	// Pattern is a name in which "*" stands for any bytes and "?" for one. One
	// without a slash is matched with what follows the last slash of a name.
	Pattern string `json:"pattern"`

	TTL     *int64 `json:"ttl,omitempty"`     // in seconds
	Browser *int64 `json:"browser,omitempty"` // in seconds
	NoStore bool   `json:"no_store,omitempty"`
}

// ParseRules reads rules, parted by semicolons, each a pattern and what holds
// for it:
//
//	*.jpg ttl=86400 browser=3600; live/* no-store
//
// A rule that says nothing that is known is passed over.
func ParseRules(text string) []Rule {
	var rules []Rule
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) < 2 {
			continue
		}
		r, said := Rule{Pattern: strings.TrimPrefix(words[0], "/")}, false
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(strings.ToLower(word), "=")
			n, ok := lifetime(value)
			switch {
			case name == "no-store":
				r.NoStore = true
			case name == "ttl" && ok:
				r.TTL = &n
			case name == "browser" && ok:
				r.Browser = &n
			default:
				continue
			}
			said = true
		}
		if said {
			rules = append(rules, r)
		}
	}
	return rules
}

// rule is the one that holds for an object, nil for none.
func (s *Site) rule(object string) *Rule {
	for i := range s.Rules {
		r := &s.Rules[i]
		name := object
		if !strings.Contains(r.Pattern, "/") {
			name = path.Base("/" + object)
		}
		if match(r.Pattern, name) {
			return r
		}
	}
	return nil
}

// match reports whether a name is what a pattern describes, in time that grows
// with the product of their lengths at worst.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0 // the last "*", and where the name was then
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// lifetime reads seconds, at most a year.
func lifetime(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return min(n, maxTTL), err == nil && n >= 0
}

// truth reads a value that says yes or no, as Swift has them.
func truth(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	}
	return false
}
