package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// Headers that say what a container does with what its objects were.
const (
	versionsLocation = "X-Versions-Location"
	historyLocation  = "X-History-Location"
	versionsEnabled  = "X-Versions-Enabled"
	versionHeader    = "X-Object-Version-Id"
	currentHeader    = "X-Object-Current-Version-Id"
)

// versioningIn reads from the headers what is to become of versions, and adds it
// to the changes of a container's metadata.
func (c *call) versioningIn(m storage.Meta) (storage.Meta, error) {
	h := c.r.Header
	stack, history := h.Get(versionsLocation), h.Get(historyLocation)
	set := func(key, value string) {
		if m == nil {
			m = make(storage.Meta, 4)
		}
		m[key] = value
	}
	if stack != "" && history != "" {
		return nil, badRequest("Only one of x-versions-location or x-history-location may be specified")
	}
	at, mode := stack, storage.VersionsStack
	if history != "" {
		at, mode = history, storage.VersionsHistory
	}
	switch {
	case at != "":
		if strings.Contains(at, "/") {
			return nil, &refusal{status: http.StatusPreconditionFailed, text: "Container name cannot contain slashes"}
		}
		set(storage.MetaVersionsLocation, at)
		set(storage.MetaVersionsMode, mode)
	case h[versionsLocation] != nil, h[historyLocation] != nil,
		h.Get("X-Remove-Versions-Location") != "", h.Get("X-Remove-History-Location") != "":
		set(storage.MetaVersionsLocation, "")
		set(storage.MetaVersionsMode, "")
	}
	if h[versionsEnabled] == nil {
		return m, nil
	}
	was := c.meta(c.path)
	switch {
	case was[storage.MetaVersionsLocation] != "":
		return nil, &refusal{status: http.StatusBadRequest, text: "Cannot enable object versioning on a container that is already using the legacy versioned writes feature."}
	case was[metaSyncTo] != "":
		return nil, &refusal{status: http.StatusBadRequest, text: "Cannot enable object versioning on a container configured as source of container syncing."}
	}
	set(storage.MetaVersionsEnabled, "False")
	if truth(h.Get(versionsEnabled)) {
		set(storage.MetaVersionsEnabled, "True")
	}
	return m, nil
}

// describeVersioning sets the headers that tell what a container does with
// versions.
func (c *call) describeVersioning(m storage.Meta) {
	if v := m[storage.MetaVersionsLocation]; v != "" {
		if m[storage.MetaVersionsMode] == storage.VersionsHistory {
			c.set(historyLocation, v)
		} else {
			c.set(versionsLocation, v)
		}
	}
	if v := m[storage.MetaVersionsEnabled]; v != "" {
		c.set(versionsEnabled, v)
	}
}

// versionParam is the id of the version that a request is about, "" if it is
// about the current one.
func (c *call) versionParam() string {
	if c.r.URL.RawQuery == "" {
		return ""
	}
	v, _ := param(c.r.URL.RawQuery, "version-id")
	return v
}

// vouched is the context for what is about versions: a signed URL is as good for
// them as for the object.
func (c *call) vouched() context.Context {
	if c.tempURL != nil {
		return storage.Vouched(c.ctx)
	}
	return c.ctx
}

// versioned reports whether there are, or may be, versions with ids of the
// object that the request is about.
func (c *call) versioned() bool {
	home := storage.Info{Meta: c.meta(c.path.Parent())}
	return home.Versioned()
}

// copiedVersion is the version of an object that was copied, "" if there are none
// where it is from.
func (c *call) copiedVersion(source *storage.Info) string {
	home := storage.Info{Meta: c.meta(source.Path.Parent())}
	switch id := c.versionParam(); {
	case id != "":
		return id
	case home.Versioned():
		return source.VersionID()
	}
	return ""
}

// describeVersion tells of an object which of its versions it is.
func (c *call) describeVersion(in *storage.Info) {
	if id := c.versionParam(); id != "" {
		c.set(versionHeader, id)
		return
	}
	if !c.versioned() {
		return
	}
	id := storage.NullVersion
	if !in.Linked || in.Path.Parent() == c.path.Parent() {
		id = in.VersionID()
	}
	c.set(versionHeader, id)
	if id == storage.NullVersion {
		return
	}
	if c.aboutLink() {
		c.set(linkTarget, quote(c.path.Container+"/"+c.path.Object)+"?version-id="+id)
		return
	}
	c.set("Content-Location", location(in.Path)+"?version-id="+id)
}

// tellVersion says which version of an object was made, if it is one.
func (c *call) tellVersion(in *storage.Info) {
	if id := in.VersionID(); id != storage.NullVersion {
		c.set(versionHeader, id)
	}
}

// deleteVersion removes one version of an object.
func (c *call) deleteVersion(id string) error {
	current, err := c.g.Store.DeleteVersion(c.vouched(), c.path, id)
	if id != storage.NullVersion && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		c.set(versionHeader, id)
		if current != "" {
			c.set(currentHeader, current)
		}
	}
	if err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// restoreVersion makes a version the current one.
func (c *call) restoreVersion(id string) error {
	if n := c.r.ContentLength; n > 0 || n < 0 && !c.emptyBody() {
		return c.unlessForbidden(badRequest("PUT version-id requests require a zero byte body"))
	}
	in, err := c.g.Store.RestoreVersion(c.vouched(), c.path, id)
	if err != nil {
		return err
	}
	c.set("Etag", storedETag(&in))
	c.set("Last-Modified", httpDate(in.ModTime))
	c.set(versionHeader, id)
	return c.done(http.StatusCreated)
}

// listVersions lists the versions of the objects in a container, in JSON
// whatever else may be asked for.
func (c *call) listVersions(in *storage.Info, l listing) error {
	query := c.r.URL.RawQuery
	format, _ := param(query, "format")
	if format != "" && !strings.EqualFold(format, "json") || format == "" && !acceptsJSON(joined(c.r.Header["Accept"])) {
		return errNotAcceptable
	}
	q := storage.VersionQuery{Query: l.Query}
	q.Limit = l.limit
	id, given := param(query, "version_marker")
	if _, marked := param(query, "marker"); given && !marked {
		return &refusal{status: http.StatusBadRequest, text: "version_marker param requires marker"}
	}
	if given && !storage.IsVersionID(id) {
		return &refusal{status: http.StatusBadRequest, text: "invalid version_marker param"}
	}
	if q.MarkerID = id; strings.ContainsAny(q.Delimiter, "0123456789.") {
		return &refusal{status: http.StatusBadRequest, text: "invalid delimiter param"}
	}
	list, err := c.g.Store.Versions(c.ctx, c.path, q)
	if err != nil {
		return err
	}
	c.describeContainer(in)
	e := new(jsonEncoder)
	b := e.begin(nil)
	for i := range list {
		b = e.version(b, &list[i])
	}
	b = e.end(b)
	c.set("Content-Type", jsonType)
	c.notSniffed()
	c.set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(http.StatusOK)
	_, err = c.w.Write(b)
	return storage.Wrap("list", c.path, err)
}

// acceptsJSON reports whether JSON is among what an Accept header asks for.
func acceptsJSON(accept string) bool {
	for item := range strings.SplitSeq(accept, ",") {
		typ, sub, quality, ok := parseAccept(item)
		if ok && quality > 0 && (typ == "*" || typ == "application") && (sub == "*" || sub == "json") {
			return true
		}
	}
	return accept == ""
}

// version is a row of a listing of versions.
func (e *jsonEncoder) version(b []byte, v *storage.Version) []byte {
	if v.Subdir {
		return e.row(b, &v.Info)
	}
	e.versions = true
	b = e.row(b, &v.Info)
	b = b[:len(b)-1]
	if v.ID == storage.NullVersion { // then Swift tells in another order
		b = storage.AppendJSON(append(b, `, "version_id": `...), v.ID)
		b = strconv.AppendBool(append(b, `, "is_latest": `...), v.Latest)
	} else {
		b = strconv.AppendBool(append(b, `, "is_latest": `...), v.Latest)
		b = storage.AppendJSON(append(b, `, "version_id": `...), v.ID)
	}
	return append(b, '}')
}

// appendVersion appends what an ordinary listing in JSON tells of an object that
// has an id: in Swift it is a link to that version.
func appendVersion(b []byte, in *storage.Info, id string) []byte {
	b = storage.AppendJSON(append(b, `, "symlink_path": `...), location(in.Path)+"?version-id="+id)
	return append(b, `, "version_symlink": true`...)
}
