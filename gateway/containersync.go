package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"memstore.dev/memstore/storage"
)

// Metadata by which a container asks to be copied to another cluster. It is
// kept, and told to owners, for tools that do so; nothing here sends objects
// anywhere, or takes them from whom X-Container-Sync-Auth names.
const (
	metaSyncTo  = "X-Container-Sync-To"
	metaSyncKey = "X-Container-Sync-Key"
)

// checkSync refuses an address that objects may not be sent to.
func (g *gateway) checkSync(m storage.Meta) error {
	given := m[metaSyncTo]
	to := strings.TrimRight(given, "/")
	if to == "" {
		return nil
	}
	no := func(text string) error {
		return &refusal{status: http.StatusBadRequest, text: htmlText.Replace(text)}
	}
	if rest, realm := strings.CutPrefix(to, "//"); realm {
		if parts := strings.Split(rest, "/"); len(parts) == 4 {
			return no("No realm key for '" + parts[0] + "'")
		}
		return no("Invalid X-Container-Sync-To format '" + given + "'")
	}
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return no("Invalid X-Container-Sync-To format '" + given + "'")
	case u.Scheme != "http" && u.Scheme != "https":
		return no("Invalid scheme '" + u.Scheme + `' in X-Container-Sync-To, must be "//", "http", or "https".`)
	case u.Path == "":
		return no("Path required in X-Container-Sync-To")
	case u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path[strings.LastIndexByte(u.Path, '/'):], ";"):
		return no("Params, queries, and fragments not allowed in X-Container-Sync-To")
	case !slices.Contains(g.SyncHosts, u.Hostname()):
		return no("Invalid host '" + u.Hostname() + "' in X-Container-Sync-To")
	}
	return nil
}

// errSyncAuth refuses what another cluster sends.
func (c *call) errSyncAuth(account string) error {
	c.w.challenge = `SwiftContainerSync realm="` + quote(account) + `"`
	return &refusal{status: http.StatusUnauthorized, kind: plain,
		text: "X-Container-Sync-Auth header not valid; contact cluster operator for support."}
}
