package ftp

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sslscan tries everything that TLS ever had. What it may find is what is
// strong: two versions, ciphers with authentication, keys of today; and nothing
// that it marks as weak.
func TestTLSScan(t *testing.T) {
	scan := tool(t, "sslscan", "sslscan")
	for name, tt := range map[string]struct {
		flags     []string
		configure []func(*Server)
	}{
		"explicit": {[]string{"--starttls-ftp"}, nil},
		"implicit": {nil, []func(*Server){func(s *Server) { s.Implicit = true }}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, tt.configure...)
			out := d.run("", scan, slices.Concat([]string{"--no-colour", "--show-certificate"}, tt.flags, []string{d.addr})...)
			said := func(pattern string) []string { return regexp.MustCompile("(?m)"+pattern).FindAllString(out, -1) }
			for _, old := range []string{"SSLv2", "SSLv3", `TLSv1\.0`, `TLSv1\.1`} {
				if len(said("^"+old+` +disabled`)) != 1 {
					t.Errorf("%s is not said to be disabled", old)
				}
			}
			for _, now := range []string{`TLSv1\.2`, `TLSv1\.3`} {
				if len(said("^"+now+` +enabled`)) != 1 {
					t.Errorf("%s is not said to be enabled", now)
				}
			}
			ciphers := said(`^(Preferred|Accepted) .*$`)
			if len(ciphers) < 4 {
				t.Errorf("only these ciphers were found: %q", ciphers)
			}
			for _, c := range ciphers {
				if !strings.Contains(c, "GCM") && !strings.Contains(c, "CHACHA20") {
					t.Errorf("a cipher without authentication: %s", c)
				}
				if strings.Contains(c, "TLSv1.2") && !strings.Contains(c, "ECDHE") {
					t.Errorf("a cipher without forward secrecy: %s", c)
				}
			}
			for _, good := range []string{`TLSv1\.3 not vulnerable to heartbleed`, `TLSv1\.2 not vulnerable to heartbleed`} {
				if len(said(good)) == 0 {
					t.Errorf("it does not say %q", good)
				}
			}
			if bad := said(`(?i)^.*(insecure|\bvulnerable|expired|RC4|3DES|md5|sha1With).*$`); len(bad) > 0 {
				for _, line := range bad {
					if !strings.Contains(line, "not vulnerable") {
						t.Errorf("it says: %s", line)
					}
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}
