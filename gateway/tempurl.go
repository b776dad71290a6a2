package gateway

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// Metadata by which owners give out rights by signature. The keys are shown to
// owners only.
const (
	metaAccountKey    = "X-Account-Meta-Temp-Url-Key"
	metaAccountKey2   = "X-Account-Meta-Temp-Url-Key-2"
	metaContainerKey  = "X-Container-Meta-Temp-Url-Key"
	metaContainerKey2 = "X-Container-Meta-Temp-Url-Key-2"
)

// digests are the hashes a signature may be made with, by their names. Those
// that Config.Digests does not name are refused.
var digests = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// DefaultDigests are the hashes that signatures may be made with if nothing else
// is said. Swift still allows sha1 as well.
var DefaultDigests = []string{"sha256", "sha512"}

// SignatureKeys are the secrets with which the owner of an account signs. Empty
// ones are none.
type SignatureKeys struct {
	Account   [2]string // for everything in the account
	Container [2]string // for what is in one container
}

// KeysOf takes the keys out of what is kept with an account and with a container.
func KeysOf(account, container storage.Meta) SignatureKeys {
	return SignatureKeys{
		Account:   [2]string{account[metaAccountKey], account[metaAccountKey2]},
		Container: [2]string{container[metaContainerKey], container[metaContainerKey2]},
	}
}

// A TempURL is what the query of a signed URL says: that whoever has it may do
// one thing to one object (or, with a prefix, to any whose name begins so) until
// some time, from some network.
type TempURL struct {
	Signature string // as given, "sha512:…" in base64 or hexadecimal
	Expires   int64  // Unix time, 0 if it is over or no time at all
	Prefix    string
	ByPrefix  bool
	Network   string // "192.0.2.0/24"; "" for anywhere
	Filename  string // to be saved as
	Inline    bool   // to be shown and not saved
}

// ParseTempURL reads the query of a URL, and reports whether it is signed at all;
// whether that is worth anything is for Grants to say.
func ParseTempURL(query string, now time.Time) (t TempURL, signed bool) {
	if !strings.Contains(query, "temp_url_") && !strings.ContainsRune(query, '%') {
		return t, false
	}
	var hasSignature, hasExpires bool
	t.Signature, hasSignature = firstParam(query, "temp_url_sig")
	expires, hasExpires := firstParam(query, "temp_url_expires")
	if !hasSignature && !hasExpires {
		return t, false
	}
	if at, ok := parseExpires(expires); ok && !time.Unix(at, 0).Before(now) {
		t.Expires = at
	}
	t.Prefix, t.ByPrefix = firstParam(query, "temp_url_prefix")
	t.Network, _ = firstParam(query, "temp_url_ip_range")
	t.Filename, _ = firstParam(query, "filename")
	_, t.Inline = firstParam(query, "inline")
	return t, true
}

// parseExpires reads a Unix time or an ISO 8601 one.
func parseExpires(s string) (int64, bool) {
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
		return n, true
	}
	at, err := time.Parse("2006-01-02T15:04:05Z", s)
	return at.Unix(), err == nil
}

// Grants reports whether one of the keys signed this method for the object p, of
// a client at the address from, with one of the digests that are allowed; and
// where that key is good: the account, or the container.
//
// A signature for GET, PUT or POST is good for HEAD too. All comparisons take
// the same time however much of a signature is right.
func (t *TempURL) Grants(method string, p storage.Path, from netip.Addr, keys *SignatureKeys, allowed []string) (within storage.Path, ok bool) {
	if t.Signature == "" || t.Expires == 0 || !p.IsObject() || strings.Trim(p.Object, "/") == "" {
		return within, false
	}
	digest, given, ok := parseSignature(t.Signature)
	if !ok || !slices.Contains(allowed, digest) || t.ByPrefix && !strings.HasPrefix(p.Object, t.Prefix) {
		return within, false
	}
	if t.Network != "" {
		network, err := parseNetwork(t.Network)
		if err != nil || !network.Contains(from) {
			return within, false
		}
	}
	var asGiven [1]string
	asGiven[0] = method
	methods := asGiven[:]
	switch method {
	case http.MethodHead:
		methods = headMethods[:]
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return within, false
	}
	for _, scope := range [...]struct {
		keys   [2]string
		within storage.Path
	}{{keys.Account, storage.Path{Account: p.Account}}, {keys.Container, p.Parent()}} {
		for _, key := range scope.keys {
			if key == "" {
				continue
			}
			mac := hmac.New(digests[digest], []byte(key))
			for _, m := range methods {
				mac.Reset()
				mac.Write(t.text(m, p))
				var room [sha512.Size]byte
				if subtle.ConstantTimeCompare(mac.Sum(room[:0]), given) == 1 {
					return scope.within, true
				}
			}
		}
	}
	return within, false
}

// headMethods are those whose signatures let HEAD through.
var headMethods = [...]string{http.MethodHead, http.MethodGet, http.MethodPost, http.MethodPut}

// text is what is signed. The network comes first, for a name of an object may
// hold a newline and whatever follows it.
func (t *TempURL) text(method string, p storage.Path) []byte {
	b := make([]byte, 0, 256)
	if t.Network != "" {
		b = append(append(append(b, "ip="...), t.Network...), '\n')
	}
	b = append(append(b, method...), '\n')
	b = append(strconv.AppendInt(b, t.Expires, 10), '\n')
	name := p.Object
	if t.ByPrefix {
		b = append(b, "prefix:"...)
		name = t.Prefix
	}
	b = append(append(append(b, "/v1/"...), p.Account...), '/')
	b = append(append(append(b, p.Container...), '/'), name...)
	return b
}

// parseSignature reads a signature: in hexadecimal, whose length tells the
// digest, or in base64 of either alphabet behind the digest's name.
func parseSignature(s string) (digest string, sum []byte, ok bool) {
	if name, encoded, found := strings.Cut(s, ":"); found {
		if strings.ContainsAny(encoded, "-_") && !strings.ContainsAny(encoded, "+/") {
			encoded = urlAlphabet.Replace(encoded)
		}
		sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		make, known := digests[name]
		return name, sum, err == nil && known && len(sum) == make().Size()
	}
	sum, err := hex.DecodeString(s)
	switch len(sum) {
	case sha1.Size:
		digest = "sha1"
	case sha256.Size:
		digest = "sha256"
	case sha512.Size:
		digest = "sha512"
	}
	return digest, sum, err == nil && digest != ""
}

var urlAlphabet = strings.NewReplacer("-", "+", "_", "/")

// parseNetwork reads an address or a network; one with bits behind its mask is
// none, as in Swift.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p != p.Masked() {
		err = strconv.ErrSyntax
	}
	return p, err
}

// firstParam finds a parameter in the query of a URL where, as with signed URLs
// in Swift, the first one counts.
func firstParam(query, name string) (value string, ok bool) {
	for query != "" {
		var item string
		item, query, _ = strings.Cut(query, "&")
		key, v, _ := strings.Cut(item, "=")
		if key == name || strings.ContainsAny(key, "%+") && unescape(key) == name {
			return unescape(v), true
		}
	}
	return "", false
}

// disposition is the value of Content-Disposition by which a browser saves an
// object under a name (RFC 6266).
func disposition(kind, name string) string {
	escaped := quote(name)
	return kind + `; filename="` + strings.ReplaceAll(escaped, "%20", " ") + `"; filename*=UTF-8''` + escaped
}

// saveAs is the Content-Disposition of an answer to the holder of the URL, where
// stored is what the object says itself.
func (t *TempURL) saveAs(stored, object string) string {
	name := t.Filename
	switch {
	case t.Inline && name == "":
		return "inline"
	case t.Inline:
		return disposition("inline", toUTF8(name))
	case name != "":
		return disposition("attachment", toUTF8(name))
	case stored != "":
		return strings.ReplaceAll(stored, "\n", "%0A")
	}
	object = strings.TrimRight(object, "/")
	return disposition("attachment", object[strings.LastIndexByte(object, '/')+1:])
}

// Disposition is the Content-Disposition of an answer to the holder of the URL,
// where stored is what the object says itself.
func (t *TempURL) Disposition(stored, object string) string { return t.saveAs(stored, object) }

// SignGet is the query of a URL by which the object p can be had until a time.
func SignGet(key string, p storage.Path, until time.Time) string {
	t := TempURL{Expires: until.Unix()}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(t.text(http.MethodGet, p))
	return "temp_url_sig=" + hex.EncodeToString(mac.Sum(nil)) + "&temp_url_expires=" + strconv.FormatInt(t.Expires, 10)
}

func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
