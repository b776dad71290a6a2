package auth

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// Metadata of a container that names who else may use it, each an ACL.
const (
	MetaContainerRead  = "X-Container-Read"
	MetaContainerWrite = "X-Container-Write"
)

// An ACL is an access control list of a container in the grammar of Swift, as
// CleanACL returns it: items parted by commas, each one of
//
//	account, account:user       these users
//	account:*, *:user           all users of an account; this user of any
//	*:*, *                      everybody who has logged in
//	.r:*, .r:host, .r:.domain   whoever says he comes from a page there
//	.r:-host, .r:-.domain       but not from there; the last item that fits counts
//	.rlistings                  .r: items let containers be listed, too
//
// It is judged as it lies there, item by item: there is nothing to parse ahead
// and nothing to keep.
type ACL string

// Grants reports whether the list names id: never a stranger.
func (a ACL) Grants(id Identity) bool {
	if id.Stranger() {
		return false
	}
	for item := range strings.SplitSeq(string(a), ",") {
		if item != "" && !strings.HasPrefix(item, ".r:") && id.named(item) {
			return true
		}
	}
	return false
}

// named reports whether an item of a list means id.
func (id Identity) named(item string) bool {
	if item == "*" {
		return true
	}
	if account, user, ok := strings.Cut(item, ":"); ok && (account == "*" || user == "*") {
		_, own, _ := strings.Cut(id.User, ":")
		return (account == "*" || account == id.Account) && (user == "*" || user == own)
	}
	if strings.Contains(item, "%") { // names are quoted by some clients
		if plain, err := url.PathUnescape(item); err == nil {
			item = plain
		}
	}
	return id.member(item)
}

// member reports whether id belongs to a group, in TempAuth's sense: his
// account, himself, what he was put into, and the storage account if he is its
// admin.
func (id Identity) member(group string) bool {
	if group == "" {
		return false
	}
	if group == id.User || group == id.Account || id.Role == RoleAdmin && id.owns(group) {
		return true
	}
	for _, g := range id.Groups {
		if g == group {
			return true
		}
	}
	return false
}

// Refers reports whether the list lets in whoever comes from the page with
// this URL, which may be empty. Referrers are claims: what such an item opens
// is public.
func (a ACL) Refers(page string) bool {
	if !strings.Contains(string(a), ".r:") {
		return false
	}
	host, known := "", false
	allowed := false
	for item := range strings.SplitSeq(string(a), ",") {
		want, ok := strings.CutPrefix(item, ".r:")
		if !ok {
			continue
		}
		want, deny := strings.CutPrefix(want, "-")
		if !deny && want == "*" {
			allowed = true
			continue
		}
		if !known {
			host, known = hostOf(page), true
		}
		if matches(host, want) {
			allowed = !deny
		}
	}
	return allowed
}

// Lists reports whether the list has .rlistings.
func (a ACL) Lists() bool {
	for item := range strings.SplitSeq(string(a), ",") {
		if item == ".rlistings" {
			return true
		}
	}
	return false
}

// matches reports whether a host is the one wanted, or within the domain that
// is wanted with a leading dot.
func matches(host, want string) bool {
	if want == "" {
		return false
	}
	if len(host) > len(want) && want[0] == '.' {
		host = host[len(host)-len(want):]
	}
	return strings.EqualFold(host, want)
}

// hostOf is the host of the page's URL; "unknown" where there is none, as in
// Swift, so that a list can tell those who hide where they come from.
func hostOf(page string) string {
	if u, err := url.Parse(page); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "unknown"
}

// CleanACL brings the value of X-Container-Read or X-Container-Write, which
// header tells, into the form that is stored, or returns a Refusal in Swift's
// words.
func CleanACL(header, value string) (ACL, error) {
	write := strings.Contains(strings.ToLower(header), "write")
	var kept []string
	for item := range strings.SplitSeq(value, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		first, second, ok := strings.Cut(item, ":")
		first, second = strings.TrimSpace(first), strings.TrimSpace(second)
		if !ok || !strings.HasPrefix(first, ".") {
			kept = append(kept, item)
			continue
		}
		switch first {
		case ".r", ".ref", ".referer", ".referrer":
		default:
			return "", &storage.Refusal{Text: fmt.Sprintf("Unknown designator %s in ACL: %s", quoted(first), quoted(item))}
		}
		if write {
			return "", &storage.Refusal{Text: "Referrers not allowed in write ACL: " + quoted(item)}
		}
		host, deny := strings.CutPrefix(second, "-")
		host = strings.TrimSpace(host)
		for host != "*" && strings.HasPrefix(host, "*") { // "*.example.com" is ".example.com"
			host = strings.TrimSpace(host[1:])
		}
		if host == "" || host == "." {
			return "", &storage.Refusal{Text: "No host/domain value after referrer designation in ACL: " + quoted(item)}
		}
		if deny {
			host = "-" + host
		}
		kept = append(kept, ".r:"+host)
	}
	return ACL(strings.Join(kept, ",")), nil
}

// quoted writes s as Swift's texts do, which is Python's way: in single
// quotes, or in double ones if it holds a single one and no double one.
func quoted(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' || r == rune(quote):
			b = append(b, '\\', byte(r))
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == utf8.RuneError && n == 1, r < 0x20, r == 0x7f:
			b = fmt.Appendf(b, `\x%02x`, s[i])
		case !unicode.IsPrint(r):
			if r <= 0xff {
				b = fmt.Appendf(b, `\x%02x`, r)
			} else if r <= 0xffff {
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = fmt.Appendf(b, `\U%08x`, r)
			}
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(append(b, quote))
}
