package cdn

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// understood are the statuses whose meaning for a cache is known here, which
// must-understand asks for (RFC 9111, section 5.2.2.3).
var understood = map[int]bool{
	200: true, 203: true, 204: true, 206: true, 300: true, 301: true, 302: true, 303: true, 307: true, 308: true,
	400: true, 401: true, 403: true, 404: true, 405: true, 410: true, 414: true, 451: true,
	500: true, 501: true, 502: true, 503: true, 504: true,
}

// heuristic are the statuses that may be reused without anybody having said for
// how long (RFC 9110, section 15.1); negative are those of them that say no.
var (
	heuristic = map[int]bool{200: true, 203: true, 204: true, 206: true, 300: true, 301: true, 308: true,
		404: true, 405: true, 410: true, 414: true, 501: true}
	negative = map[int]bool{404: true, 405: true, 410: true, 414: true, 501: true}
)

// maxHeuristic is the longest lifetime that is made up.
const maxHeuristic = 24 * time.Hour

// storable says whether the response to a GET may be stored at all (RFC 9111,
// section 3). Whether it is also worth it, its lifetime tells.
func (r *response) storable(request http.Header, p *Profile) bool {
	d := &r.directives
	switch {
	case r.status < 200, r.status == 206 && r.piece == nil, r.status == 304:
		return false
	case r.status == http.StatusRequestedRangeNotSatisfiable:
		return false // it is about the range, which may be one that the cache made up
	case d.mustUnderstand && !understood[r.status]:
		return false
	case d.noStore && !d.mustUnderstand, d.private:
		return false
	case varyAll(r.header["Vary"]):
		return false
	case request.Get("Authorization") != "" && !d.public && !d.mustRevalidate && d.sMaxAge < 0:
		return false
	case len(request["Cache-Control"]) > 0 && parseDirectives(request["Cache-Control"]).noStore:
		return false
	}
	if r.explicit != unset || d.public || d.noCache {
		return r.explicit > 0 || r.validates() || d.public && r.explicit == unset && heuristicLife(r, p) > 0
	}
	if r.header["Set-Cookie"] != nil || !heuristic[r.status] {
		return false // nobody said that it is for others, too
	}
	return r.validates() || r.life(p) > 0 || p.Live != nil && (p.Negative >= 0 || !negative[r.status])
}

// validates says whether the origin can be asked if the response still holds.
func (r *response) validates() bool {
	return r.etag != "" || !r.modified.IsZero()
}

// explicitLife is how long a response says that it is fresh, or unset.
func explicitLife(h http.Header, d *directives, targeted bool, date time.Time) time.Duration {
	switch {
	case d.sMaxAge != unset:
		return d.sMaxAge
	case d.maxAge != unset:
		return d.maxAge
	case targeted || len(h["Expires"]) == 0:
		return unset
	}
	expires, err := parseTime(h["Expires"][0])
	if err != nil || len(h["Expires"]) > 1 && h["Expires"][1] != h["Expires"][0] {
		return 0 // RFC 9111, section 5.3: an invalid date has passed
	}
	return max(expires.Sub(date), 0)
}

// life is how long the response is fresh, by what it says or else by p.
func (r *response) life(p *Profile) time.Duration {
	if r.explicit != unset {
		return r.explicit
	}
	return heuristicLife(r, p)
}

func heuristicLife(r *response, p *Profile) time.Duration {
	switch {
	case negative[r.status] && p.Negative != 0:
		return max(p.Negative, 0)
	case !heuristic[r.status] && !r.directives.public:
		return 0
	case p.TTL > 0 && !negative[r.status]:
		return p.TTL
	case r.modified.IsZero():
		return 0
	}
	return min(max(r.date.Sub(r.modified)/10, 0), maxHeuristic)
}

// age is how old the response is, at its origin (RFC 9111, section 4.2.3).
func (r *response) age(now time.Time) time.Duration {
	return r.age0 + max(now.Sub(r.received), 0)
}

// initialAge is the age of a response when it was received.
func initialAge(h http.Header, date, began, received time.Time) time.Duration {
	apparent := max(received.Sub(date), 0)
	return max(apparent, ageValue(h["Age"])+received.Sub(began))
}

// ageValue reads Age. Of several members the first counts; what is no number is
// none.
func ageValue(values []string) time.Duration {
	if len(values) == 0 {
		return 0
	}
	v, _, _ := strings.Cut(values[0], ",")
	return max(seconds(strings.Trim(v, " \t")), 0)
}

// parseTime reads a date of HTTP in any of its three forms. They have fixed
// places, so what time.Parse lets pass beyond them is no date; the case of the
// zone is let pass, as that of the names is.
func parseTime(s string) (time.Time, error) {
	t, err := http.ParseTime(s)
	switch {
	case len(s) == len(http.TimeFormat):
		if err != nil && strings.EqualFold(s[26:], "GMT") {
			t, err = http.ParseTime(s[:26] + "GMT")
		}
		if err == nil && s[19] != ':' { // an hour of one digit moves what follows
			err = errDate
		}
	case err == nil && strings.HasSuffix(s, "GMT") && strings.Contains(s[:6], ", "):
		err = errDate // none of the other forms begins so
	}
	return t, err
}

var errDate = errors.New("cdn: no date of HTTP")

// A use is what may be done with a response that is kept.
type use int

const (
	useNot      use = iota // it is as if it were not there
	useValidate            // ask the origin first; staleOnError says what if that fails
	useRefresh             // answer with it, and fetch a new one behind that
	useStale               // answer with it: the client takes stale ones
	useFresh               // answer with it
)

// judge says what may be done with a response for this request.
func (x *exchange) judge(r *response, softened bool) (u use, staleOnError bool) {
	p, now := x.profile, x.now
	if !r.expires.IsZero() && !now.Before(r.expires) {
		return useNot, false
	}
	verdict := x.c.gens.judge(r.born, p.Scopes, p.Key)
	if p.Composed != "" && r.header["X-Static-Large-Object"] != nil {
		verdict = max(verdict, x.c.gens.judge(r.born, []string{p.Composed}, p.Key))
	}
	switch verdict {
	case genGone:
		return useNot, false
	case genStale:
		softened = true
	}
	d := &r.directives
	age, life := r.age(now), r.life(p)
	x.age, x.life = age, life
	strict := d.mustRevalidate || d.proxyAlike || d.noCache
	late := age - life
	staleOnError = !strict && allowed(d.ifError, p.StaleIfError, d.sMaxAge != unset, late)
	if d.noCache {
		return useValidate, false
	}
	live := p.Live != nil && p.Live()
	if live && r.explicit != 0 && !softened {
		x.live = age >= life
		return useFresh, staleOnError
	}
	q := &x.directives
	switch {
	case softened:
		return useValidate, staleOnError
	case q.noCache, q.maxAge != unset && age > q.maxAge && !(q.maxStale != unset && age-q.maxAge <= q.maxStale && late < 0):
		x.asked = true
		return useValidate, staleOnError
	case q.minFresh != unset && life-age < q.minFresh:
		x.asked = true
		return useValidate, staleOnError
	case late < 0:
		return useFresh, staleOnError
	case strict:
		return useValidate, false
	case q.maxStale != unset && d.sMaxAge == unset && late <= q.maxStale:
		return useStale, staleOnError
	case allowed(d.whileRevalidate, p.StaleWhileRevalidate, d.sMaxAge != unset, late):
		return useRefresh, staleOnError
	}
	return useValidate, staleOnError
}

// allowed says whether a response that is late may be served by what it says
// itself, or else by a default. The default yields to s-maxage, which forbids
// it where nothing else is said (RFC 9111, section 5.2.2.10).
func allowed(said, otherwise time.Duration, sMaxAge bool, late time.Duration) bool {
	switch {
	case said != unset:
		return late <= said
	case sMaxAge:
		return late < 0
	}
	return late <= otherwise && otherwise > 0
}
