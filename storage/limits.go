package storage

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of names and metadata, in bytes or items, as OpenStack Swift has them
// (swift.common.constraints) and as the gateway's /info tells them.
const (
	MaxAccountName   = 256
	MaxContainerName = 256
	MaxObjectName    = 1024
	MaxMetaName      = 128  // of one name, after "X-Object-Meta-"
	MaxMetaValue     = 256  // of one value
	MaxMetaCount     = 90   // of items of one path
	MaxMetaSize      = 4096 // of all names and values of one path together
	MaxHeaderValue   = 8192 // of any header kept with a path
)

// CheckName reports whether something may be made at p, as a Refusal in
// Swift's words if not. Names that exist already need no check.
func CheckName(p Path) error {
	for _, part := range []struct {
		kind, name string
		max        int
	}{
		{"Account", p.Account, MaxAccountName},
		{"Container", p.Container, MaxContainerName},
		{"Object", p.Object, MaxObjectName},
	} {
		if len(part.name) > part.max {
			return &Refusal{Text: fmt.Sprintf("%s name length of %d longer than %d", part.kind, len(part.name), part.max)}
		}
		if !utf8.ValidString(part.name) || strings.Contains(part.name, "\x00") {
			return &Refusal{Text: "Invalid UTF8 or contains NULL"}
		}
	}
	if p.Account == "" || p.Container == "" && p.Object != "" || strings.Contains(p.Container, "/") {
		return &Refusal{Text: "Bad URL"}
	}
	return nil
}

// metaPrefix is what the names of users' metadata of a path begin with.
func metaPrefix(p Path) string {
	switch {
	case p.IsObject():
		return "X-Object-Meta-"
	case p.IsContainer():
		return "X-Container-Meta-"
	}
	return "X-Account-Meta-"
}

// CheckMeta reports whether m, as it is to be kept with p, is within limits;
// a Refusal in Swift's words if not. For accounts and containers that is all
// of the metadata, what is kept already and what is new together: limits
// judged request by request could be walked past in small steps.
func CheckMeta(p Path, m Meta) error {
	prefix := metaPrefix(p)
	shown := strings.ToLower(prefix) // Swift's texts have it so
	count, size := 0, 0
	for _, key := range sortedKeys(m) {
		value := m[key]
		if len(value) > MaxHeaderValue {
			return &Refusal{Text: "Header value too long: " + key[:min(len(key), MaxMetaName)]}
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		name := key[len(prefix):]
		switch {
		case name == "":
			return &Refusal{Text: "Metadata name cannot be empty"}
		case !p.IsObject() && (!utf8.ValidString(name) || !utf8.ValidString(value)):
			return &Refusal{Text: "Metadata must be valid UTF-8"}
		case len(name) > MaxMetaName:
			return &Refusal{Text: "Metadata name too long: " + shown + name}
		case len(value) > MaxMetaValue:
			return &Refusal{Text: fmt.Sprintf("Metadata value longer than %d: %s%s", MaxMetaValue, shown, name)}
		}
		count++
		size += len(name) + len(value)
	}
	if count > MaxMetaCount {
		return &Refusal{Text: fmt.Sprintf("Too many metadata items; max %d", MaxMetaCount)}
	}
	if size > MaxMetaSize {
		return &Refusal{Text: fmt.Sprintf("Total metadata too large; max %d", MaxMetaSize)}
	}
	return nil
}

// sortedKeys makes which of several faults is told a matter of rule, not luck.
func sortedKeys(m Meta) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
