package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"memstore.dev/memstore/gateway"
)

// fillSwift sets in g what the settings beneath "swift" say. Where one of them cannot
// be, bad is told its name and why.
func (c *Config) fillSwift(g *gateway.Config, bad func(name, format string, args ...any)) {
	s := &c.Swift
	g.Digests = list(s.Digests)
	for _, digest := range g.Digests {
		if !slices.Contains([]string{"sha1", "sha256", "sha512"}, digest) {
			bad("swift.digests", "%q is none of sha1, sha256, sha512", digest)
		}
	}
	g.Policies, g.ReadOnly, g.CrossDomain, g.InfoKey = list(s.Policies), s.ReadOnly, s.CrossDomain, string(s.InfoKey)
	for i, name := range g.Policies {
		if !policyName.MatchString(name) {
			bad("swift.policies", "%q is to be part of a header's name: letters, digits and hyphens", name)
		}
		if slices.ContainsFunc(g.Policies[:i], func(other string) bool { return strings.EqualFold(name, other) }) {
			bad("swift.policies", "%q is there twice", name)
		}
	}
	g.SyncHosts = list(s.SyncHosts)
	if domains := list(s.Domains); len(domains) > 0 {
		g.Hosts = &gateway.Hosts{Domains: domains, Exempt: []string{"localhost", "memstore"}} // the latter is who the edge in this process asks
		if u, err := url.Parse(c.Gateway.URL); err == nil && u.Hostname() != "" {
			g.Hosts.Exempt = append(g.Hosts.Exempt, u.Hostname())
		}
		if s.Aliases {
			g.Hosts.Resolve = gateway.DNS
		}
	} else if s.Aliases {
		bad("swift.aliases", "aliases of what, if swift.domains is empty?")
	}
	g.RateLimits.Containers, g.RateLimits.MaxWait = float64(s.ContainerRate), s.RateWait
	if s.ContainerRate < 0 || s.RateWait < 0 {
		bad("swift.container_rate", "rates and waits must not be negative")
	}
	var err error
	if g.RateLimits.Objects, err = sizeRates(s.ObjectRates); err != nil {
		bad("swift.object_rates", "%v", err)
	}
	if g.RateLimits.Listings, err = sizeRates(s.ListingRates); err != nil {
		bad("swift.listing_rates", "%v", err)
	}
	if s.ForbiddenCharacters == "" && s.ForbiddenPattern == "" {
		return
	}
	g.Names = &gateway.NameRules{Characters: s.ForbiddenCharacters}
	if s.ForbiddenPattern != "" {
		if g.Names.Pattern, err = regexp.Compile(s.ForbiddenPattern); err != nil {
			bad("swift.forbidden_pattern", "%v", err)
		}
	}
}

// policyName is what a storage policy may be called.
var policyName = regexp.MustCompile(`^[0-9A-Za-z-]+$`)

// list parts what has commas between.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// sizeRates reads rates such as "100000=100, 1000000=20".
func sizeRates(s string) ([]gateway.SizeRate, error) {
	var rates []gateway.SizeRate
	for _, item := range list(s) {
		size, rate, _ := strings.Cut(item, "=")
		n, err1 := strconv.ParseInt(strings.TrimSpace(size), 10, 64)
		r, err2 := strconv.ParseFloat(strings.TrimSpace(rate), 64)
		if err1 != nil || err2 != nil || n < 0 || r <= 0 {
			return nil, fmt.Errorf("%q is not objects=rate, as in 100000=100", item)
		}
		rates = append(rates, gateway.SizeRate{Objects: n, Rate: r})
	}
	if !slices.IsSortedFunc(rates, func(a, b gateway.SizeRate) int { return int(a.Objects - b.Objects) }) {
		return nil, fmt.Errorf("the numbers of objects must rise")
	}
	return rates, nil
}
