package main

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// A Secret is a setting that is never shown.
type Secret string

// String masks the secret, and so does everything that formats with it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[masked]"
}

// GoString masks it from %#v too.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// A Size is a number of bytes, written as a number with or without one of the
// units KiB, MiB, GiB, TiB (1,024) or kB, MB, GB, TB (1,000).
type Size int64

var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// String writes the size with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Round writes the size for the eye: with a tenth, in the unit that fits it.
func (s Size) Round() string {
	for _, u := range units[:4] {
		if int64(s) >= u.bytes {
			return strings.TrimSuffix(strconv.FormatFloat(float64(s)/float64(u.bytes), 'f', 1, 64), ".0") + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// UnmarshalText reads what String writes, and the other units.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	*s = Size(n * factor)
	return nil
}

// Networks is a list of networks or single addresses with commas between them,
// as in "10.0.0.0/8, 192.0.2.1".
type Networks string

// Prefixes reads the list. It is never nil: an empty one says "none".
func (n Networks) Prefixes() ([]netip.Prefix, error) {
	list := []netip.Prefix{}
	for word := range strings.SplitSeq(string(n), ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		p, err := parseNetwork(word)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// parseNetwork reads a prefix, or a single address.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}
