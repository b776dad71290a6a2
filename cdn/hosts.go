package cdn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Ref is what a URL says about which container it means.
type Ref struct {
	Account string // the storage account, or "" if ID says which
	ID      string // the account's short name

	// Container is the container's name or, where it came from a host name, its
	// Label.
	Container string
}

// Label is what a container is called in host names: its own name if that can be
// one, with room for the account's behind it, else 32 hexadecimal digits. A
// container whose name is such digits goes before one whose label they are.
func Label(account, container string) string {
	if len(container) <= 54 && isLabel(container) {
		return container
	}
	sum := sha256.Sum256([]byte("memstore cdn container\x00" + account + "/" + container))
	return hex.EncodeToString(sum[:16])
}

// isLabel reports whether a name can be a label of a host name. Host names do
// not tell upper case from lower.
func isLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// Hashed reports whether a label may be one that Label made up.
func Hashed(label string) bool { return len(label) == 32 && isHex(label) }

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// parseHost reads a host name below the CDN's domain:
//
//	CONTAINER.ID.DOMAIN
//	CONTAINER-ID.DOMAIN    one label, which one wildcard certificate covers
//
// Both are in lower case.
func parseHost(host, domain string) (Ref, bool) {
	name, ok := strings.CutSuffix(host, "."+domain)
	if !ok || len(name) < 10 {
		return Ref{}, false
	}
	i := len(name) - 9
	if (name[i] != '.' && name[i] != '-') || !isHex(name[i+1:]) {
		return Ref{}, false
	}
	ref := Ref{ID: name[i+1:], Container: name[:i]}
	if !isLabel(ref.Container) {
		return Ref{}, false
	}
	return ref, true
}

// plainHost is a host as names are compared: lower case, without a port and the
// dot that may end it.
func plainHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	for i := range len(host) {
		if 'A' <= host[i] && host[i] <= 'Z' {
			return strings.ToLower(host)
		}
	}
	return host
}

// byPath reports whether URLs with this host name containers by their paths:
// on the machine itself, and by the bare name of the CDN.
func byPath(host, domain string) bool {
	if host == domain || host == "localhost" || host == "" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// parsePath reads a path that names the container, "/AUTH_ann/pics/cat.jpg" or
// with the account's short name. root is what in it names the container.
func parsePath(path string) (ref Ref, root, object string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	account, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return Ref{}, "", "", false
	}
	container, object, _ := strings.Cut(rest, "/")
	if account == "" || container == "" {
		return Ref{}, "", "", false
	}
	ref = Ref{Account: account, Container: container}
	if len(account) == 8 && isHex(account) {
		ref.Account, ref.ID = "", account
	}
	return ref, path[:len(account)+len(container)+2], object, true
}

// A Resolver asks the DNS. It is what *net.Resolver does.
type Resolver interface {
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupTXT(ctx context.Context, host string) ([]string, error)
}

var _ Resolver = (*net.Resolver)(nil)

// proofName is where the owner of a domain that cannot have a CNAME, such as
// one with a mail address below it, says in a TXT record which container it is.
const proofName = "_memstore."

// lookUp finds the container that the owner of a domain points to: by a CNAME,
// or by a TXT record, to the container's host name. So who owns the domain has
// shown it, and no list of domains has to be kept.
func lookUp(ctx context.Context, r Resolver, host, domain string) (Ref, bool) {
	if name, err := r.LookupCNAME(ctx, host); err == nil {
		if ref, ok := parseHost(plainHost(name), domain); ok {
			return ref, true
		}
	}
	texts, err := r.LookupTXT(ctx, proofName+host)
	if err != nil {
		return Ref{}, false
	}
	for _, text := range texts {
		if ref, ok := parseHost(plainHost(strings.TrimSpace(text)), domain); ok {
			return ref, true
		}
	}
	return Ref{}, false
}

// claims reports whether the owner of the container has named the domain as his:
// no stranger's name shows his objects.
func (s *Site) claims(host string) bool { return slices.Contains(s.Domains, host) }

// key tells a question after a ref, and after which change it was put.
func (r Ref) key(change uint64) string {
	return strconv.FormatUint(change, 36) + "\x00" + r.Account + "\x00" + r.ID + "\x00" + r.Container
}
