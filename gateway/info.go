package gateway

import (
	"encoding/json"
	"net/http"
	"slices"

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
func capabilities(c *Config) string {
	type is = map[string]any
	text, err := json.Marshal(is{
		"swift": is{
			"version":                   "2.30.1",
			"strict_cors_mode":          true,
			"policies":                  []is{{"name": policy, "aliases": policy, "default": true}},
			"allow_account_management":  true,
			"account_autocreate":        true,
			"max_file_size":             c.MaxObjectSize,
			"max_meta_name_length":      storage.MaxMetaName,
			"max_meta_value_length":     storage.MaxMetaValue,
			"max_meta_count":            storage.MaxMetaCount,
			"max_meta_overall_size":     storage.MaxMetaSize,
			"max_header_size":           storage.MaxHeaderValue,
			"max_object_name_length":    storage.MaxObjectName,
			"container_listing_limit":   maxListing,
			"account_listing_limit":     maxListing,
			"max_account_name_length":   storage.MaxAccountName,
			"max_container_name_length": storage.MaxContainerName,
			"extra_header_count":        0,
		},
		"tempauth": is{"account_acls": true},
		"slo": is{
			"max_manifest_segments": storage.MaxSegments,
			"max_manifest_size":     storage.MaxManifest,
			"yield_frequency":       int(pulseEvery.Seconds()),
			"min_segment_size":      1,
			"allow_async_delete":    true,
		},
		"container_quotas": is{},
		"account_quotas":   is{},
		"bulk_delete":      is{"max_deletes_per_request": maxBulkDeletes, "max_failed_deletes": maxFailedBulkDeletes},
		"bulk_upload":      is{"max_containers_per_extraction": maxBulkContainers, "max_failed_extractions": maxFailedExtractions},
		"formpost":         signatures(c, is{}),
		"staticweb":        is{},
		"tempurl": signatures(c, is{
			"methods":                 []string{"GET", "HEAD", "PUT", "POST", "DELETE"},
			"incoming_remove_headers": []string{"x-timestamp"},
			"incoming_allow_headers":  []string{},
			"outgoing_remove_headers": []string{"x-object-meta-*"},
			"outgoing_allow_headers":  []string{"x-object-meta-public-*"},
		}),
	})
	if err != nil {
		panic(err) // it is made of nothing that cannot be written as JSON
	}
	return string(text)
}

// signatures adds to what a feature tells by which digests it can be signed for.
func signatures(c *Config, feature map[string]any) map[string]any {
	feature["allowed_digests"] = slices.Sorted(slices.Values(c.Digests))
	if slices.Contains(c.Digests, "sha1") {
		feature["deprecated_digests"] = []string{"sha1"}
	}
	return feature
}
