package cdn

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// appendLine appends the line of a request to an access log, as NCSA's combined
// format has it, with the host before the path:
//
//	198.51.100.7 - - [22/Nov/2026:05:34:47 +0000] "GET /pics-0d9303a4.cdn.example.com/a.jpg HTTP/1.1" 200 1024 "https://example.com/" "Mozilla/5.0"
func appendLine(b []byte, s *serving) []byte {
	r := s.r
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	b = appendText(b, from)
	b = append(b, " - - ["...)
	b = s.at.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendText(b, r.Method)
	b = append(b, " /"...)
	b = appendText(b, r.Host)
	b = appendText(b, withoutSecrets(r.URL.RequestURI()))
	b = append(b, ' ')
	b = appendText(b, r.Proto)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(s.code), 10)
	b = append(b, ' ')
	if s.n > 0 {
		b = strconv.AppendInt(b, s.n, 10)
	} else {
		b = append(b, '-')
	}
	for _, field := range []string{withoutSecrets(r.Referer()), r.UserAgent()} {
		b = append(b, ` "`...)
		if field == "" {
			field = "-"
		}
		b = appendText(b, field)
		b = append(b, '"')
	}
	return append(b, '\n')
}

// secrets are the parameters of queries that let their owner in: with them a
// log would be a bunch of keys.
var secrets = []string{"temp_url_sig", "signature", "token", "x-auth-token", "x-amz-signature", "x-amz-security-token"}

// withoutSecrets is a URL without those parameters, however they are spelled.
func withoutSecrets(u string) string {
	path, query, ok := strings.Cut(u, "?")
	if !ok {
		return u
	}
	query, fragment, hasFragment := strings.Cut(query, "#")
	var kept []string
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		secret := false
		for _, s := range secrets {
			secret = secret || strings.EqualFold(name, s)
		}
		if !secret {
			kept = append(kept, part)
		}
	}
	u = path
	if len(kept) > 0 {
		u += "?" + strings.Join(kept, "&")
	}
	if hasFragment {
		u += "#" + fragment
	}
	return u
}

// maxText is how much of a field a line has at most.
const maxText = 4096

// appendText appends what a client has sent, so that it cannot end a field or a
// line, in the way of Apache.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range min(len(s), maxText) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
