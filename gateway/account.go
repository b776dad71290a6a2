package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// getAccount lists the containers of an account.
func (c *call) getAccount() error {
	f, err := negotiate(c.r)
	if err != nil {
		return err
	}
	in, there, err := c.statAccount()
	if err != nil {
		return err
	}
	l, err := parseListing(c.r.URL.RawQuery, false)
	if err != nil {
		return err
	}
	if err := c.describeAccount(&in, there); err != nil {
		return err
	}
	return c.list(&in, f, l, there)
}

// headAccount tells of an account what there is to say. One that nobody wrote
// to yet is answered for as if it were there, with another status.
func (c *call) headAccount() error {
	f, err := negotiate(c.r)
	if err != nil {
		return err
	}
	in, there, err := c.statAccount()
	if err != nil {
		return err
	}
	if err := c.describeAccount(&in, there); err != nil {
		return err
	}
	c.set("Content-Type", f.contentType)
	if f.negotiated {
		c.set("Vary", "Accept")
	}
	if there {
		c.w.WriteHeader(http.StatusNoContent)
	} else {
		c.w.WriteHeader(http.StatusOK)
	}
	return nil
}

// statAccount describes the account, also one that is not there: it will be as
// soon as something is written to it.
func (c *call) statAccount() (in storage.Info, there bool, err error) {
	in, err = c.g.Store.Stat(c.ctx, c.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := c.checkAccountName(); err != nil {
			return in, false, err
		}
		now := time.Now()
		return storage.Info{Path: c.path, Created: now, ModTime: now}, false, nil
	}
	return in, err == nil, err
}

// checkAccountName refuses a name so long that no account can have it.
func (c *call) checkAccountName() error {
	if n := len(c.path.Account); n > storage.MaxAccountName {
		return &refusal{status: http.StatusBadRequest,
			text: fmt.Sprintf("Account name length of %d longer than %d", n, storage.MaxAccountName)}
	}
	return nil
}

func (c *call) describeAccount(in *storage.Info, there bool) error {
	containers := strconv.FormatInt(in.Containers, 10)
	objects := strconv.FormatInt(in.Objects, 10)
	bytes := strconv.FormatInt(in.Size, 10)
	c.set("X-Account-Container-Count", containers)
	c.set("X-Account-Object-Count", objects)
	c.set("X-Account-Bytes-Used", bytes)
	c.set("X-Timestamp", timestamp(in.Created))
	if !there {
		c.set("X-Put-Timestamp", timestamp(in.Created))
		return nil
	}
	c.w.Header()["Accept-Ranges"] = acceptRanges
	c.tell(accounts, in.Meta)
	return c.tellPolicies(in)
}

// putAccount makes an account; resellers only, which the guard sees to.
func (c *call) putAccount() error {
	m, err := c.accountMeta()
	if err != nil {
		return c.unlessNoReseller(err)
	}
	created, err := c.g.Store.Make(c.ctx, c.path, m)
	if err != nil {
		return err
	}
	if created {
		return c.done(http.StatusCreated)
	}
	return c.done(http.StatusAccepted)
}

// postAccount changes metadata of an account, which is made if need be.
func (c *call) postAccount() error {
	m, err := c.accountMeta()
	if err != nil {
		return c.unlessForbidden(err)
	}
	if err := c.g.Store.Merge(c.ctx, c.path, m); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// accountMeta reads the changes to an account's metadata. Its quota is the
// reseller's to set.
func (c *call) accountMeta() (storage.Meta, error) {
	if err := c.checkAccountName(); err != nil {
		return nil, err
	}
	m, err := accounts.fromHeader(c.r.Header, c.g.Owner(c.ctx, c.path.Account))
	if err != nil {
		return nil, err
	}
	if quota, ok := m[storage.MetaAccountQuotaBytes]; ok {
		switch {
		case c.id.Stranger():
			return nil, errUnauthorized
		case c.id.Role != auth.RoleReseller:
			return nil, errForbidden
		case quota != "" && !digits(quota):
			return nil, &refusal{status: http.StatusBadRequest}
		}
	}
	settleTruth(m, metaAccountETags)
	if list, ok := m[auth.MetaAccountACL]; ok {
		clean, err := auth.CleanAccountACL(list)
		if err != nil {
			return nil, &refusal{status: http.StatusBadRequest, text: err.Error(), kind: "text/plain; charset=UTF-8"}
		}
		m[auth.MetaAccountACL] = clean
	}
	return m, nil
}

// deleteAccount removes an account with all that is in it; resellers only. From
// then on the account is gone; what is in it goes in the background.
func (c *call) deleteAccount() error {
	if c.r.URL.RawQuery != "" {
		// Somebody may have meant another thing than to lose an account.
		return c.unlessNoReseller(&refusal{status: http.StatusBadRequest})
	}
	err := c.g.Store.Condemn(c.ctx, c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &refusal{status: http.StatusNotFound, silent: true}
	}
	if err != nil {
		return err
	}
	c.set("X-Account-Status", "Deleted")
	return c.done(http.StatusNoContent)
}

// unlessNoReseller is what is wrong with a request to make or remove an
// account, unless it is not for this user to ask.
func (c *call) unlessNoReseller(wrong error) error {
	if c.id.Role != auth.RoleReseller {
		return storage.Wrap("make", c.path, fs.ErrPermission)
	}
	return wrong
}
