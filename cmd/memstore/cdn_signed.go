package main

import (
	"net/http"
	"net/netip"
	"time"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
)

// fetchTime is how long the edge gives itself to fetch a private object.
const fetchTime = 5 * time.Minute

// judgeSignature knows the signed URLs of Swift.
func judgeSignature(r *http.Request, s *cdn.Site, object string) (*cdn.Ticket, bool) {
	t, signed := gateway.ParseTempURL(r.URL.RawQuery, time.Now())
	if !signed {
		return nil, false
	}
	var from netip.Addr
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from = a.Addr().Unmap()
	}
	p := storage.Path{Account: s.Account, Container: s.Container, Object: object}
	keys := gateway.SignatureKeys(s.Keys)
	within, ok := t.Grants(r.Method, p, from, &keys, gateway.DefaultDigests)
	if !ok {
		return nil, true
	}
	// The edge signs for itself with a key that reaches as far: what the URL says
	// of networks is about the browser, which the origin does not see.
	reach, of := "container", s.Keys.Container
	if within.Container == "" {
		reach, of = "account", s.Keys.Account
	}
	key := of[0]
	if key == "" {
		key = of[1]
	}
	return &cdn.Ticket{
		Until:       time.Unix(t.Expires, 0),
		Disposition: func(stored string) string { return t.Disposition(stored, object) },
		Within:      reach,
		Fetch:       func() string { return gateway.SignGet(key, p, time.Now().Add(fetchTime)) },
	}, true
}
