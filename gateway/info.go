package gateway

import (
	"fmt"
	"net/http"

	"memstore.dev/memstore/storage"
)

// healthcheck answers whether this gateway wants clients.
func (c *call) healthcheck() error {
	if c.g.Disabled != nil && c.g.Disabled() {
		c.say(http.StatusServiceUnavailable, plain, "DISABLED BY FILE")
		return nil
	}
	c.say(http.StatusOK, plain, "OK")
	return nil
}

// info tells clients what they may rely on.
func (c *call) info() error {
	const methods = "HEAD, GET, OPTIONS"
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		if origin := c.r.Header.Get("Origin"); origin != "" {
			c.set("Access-Control-Allow-Origin", origin)
			c.set("Access-Control-Expose-Headers", "x-trans-id")
		}
		c.say(http.StatusOK, "application/json; charset=UTF-8", c.g.capabilities)
		return nil
	case http.MethodOptions:
		c.set("Allow", methods)
		return c.done(http.StatusOK)
	}
	c.set("Allow", methods)
	return &refusal{status: http.StatusMethodNotAllowed}
}

// capabilities is the body of /info. It has a key for each feature that is
// there and none for others, since clients decide by them what to use. The
// version is that of the API's behaviour.
func capabilities(maxObjectSize int64) string {
	return fmt.Sprintf(`{"swift": {"version": "2.30.1", "strict_cors_mode": true, `+
		`"policies": [{"name": "%s", "aliases": "%[1]s", "default": true}], `+
		`"allow_account_management": true, "account_autocreate": true, `+
		`"max_file_size": %d, "max_meta_name_length": %d, "max_meta_value_length": %d, `+
		`"max_meta_count": %d, "max_meta_overall_size": %d, "max_header_size": %d, `+
		`"max_object_name_length": %d, "container_listing_limit": %d, "account_listing_limit": %[9]d, `+
		`"max_account_name_length": %d, "max_container_name_length": %d, `+
		`"extra_header_count": 0}, `+
		`"tempauth": {"account_acls": true}, "container_quotas": {}, "account_quotas": {}}`,
		policy, maxObjectSize, storage.MaxMetaName, storage.MaxMetaValue,
		storage.MaxMetaCount, storage.MaxMetaSize, storage.MaxHeaderValue,
		storage.MaxObjectName, maxListing, storage.MaxAccountName, storage.MaxContainerName)
}
