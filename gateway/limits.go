package gateway

import (
	"net/http"

	"memstore.dev/memstore/auth"
)

// errCrowded is told to those for whom there are no open files left.
var errCrowded = &refusal{status: http.StatusServiceUnavailable}

// errRevoked ends what is under way for a user who was disabled or removed, or
// whose password or rights were changed, since it began.
var errRevoked = &refusal{status: http.StatusUnauthorized, text: "The rights of the user have changed.", kind: plain, hangUp: true}

// current reports whether who the call acts for is still as he was when it
// began. It costs so little that it can be asked for every piece of a stream.
func (c *call) current() bool {
	if c.id.Stranger() {
		return true
	}
	a, ok := c.g.Auth.(interface{ Current(auth.Identity) bool })
	return !ok || a.Current(c.id)
}

// strike counts against the address of the client what it did to this door.
func (c *call) strike(f auth.Failure) {
	if a, ok := c.g.Auth.(interface{ Defender() *auth.Defender }); ok {
		a.Defender().Fail(c.g.peer(c.r), f)
	}
}
