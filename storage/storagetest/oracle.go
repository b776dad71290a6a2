package storagetest

import (
	"slices"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// An Entry is a line of a listing: a name, or a subdir.
type Entry struct {
	Name   string
	Subdir bool
}

func (e Entry) String() string {
	if e.Subdir {
		return "subdir " + strconv.Quote(e.Name)
	}
	return strconv.Quote(e.Name)
}

// Listing says what a listing of names contains, in the plainest way: sort,
// filter, roll up, drop repetitions, turn around, cut off. It is the oracle
// that listings are held against, and is not fast.
func Listing(names []string, q storage.Query) []Entry {
	names = slices.Clone(names)
	slices.Sort(names)
	lower, upper := q.Marker, q.EndMarker
	if q.Reverse {
		lower, upper = upper, lower
	}
	entries := []Entry{}
	for _, name := range names {
		if !strings.HasPrefix(name, q.Prefix) || lower != "" && name <= lower || upper != "" && name >= upper {
			continue
		}
		e := Entry{Name: name}
		if q.Delimiter != "" {
			if before, _, found := strings.Cut(name[len(q.Prefix):], q.Delimiter); found {
				e = Entry{q.Prefix + before + q.Delimiter, true}
			}
		}
		if e.Subdir && e.Name == lower {
			continue
		}
		entries = append(entries, e)
	}
	entries = slices.Compact(entries)
	if q.Reverse {
		slices.Reverse(entries)
	}
	if q.Limit > 0 {
		entries = entries[:min(q.Limit, len(entries))]
	}
	return entries
}

// entriesOf reduces a listing to what Listing says.
func entriesOf(listed []storage.Info) []Entry {
	entries := []Entry{}
	for i, name := range names(listed) {
		entries = append(entries, Entry{name, listed[i].Subdir})
	}
	return entries
}
