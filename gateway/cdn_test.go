package gateway

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// newCDNLab is a lab whose containers can be put on a CDN.
func newCDNLab(t *testing.T) (*lab, *[]storage.Change) {
	t.Helper()
	l := newLabOver(t, memory.New(), func(c *Config) {
		c.CDN = &CDN{URLs: func(_ context.Context, account, container string) (string, string, error) {
			return "http://" + container + "." + account + ".cdn.test", "https://" + container + "-" + account + ".cdn.test", nil
		}}
	})
	told := new([]storage.Change)
	l.store.Watch(func(c storage.Change) { *told = append(*told, c) })
	return l, told
}

func wantHeaders(t *testing.T, what string, h http.Header, headers ...string) {
	t.Helper()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if got := h.Get(name); got != value {
			t.Errorf("%s: %s: %q, want %q", what, name, got, value)
		}
	}
}

// A container's life on the CDN, with the statuses and the spelling that the
// clients of Rackspace's API insist on.
func TestCDNManagement(t *testing.T) {
	l, _ := newCDNLab(t)
	const pics = "/cdn/v1/AUTH_ann/pics"
	l.must(404, "PUT", pics, "")
	l.must(201, "PUT", "/v1/AUTH_ann/pics", "")
	l.must(404, "HEAD", pics, "")
	l.must(404, "POST", pics, "", "X-TTL: 1000")
	l.must(400, "PUT", pics, "", "X-TTL: soon")
	a := l.must(201, "PUT", pics, "", "X-CDN-Enabled: True", "X-TTL: 1000")
	wantHeaders(t, "PUT", a.header, "X-Cdn-Uri: http://pics.AUTH_ann.cdn.test", "X-Cdn-Enabled: True", "X-Ttl: 1000")
	if a := l.ask("", "GET", "/v1/AUTH_ann/pics/none", ""); a.status != 404 {
		t.Errorf("a stranger's GET of what is not there = %d, want 404, as the container is public", a.status)
	}
	a = l.must(204, "HEAD", pics, "")
	wantHeaders(t, "HEAD", a.header, "X-Cdn-Enabled: True", "X-Ttl: 1000", "X-Log-Retention: False",
		"X-Cdn-Ssl-Uri: https://pics-AUTH_ann.cdn.test", "X-Cdn-Streaming-Uri: https://pics-AUTH_ann.cdn.test",
		"X-Cdn-Ios-Uri: https://pics-AUTH_ann.cdn.test")
	for ttl, want := range map[string]string{"1": "900", "899": "900", "31536001": "31536000", "7200": "7200"} {
		l.must(202, "POST", pics, "", "X-TTL: "+ttl)
		wantHeaders(t, "X-TTL "+ttl, l.must(204, "HEAD", pics, "").header, "X-Ttl: "+want, "X-Cdn-Enabled: True")
	}
	l.must(202, "POST", pics, "", "X-Log-Retention: True", "X-TTL: 7200")
	l.must(202, "PUT", pics, "", "X-CDN-Enabled: False")
	wantHeaders(t, "HEAD when disabled", l.must(204, "HEAD", pics, "").header, "X-Cdn-Enabled: False", "X-Log-Retention: True", "X-Ttl: 7200")
	if a := l.ask("", "GET", "/v1/AUTH_ann/pics/none", ""); a.status != 401 {
		t.Errorf("a stranger's GET when it is disabled = %d, want 401", a.status)
	}
	l.must(405, "DELETE", pics, "")
	l.must(204, "DELETE", pics, "", "X-Remove-CDN-Container: t")
	l.must(404, "HEAD", pics, "")
	l.must(404, "DELETE", pics, "", "X-Remove-CDN-Container: t")
	l.must(204, "HEAD", "/v1/AUTH_ann/pics", "")
}

// Who keeps the referrers of a container keeps them through it all, and a
// container that is public without this API is on the CDN.
func TestCDNKeepsTheOwnersList(t *testing.T) {
	l, _ := newCDNLab(t)
	const pics = "/cdn/v1/AUTH_ann/pics"
	l.must(201, "PUT", "/v1/AUTH_ann/pics", "", "X-Container-Read: .r:*.example.com,bob")
	wantHeaders(t, "HEAD", l.must(204, "HEAD", pics, "").header, "X-Cdn-Enabled: True", "X-Ttl: 259200")
	for _, on := range []string{"True", "False", "True"} {
		l.must(202, "PUT", pics, "", "X-CDN-Enabled: "+on)
		wantHeaders(t, "HEAD", l.must(204, "HEAD", pics, "").header, "X-Cdn-Enabled: "+on)
		wantHeaders(t, "the list", l.must(204, "HEAD", "/v1/AUTH_ann/pics", "").header, "X-Container-Read: .r:.example.com,bob")
	}
	l.must(204, "POST", "/v1/AUTH_ann/pics", "", "X-Container-Meta-Cdn-Ttl: 0")
	wantHeaders(t, "HEAD", l.must(204, "HEAD", pics, "").header, "X-Ttl: 0")
}

// What may not be changed, or is gone, cannot be by this API either.
func TestCDNHeedsTheAccount(t *testing.T) {
	l, _ := newCDNLab(t)
	const pics = "/cdn/v1/AUTH_ann/pics"
	l.must(201, "PUT", "/v1/AUTH_ann/pics", "")
	l.must(201, "PUT", pics, "")
	l.operator("AUTH_ann", metaReadOnly, "yes")
	l.must(405, "PUT", pics, "", "X-CDN-Enabled: False")
	l.must(405, "POST", pics, "", "X-TTL: 1000")
	l.must(405, "DELETE", pics, "", "X-Remove-CDN-Container: true")
	l.must(204, "DELETE", pics+"/o", "")
	l.must(204, "HEAD", pics, "")
	l.operator("AUTH_ann", metaReadOnly, "")
	if a := l.ask("root", "DELETE", "/v1/AUTH_ann", ""); a.status != 204 {
		t.Fatal(a)
	}
	l.must(404, "HEAD", pics, "")
	l.must(410, "GET", "/cdn/v1/AUTH_ann", "")
	l.must(503, "PUT", pics, "")
}

func TestCDNPurge(t *testing.T) {
	l, told := newCDNLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/pics", "", "X-Container-Read: .r:*")
	path := func(object string) storage.Path {
		return storage.Path{Account: "AUTH_ann", Container: "pics", Object: object}
	}
	for _, c := range []struct {
		target, header string
		want           storage.Change
	}{
		{"/a/b.jpg", "X-Purge-Email: a@example.com", storage.Change{Op: storage.OpStale, Path: path("a/b.jpg")}},
		{"/a/b.jpg", "X-Purge-Hard: true", storage.Change{Op: storage.OpDrop, Path: path("a/b.jpg")}},
		{"?prefix=a/", "X: y", storage.Change{Op: storage.OpStale, Path: path("a/"), Tree: true}},
		{"?prefix=a/&hard=true", "X: y", storage.Change{Op: storage.OpDrop, Path: path("a/"), Tree: true}},
		{"", "X-Purge-Email: a@example.com", storage.Change{Op: storage.OpStale, Path: path("")}},
		{"", "X-Purge-Hard: 1", storage.Change{Op: storage.OpDrop, Path: path("")}},
	} {
		*told = nil
		l.must(204, "DELETE", "/cdn/v1/AUTH_ann/pics"+c.target, "", c.header)
		if len(*told) != 1 {
			t.Fatalf("DELETE %s told %+v", c.target, *told)
		}
		got := (*told)[0]
		if got.Op != c.want.Op || got.Path != c.want.Path || got.Tree != c.want.Tree {
			t.Errorf("DELETE %s with %s told %+v, want %+v", c.target, c.header, got, c.want)
		}
	}
	*told = nil
	for _, who := range []string{"", "bob", "clerk"} {
		for _, target := range []string{"/a.jpg", "", "?prefix=a"} {
			if a := l.ask(who, "DELETE", "/cdn/v1/AUTH_ann/pics"+target, "", "X-Purge-Email: x"); a.status != 401 && a.status != 403 {
				t.Errorf("%q may purge %s: %d", who, target, a.status)
			}
		}
		for _, method := range []string{"PUT", "POST"} {
			if a := l.ask(who, method, "/cdn/v1/AUTH_ann/pics", "", "X-CDN-Enabled: False"); a.status != 401 && a.status != 403 {
				t.Errorf("%q may %s: %d", who, method, a.status)
			}
		}
	}
	if len(*told) != 0 {
		t.Errorf("those who may not have had told %+v", *told)
	}
}

func TestCDNList(t *testing.T) {
	l, _ := newCDNLab(t)
	if a := l.must(204, "GET", "/cdn/v1/AUTH_ann", ""); a.body != "" {
		t.Errorf("an empty list is %q", a.body)
	}
	if a := l.must(200, "GET", "/cdn/v1/AUTH_ann?format=json", ""); a.body != "[]" {
		t.Errorf("an empty list is %q", a.body)
	}
	for _, name := range []string{"a", "b%3C%26%3E", "c", "d", "plain"} {
		l.must(201, "PUT", "/v1/AUTH_ann/"+name, "")
	}
	for _, name := range []string{"a", "b%3C%26%3E", "c", "d"} {
		l.must(201, "PUT", "/cdn/v1/AUTH_ann/"+name, "", "X-TTL: 900")
	}
	l.must(202, "PUT", "/cdn/v1/AUTH_ann/c", "", "X-CDN-Enabled: no")
	for query, want := range map[string]string{
		"": "a b<&> c d", "?enabled_only=true": "a b<&> d", "?enabled=true": "a b<&> d", "?limit=2": "a b<&>",
		"?marker=a&limit=1": "b<&>", "?end_marker=c": "a b<&>", "?marker=b%3C%26%3E&enabled_only=True": "d", "?limit=0": "",
	} {
		a := l.ask("ann", "GET", "/cdn/v1/AUTH_ann"+query, "")
		if got := strings.Join(strings.Fields(a.body), " "); got != want {
			t.Errorf("GET %s = %q, want %q", query, got, want)
		}
		sep := "?"
		if query != "" {
			sep = query + "&"
		}
		var rows []map[string]any
		a = l.must(200, "GET", "/cdn/v1/AUTH_ann"+sep+"format=json", "")
		if err := json.Unmarshal([]byte(a.body), &rows); err != nil {
			t.Fatalf("%s: %v in %s", query, err, a.body)
		}
		var names []string
		for _, r := range rows {
			names = append(names, r["name"].(string))
			if r["ttl"] != 900.0 || r["cdn_enabled"] != (r["name"] != "c") || r["log_retention"] != false ||
				r["cdn_uri"] != "http://"+r["name"].(string)+".AUTH_ann.cdn.test" || r["X-Cdn-Uri"] != r["cdn_uri"] {
				t.Errorf("a row is %v", r)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("GET %s as JSON = %q, want %q", query, got, want)
		}
	}
	var list struct {
		Name       string `xml:"name,attr"`
		Containers []struct {
			Name    string `xml:"name"`
			Enabled string `xml:"cdn_enabled"`
			URI     string `xml:"cdn_ssl_uri"`
		} `xml:"container"`
	}
	a := l.must(200, "GET", "/cdn/v1/AUTH_ann?format=xml", "")
	if err := xml.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if list.Name != "AUTH_ann" || len(list.Containers) != 4 || list.Containers[2].Enabled != "False" ||
		list.Containers[1].Name != "b<&>" || list.Containers[1].URI != "https://b<&>-AUTH_ann.cdn.test" {
		t.Errorf("the list as XML is %+v", list)
	}
	if a := l.ask("", "GET", "/cdn/v1/AUTH_ann", ""); a.status != 401 {
		t.Errorf("a stranger's list = %d, want 401", a.status)
	}
}

func TestNoCDN(t *testing.T) {
	l := newLab(t)
	for _, target := range []string{"/cdn/v1/AUTH_ann", "/edge/v1/events"} {
		if a := l.ask("ann", "GET", target, ""); a.status < 400 {
			t.Errorf("without a CDN GET %s = %d", target, a.status)
		}
	}
}
