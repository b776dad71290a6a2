package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"memstore.dev/memstore/auth"
)

// What Keystone says about a token: whose it is, and where the services are.

const region = "RegionOne"

var domainDefault = fields{"id": "default", "name": "Default"}

// stamp is a time as Keystone v3 writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// fixedID is an id in Keystone's form for something that has none of its own,
// the same on every server.
func fixedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// auditID names a token where the token itself must not be shown.
func auditID(t auth.Token) string {
	sum := sha256.Sum256([]byte("audit\x00" + t.Secret))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// roles are the names that Swift's own configuration for Keystone gives to
// what our roles may do.
func roles(id auth.Identity) []string {
	switch {
	case id.ReadOnly:
		return []string{"reader"}
	case id.Role == auth.RoleReseller:
		return []string{"ResellerAdmin", "swiftoperator", "member", "reader"}
	case id.Role == auth.RoleResellerReader:
		return []string{"reader"}
	case id.Role == auth.RoleAdmin:
		return []string{"swiftoperator", "member", "reader"}
	}
	return []string{"member"}
}

// userName is the part of a user's name that is his own.
func userName(id auth.Identity) string {
	_, name, ok := strings.Cut(id.User, ":")
	if !ok {
		return id.User
	}
	return name
}

func (i *identity) tokenV3(c *call, id auth.Identity, t auth.Token, catalog bool) fields {
	var list []fields
	for _, name := range roles(id) {
		list = append(list, fields{"id": fixedID("role", name), "name": name})
	}
	token := fields{
		"methods":    []string{"password"},
		"user":       fields{"domain": domainDefault, "id": id.User, "name": userName(id), "password_expires_at": nil},
		"audit_ids":  []string{auditID(t)},
		"issued_at":  stamp(t.Issued),
		"expires_at": stamp(t.Expires),
		"project":    fields{"domain": domainDefault, "id": id.Account, "name": id.Account},
		"is_domain":  false,
		"roles":      list,
	}
	if catalog {
		token["catalog"] = i.catalogV3(c, id)
	}
	return fields{"token": token}
}

// A service is one entry of a catalog.
type service struct {
	name, kind              string
	public, internal, admin string // URLs of its three interfaces
}

func (i *identity) services(c *call, id auth.Identity, version string) []service {
	store, keys := i.storageURL(c, id.Account), i.base(c)+version
	list := []service{
		{"swift", "object-store", store, store, i.base(c) + "/v1"},
		{"keystone", "identity", keys, keys, keys},
	}
	if u := i.cdnURL(c, id.Account); u != "" {
		// Rackspace's clients look for the first, HP's and others for the second.
		list = append(list, service{"cloudFilesCDN", "rax:object-cdn", u, u, u}, service{"cdn", "object-cdn", u, u, u})
	}
	return list
}

func (i *identity) catalogV3(c *call, id auth.Identity) []fields {
	var list []fields
	for _, s := range i.services(c, id, "/v3") {
		var endpoints []fields
		for _, e := range [][2]string{{"public", s.public}, {"internal", s.internal}, {"admin", s.admin}} {
			endpoints = append(endpoints, fields{
				"id": fixedID("endpoint", s.kind, e[0]), "interface": e[0], "url": e[1],
				"region": region, "region_id": region,
			})
		}
		list = append(list, fields{"id": fixedID("service", s.kind), "name": s.name, "type": s.kind, "endpoints": endpoints})
	}
	return list
}

func tenantV2(account string) fields {
	return fields{"id": account, "name": account, "description": "", "enabled": true}
}

func (i *identity) tokenV2(c *call, id auth.Identity, t auth.Token) fields {
	var names []fields
	var ids []string
	for _, name := range roles(id) {
		names, ids = append(names, fields{"name": name}), append(ids, fixedID("role", name))
	}
	var catalog []fields
	for _, s := range i.services(c, id, "/v2.0") {
		catalog = append(catalog, fields{
			"name": s.name, "type": s.kind, "endpoints_links": []fields{},
			"endpoints": []fields{{
				"id": fixedID("endpoint", s.kind), "region": region,
				"publicURL": s.public, "internalURL": s.internal, "adminURL": s.admin,
			}},
		})
	}
	return fields{"access": fields{
		"token": fields{
			"id": t.Secret, "issued_at": stamp(t.Issued), "expires": t.Expires.UTC().Format(time.RFC3339),
			"tenant": tenantV2(id.Account), "audit_ids": []string{auditID(t)},
		},
		"serviceCatalog": catalog,
		"user":           fields{"id": id.User, "name": userName(id), "username": userName(id), "roles": names, "roles_links": []fields{}},
		"metadata":       fields{"is_admin": 0, "roles": ids},
	}}
}
