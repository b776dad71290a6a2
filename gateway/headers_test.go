package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

func TestExpiryHeaders(t *testing.T) {
	now := time.Unix(1_000_000, 500_000_000)
	for _, c := range []struct {
		at, after string
		want      int64 // 0 for none
		wrong     string
	}{
		{"", "", 0, ""},
		{"1000001", "", 1000001, ""},
		{" 1000001 ", "", 1000001, ""},
		{"1000000", "", 0, "X-Delete-At in past"},
		{"-1", "", 0, "X-Delete-At in past"},
		{"-99999999999999999999", "", 0, "X-Delete-At in past"},
		{"99999999999999999999", "", 9999999999, ""},
		{"1.5", "", 0, "Non-integer X-Delete-At"},
		{"", "10", 1000010, ""},
		{"", "0", 0, "X-Delete-After in past"},
		{"", "-9223372036854775808", 0, "X-Delete-After in past"},
		{"", "9223372036854775807", 9999999999, ""},
		{"", "99999999999999999999", 9999999999, ""},
		{"", "soon", 0, "Non-integer X-Delete-After"},
		{"x", "10", 1000010, ""},
	} {
		h := http.Header{}
		if c.at != "" {
			h.Set("X-Delete-At", c.at)
		}
		if c.after != "" {
			h.Set("X-Delete-After", c.after)
		}
		got, err := expiry(h, now)
		unix := int64(0)
		if !got.IsZero() {
			unix = got.Unix()
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if unix != c.want || text != c.wrong {
			t.Errorf("expiry(at %q, after %q) = %d, %q; want %d, %q", c.at, c.after, unix, text, c.want, c.wrong)
		}
	}
}

// Whatever is sent, nothing gets in under a name that is not in the tables.
func FuzzMetadata(f *testing.F) {
	f.Add("X-Container-Meta-A", "1", false)
	f.Add("X-Remove-Container-Read", "x", true)
	f.Add("X-Container-Sysmeta-A", "x", true)
	f.Add("X-Remove-Container-Sysmeta-A", "x", true)
	f.Add("X-Remove-Account-Access-Control", "", true)
	f.Fuzz(func(t *testing.T, name, value string, owner bool) {
		name = http.CanonicalHeaderKey(name)
		for _, k := range []*kind{accounts, containers, objects} {
			m, err := k.fromHeader(http.Header{name: {value}}, owner)
			if err != nil {
				continue
			}
			for key := range m {
				if strings.HasPrefix(key, k.meta) {
					if k.owner[key] && !owner {
						t.Fatalf("%s: %q sets %s though not the owner's", name, value, key)
					}
					continue
				}
				if key == auth.MetaAccountACL && k == accounts && owner {
					continue
				}
				if k.shown(key) == "" || strings.Contains(key, "Sysmeta") || k.owner[key] && !owner {
					t.Fatalf("%s: %q sets %s", name, value, key)
				}
			}
		}
	})
}

// What is stored by way of the tables comes out again, and nothing else does.
func TestTablesBothWays(t *testing.T) {
	l := newLab(t)
	g := l.g.(*gateway)
	for _, k := range []*kind{accounts, containers, objects} {
		in := http.Header{k.meta + "A": {"1"}}
		for header := range k.kept {
			in.Set(header, "v")
		}
		m, err := k.fromHeader(in, true)
		if err != nil || len(m) != len(in) {
			t.Fatalf("fromHeader(%v) = %v, %v", in, m, err)
		}
		m["X-Object-Sysmeta-Secret"], m["X-Other"] = "s", "s"
		c := &call{g: g, ctx: newOwner("ann"), path: storage.Path{Account: "AUTH_ann"}}
		out := &fileTaker{}
		c.w = response{ResponseWriter: out, call: c}
		c.tell(k, m)
		if len(out.Header()) != len(in) {
			t.Errorf("of %v comes out %v", m, out.Header())
		}
		for key := range in {
			if out.Header().Get(key) != in.Get(key) {
				t.Errorf("%s: %q comes out as %q", key, in.Get(key), out.Header().Get(key))
			}
		}
	}
}
