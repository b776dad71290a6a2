package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// An endpoint is where a running store is reached, and with what right.
type endpoint struct {
	url   string // of the account, without a slash at the end
	token string
	files []dialer // logins by the doors for files, as far as there are any
}

// A client speaks to one life of a store. Its connections do not outlive it,
// so that no request meant for one life is heard by the next.
type client struct {
	at   endpoint
	http http.Client
	wire *http.Transport
}

func newClient(at endpoint) *client {
	wire := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	return &client{at: at, wire: wire, http: http.Client{
		Transport: wire,
		Timeout:   30 * time.Second, // a store that hangs is as bad as one that loses
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

func (c *client) close() { c.wire.CloseIdleConnections() }

// An answer is a response whose body has been read or is not wanted.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) ok() bool { return a.status/100 == 2 }

func (a *answer) String() string {
	return fmt.Sprintf("%d %s", a.status, strings.TrimSpace(string(a.body[:min(len(a.body), 200)])))
}

// path is the URL path of a container or an object beneath the account.
func path(container, object string) string {
	p := "/" + escape(container)
	if object != "" {
		p += "/" + escape(object)
	}
	return p
}

// escape writes a name as part of a URL; slashes stay, as clients leave them.
func escape(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c == '/' || c == '-' || c == '_' || c == '.' ||
			'0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// send makes a request and leaves the body of the response to the caller.
func (c *client) send(ctx context.Context, method, path string, body io.Reader, size int64, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.at.url+path, nil)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), size
		if size == 0 {
			req.Body = http.NoBody
		}
	}
	req.Header.Set("X-Auth-Token", c.at.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.http.Do(req)
}

// do makes a request and reads the whole response. An error means that there
// was no answer, or not all of one.
func (c *client) do(ctx context.Context, method, path string, header ...string) (*answer, error) {
	return c.doBody(ctx, method, path, nil, 0, header...)
}

func (c *client) doBody(ctx context.Context, method, path string, body io.Reader, size int64, header ...string) (*answer, error) {
	resp, err := c.send(ctx, method, path, body, size, header...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, b}, nil
}

// An entry is a row of a listing.
type entry struct {
	Name  string `json:"name"`
	Hash  string `json:"hash"`
	Bytes int64  `json:"bytes"`
	Count int64  `json:"count"`
	Kind  string `json:"content_type"`
}

// list returns a whole listing, fetched in pages small enough that markers
// matter.
func (c *client) list(ctx context.Context, path string) ([]entry, error) {
	const page = "61"
	var all []entry
	for marker := ""; ; {
		p := path + "?format=json&limit=" + page
		if marker != "" {
			p += "&marker=" + strings.ReplaceAll(escape(marker), "/", "%2F")
		}
		a, err := c.do(ctx, "GET", p)
		if err != nil {
			return nil, err
		}
		if !a.ok() {
			return nil, fmt.Errorf("GET %s: %v", p, a)
		}
		var some []entry
		if len(a.body) > 0 {
			if err := json.Unmarshal(a.body, &some); err != nil {
				return nil, fmt.Errorf("GET %s: %w", p, err)
			}
		}
		if len(some) == 0 {
			return all, nil
		}
		all = append(all, some...)
		marker = some[len(some)-1].Name
	}
}
