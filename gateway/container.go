package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// getContainer lists the objects of a container.
func (c *call) getContainer() error {
	f, err := negotiate(c.r)
	if err != nil {
		return err
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, wrong := parseListing(c.r.URL.RawQuery, true)
	if wrong != nil {
		return wrong
	}
	if err != nil {
		return err
	}
	if _, ok := param(c.r.URL.RawQuery, "versions"); ok {
		return c.listVersions(&in, l)
	}
	c.describeContainer(&in)
	return c.list(&in, f, l, true)
}

// headContainer tells of a container what there is to say.
func (c *call) headContainer() error {
	f, err := negotiate(c.r)
	if err != nil {
		return err
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return err
	}
	c.describeContainer(&in)
	c.set("Content-Type", f.contentType)
	if f.negotiated {
		c.set("Vary", "Accept")
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) describeContainer(in *storage.Info) {
	c.set("X-Container-Object-Count", strconv.FormatInt(in.Objects, 10))
	c.set("X-Container-Bytes-Used", strconv.FormatInt(in.Size, 10))
	c.set("X-Timestamp", timestamp(in.Created))
	c.tell(containers, in.Meta)
	c.describeVersioning(in.Meta)
	c.set("Last-Modified", httpDate(in.ModTime))
	c.w.Header()["Accept-Ranges"] = acceptRanges
	c.set("X-Storage-Policy", c.g.policyOf(in.Meta))
}

// putContainer makes a container, or changes the metadata of one.
func (c *call) putContainer() error {
	m, err := c.containerMeta()
	if err != nil {
		return c.unlessForbidden(err)
	}
	changes := len(m) > 0
	if m, err = c.choosePolicy(m); err != nil {
		return c.unlessForbidden(err)
	}
	if n := len(c.path.Container); n > storage.MaxContainerName {
		return c.unlessForbidden(&refusal{status: http.StatusBadRequest,
			text: fmt.Sprintf("Container name length of %d longer than %d", n, storage.MaxContainerName)})
	}
	created, err := c.g.Store.Make(c.ctx, c.path, m)
	if err != nil {
		return err
	}
	if created {
		return c.done(http.StatusCreated)
	}
	if !changes { // else Make has changed it
		if err := c.g.Store.Merge(c.ctx, c.path, nil); err != nil { // Last-Modified is the last PUT or POST
			return err
		}
	}
	return c.done(http.StatusAccepted)
}

// postContainer changes metadata of a container.
func (c *call) postContainer() error {
	m, err := c.containerMeta()
	if err != nil {
		return c.unlessForbidden(err)
	}
	if err := c.g.Store.Merge(c.ctx, c.path, m); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// containerMeta reads the changes to a container's metadata.
func (c *call) containerMeta() (storage.Meta, error) {
	m, err := containers.fromHeader(c.r.Header, c.g.Owner(c.ctx, c.path.Account))
	if err != nil {
		return nil, err
	}
	if v := m[storage.MetaContainerQuotaBytes]; v != "" && !digits(v) {
		return nil, &refusal{status: http.StatusBadRequest, text: "Invalid bytes quota."}
	}
	if v := m[storage.MetaContainerQuotaCount]; v != "" && !digits(v) {
		return nil, &refusal{status: http.StatusBadRequest, text: "Invalid count quota."}
	}
	settleTruth(m, metaContainerETags)
	if err := c.g.checkSync(m); err != nil {
		return nil, err
	}
	for _, header := range []string{auth.MetaContainerRead, auth.MetaContainerWrite} {
		if v := m[header]; v != "" {
			list, err := auth.CleanACL(header, v)
			if err != nil {
				return nil, &refusal{status: http.StatusBadRequest, text: htmlText.Replace(err.Error())}
			}
			m[header] = string(list)
		}
	}
	return c.versioningIn(m)
}

// deleteContainer removes a container in which nothing is left.
func (c *call) deleteContainer() error {
	if err := c.g.Store.Remove(c.ctx, c.path, storage.Cond{}); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}
