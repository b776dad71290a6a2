package gateway

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"memstore.dev/memstore/auth"
)

// passwordV3 is the body of a login of a user in the domain "Default", scoped
// to a project unless that is empty.
func passwordV3(user, password, project string) string {
	scope := ""
	if project != "" {
		scope = fmt.Sprintf(`, "scope": {"project": {"name": %q, "domain": {"id": "default"}}}`, project)
	}
	return fmt.Sprintf(`{"auth": {"identity": {"methods": ["password"], "password": {"user":
		{"name": %q, "domain": {"name": "Default"}, "password": %q}}}%s}}`, user, password, scope)
}

// at walks into decoded JSON by keys and indexes.
func at(t *testing.T, text string, steps ...any) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for _, step := range steps {
		switch s := step.(type) {
		case string:
			object, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("no object with %q in %s", s, text)
			}
			v = object[s]
		case int:
			list, ok := v.([]any)
			if !ok || s >= len(list) {
				t.Fatalf("no list with %d in %s", s, text)
			}
			v = list[s]
		}
	}
	return v
}

func TestV3Login(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	user := func(user string) string { // without a scope
		return `{"auth": {"identity": {"methods": ["password"], "password": {"user": ` + user + `}}}}`
	}
	scoped := func(scope string) string {
		return `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "ann:tester", "password": "sesame"}}}, "scope": ` + scope + `}}`
	}
	for _, c := range []struct {
		name, body string
		status     int
		who        string
	}{
		{"name and project", passwordV3("tester", "sesame", "ann"), 201, "ann:tester"},
		{"name with a dot and project", passwordV3("j.smith", "sesame", "ann"), 201, "ann:j.smith"},
		{"full name and project", passwordV3("ann:tester", "sesame", "ann"), 201, "ann:tester"},
		{"dotted name and project", passwordV3("ann.tester", "sesame", "ann"), 201, "ann:tester"},
		{"dotted name alone", passwordV3("ann.j.smith", "sesame", ""), 201, "ann:j.smith"},
		{"full name alone", passwordV3("ann:tester", "sesame", ""), 201, "ann:tester"},
		{"id", user(`{"id": "ann:tester", "password": "sesame"}`), 201, "ann:tester"},
		{"account as domain", user(`{"name": "tester", "domain": {"name": "bob"}, "password": "sesame"}`), 201, "bob:tester"},
		{"project by id", scoped(`{"project": {"id": "ann"}}`), 201, "ann:tester"},
		{"project by name in its own domain", scoped(`{"project": {"name": "ann", "domain": {"name": "ann"}}}`), 201, "ann:tester"},
		{"unscoped", scoped(`"unscoped"`), 201, "ann:tester"},
		{"empty scope", scoped(`{}`), 201, "ann:tester"},

		{"wrong password", passwordV3("tester", "wrong", "ann"), 401, ""},
		{"unknown user", passwordV3("nobody", "sesame", "ann"), 401, ""},
		{"user of another project", passwordV3("root", "sesame", "ann"), 401, ""},
		{"no project to find him in", passwordV3("tester", "sesame", ""), 401, ""},
		{"other door only", passwordV3("ftp", "sesame", "ann"), 401, ""},
		{"foreign project", scoped(`{"project": {"id": "bob"}}`), 401, ""},
		{"foreign project beside his own", scoped(`{"project": {"id": "ann", "name": "bob"}}`), 401, ""},
		{"foreign domain of a project", scoped(`{"project": {"name": "ann", "domain": {"name": "bob"}}}`), 401, ""},
		{"domain", scoped(`{"domain": {"id": "default"}}`), 401, ""},
		{"system", scoped(`{"system": {"all": true}}`), 401, ""},
		{"trust", scoped(`{"OS-TRUST:trust": {"id": "x"}}`), 401, ""},
		{"two methods", `{"auth": {"identity": {"methods": ["password", "totp"], "password": {"user": {"id": "ann:tester", "password": "sesame"}}}}}`, 401, ""},
		{"application credential", `{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": "x", "secret": "y"}}}}`, 401, ""},
		{"token that is none", `{"auth": {"identity": {"methods": ["token"], "token": {"id": "AUTH_tkx"}}}}`, 401, ""},

		{"nothing", "", 400, ""},
		{"no JSON", "hello", 400, ""},
		{"list", "[]", 400, ""},
		{"no auth", `{}`, 400, ""},
		{"no identity", `{"auth": {}}`, 400, ""},
		{"no methods", `{"auth": {"identity": {}}}`, 400, ""},
		{"no user", `{"auth": {"identity": {"methods": ["password"], "password": {}}}}`, 400, ""},
		{"no password", user(`{"id": "ann:tester"}`), 400, ""},
		{"no name", user(`{"password": "sesame"}`), 400, ""},
		{"password of another type", user(`{"id": "ann:tester", "password": true}`), 400, ""},
		{"nameless project", scoped(`{"project": {}}`), 400, ""},
		{"scope of another type", scoped(`"everything"`), 400, ""},
		{"too much", strings.Repeat(" ", maxAuthBody) + "{}", 413, ""},
		{"as much as may be", strings.Repeat(" ", maxAuthBody-2) + "{}", 400, ""},
	} {
		got := l.ask("", "POST", "/v3/auth/tokens", c.body)
		if got.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, got.status, got.body, c.status)
			continue
		}
		token := got.header.Get("X-Subject-Token")
		if c.status != 201 {
			if code := at(t, got.body, "error", "code"); code != float64(c.status) || token != "" {
				t.Errorf("%s: error.code %v, token %q", c.name, code, token)
			}
			if c.status == 401 {
				if got.header.Get("Www-Authenticate") != `Keystone uri="http://example.com/v3"` ||
					at(t, got.body, "error", "message") != "The request you have made requires authentication." || at(t, got.body, "error", "title") != "Unauthorized" {
					t.Errorf("%s: %v %s", c.name, got.header, got.body)
				}
			}
			continue
		}
		account, name, _ := strings.Cut(c.who, ":")
		for _, w := range []struct {
			want any
			path []any
		}{
			{c.who, []any{"token", "user", "id"}},
			{name, []any{"token", "user", "name"}},
			{account, []any{"token", "project", "id"}},
			{"Default", []any{"token", "project", "domain", "name"}},
			{"password", []any{"token", "methods", 0}},
			{"object-store", []any{"token", "catalog", 0, "type"}},
			{"public", []any{"token", "catalog", 0, "endpoints", 0, "interface"}},
			{"RegionOne", []any{"token", "catalog", 0, "endpoints", 0, "region"}},
			{"http://example.com/v1/AUTH_" + account, []any{"token", "catalog", 0, "endpoints", 0, "url"}},
			{"identity", []any{"token", "catalog", 1, "type"}},
			{"http://example.com/v3", []any{"token", "catalog", 1, "endpoints", 0, "url"}},
		} {
			if got := at(t, got.body, w.path...); got != w.want {
				t.Errorf("%s: %v is %v, want %v", c.name, w.path, got, w.want)
			}
		}
		if got := l.ask("", "HEAD", "/v1/AUTH_"+account, "", "X-Auth-Token: "+token); strings.HasSuffix(c.who, ":tester") != (got.status/100 == 2) {
			t.Errorf("%s: HEAD of the account with the token: %d", c.name, got.status)
		}
	}
	if log := l.log.String(); strings.Contains(log, "sesame") || strings.Contains(log, "AUTH_tk") {
		t.Errorf("the log holds a secret:\n%s", log)
	}
}

// loginV3 is a token of a user.
func loginV3(t *testing.T, l *lab, user string) (token string, body string) {
	t.Helper()
	got := l.ask("", "POST", "/v3/auth/tokens", passwordV3(user, "sesame", ""))
	if got.status != 201 {
		t.Fatalf("login of %s: %d %s", user, got.status, got.body)
	}
	return got.header.Get("X-Subject-Token"), got.body
}

// TestTokenIsNeverExchanged asks for a token by a token.
func TestTokenIsNeverExchanged(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	token, body := loginV3(t, l, "ann:tester")
	byToken := func(scope string) string {
		return `{"auth": {"identity": {"methods": ["token"], "token": {"id": "` + token + `"}}` + scope + `}}`
	}
	for _, scope := range []string{"", `, "scope": {"project": {"id": "ann"}}`} {
		got := l.ask("", "POST", "/v3/auth/tokens", byToken(scope))
		if got.status != 201 || got.header.Get("X-Subject-Token") != token {
			t.Errorf("with%s: %d, and another token: %v", scope, got.status, got.header.Get("X-Subject-Token") != token)
		}
		if before, after := at(t, body, "token", "expires_at"), at(t, got.body, "token", "expires_at"); before != after {
			t.Errorf("with%s: it expires at %v, not at %v", scope, after, before)
		}
	}
	if got := l.ask("", "POST", "/v3/auth/tokens", byToken(`, "scope": {"project": {"id": "bob"}}`)); got.status != 401 {
		t.Errorf("for another project: %d", got.status)
	}
	got := l.ask("", "POST", "/v2.0/tokens", `{"auth": {"tenantName": "ann", "token": {"id": "`+token+`"}}}`)
	if got.status != 200 || at(t, got.body, "access", "token", "id") != token {
		t.Errorf("v2.0: %d %s", got.status, got.body)
	}
	if got := l.ask("", "POST", "/v2.0/tokens", `{"auth": {"tenantName": "bob", "token": {"id": "`+token+`"}}}`); got.status != 401 {
		t.Errorf("v2.0 for another tenant: %d", got.status)
	}
}

func TestV3Validate(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	ann, body := loginV3(t, l, "ann:tester")
	bob, _ := loginV3(t, l, "bob:tester")
	root, _ := loginV3(t, l, "op:root")
	ask := func(method, caller, subject, query string) answer {
		return l.ask("", method, "/v3/auth/tokens"+query, "", "X-Auth-Token: "+caller, "X-Subject-Token: "+subject)
	}
	for _, c := range []struct {
		name, caller, subject string
		status                int
	}{
		{"own", ann, ann, 200},
		{"any by a reseller", root, ann, 200},
		{"another's", bob, ann, 403},
		{"a reseller's", ann, root, 403},
		{"no caller", "", ann, 401},
		{"bad caller", "AUTH_tkx", ann, 401},
		{"bad subject", ann, "AUTH_tkx", 404},
		{"no subject", ann, "", 400},
	} {
		got, head := ask("GET", c.caller, c.subject, ""), ask("HEAD", c.caller, c.subject, "")
		if got.status != c.status || head.status != c.status || head.body != "" {
			t.Errorf("%s: GET %d, HEAD %d %q, want %d", c.name, got.status, head.status, head.body, c.status)
		}
		if c.status != 200 {
			continue
		}
		if got.header.Get("X-Subject-Token") != ann || got.header.Get("Vary") != "X-Auth-Token" {
			t.Errorf("%s: %v", c.name, got.header)
		}
		if want := at(t, body); !reflect.DeepEqual(at(t, got.body), want) {
			t.Errorf("%s: %s, want what the login said: %s", c.name, got.body, body)
		}
	}
	if got := ask("GET", ann, ann, "?nocatalog"); at(t, got.body, "token", "catalog") != nil {
		t.Errorf("nocatalog: %s", got.body)
	}

	// Deleting is as seeing, and ends the token.
	if got := ask("DELETE", bob, ann, ""); got.status != 403 {
		t.Errorf("DELETE of another's: %d", got.status)
	}
	if got := l.ask("", "HEAD", "/v1/AUTH_ann", "", "X-Auth-Token: "+ann); got.status/100 != 2 {
		t.Errorf("HEAD with the token: %d", got.status)
	}
	if got := ask("DELETE", ann, ann, ""); got.status != 204 || got.body != "" {
		t.Errorf("DELETE: %d %q", got.status, got.body)
	}
	if got := l.ask("", "HEAD", "/v1/AUTH_ann", "", "X-Auth-Token: "+ann); got.status != 401 {
		t.Errorf("HEAD with the token when it was deleted: %d", got.status)
	}
	if got := ask("DELETE", root, bob, ""); got.status != 204 {
		t.Errorf("DELETE by a reseller: %d", got.status)
	}
	if got := ask("GET", root, bob, ""); got.status != 404 {
		t.Errorf("GET of a deleted token: %d", got.status)
	}
}

// Of two tokens what stands before us may have looked at the other.
func TestTwoTokensAreNone(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	ann, _ := loginV3(t, l, "ann:tester")
	bob, _ := loginV3(t, l, "bob:tester")
	for _, path := range []string{"/v3/auth/tokens", "/v3/auth/projects", "/v3/auth/catalog", "/v2.0/tenants"} {
		if a := l.ask("", "GET", path, "", "X-Auth-Token: "+ann, "X-Auth-Token: "+bob, "X-Subject-Token: "+ann); a.status != 401 {
			t.Errorf("GET %s with two tokens = %d, want 401", path, a.status)
		}
	}
	if a := l.ask("", "GET", "/v3/auth/tokens", "", "X-Auth-Token: "+ann, "X-Subject-Token: "+ann, "X-Subject-Token: "+bob); a.status != 404 {
		t.Errorf("GET of two subjects = %d, want 404", a.status)
	}
}

func TestV3Documents(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	token, body := loginV3(t, l, "ann:tester")
	for _, c := range []struct {
		path, token string
		status      int
		want        any
		steps       []any
	}{
		{"/", "", 300, "v3.14", []any{"versions", "values", 0, "id"}},
		{"/", "", 300, "http://example.com/v3/", []any{"versions", "values", 0, "links", 0, "href"}},
		{"/v3", "", 200, "v3.14", []any{"version", "id"}},
		{"/v3/", "", 200, "stable", []any{"version", "status"}},
		{"/v2.0", "", 200, "v2.0", []any{"version", "id"}},
		{"/v2.0/", "", 200, "http://example.com/v2.0/", []any{"version", "links", 0, "href"}},
		{"/v3/auth/catalog", token, 200, at(t, body, "token", "catalog"), []any{"catalog"}},
		{"/v3/auth/catalog", "", 401, 401.0, []any{"error", "code"}},
		{"/v3/auth/projects", token, 200, "ann", []any{"projects", 0, "name"}},
		{"/v3/auth/projects", "AUTH_tkx", 401, 401.0, []any{"error", "code"}},
		{"/v3/users/ann:tester/projects", token, 200, "ann", []any{"projects", 0, "id"}},
		{"/v3/users/ann%3Atester/projects", token, 200, "ann", []any{"projects", 0, "id"}},
		{"/v3/users/bob:tester/projects", token, 403, 403.0, []any{"error", "code"}},
		{"/v2.0/tenants", token, 200, "ann", []any{"tenants", 0, "name"}},
		{"/v2.0/tenants", "", 401, 401.0, []any{"error", "code"}},
		{"/v3/auth/OS-FEDERATION/saml2", token, 404, 404.0, []any{"error", "code"}},
		{"/v2.0/tokens", token, 405, 405.0, []any{"error", "code"}},
	} {
		got := l.ask("", "GET", c.path, "", "X-Auth-Token: "+c.token)
		if got.status != c.status || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("GET %s = %d %v", c.path, got.status, got.header)
			continue
		}
		if v := at(t, got.body, c.steps...); !reflect.DeepEqual(v, c.want) {
			t.Errorf("GET %s: %v is %v, want %v", c.path, c.steps, v, c.want)
		}
	}
	if got := l.ask("", "PATCH", "/v3/auth/tokens", ""); got.status != 405 || got.header.Get("Allow") != "GET, HEAD, POST, DELETE" {
		t.Errorf("PATCH of tokens: %d, Allow %q", got.status, got.header.Get("Allow"))
	}
}

func TestV2Login(t *testing.T) {
	l, _ := newLoginLab(t, auth.Options{})
	creds := func(more, creds string) string {
		return `{"auth": {` + more + `"passwordCredentials": {` + creds + `}}}`
	}
	const good = `"username": "tester", "password": "sesame"`
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"tenant", creds(`"tenantName": "ann", `, good), 200},
		{"tenant's id", creds(`"tenantId": "ann", `, good), 200},
		{"no tenant", creds("", `"username": "ann.tester", "password": "sesame"`), 200},
		{"user's id", creds("", `"userId": "ann:tester", "password": "sesame"`), 200},
		{"no tenant to find him in", creds("", good), 401},
		{"tenant he is not of", creds(`"tenantName": "bob", `, `"username": "ann:tester", "password": "sesame"`), 401},
		{"wrong password", creds(`"tenantName": "ann", `, `"username": "tester", "password": "wrong"`), 401},
		{"password and token", `{"auth": {"token": {"id": "x"}, "passwordCredentials": {` + good + `}}}`, 401},
		{"no credentials", `{"auth": {}}`, 400},
		{"no auth", `{}`, 400},
		{"no password", creds("", `"username": "x"`), 400},
		{"no user", creds("", `"password": "x"`), 400},
	} {
		got := l.ask("", "POST", "/v2.0/tokens", c.body)
		if got.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, got.status, got.body, c.status)
			continue
		}
		if c.status != 200 {
			if code := at(t, got.body, "error", "code"); code != float64(c.status) {
				t.Errorf("%s: error.code %v", c.name, code)
			}
			continue
		}
		if url := at(t, got.body, "access", "serviceCatalog", 0, "endpoints", 0, "publicURL"); url != "http://example.com/v1/AUTH_ann" {
			t.Errorf("%s: publicURL %v", c.name, url)
		}
		token, _ := at(t, got.body, "access", "token", "id").(string)
		if at(t, got.body, "access", "token", "tenant", "name") != "ann" || at(t, got.body, "access", "user", "username") != "tester" {
			t.Errorf("%s: %s", c.name, got.body)
		}
		if got := l.ask("", "HEAD", "/v1/AUTH_ann", "", "X-Auth-Token: "+token); got.status/100 != 2 {
			t.Errorf("%s: HEAD of the account with the token: %d", c.name, got.status)
		}
	}
}

// FuzzTokenRequest has the body of a login be anything: it must be answered,
// and without the password never with a token.
func FuzzTokenRequest(f *testing.F) {
	f.Add(passwordV3("tester", "wrong", "ann"))
	f.Add(`{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"project": {}}}}`)
	f.Add(`{"auth": {"tenantName": "ann", "passwordCredentials": {"username": "a", "password": ""}}}`)
	g := newLab(f).g
	f.Fuzz(func(t *testing.T, body string) {
		l := &lab{t: t, g: g}
		for _, path := range []string{"/v3/auth/tokens", "/v2.0/tokens"} {
			got := l.ask("", "POST", path, body)
			if got.status != 400 && got.status != 401 && got.status != 413 {
				t.Errorf("POST %s of %q: %d %s", path, body, got.status, got.body)
			}
			if !json.Valid([]byte(got.body)) {
				t.Errorf("POST %s of %q: answered with %s", path, body, got.body)
			}
		}
	})
}
