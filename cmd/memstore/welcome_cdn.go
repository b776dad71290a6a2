package main

import (
	"net"
	"net/url"
)

// cdnTrials are the trials of the CDN's door, if it is open where containers
// can be named by paths: elsewhere each has a host name of its own, which the
// DNS of whoever pastes may not know yet.
func (m welcome) cdnTrials(account string) []trial {
	u, err := url.Parse(m.CDN)
	if m.CDN == "" || err != nil {
		return nil
	}
	if host, _, _ := net.SplitHostPort(u.Host); !isLoopback(host) {
		return nil
	}
	curl := "curl -sf "
	if u.Scheme == "https" { // a certificate that is made for other names
		curl = "curl -sf --insecure "
	}
	return []trial{{"the CDN, where everybody may fetch what is in a public container", []string{
		"swift upload memstore-demo-cdn memstore-demo.txt",
		"swift post --read-acl '.r:*' memstore-demo-cdn",
		curl + m.CDN + "/AUTH_" + account + "/memstore-demo-cdn/memstore-demo.txt",
		"swift delete memstore-demo-cdn",
	}}}
}
