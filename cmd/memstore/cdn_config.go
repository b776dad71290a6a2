package main

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// domainName is a name that others can be below.
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// checkCDN judges the settings of the CDN.
func (l *Loaded) checkCDN(bad func(name, format string, args ...any)) {
	c := &l.CDN
	host, port := c.Domain, ""
	if strings.Contains(c.Domain, ":") {
		var err error
		if host, port, err = net.SplitHostPort(c.Domain); err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			bad("cdn.domain", "%q has no port between 0 and 65535 behind its colon", c.Domain)
		}
	}
	if c.Domain != "" && (!domainName.MatchString(host) || net.ParseIP(host) != nil) {
		bad("cdn.domain", "%q is not a domain in lower case such as cdn.example.com", c.Domain)
	}
	if strings.ContainsAny(c.Name, " ,;\"()\t") {
		bad("cdn.name", "%q must be one word", c.Name)
	}
	if c.Memory < 1<<20 {
		bad("cdn.memory", "%v is less than 1MiB", c.Memory)
	}
	if c.Disk < 64<<20 {
		bad("cdn.disk", "%v is less than 64MiB", c.Disk)
	}
	if (c.Certificate == "") != (c.Key == "") {
		bad("cdn.certificate", "a certificate and its key come together: set both cdn.certificate and cdn.key")
	}
	if u, err := url.Parse(c.ACME); c.ACME != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		bad("cdn.acme", "%q is not the https URL of an ACME directory", c.ACME)
	}
	if c.ACME != "" && c.Secure == "" {
		bad("cdn.acme", "certificates are of no use without cdn.secure")
	}
	if c.Requests < 0 {
		bad("cdn.requests", "%d is less than 0", c.Requests)
	}
	if c.Slowest < 1 {
		bad("cdn.slowest", "%v is less than 1", c.Slowest)
	}
	if c.LogEvery < time.Minute || c.LogEvery > time.Hour {
		bad("cdn.log_every", "%v is not between a minute and an hour", c.LogEvery)
	}
	if c.TTL < 0 || c.TTL > 365*24*time.Hour {
		bad("cdn.ttl", "%v is not between 0 and a year", c.TTL)
	}
}
