package gateway

import (
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// copyObject answers COPY: this object, to where Destination says.
func (c *call) copyObject() error {
	h := c.r.Header
	if h.Get("Destination") == "" {
		return &refusal{status: http.StatusPreconditionFailed, text: "Destination header required"}
	}
	to := storage.Path{Account: c.path.Account}
	if v := h["Destination-Account"]; v != nil {
		account, err := accountName(v[0])
		if err != nil {
			return err
		}
		to.Account = account
	}
	var err error
	if to.Container, to.Object, err = pathInHeader(h, "Destination"); err != nil {
		return err
	}
	return c.copy(c.path, to)
}

// putCopy answers PUT with X-Copy-From: that object, to this path.
func (c *call) putCopy() error {
	h := c.r.Header
	if c.r.ContentLength > 0 {
		return badRequest("Copy requests require a zero byte body")
	}
	from := storage.Path{Account: c.path.Account}
	if v := h.Get("X-Copy-From-Account"); v != "" {
		account, err := accountName(v)
		if err != nil {
			return err
		}
		from.Account = account
	}
	var err error
	if from.Container, from.Object, err = pathInHeader(h, "X-Copy-From"); err != nil {
		return err
	}
	return c.copy(from, c.path)
}

// accountName reads the name of an account in a header.
func accountName(v string) (string, error) {
	name := unquote(v)
	switch {
	case name == "":
		return "", &refusal{status: http.StatusPreconditionFailed, text: "Account name cannot be empty"}
	case strings.Contains(name, "/"):
		return "", &refusal{status: http.StatusPreconditionFailed, text: "Account name cannot contain slashes"}
	}
	_, err := split(name)
	return name, err
}

// pathInHeader reads a header that names an object, escaped as in a URL; a
// slash in front is optional.
func pathInHeader(h http.Header, key string) (container, object string, err error) {
	name := strings.TrimPrefix(unquote(h.Get(key)), "/")
	container, object, _ = strings.Cut(name, "/")
	if container == "" || object == "" {
		return "", "", &refusal{status: http.StatusPreconditionFailed,
			text: key + " header must be of the form <container name>/<object name>"}
	}
	_, err = split("-/" + name)
	return container, object, err
}

// unquote decodes what is escaped, and leaves alone what only looks so.
func unquote(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// copy makes to an object with the bytes of from. The request's conditions and
// its Range are about the source; its metadata is laid over that of the
// source, or takes its place.
func (c *call) copy(from, to storage.Path) error {
	dest, meant := c.path, c.ctx
	c.asAsked()
	for {
		c.path = from // whose headers are shown if it does not come to a copy
		source, err := c.g.Store.Stat(c.ctx, from)
		if err != nil {
			return c.absent(err)
		}
		if status := judge(c.r.Header, &source); status != 0 {
			return c.answerCondition(status, &source)
		}
		list, err := c.copiedRange(&source)
		if list == nil {
			return err
		}
		c.path = to
		if source.Size > c.g.MaxObjectSize {
			return &refusal{status: http.StatusRequestEntityTooLarge}
		}
		target, cond, err := c.target(&source, to)
		if err != nil {
			return c.unlessForbidden(err)
		}
		if len(to.Container) > storage.MaxContainerName {
			return c.unlessForbidden(fs.ErrNotExist)
		}
		source.Path = from // also where that is a link to another
		if source.Link != nil {
			return c.copyLink(&source, target, cond)
		}
		if source.IsManifest() && source.Large == nil {
			c.ctx = meant
			return c.copyManifest(&source, target, cond)
		}
		var in storage.Info
		if *list == (stretch{0, source.Size}) {
			in, err = c.g.Store.Copy(c.ctx, storage.Info{Path: from, Version: source.Version}, target, cond)
		} else {
			in, err = c.copyStretch(&source, *list, target, cond)
		}
		if errors.Is(err, storage.ErrPrecondition) && !cond.Absent && c.r.Context().Err() == nil {
			continue // the source changed since we looked at it
		}
		c.path = dest
		if err != nil {
			return err
		}
		return c.copied(&source, &in)
	}
}

// copiedRange is the part of the source to copy; nil if the answer has been
// given already, or is the error.
func (c *call) copiedRange(source *storage.Info) (*stretch, error) {
	spans := parseRanges(joined(c.r.Header["Range"]))
	if len(spans) == 0 {
		return &stretch{0, source.Size}, nil
	}
	list := stretches(spans, source.Size)
	switch {
	case len(list) == 0:
		return nil, c.answerRange(source)
	case len(list) > 1:
		return nil, badRequest("Copy requests support a single range only")
	}
	return &list[0], nil
}

// target is the object to make, from the request and the source.
func (c *call) target(source *storage.Info, to storage.Path) (storage.Info, storage.Cond, error) {
	h := c.r.Header
	cond, err := onlyIfAbsent(h)
	if err == nil && h[linkTarget] != nil {
		err = errLinkBody
	}
	if err != nil {
		return storage.Info{}, cond, err
	}
	in := storage.Info{Path: to, Size: source.Size}
	if in.Meta, err = objects.fromHeader(h, true); err != nil {
		return in, cond, err
	}
	if in.DeleteAt, err = expiry(h, c.begun); err != nil {
		return in, cond, err
	}
	if in.Type, err = contentType(h); err != nil {
		return in, cond, err
	}
	if v := source.Meta[storage.MetaManifest]; v != "" && source.Large == nil { // the manifest itself is copied
		if in.Meta == nil {
			in.Meta = storage.Meta{}
		}
		if in.Meta[storage.MetaManifest] == "" {
			in.Meta[storage.MetaManifest] = v
		}
	}
	if !truth(h.Get("X-Fresh-Metadata")) {
		own := in.Meta
		in.Meta = source.Meta.Clone()
		if in.Meta == nil {
			in.Meta = storage.Meta{}
		}
		if source.Large != nil {
			delete(in.Meta, storage.MetaManifest) // what is copied is the content
		}
		maps.Copy(in.Meta, own)
		if in.DeleteAt.IsZero() {
			in.DeleteAt = source.DeleteAt
		}
	}
	if in.Type == "" {
		if truth(h.Get("X-Detect-Content-Type")) {
			in.Type = storage.TypeByName(to.Object)
		} else {
			in.Type = source.Type
		}
	}
	return in, cond, nil
}

// copyStretch copies a part of the source, which takes its bytes through here.
func (c *call) copyStretch(source *storage.Info, s stretch, target storage.Info, cond storage.Cond) (storage.Info, error) {
	rc, in, err := c.g.Store.Open(c.ctx, source.Path, storage.Range{Offset: s.offset, Length: s.length})
	if err != nil {
		return storage.Info{}, err
	}
	defer rc.Close()
	if in.Version != source.Version {
		return storage.Info{}, storage.Wrap("copy", source.Path, storage.ErrPrecondition)
	}
	target.Size = s.length
	up, err := c.g.Store.Create(c.ctx, target, cond)
	if err != nil {
		return storage.Info{}, err
	}
	defer up.Close()
	if _, err := up.ReadFrom(rc); err != nil {
		return storage.Info{}, err
	}
	return up.Commit(c.ctx)
}

// copied answers that a copy was made, and from what.
func (c *call) copied(source, in *storage.Info) error {
	c.set("Etag", in.ETag)
	if in.Large != nil {
		c.set("Etag", `"`+in.ETag+`"`)
	}
	c.set("Last-Modified", httpDate(in.ModTime))
	c.tellVersion(in)
	if id := c.copiedVersion(source); id != "" {
		c.set("X-Copied-From-Version-Id", id)
	}
	c.set("X-Copied-From-Account", quote(source.Path.Account))
	c.set("X-Copied-From", quote(source.Path.Container+"/"+source.Path.Object))
	c.set("X-Copied-From-Last-Modified", httpDate(source.ModTime))
	for key, value := range in.Meta {
		if strings.HasPrefix(key, objects.meta) {
			c.set(key, value)
		}
	}
	if !in.DeleteAt.IsZero() {
		c.set("X-Delete-At", strconv.FormatInt(in.DeleteAt.Unix(), 10))
	}
	return c.done(http.StatusCreated)
}
