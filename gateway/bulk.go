package gateway

import (
	"net/http"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// A bulkReport is the answer to a bulk operation, which is always 200, with what
// became of it inside. While the work goes on blanks are sent now and then, so
// that nobody on the way takes the silence for a broken line.
type bulkReport struct {
	report
	c      *call
	kind   string // its type
	ok     bool   // the client takes it
	pulse  pulse
	status int
	body   string
	counts []reportItem
}

// newBulkReport starts a report, in the form that the client asks for, which
// counts something.
func (c *call) newBulkReport(root string, status int, counts ...string) *bulkReport {
	r := &bulkReport{report: report{root: root}, c: c, pulse: pulse{c: c, last: time.Now()}, status: status}
	for _, name := range counts {
		r.counts = append(r.counts, reportItem{name, 0})
	}
	if r.kind, r.ok = reportFormat(c.r.Header); !r.ok {
		r.status = http.StatusNotAcceptable
	}
	return r
}

// tick is called while the work goes on, and sends a blank if it is time for one.
func (r *bulkReport) tick() {
	if r.c.w.status == 0 {
		if time.Since(r.pulse.last) < pulseEvery {
			return
		}
		r.begin()
		if strings.HasSuffix(r.kind, "/xml") {
			r.c.w.WriteString(xmlDeclaration) // before which there may be no blanks
		}
	}
	r.pulse.beat()
}

const xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// begin sends the head of the answer. From here on it is in chunks.
func (r *bulkReport) begin() {
	if r.ok {
		r.c.set("Content-Type", r.kind)
	} else {
		r.c.set("Content-Type", html)
	}
	r.c.notSniffed()
	r.c.w.WriteHeader(http.StatusOK)
	r.c.w.Flush()
}

// failed adds something that could not be done.
func (r *bulkReport) failed(name string, status int) { r.fail(quote(name), statusLine(status)) }

// send ends the answer.
func (r *bulkReport) send() error {
	var text []byte
	if r.c.w.status == 0 {
		r.begin()
	} else {
		text = append(text, "\r\n\r\n"...)
	}
	r.add("Response Status", statusLine(r.status))
	r.add("Response Body", r.body)
	r.items = append(r.items, r.counts...)
	_, err := r.c.w.Write(r.append(text, r.kind))
	return storage.Wrap(r.root, r.c.path, err)
}

// bulk is what answers the request if it asks for a bulk operation.
func (c *call) bulk() (v verb, ok bool) {
	query := c.r.URL.RawQuery
	if query == "" {
		return nil, false
	}
	switch c.r.Method {
	case http.MethodPut:
		if _, ok := param(query, "extract-archive"); ok {
			return (*call).extract, true
		}
	case http.MethodPost, http.MethodDelete:
		if _, ok := param(query, "bulk-delete"); ok {
			return (*call).bulkDelete, true
		}
	}
	return nil, false
}

// unframed reports whether the client says neither how much it sends nor that it
// sends chunks.
func (c *call) unframed() bool {
	return c.r.ContentLength == 0 && c.r.Header["Content-Length"] == nil && c.r.ProtoMajor == 1
}
