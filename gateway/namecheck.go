package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// NameRules forbid names that the store itself could keep, but that others who
// share it cannot. They hold for whole paths, "/v1/AUTH_ann/c/o", and for reading
// too.
type NameRules struct {
	Characters string         // none of them may occur
	Length     int            // longest path; 0 for any
	Pattern    *regexp.Regexp // may not match; nil for none
}

// check refuses a path that breaks the rules.
func (n *NameRules) check(path string) error {
	text := ""
	switch {
	case strings.ContainsAny(path, n.Characters):
		text = "Object/Container/Account name contains forbidden chars from " + n.Characters
	case n.Length > 0 && len(path) > n.Length:
		text = fmt.Sprintf("Object/Container/Account name longer than the allowed maximum %d", n.Length)
	case n.Pattern != nil && n.Pattern.MatchString(path):
		text = fmt.Sprintf("Object/Container/Account name contains a forbidden substring from regular expression %s", n.Pattern)
	default:
		return nil
	}
	return &refusal{status: http.StatusBadRequest, text: htmlText.Replace(text)}
}

// info is what /info tells of them.
func (n *NameRules) info() map[string]any {
	about := map[string]any{"forbidden_chars": n.Characters, "maximum_length": n.Length, "forbidden_regexp": nil}
	if n.Pattern != nil {
		about["forbidden_regexp"] = n.Pattern.String()
	}
	return about
}
