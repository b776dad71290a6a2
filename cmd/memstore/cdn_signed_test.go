package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
)

// A private object is had by signed URLs, at the edge of the process and at one
// far away: kept once, judged each time.
func TestCDNSignedURLs(t *testing.T) {
	n := testCDN(t, nil)
	defer n.close()
	edgeKey, err := n.realm.AddEdge(t.Context(), "far")
	if err != nil {
		t.Fatal(err)
	}
	far, front, stop := testRemote(t, t.TempDir(), edgeKey, n.gatewayURL)
	defer stop()
	for at, base := range map[string]string{"near": n.cdn.url, "far": front.URL} {
		t.Run(at, func(t *testing.T) {
			container, key := "secret-"+at, "sesame"
			must := func(method, path, body string, headers ...string) {
				t.Helper()
				if status, text := as(t, n, method, "/v1/AUTH_demo"+path, body, headers...); status/100 != 2 {
					t.Fatalf("%s %s: %d %s", method, path, status, text)
				}
			}
			must("PUT", "/"+container, "", "X-Container-Meta-Temp-Url-Key: "+key)
			if at == "far" { // where no key is, unless its owner says so
				query := gateway.SignGet(key, storage.Path{Account: "AUTH_demo", Container: container, Object: "dir/a.txt"}, time.Now().Add(time.Hour))
				if status, _ := ask(t, "GET", base+"/AUTH_demo/"+container+"/dir/a.txt?"+query, ""); status != 404 {
					t.Errorf("a key is given to an edge that its owner did not choose: %d", status)
				}
				must("POST", "/"+container, "", "X-Container-Meta-Cdn-Enabled: true")
			}
			must("PUT", "/"+container+"/dir/a.txt", "for your eyes", "Content-Type: text/plain", "X-Object-Meta-Inside: yes")
			object := storage.Path{Account: "AUTH_demo", Container: container, Object: "dir/a.txt"}
			get := func(method, query string) (*http.Response, string) {
				t.Helper()
				req, _ := http.NewRequestWithContext(t.Context(), method, base+"/AUTH_demo/"+container+"/dir/a.txt?"+query, nil)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp, string(body)
			}
			want := func(query string, status int, body string) *http.Response {
				t.Helper()
				resp, got := get("GET", query)
				if resp.StatusCode != status || body != "" && got != body {
					t.Fatalf("?%s: %d %q, want %d %q", query, resp.StatusCode, got, status, body)
				}
				return resp
			}
			hear := func() {} // waits until the edge has heard of all that was done
			if at == "far" {
				hear = func() {
					last, err := n.cdn.log.Latest(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for begun := time.Now(); far.follower.Heard() < last.Seq; runtime.Gosched() {
						if time.Since(begun) > 5*time.Second {
							t.Fatal("the edge does not hear of changes")
						}
					}
				}
			}
			hear()
			until := time.Now().Add(time.Hour)
			signed := gateway.SignGet(key, object, until)
			want("", 404, "")
			resp := want(signed, 200, "for your eyes")
			if got := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="a.txt"`) {
				t.Errorf("Content-Disposition is %q", got)
			}
			if got := resp.Header.Get("Expires"); got != until.UTC().Format(http.TimeFormat) {
				t.Errorf("Expires is %q, want the end of the signature", got)
			}
			if resp.Header.Get("X-Object-Meta-Inside") != "" {
				t.Error("the owner's metadata is shown")
			}
			// Another signature and another way to be shown, of the same bytes.
			other := gateway.SignGet(key, object, until.Add(time.Minute))
			resp = want(other+"&inline&filename="+url.QueryEscape("eyes only.txt"), 200, "for your eyes")
			if got := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(got, `inline; filename="eyes only.txt"`) {
				t.Errorf("Content-Disposition is %q", got)
			}
			if got := resp.Header.Get("Cache-Status"); !strings.Contains(got, "; hit") {
				t.Errorf("it is fetched for each signature: %s", got)
			}
			if resp, _ := get("HEAD", signed); resp.StatusCode != 200 || resp.ContentLength != 13 {
				t.Errorf("HEAD: %d, %d bytes", resp.StatusCode, resp.ContentLength)
			}
			// Kept or not: without a good signature nothing.
			want("", 404, "")
			want("within=container", 404, "")
			want(gateway.SignGet("guess", object, until), 401, "")
			want(gateway.SignGet(key, object, time.Now().Add(-time.Second)), 401, "")
			want(gateway.SignGet(key, object.Parent(), until), 401, "")
			want(strings.Replace(signed, "temp_url_expires=", "temp_url_expires=1", 1), 401, "")
			want(signed+"&temp_url_ip_range=192.0.2.0/24", 401, "")
			must("PUT", "/"+container+"/dir/a.txt", "for others' eyes")
			hear()
			want(signed, 200, "for others' eyes")
			must("POST", "/"+container, "", "X-Container-Meta-Temp-Url-Key: changed")
			hear()
			want(signed, 401, "")
			if at == "far" {
				return
			}
			must("POST", "", "", "X-Account-Meta-Temp-Url-Key: "+key)
			want(signed, 200, "for others' eyes")
			must("POST", "", "", "X-Account-Meta-Temp-Url-Key: changed")
			want(signed, 401, "")
		})
	}
}

func TestSignatureKeysAreHidden(t *testing.T) {
	s := cdn.Site{Keys: cdn.Keys{Account: [2]string{"sesame", ""}}}
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s.Keys); strings.Contains(text, "sesame") {
		t.Errorf("a site is printed with its keys: %s", text)
	}
}
