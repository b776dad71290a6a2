package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"memstore.dev/memstore/ftp"
)

// How the configuration calls when FTP clients must speak TLS.
var ftpRequirements = map[string]ftp.Requirement{
	"passwords": ftp.RequireForPasswords, "always": ftp.RequireAlways, "never": ftp.RequireNever,
}

// checkFiles judges the settings of the file doors.
func (l *Loaded) checkFiles(bad func(name, format string, args ...any)) {
	judge := func(name string, err error) {
		if err != nil {
			bad(name, "%v", err)
		}
	}
	if _, ok := ftpRequirements[l.FTP.TLS]; !ok {
		bad("ftp.tls", "%q is none of %s", l.FTP.TLS, strings.Join(slices.Sorted(maps.Keys(ftpRequirements)), ", "))
	}
	if (l.FTP.Certificate == "") != (l.FTP.Key == "") {
		bad("ftp.certificate", "certificate and key must be set together")
	}
	_, err := parsePorts(l.FTP.Passive)
	judge("ftp.passive", err)
	_, err = parsePublicFor(l.FTP.PublicFor)
	judge("ftp.public_for", err)
	_, err = l.FTP.Proxies.Prefixes()
	judge("ftp.proxies", err)
	_, err = l.SFTP.Proxies.Prefixes()
	judge("sftp.proxies", err)
	if l.Partial < 0 {
		bad("partial", "must not be negative")
	}
	for _, limit := range []struct {
		name string
		n    int64
	}{
		{"ftp.idle", int64(l.FTP.Idle)}, {"ftp.stalled", int64(l.FTP.Stalled)}, {"ftp.max_connections", int64(l.FTP.MaxConnections)},
		{"ftp.max_per_address", int64(l.FTP.MaxPerAddress)}, {"ftp.max_per_user", int64(l.FTP.MaxPerUser)},
		{"sftp.idle", int64(l.SFTP.Idle)}, {"sftp.max_connections", int64(l.SFTP.MaxConnections)},
		{"sftp.max_per_address", int64(l.SFTP.MaxPerAddress)}, {"sftp.max_per_user", int64(l.SFTP.MaxPerUser)},
	} {
		if limit.n < 0 {
			bad(limit.name, "must not be negative; 0 is no limit")
		}
	}
}

// parsePorts reads "50000-50100"; an empty range is any port.
func parsePorts(s string) (ftp.PortRange, error) {
	if s == "" {
		return ftp.PortRange{}, nil
	}
	first, last, ok := strings.Cut(s, "-")
	a, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if !ok || err != nil || err2 != nil || a < 1 || a > b {
		return ftp.PortRange{}, fmt.Errorf("%q is not a range of ports such as 50000-50100", s)
	}
	return ftp.PortRange{First: int(a), Last: int(b)}, nil
}

// parsePublicFor reads "10.0.0.0/8=10.0.0.5, 192.168.0.0/16=": which address to
// tell to whom.
func parsePublicFor(s string) (map[netip.Prefix]string, error) {
	list := map[netip.Prefix]string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		network, address, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form network=address", part)
		}
		p, err := parseNetwork(strings.TrimSpace(network))
		if err != nil {
			return nil, err
		}
		if _, twice := list[p]; twice {
			return nil, fmt.Errorf("%s is given twice", p)
		}
		list[p] = strings.TrimSpace(address)
	}
	return list, nil
}
