package gateway

import (
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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
		text, err := c.capabilitiesFor()
		if err != nil {
			return err
		}
		if origin := c.r.Header.Get("Origin"); origin != "" {
			c.set("Access-Control-Allow-Origin", origin)
			c.set("Access-Control-Expose-Headers", "x-trans-id")
		}
		c.say(http.StatusOK, "application/json; charset=UTF-8", text)
		return nil
	case http.MethodOptions:
		c.set("Allow", methods)
		return c.done(http.StatusOK)
	}
	c.set("Allow", methods)
	return &refusal{status: http.StatusMethodNotAllowed}
}

// capabilitiesFor is what there is to say to the one who asks: more to operators,
// who sign for it with the key that they have set.
func (c *call) capabilitiesFor() (string, error) {
	given, _ := firstParam(c.r.URL.RawQuery, "swiftinfo_sig")
	until, _ := firstParam(c.r.URL.RawQuery, "swiftinfo_expires")
	if given == "" && until == "" {
		return c.g.capabilities, nil
	}
	if c.g.InfoKey == "" {
		return "", errForbidden
	}
	expires, err := strconv.ParseInt(until, 10, 64)
	if err != nil || time.Unix(expires, 0).Before(c.begun) {
		return "", errUnauthorized
	}
	methods := []string{http.MethodGet}
	if c.r.Method == http.MethodHead {
		methods = append(methods, http.MethodHead)
	}
	for _, method := range methods {
		if digest, sum, ok := parseSignature(given); ok {
			mac := hmac.New(digests[digest], []byte(c.g.InfoKey))
			fmt.Fprintf(mac, "%s\n%d\n/info", method, expires)
			if hmac.Equal(mac.Sum(nil), sum) {
				return strings.TrimSuffix(c.g.capabilities, "}") + `,"admin":{"disallowed_sections":[]}}`, nil
			}
		}
	}
	return "", errUnauthorized
}

// crossDomain answers with the policy for pages that Flash and its like run on.
func (c *call) crossDomain() error {
	c.say(http.StatusOK, "application/xml", `<?xml version="1.0"?>`+"\n"+
		`<!DOCTYPE cross-domain-policy SYSTEM "http://www.adobe.com/xml/dtds/cross-domain-policy.dtd" >`+"\n"+
		"<cross-domain-policy>\n"+c.g.CrossDomain+"\n</cross-domain-policy>")
	return nil
}

// capabilities is the body of /info. It has a key for each feature that is
// there and none for others, since clients decide by them what to use. The
// version is that of the API's behaviour.
func capabilities(c *Config) string {
	type is = map[string]any
	about := is{
		"swift": is{
			"version":                   "2.30.1",
			"strict_cors_mode":          true,
			"policies":                  policyList(c.Policies),
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
		"symlink":  is{"symloop_max": storage.MaxLinks, "static_links": true},
		"slo": is{
			"max_manifest_segments": storage.MaxSegments,
			"max_manifest_size":     storage.MaxManifest,
			"yield_frequency":       int(pulseEvery.Seconds()),
			"min_segment_size":      1,
			"allow_async_delete":    true,
		},
		"container_quotas":  is{},
		"container_sync":    is{"realms": is{}},
		"etag_quoter":       is{"enable_by_default": false},
		"ratelimit":         c.RateLimits.info(),
		"account_quotas":    is{},
		"versioned_writes":  is{"allowed_flags": []string{"x-versions-location", "x-history-location"}},
		"object_versioning": is{},
		"bulk_delete":       is{"max_deletes_per_request": maxBulkDeletes, "max_failed_deletes": maxFailedBulkDeletes},
		"bulk_upload":       is{"max_containers_per_extraction": maxBulkContainers, "max_failed_extractions": maxFailedExtractions},
		"formpost":          signatures(c, is{}),
		"staticweb":         is{},
		"tempurl": signatures(c, is{
			"methods":                 []string{"GET", "HEAD", "PUT", "POST", "DELETE"},
			"incoming_remove_headers": []string{"x-timestamp"},
			"incoming_allow_headers":  []string{},
			"outgoing_remove_headers": []string{"x-object-meta-*"},
			"outgoing_allow_headers":  []string{"x-object-meta-public-*"},
		}),
	}
	if c.CrossDomain != "" {
		about["crossdomain"] = is{}
	}
	if c.Hosts != nil {
		about["domain_remap"] = is{"default_reseller_prefix": nil}
		if c.Hosts.Resolve != nil {
			about["cname_lookup"] = is{"lookup_depth": max(c.Hosts.Depth, 1)}
		}
	}
	if c.Names != nil {
		about["name_check"] = c.Names.info()
	}
	if c.ReadOnly {
		about["read_only"] = is{}
	}
	text, err := json.Marshal(about)
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
