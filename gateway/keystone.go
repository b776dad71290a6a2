package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"memstore.dev/memstore/auth"
)

// Keystone's dialects over our users: an account is a project of the domain
// "Default", under its own name as its id; the user "ann:tester" has that as
// his id and "tester" as his name. Every token is scoped to its user's own
// account. There is no delegation of any kind, and a token can be had for a
// token only in the sense that the same one is given back: nothing that is
// exchanged ever lives longer or reaches further.

// maxAuthBody is the most bytes a request for a token may have.
const maxAuthBody = 64 << 10

// authPatience is how long such a request may take to arrive: it is asked of
// nobody who he is.
const authPatience = 10 * time.Second

func (i *identity) keystoneRoutes(r *mux.Router) {
	for path, methods := range map[string]map[string]verb{
		"/":      {"GET": i.versions},
		"/v3":    {"GET": i.versionV3},
		"/v3/":   {"GET": i.versionV3},
		"/v2.0":  {"GET": i.versionV2},
		"/v2.0/": {"GET": i.versionV2},

		"/v3/auth/tokens":           {"POST": i.postTokens, "GET": i.getToken, "DELETE": i.deleteToken},
		"/v3/auth/catalog":          {"GET": i.getCatalog},
		"/v3/auth/projects":         {"GET": i.getProjects},
		"/v3/users/{user}/projects": {"GET": i.getProjects},

		"/v2.0/tokens":  {"POST": i.postTokensV2},
		"/v2.0/tenants": {"GET": i.getTenants},
	} {
		r.Handle(path, handler(i.keystone(methods)))
	}
	// What else Keystone has below here is not found in Keystone's words.
	r.PathPrefix("/v3/auth/").Handler(handler(i.keystone(nil)))
}

// A fault is an error in Keystone's words. Its sentences are for clients.
type fault struct {
	status  int
	message string
}

func (f *fault) Error() string { return f.message }

var (
	faultUnauthorized = &fault{http.StatusUnauthorized, "The request you have made requires authentication."}
	faultForbidden    = &fault{http.StatusForbidden, "You are not authorized to perform the requested action."}
	faultNoToken      = &fault{http.StatusNotFound, "Failed to validate token"}
	faultNowhere      = &fault{http.StatusNotFound, "The resource could not be found."}
	faultMethod       = &fault{http.StatusMethodNotAllowed, "The method is not allowed for this resource."}
	faultTooLarge     = &fault{http.StatusRequestEntityTooLarge, "Request is too large."}
	faultBusy         = &fault{http.StatusServiceUnavailable, "Too many logins at once. Please try again later."}
	faultInternal     = &fault{http.StatusInternalServerError, "An unexpected error prevented the server from fulfilling your request."}
)

// expecting is the fault of a request that leaves something out.
func expecting(attribute, target string) *fault {
	return &fault{http.StatusBadRequest, "Expecting to find " + attribute + " in " + target +
		". The server could not comply with the request since it is either malformed or otherwise incorrect." +
		" The client is assumed to be in error."}
}

// keystone answers by method, and with Keystone's JSON when a verb fails.
func (i *identity) keystone(methods map[string]verb) verb {
	return func(c *call) error {
		method := c.r.Method
		if method == http.MethodHead {
			method = http.MethodGet // which say leaves the body out of
		}
		v, ok := methods[method]
		var err error
		switch {
		case methods == nil:
			err = faultNowhere
		case !ok:
			allow := make([]string, 0, 4)
			for _, m := range []string{"GET", "HEAD", "POST", "DELETE"} {
				if methods[strings.Replace(m, "HEAD", "GET", 1)] != nil {
					allow = append(allow, m)
				}
			}
			c.set("Allow", strings.Join(allow, ", "))
			err = faultMethod
		default:
			err = v(c)
		}
		if err == nil {
			return nil
		}
		return i.fault(c, err)
	}
}

// fault answers with an error.
func (i *identity) fault(c *call, err error) error {
	var f *fault
	switch {
	case errors.As(err, &f):
	case errors.Is(err, fs.ErrPermission):
		f = faultUnauthorized
	case errors.Is(err, auth.ErrBanned):
		c.set("Connection", "close")
		f = faultForbidden
	case errors.Is(err, auth.ErrBusy):
		c.set("Retry-After", "1")
		f = faultBusy
	case errors.Is(err, context.Canceled):
		return err // nobody is left to be answered
	default:
		if i.log != nil {
			i.log.LogAttrs(c.ctx, slog.LevelError, "login failed", slog.String("txid", c.txid), slog.Any("error", err))
		}
		f = faultInternal
	}
	if f.status == http.StatusUnauthorized {
		c.set("Www-Authenticate", `Keystone uri="`+i.base(c)+`/v3"`)
	}
	return c.sayJSON(f.status, fields{"error": fields{"code": f.status, "message": f.message, "title": http.StatusText(f.status)}})
}

// fields is a JSON object.
type fields map[string]any

func (c *call) sayJSON(status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.set("Vary", "X-Auth-Token")
	c.say(status, "application/json", string(text))
	return nil
}

// readJSON reads what a client sent, which is never much.
func (c *call) readJSON(v any) error {
	c.body.until = time.Now().Add(authPatience)
	text, err := io.ReadAll(io.LimitReader(&c.body, maxAuthBody+1))
	if err != nil {
		c.set("Connection", "close")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.strike(auth.FailLimit)
		}
		return &fault{http.StatusBadRequest, "The request could not be read."}
	}
	if len(text) > maxAuthBody {
		c.set("Connection", "close")
		c.strike(auth.FailLimit)
		return faultTooLarge
	}
	if err := json.Unmarshal(text, v); err != nil {
		return expecting("a valid JSON object", "the body")
	}
	return nil
}

// Versions.

func (i *identity) version3(c *call) fields {
	return fields{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []fields{{"rel": "self", "href": i.base(c) + "/v3/"}},
		"media-types": []fields{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

func (i *identity) version2(c *call) fields {
	return fields{
		"id": "v2.0", "status": "deprecated", "updated": "2014-04-17T00:00:00Z",
		"links":       []fields{{"rel": "self", "href": i.base(c) + "/v2.0/"}},
		"media-types": []fields{{"base": "application/json", "type": "application/vnd.openstack.identity-v2.0+json"}},
	}
}

func (i *identity) versions(c *call) error {
	return c.sayJSON(http.StatusMultipleChoices, fields{"versions": fields{"values": []fields{i.version3(c), i.version2(c)}}})
}

func (i *identity) versionV3(c *call) error {
	return c.sayJSON(http.StatusOK, fields{"version": i.version3(c)})
}

func (i *identity) versionV2(c *call) error {
	return c.sayJSON(http.StatusOK, fields{"version": i.version2(c)})
}

// A ref names a domain or a project.
type ref struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain *ref   `json:"domain"`
}

// isDefault reports whether a domain is the one that all accounts are in.
func (r *ref) isDefault() bool {
	return r == nil || r.ID == "" && r.Name == "" || strings.EqualFold(r.ID, "default") || strings.EqualFold(r.Name, "default")
}

// is reports whether a project, or a domain that stands for one, is this
// account. To name it by its id and by another's name is to name nothing.
func (r *ref) is(account string) bool {
	return (r.ID != "" || r.Name != "") && (r.ID == "" || r.ID == account) && (r.Name == "" || r.Name == account)
}

// A tokenRequest is the body of POST /v3/auth/tokens.
type tokenRequest struct {
	Auth *struct {
		Identity *struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User *struct {
					ref
					Password *string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// scope reads what a token is asked for: a project, or nil for the user's own
// account, which is also what he gets who asks for none ("unscoped").
func scope(raw json.RawMessage) (*ref, error) {
	switch string(raw) {
	case "", "null", `"unscoped"`:
		return nil, nil
	}
	var s struct {
		Project *ref            `json:"project"`
		Domain  json.RawMessage `json:"domain"`
		System  json.RawMessage `json:"system"`
		Trust   json.RawMessage `json:"OS-TRUST:trust"`
	}
	if json.Unmarshal(raw, &s) != nil {
		return nil, expecting("an object", "scope")
	}
	switch {
	case s.Domain != nil || s.System != nil || s.Trust != nil:
		return nil, faultUnauthorized // nobody has a role there
	case s.Project == nil:
		return nil, nil
	case s.Project.ID == "" && s.Project.Name == "":
		return nil, expecting("id or name", "project")
	}
	return s.Project, nil
}

// covers reports whether a token of an account is what was asked for.
func covers(project *ref, account string) bool {
	return project == nil || project.is(account) && (project.Domain.isDefault() || project.Domain.is(account))
}

// fullName finds out who is meant by a user's name beside the domain or the
// project he names. Only the spelling decides, never who exists.
func fullName(user string, domain, project *ref) string {
	account := ""
	switch {
	case !domain.isDefault():
		account = cmp.Or(domain.Name, domain.ID)
	case project != nil:
		account = cmp.Or(project.Name, project.ID)
	}
	switch {
	case account == "" || strings.ContainsAny(user, ":/") || strings.HasPrefix(user, account+"."):
		return user
	}
	return account + ":" + user
}

// postTokens logs in, by password or by a token there is already.
func (i *identity) postTokens(c *call) error {
	var in tokenRequest
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if in.Auth == nil {
		return expecting("auth", "the body")
	}
	who := in.Auth.Identity
	if who == nil {
		return expecting("identity", "auth")
	}
	project, err := scope(in.Auth.Scope)
	if err != nil {
		return err
	}
	// One method, and no other beside it: what is not looked at must not seem
	// to have been.
	var token auth.Token
	switch {
	case len(who.Methods) == 0:
		return expecting("methods", "identity")
	case len(who.Methods) > 1:
		return faultUnauthorized
	case who.Methods[0] == "password":
		if who.Password == nil || who.Password.User == nil {
			return expecting("user", "password")
		}
		u := who.Password.User
		if u.Password == nil {
			return expecting("password", "user")
		}
		name := u.ID
		if name == "" {
			if u.Name == "" {
				return expecting("id or name", "user")
			}
			name = fullName(u.Name, u.Domain, project)
		}
		token, err = i.login(c, name, *u.Password)
	case who.Methods[0] == "token":
		if who.Token == nil || who.Token.ID == "" {
			return expecting("id", "token")
		}
		c.id, token, err = c.verify(i.auth, who.Token.ID)
	default:
		return faultUnauthorized
	}
	if err != nil {
		return err
	}
	if !covers(project, c.id.Account) {
		return faultUnauthorized
	}
	c.set("X-Subject-Token", token.Secret)
	return c.sayJSON(http.StatusCreated, i.tokenV3(c, c.id, token, true))
}

// caller finds out who asks about tokens or projects. Two tokens are none here,
// too; see identify.
func (i *identity) caller(c *call) error {
	id, _, err := c.verify(i.auth, joined(c.r.Header["X-Auth-Token"]))
	c.id = id
	return err
}

// subject is the token that is asked about: one's own, or any for a reseller
// admin.
func (i *identity) subject(c *call) (auth.Identity, auth.Token, error) {
	if err := i.caller(c); err != nil {
		return auth.Identity{}, auth.Token{}, err
	}
	secret := joined(c.r.Header["X-Subject-Token"])
	if secret == "" {
		return auth.Identity{}, auth.Token{}, expecting("X-Subject-Token", "the headers")
	}
	id, token, err := i.auth.Verify(c.ctx, secret)
	if errors.Is(err, fs.ErrPermission) {
		err = faultNoToken
	} else if err == nil && id.User != c.id.User && c.id.Role != auth.RoleReseller {
		err = faultForbidden
	}
	return id, token, err
}

func (i *identity) getToken(c *call) error {
	id, token, err := i.subject(c)
	if err != nil {
		return err
	}
	c.set("X-Subject-Token", token.Secret)
	return c.sayJSON(http.StatusOK, i.tokenV3(c, id, token, !c.r.URL.Query().Has("nocatalog")))
}

func (i *identity) deleteToken(c *call) error {
	_, token, err := i.subject(c)
	if err != nil {
		return err
	}
	if err := i.auth.Revoke(c.ctx, token.Secret); err != nil {
		return err
	}
	c.set("Vary", "X-Auth-Token")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (i *identity) getCatalog(c *call) error {
	if err := i.caller(c); err != nil {
		return err
	}
	return c.sayJSON(http.StatusOK, fields{"catalog": i.catalogV3(c, c.id), "links": i.links(c)})
}

func (i *identity) getProjects(c *call) error {
	if err := i.caller(c); err != nil {
		return err
	}
	if user, ok := mux.Vars(c.r)["user"]; ok {
		if user, err := url.PathUnescape(user); err != nil || user != c.id.User {
			return faultForbidden
		}
	}
	account := c.id.Account
	return c.sayJSON(http.StatusOK, fields{
		"projects": []fields{{
			"id": account, "name": account, "domain_id": domainDefault["id"], "parent_id": domainDefault["id"],
			"description": "", "enabled": true, "is_domain": false, "options": fields{}, "tags": []string{},
			"links": fields{"self": i.base(c) + "/v3/projects/" + url.PathEscape(account)},
		}},
		"links": i.links(c),
	})
}

func (i *identity) links(c *call) fields {
	return fields{"self": i.base(c) + c.r.URL.EscapedPath(), "next": nil, "previous": nil}
}

// A tokenRequestV2 is the body of POST /v2.0/tokens.
type tokenRequestV2 struct {
	Auth *struct {
		Password *struct {
			User     string  `json:"username"`
			UserID   string  `json:"userId"`
			Password *string `json:"password"`
		} `json:"passwordCredentials"`
		Token *struct {
			ID string `json:"id"`
		} `json:"token"`
		Tenant   string `json:"tenantName"`
		TenantID string `json:"tenantId"`
	} `json:"auth"`
}

func (i *identity) postTokensV2(c *call) error {
	var in tokenRequestV2
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if in.Auth == nil {
		return expecting("auth", "the body")
	}
	var tenant *ref
	if in.Auth.Tenant != "" || in.Auth.TenantID != "" {
		tenant = &ref{ID: in.Auth.TenantID, Name: in.Auth.Tenant}
	}
	var token auth.Token
	var err error
	switch p, t := in.Auth.Password, in.Auth.Token; {
	case p != nil && t != nil:
		return faultUnauthorized
	case p != nil:
		if p.Password == nil {
			return expecting("password", "passwordCredentials")
		}
		name := p.UserID
		if name == "" {
			if p.User == "" {
				return expecting("username or userId", "passwordCredentials")
			}
			name = fullName(p.User, nil, tenant)
		}
		token, err = i.login(c, name, *p.Password)
	case t != nil:
		c.id, token, err = c.verify(i.auth, t.ID)
	default:
		return expecting("passwordCredentials", "auth")
	}
	if err != nil {
		return err
	}
	if !covers(tenant, c.id.Account) {
		return faultUnauthorized
	}
	return c.sayJSON(http.StatusOK, i.tokenV2(c, c.id, token))
}

func (i *identity) getTenants(c *call) error {
	if err := i.caller(c); err != nil {
		return err
	}
	return c.sayJSON(http.StatusOK, fields{"tenants": []fields{tenantV2(c.id.Account)}, "tenants_links": []fields{}})
}
