package cdn

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"

	"memstore.dev/memstore/cdn/store"
)

// resourceKey is where the store keeps what is known of a resource.
func resourceKey(name string) store.Key {
	var room [512]byte
	return hash(append(append(room[:0], 'r'), name...))
}

// derivedKey is the key of something that belongs to another: kind and parts
// tell which.
func derivedKey(kind byte, of []byte, parts ...string) store.Key {
	var room [512]byte
	b := append(append(room[:0], kind), of...)
	for _, part := range parts {
		b = appendString(b, part)
	}
	return hash(b)
}

// sliceKey is the key of the n-th slice of a version.
func sliceKey(v *version, n int64) store.Key {
	var b [25]byte
	b[0] = 's'
	copy(b[1:], v.id[:])
	binary.BigEndian.PutUint64(b[17:], uint64(n))
	return hash(b[:])
}

// hash makes keys that nobody can make collide, so that no URL reaches what is
// kept for another.
func hash(b []byte) store.Key {
	sum := sha256.Sum256(b)
	return store.Key(sum[:16])
}

// URLKey is the Key that ServeHTTP gives to a URL, for Purge: in one form,
// however its host and port are spelled.
func URLKey(u *url.URL) string {
	return string(appendURL(nil, u.Scheme, u.Host, u))
}

func appendURL(b []byte, scheme, host string, u *url.URL) []byte {
	b = append(b, scheme...)
	b = append(b, "://"...)
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	b = append(b, strings.ToLower(strings.TrimSuffix(host, port))...)
	if path := u.EscapedPath(); path != "" {
		b = append(b, path...)
	} else {
		b = append(b, '/')
	}
	if u.RawQuery != "" || u.ForceQuery {
		b = append(b, '?')
		b = append(b, u.RawQuery...)
	}
	return b
}

// identify finds the resource that the request is for.
func (x *exchange) identify() {
	if x.profile.Key != "" {
		x.resource = resourceKey(x.profile.Key)
		x.query = x.r.URL.RawQuery
		if x.profile.Upstream != nil {
			x.query = x.profile.Upstream.RawQuery
		}
		return
	}
	var room [512]byte
	b := append(room[:0], 'r')
	x.resource = hash(appendURL(b, scheme(x.r), x.r.Host, x.r.URL))
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// variant is where the index keeps the response for this request, if Vary is
// spec.
func (x *exchange) variant(i *index, spec []string) store.Key {
	parts := make([]string, 0, 8)
	parts = append(parts, x.query)
	for _, name := range spec {
		parts = append(parts, name, normal(x.forwarded(), name))
	}
	return derivedKey('v', i.nonce[:], parts...)
}
