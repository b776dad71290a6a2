package gateway

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"

	"memstore.dev/memstore/storage"
)

// listCDN lists the containers of an account that are, or were, on the CDN.
func (c *call) listCDN() error {
	f, err := negotiate(c.r)
	if err != nil {
		return err
	}
	l, err := parseListing(c.r.URL.RawQuery, false)
	if err != nil {
		return err
	}
	l.Prefix, l.Delimiter, l.Reverse, l.Meta = "", "", false, true
	l.Limit = 0 // of containers, most of which need not be on the CDN
	only, ok := param(c.r.URL.RawQuery, "enabled_only")
	if !ok {
		only, _ = param(c.r.URL.RawQuery, "enabled")
	}
	var e cdnEncoder = cdnText{}
	switch f.contentType {
	case jsonType:
		e = new(cdnJSON)
	case textType:
	default:
		e = cdnXML{}
	}
	b := e.begin(nil, c.path.Account)
	n := 0
	for in, err := range c.g.Store.List(c.ctx, c.path, l.Query) {
		if errors.Is(err, fs.ErrNotExist) {
			break // nobody has written to the account yet
		}
		if err != nil {
			return err
		}
		s := c.g.CDN.state(in.Meta)
		if !s.known || truth(only) && !s.enabled {
			continue
		}
		if n == l.limit {
			break
		}
		n++
		row := cdnRow{name: in.Path.Container, cdnState: s}
		if row.plain, row.single, err = c.g.CDN.URLs(c.ctx, in.Path.Account, in.Path.Container); err != nil {
			return err
		}
		b = e.row(b, &row)
	}
	b = e.end(b)
	c.head(f)
	c.set("Content-Length", strconv.Itoa(len(b)))
	if len(b) == 0 {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err = c.w.Write(b)
	return storage.Wrap("list", c.path, err)
}

// A cdnRow is a container in such a list.
type cdnRow struct {
	name, plain, single string
	cdnState
}

// A cdnEncoder writes a list at the end of a buffer.
type cdnEncoder interface {
	begin(b []byte, account string) []byte
	row(b []byte, r *cdnRow) []byte
	end(b []byte) []byte
}

type cdnText struct{}

func (cdnText) begin(b []byte, _ string) []byte { return b }
func (cdnText) end(b []byte) []byte             { return b }
func (cdnText) row(b []byte, r *cdnRow) []byte  { return append(append(b, r.name...), '\n') }

// cdnJSON writes the addresses by the names that older clients read, and by
// those that newer documents have.
type cdnJSON struct{ rows bool }

func (e *cdnJSON) begin(b []byte, _ string) []byte { return append(b, '[') }
func (e *cdnJSON) end(b []byte) []byte             { return append(b, ']') }

func (e *cdnJSON) row(b []byte, r *cdnRow) []byte {
	if e.rows {
		b = append(b, ", "...)
	}
	e.rows = true
	b = storage.AppendJSON(append(b, `{"name": `...), r.name)
	b = strconv.AppendBool(append(b, `, "cdn_enabled": `...), r.enabled)
	b = strconv.AppendInt(append(b, `, "ttl": `...), r.ttl, 10)
	b = strconv.AppendBool(append(b, `, "log_retention": `...), r.logs)
	for _, uri := range r.uris() {
		b = storage.AppendJSON(append(append(append(b, `, "`...), uri.element...), `": `...), uri.value)
		b = storage.AppendJSON(append(append(append(b, `, "`...), uri.header...), `": `...), uri.value)
	}
	return append(b, '}')
}

type cdnXML struct{}

func (cdnXML) begin(b []byte, account string) []byte {
	b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<account name=\""...)
	return append(appendAttribute(b, account), "\">\n"...)
}

func (cdnXML) end(b []byte) []byte { return append(b, "</account>"...) }

func (cdnXML) row(b []byte, r *cdnRow) []byte {
	b = appendElement(append(b, "<container>"...), "name", r.name)
	b = appendElement(b, "cdn_enabled", pythonBool(r.enabled))
	b = appendElement(b, "ttl", strconv.FormatInt(r.ttl, 10))
	b = appendElement(b, "log_retention", pythonBool(r.logs))
	for _, uri := range r.uris() {
		b = appendElement(b, uri.element, uri.value)
	}
	return append(b, "</container>\n"...)
}

type cdnURI struct{ element, header, value string }

func (r *cdnRow) uris() [4]cdnURI {
	return [4]cdnURI{
		{"cdn_uri", "X-Cdn-Uri", r.plain},
		{"cdn_ssl_uri", "X-Cdn-Ssl-Uri", r.single},
		{"cdn_streaming_uri", "X-Cdn-Streaming-Uri", r.single},
		{"cdn_ios_uri", "X-Cdn-Ios-Uri", r.single},
	}
}
