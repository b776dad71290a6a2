package gateway

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// metaPolicy keeps with a container the policy that it was made with, where
// there are several to choose from.
const metaPolicy = "X-Container-Sysmeta-Storage-Policy"

// choosePolicy puts into m, of a container that is to be made, the policy that
// the request asks for, or the first. One that is there already keeps its own:
// another is refused. Policies say nothing about how objects are kept here, so
// nobody is the worse for two requests that make the same container at once
// and want different ones, of which the later has its way.
func (c *call) choosePolicy(m storage.Meta) (storage.Meta, error) {
	wish := c.r.Header.Get("X-Storage-Policy")
	chosen := ""
	for _, name := range c.g.Policies {
		if strings.EqualFold(name, wish) {
			chosen = name
		}
	}
	if wish != "" && chosen == "" {
		return nil, badRequest("Invalid X-Storage-Policy '" + wish + "'")
	}
	if len(c.g.Policies) == 1 {
		return m, nil
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m == nil {
			m = storage.Meta{}
		}
		m[metaPolicy] = chosen
		if chosen == "" {
			m[metaPolicy] = c.g.Policies[0]
		}
	case err == nil && chosen != "" && chosen != c.g.policyOf(in.Meta):
		return nil, &refusal{status: http.StatusConflict}
	}
	return m, nil // what else is wrong Make will find
}

// policyOf is the policy of a container with this metadata: the first one for
// those made by other doors, or before there was a choice.
func (g *gateway) policyOf(m storage.Meta) string {
	if name := m[metaPolicy]; name != "" {
		return name
	}
	return g.Policies[0]
}

// tellPolicies tells what an account has beneath each policy. Where there
// are several, its containers have to be looked through for it.
func (c *call) tellPolicies(in *storage.Info) error {
	tell := func(name string, containers, objects, bytes int64) {
		prefix := http.CanonicalHeaderKey("X-Account-Storage-Policy-" + name)
		c.set(prefix+"-Container-Count", strconv.FormatInt(containers, 10))
		c.set(prefix+"-Object-Count", strconv.FormatInt(objects, 10))
		c.set(prefix+"-Bytes-Used", strconv.FormatInt(bytes, 10))
	}
	if in.Containers == 0 {
		return nil
	}
	if len(c.g.Policies) == 1 {
		tell(c.g.Policies[0], in.Containers, in.Objects, in.Size)
		return nil
	}
	totals := map[string]*[3]int64{}
	for box, err := range c.g.Store.List(c.ctx, storage.Path{Account: c.path.Account}, storage.Query{Meta: true}) {
		if err != nil {
			return err
		}
		name := c.g.policyOf(box.Meta)
		if totals[name] == nil {
			totals[name] = new([3]int64)
		}
		t := totals[name]
		t[0], t[1], t[2] = t[0]+1, t[1]+box.Objects, t[2]+box.Size
	}
	for name, t := range totals {
		tell(name, t[0], t[1], t[2])
	}
	return nil
}

// policyList is what /info tells of them.
func policyList(names []string) (list []map[string]any) {
	for i, name := range names {
		about := map[string]any{"name": name, "aliases": name}
		if i == 0 {
			about["default"] = true
		}
		list = append(list, about)
	}
	return list
}
