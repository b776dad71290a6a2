package gateway

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"memstore.dev/memstore/auth"
)

// An identity gives out tokens, in each of the dialects that Swift's clients
// speak: TempAuth's v1 (here) and Keystone's v3 and v2.0 (keystone.go).
type identity struct {
	auth auth.Authenticator
	log  *slog.Logger // told why a login failed that should not have; may be nil
	url  string       // of this server as clients see it, "https://store.example.com"; as they asked for it if empty
}

// routes registers the places where clients log in. The exact paths are what
// keeps /v1.0, where old clients log in, apart from /v1.0/ACCOUNT.
func (i *identity) routes(r *mux.Router) {
	for _, path := range []string{"/auth/v1.0", "/auth/v1", "/auth/1.0", "/auth/auth", "/auth", "/v1.0"} {
		r.Handle(path, handler(i.v1))
	}
	r.Handle("/auth/v1/{account}/auth", handler(i.v1))
	r.PathPrefix("/auth/").Handler(handler(i.v1Nowhere))
	i.keystoneRoutes(r)
}

// v1 logs in by X-Auth-User and X-Auth-Key, or X-Storage-User and
// X-Storage-Pass, and answers with a token and where to use it. Unlike Swift's
// its 401 is the same whether the user or the password was wrong.
func (i *identity) v1(c *call) error {
	if c.r.Method != http.MethodGet {
		return &refusal{status: http.StatusMethodNotAllowed}
	}
	user := first(c.r.Header, "X-Auth-User", "X-Storage-User")
	password := first(c.r.Header, "X-Auth-Key", "X-Storage-Pass")
	if account, ok := mux.Vars(c.r)["account"]; ok {
		// Here the path names the account. X-Storage-User comes first, and may
		// leave it out.
		account, err := url.PathUnescape(account)
		if err != nil {
			return errUnauthorized
		}
		if storageUser := c.r.Header.Get("X-Storage-User"); storageUser != "" {
			user = storageUser
			if !strings.Contains(user, ":") {
				user = account + ":" + user
			}
		}
		password = first(c.r.Header, "X-Storage-Pass", "X-Auth-Key")
		if !strings.HasPrefix(auth.FullName(user), account+":") {
			return errUnauthorized
		}
	}
	if user == "" || password == "" {
		return errUnauthorized
	}
	token, err := i.login(c, user, password)
	if err != nil {
		return refused(c, err)
	}
	c.set("X-Auth-Token", token.Secret)
	c.set("X-Storage-Token", token.Secret)
	c.set("X-Auth-Token-Expires", strconv.Itoa(int(time.Until(token.Expires).Seconds())))
	c.set("X-Storage-Url", i.storageURL(c, c.id.Account))
	if u := i.cdnURL(c, c.id.Account); u != "" {
		c.set("X-Cdn-Management-Url", u)
	}
	return c.done(http.StatusOK)
}

// v1Nowhere answers where there is no version of v1.
func (i *identity) v1Nowhere(c *call) error {
	switch {
	case c.r.Method != http.MethodGet:
		return &refusal{status: http.StatusMethodNotAllowed}
	case c.r.URL.Path == "/auth/":
		return fs.ErrNotExist
	}
	return &refusal{status: http.StatusBadRequest}
}

// first is the value of the first of these headers that has one.
func first(h http.Header, keys ...string) string {
	for _, k := range keys {
		if v := h.Get(k); v != "" {
			return v
		}
	}
	return ""
}

// login asks who this is, has the call act for him, and issues a token.
func (i *identity) login(c *call, user, password string) (auth.Token, error) {
	id, err := i.auth.Password(c.ctx, auth.Attempt{User: user, From: c.g.peer(c.r), Door: door}, password)
	if err != nil {
		return auth.Token{}, err
	}
	token, err := i.auth.Issue(c.ctx, id)
	if err != nil {
		return auth.Token{}, err
	}
	c.id = id // for the log
	return token, nil
}

// verify finds out whom a token was issued for. From an address that he may
// not come from, it is as good as none of ours.
func (c *call) verify(a auth.Authenticator, secret string) (auth.Identity, auth.Token, error) {
	id, token, err := a.Verify(c.ctx, secret)
	if err == nil && !id.AllowedFrom(c.g.peer(c.r)) {
		return auth.Identity{}, auth.Token{}, fs.ErrPermission
	}
	return id, token, err
}

// refused is what a failed login is answered with.
func refused(c *call, err error) error {
	if errors.Is(err, auth.ErrBusy) {
		c.set("Retry-After", "1")
		return &refusal{status: http.StatusServiceUnavailable}
	}
	return err
}

// base is the URL of this server, without a path: as the client wrote it in
// his request, or as a trusted proxy which speaks TLS for us says he did.
func (i *identity) base(c *call) string {
	if i.url != "" {
		return strings.TrimSuffix(i.url, "/")
	}
	scheme, host := "http", c.r.Host
	if c.g.secure(c.r) {
		scheme = "https"
	}
	if host == "" {
		host = localAddr(c.ctx)
	}
	return scheme + "://" + host
}

// localAddr is what a client of HTTP/1.0, who need not say so, connected to.
func localAddr(ctx context.Context) string {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(interface{ String() string }); ok {
		return a.String()
	}
	return "localhost"
}

// storageURL is where an account's containers are.
func (i *identity) storageURL(c *call, account string) string {
	return i.base(c) + "/v1/" + url.PathEscape(auth.StorageAccount(account))
}
