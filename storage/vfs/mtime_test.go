package vfs

import (
	"testing"
	"time"
)

func FuzzMtime(f *testing.F) {
	f.Add(int64(0), int64(0), "1.5")
	f.Add(int64(-1), int64(999_999_999), "-0.000000001")
	f.Add(int64(1_700_000_000), int64(10), "1700000000.00000001")
	f.Fuzz(func(t *testing.T, sec, nsec int64, s string) {
		want := time.Unix(sec%(1<<39), nsec%1e9)
		if got, ok := parseMtime(formatMtime(want)); !ok || !got.Equal(want) {
			t.Errorf("%v is kept as %q and read as %v, %v", want, formatMtime(want), got, ok)
		}
		if got, ok := parseMtime(s); ok {
			if again, ok := parseMtime(formatMtime(got)); !ok || !again.Equal(got) {
				t.Errorf("%q is read as %v, and again as %v", s, got, again)
			}
		}
	})
}

func FuzzResolve(f *testing.F) {
	for _, name := range []string{"", "/", ".", "c", "/c/a/b/", "/c//x/../y", "../..", "/c/\x00", "é\xff", "/c/ "} {
		f.Add(name)
	}
	fsys := &FS{account: "AUTH_ann"}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := fsys.resolve(name)
		if err != nil {
			return
		}
		if p.Account != "AUTH_ann" || p.Container == "" && p.Object != "" {
			t.Errorf("resolve(%q) = %+v", name, p)
		}
		for at := p; !at.IsAccount(); at = parent(at) {
			if hidden(base(at)) {
				t.Errorf("resolve(%q) = %+v, which is hidden", name, p)
			}
			if !beneath(p, at) || !beneath(at, parent(at)) {
				t.Errorf("%+v is not beneath %+v", p, at)
			}
		}
	})
}
