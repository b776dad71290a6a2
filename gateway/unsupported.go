package gateway

import (
	"net/http"

	"memstore.dev/memstore/storage"
)

// Features of Swift that are not here. A request that relies on one is refused:
// to do the rest of it, as if nothing had been asked, would lose what the client
// meant. The answer is 400, for clients ask again and again after a 501.
var lackingContainerHeaders = []string{"X-Versions-Location", "X-History-Location", "X-Versions-Enabled"}

// lacking refuses a request that relies on a feature which is not there. What
// only turns such a feature off asks for nothing.
func lacking(r *http.Request, path storage.Path) error {
	if reads[r.Method] {
		return nil
	}
	no := func(what string) error { return badRequest(what + " is not supported by this server.") }
	if path.IsContainer() && r.Method != http.MethodDelete {
		for _, header := range lackingContainerHeaders {
			v := r.Header.Get(header)
			if v != "" && (header != "X-Versions-Enabled" || truth(v)) {
				return no(header)
			}
		}
	}
	return nil
}
