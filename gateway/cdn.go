package gateway

import (
	"context"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// A CDN is what the gateway knows of the edges that serve containers to
// browsers. With one it has the management API of Rackspace's Cloud Files
// below /cdn/v1/, and tells at login where that is.
//
// All that the API sets is metadata of the container, which any other client of
// Swift can set as well.
type CDN struct {
	// URLs are the addresses of a container at the edge: one by which it can be
	// had, and one whose host is a single label below the CDN's domain, so that
	// one certificate is good for all.
	URLs func(ctx context.Context, account, container string) (plain, single string, err error)

	// TTL is how long edges and browsers keep what says nothing of it itself, for
	// containers that say nothing either. Zero means 72 hours.
	TTL time.Duration
}

// Metadata of a container by which its owner rules what edges do with it.
const (
	metaCDNEnabled = "X-Container-Meta-Cdn-Enabled"
	metaCDNTTL     = "X-Container-Meta-Cdn-Ttl"
	metaCDNLogs    = "X-Container-Meta-Cdn-Log-Retention"
)

const (
	cdnRoot = "/cdn/v1/"

	// Bounds of a TTL that is set by this API, in seconds. Who wants less sets
	// the metadata.
	minCDNTTL, maxCDNTTL = 900, 31536000
)

// A cdnState is what the metadata of a container says of the CDN.
type cdnState struct {
	known   bool // it is, or was, on the CDN
	enabled bool
	logs    bool
	ttl     int64
}

func (d *CDN) state(m storage.Meta) cdnState {
	said, ok := m[metaCDNEnabled]
	public := slices.ContainsFunc(items(m[auth.MetaContainerRead]), referrer)
	s := cdnState{
		known: ok || public, enabled: public && (!ok || truth(said)),
		logs: truth(m[metaCDNLogs]), ttl: int64(d.TTL / time.Second),
	}
	if s.ttl == 0 {
		s.ttl = 259200
	}
	if n, err := strconv.ParseInt(m[metaCDNTTL], 10, 64); err == nil && n >= 0 {
		s.ttl = min(n, maxCDNTTL)
	}
	return s
}

// items are those of an access control list.
func items(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// referrer reports whether an item of an access control list lets in strangers.
func referrer(item string) bool {
	return strings.HasPrefix(item, ".r:") && !strings.HasPrefix(item, ".r:-")
}

// cdnPath answers what is asked of the management API.
func (c *call) cdnPath() error {
	rest := strings.TrimPrefix(c.r.URL.Path, cdnRoot)
	if err := c.identify(realm(rest)); err != nil {
		return err
	}
	path, err := split(rest)
	if err != nil {
		return err
	}
	c.path = path
	if c.r.Method != http.MethodDelete || truth(c.r.Header.Get("X-Remove-Cdn-Container")) { // purging changes nothing that is kept
		if err := c.checkWritable(path); err != nil {
			return err
		}
	}
	if err := c.checkGone(path); err != nil {
		return err
	}
	verbs := map[string]verb{http.MethodDelete: (*call).purgeObject}
	switch {
	case path.IsAccount():
		verbs = map[string]verb{http.MethodGet: (*call).listCDN, http.MethodHead: (*call).listCDN}
	case path.IsContainer():
		verbs = map[string]verb{
			http.MethodHead: (*call).headCDN, http.MethodGet: (*call).headCDN,
			http.MethodPut: (*call).putCDN, http.MethodPost: (*call).postCDN,
			http.MethodDelete: (*call).deleteCDN,
		}
	}
	v, ok := verbs[c.r.Method]
	if !ok {
		return c.methodNotAllowed()
	}
	return v(c)
}

// headCDN tells how a container is on the CDN.
func (c *call) headCDN() error {
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return err
	}
	s := c.g.CDN.state(in.Meta)
	if !s.known {
		return &refusal{status: http.StatusNotFound}
	}
	if err := c.describeCDN(s); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) describeCDN(s cdnState) error {
	plain, single, err := c.g.CDN.URLs(c.ctx, c.path.Account, c.path.Container)
	if err != nil {
		return err
	}
	c.set("X-Cdn-Enabled", pythonBool(s.enabled))
	c.set("X-Ttl", strconv.FormatInt(s.ttl, 10))
	c.set("X-Log-Retention", pythonBool(s.logs))
	c.set("X-Cdn-Uri", plain)
	c.set("X-Cdn-Ssl-Uri", single)
	c.set("X-Cdn-Streaming-Uri", single)
	c.set("X-Cdn-Ios-Uri", single)
	return nil
}

// pythonBool is a truth as the clients of this API compare it.
func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// putCDN puts a container on the CDN, or takes it off.
func (c *call) putCDN() error {
	return c.changeCDN(func(s cdnState) (int, error) {
		if s.known {
			return http.StatusAccepted, nil
		}
		return http.StatusCreated, nil
	}, true)
}

// postCDN changes what is set of a container that is, or was, on the CDN.
func (c *call) postCDN() error {
	return c.changeCDN(func(s cdnState) (int, error) {
		if !s.known {
			return 0, &refusal{status: http.StatusNotFound}
		}
		return http.StatusAccepted, nil
	}, false)
}

// changeCDN merges what the headers say into the metadata of a container. judge
// tells the status for what was there before; enable is what X-CDN-Enabled
// means if it is not sent.
func (c *call) changeCDN(judge func(cdnState) (int, error), enable bool) error {
	m := storage.Meta{}
	if v := c.r.Header.Get("X-Ttl"); v != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return c.unlessForbidden(badRequest("Invalid X-TTL, must be integer"))
		}
		m[metaCDNTTL] = strconv.FormatInt(min(max(n, minCDNTTL), maxCDNTTL), 10)
	}
	if v := c.r.Header.Get("X-Log-Retention"); v != "" {
		m[metaCDNLogs] = pythonBool(truth(v))
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return err
	}
	if !c.g.Owner(c.ctx, c.path.Account) {
		return storage.Wrap("update", c.path, fs.ErrPermission)
	}
	status, err := judge(c.g.CDN.state(in.Meta))
	if err != nil {
		return err
	}
	if v := c.r.Header.Get("X-Cdn-Enabled"); v != "" || enable {
		on := v == "" || truth(v)
		m[metaCDNEnabled] = pythonBool(on)
		m[auth.MetaContainerRead] = publish(in.Meta[auth.MetaContainerRead], on)
	}
	if err := c.g.Store.Merge(c.ctx, c.path, m); err != nil {
		return err
	}
	for key, value := range in.Meta {
		if _, ok := m[key]; !ok {
			m[key] = value
		}
	}
	if err := c.describeCDN(c.g.CDN.state(m)); err != nil {
		return err
	}
	return c.done(status)
}

// publish is an access control list that lets strangers read, or does not. Who
// is let in for the page he comes from is the owner's choice, which stays.
func publish(list string, on bool) string {
	kept := items(list)
	if !on {
		kept = slices.DeleteFunc(kept, func(s string) bool { return s == ".r:*" || s == ".rlistings" })
	} else if !slices.ContainsFunc(kept, referrer) {
		kept = append(kept, ".r:*")
	}
	return strings.Join(kept, ",")
}

// deleteCDN purges a container, or what begins with a prefix, from the edges; or
// makes as if it had never been on the CDN. What is stored stays.
func (c *call) deleteCDN() error {
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return err
	}
	if !c.g.CDN.state(in.Meta).known {
		return &refusal{status: http.StatusNotFound}
	}
	prefix, some := param(c.r.URL.RawQuery, "prefix")
	switch {
	case truth(c.r.Header.Get("X-Remove-Cdn-Container")):
		if !c.g.Owner(c.ctx, c.path.Account) {
			return storage.Wrap("update", c.path, fs.ErrPermission)
		}
		err = c.g.Store.Merge(c.ctx, c.path, storage.Meta{
			metaCDNEnabled: "", metaCDNTTL: "", metaCDNLogs: "",
			auth.MetaContainerRead: publish(in.Meta[auth.MetaContainerRead], false),
		})
	case some && prefix != "":
		path := c.path
		path.Object = prefix
		err = c.announce(path, true)
	case some, c.r.Header["X-Purge-Email"] != nil, c.hard():
		err = c.announce(c.path, false)
	default:
		return c.methodNotAllowed()
	}
	if err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// purgeObject purges an object from the edges.
func (c *call) purgeObject() error {
	if _, err := c.g.Store.Stat(c.ctx, c.path.Parent()); err != nil {
		return err
	}
	if err := c.announce(c.path, false); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// announce has the edges ask again for what they hold of a path; or, if the
// client wants it gone, forget it.
func (c *call) announce(path storage.Path, tree bool) error {
	change := storage.Change{Op: storage.OpStale, Path: path, Tree: tree}
	if c.hard() {
		change.Op = storage.OpDrop
	}
	return c.g.Store.Announce(c.ctx, change)
}

func (c *call) hard() bool {
	v, _ := param(c.r.URL.RawQuery, "hard")
	return truth(v) || truth(c.r.Header.Get("X-Purge-Hard"))
}

// cdnURL is where the management API of an account is, "" if there is none.
func (i *identity) cdnURL(c *call, account string) string {
	if c.g.CDN == nil {
		return ""
	}
	return i.base(c) + cdnRoot + quote(auth.StorageAccount(account))
}
