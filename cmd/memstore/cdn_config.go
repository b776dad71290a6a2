package main

import (
	"net"
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
	if c.TTL < 0 || c.TTL > 365*24*time.Hour {
		bad("cdn.ttl", "%v is not between 0 and a year", c.TTL)
	}
}
