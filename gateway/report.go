package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// A report is the body of an answer about many things done in one request, as
// Swift's bulk operations and large objects have it: the status of the whole
// is in it, since that of the answer was sent before anything was done.
type report struct {
	root   string // its tag in XML
	items  []reportItem
	errors [][2]string // what failed, escaped as in a URL, and how
}

type reportItem struct {
	name  string
	value any // a string or an int
}

// add tells one thing more. JSON has them in the order in which they are told,
// text and XML by name.
func (r *report) add(name string, value any) { r.items = append(r.items, reportItem{name, value}) }

// fail tells that something failed.
func (r *report) fail(what, how string) { r.errors = append(r.errors, [2]string{what, how}) }

// append appends the report in one of the formats that reportFormat finds.
func (r *report) append(b []byte, format string) []byte {
	switch format {
	case "application/json":
		return r.json(b)
	case "application/xml", "text/xml":
		return r.xml(b)
	}
	for _, it := range r.sorted() {
		b = fmt.Appendf(b, "%s: %v\n", it.name, it.value)
	}
	b = append(b, "Errors:\n"...)
	for _, e := range r.errors {
		b = append(b, e[0]+", "+e[1]+"\n"...)
	}
	return b
}

func (r *report) sorted() []reportItem {
	return slices.SortedFunc(slices.Values(r.items), func(a, b reportItem) int { return strings.Compare(a.name, b.name) })
}

func (r *report) json(b []byte) []byte {
	b = append(b, '{')
	for _, it := range r.items {
		b = append(storage.AppendJSON(b, it.name), ": "...)
		switch v := it.value.(type) {
		case int:
			b = strconv.AppendInt(b, int64(v), 10)
		case string:
			b = storage.AppendJSON(b, v)
		}
		b = append(b, ", "...)
	}
	b = append(b, `"Errors": [`...)
	for i, e := range r.errors {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(storage.AppendJSON(append(b, '['), e[0]), ", "...)
		b = append(storage.AppendJSON(b, e[1]), ']')
	}
	return append(b, "]}"...)
}

func (r *report) xml(b []byte) []byte {
	b = append(b, "<"+r.root+">\n"...)
	for _, it := range r.sorted() {
		tag := strings.ToLower(strings.ReplaceAll(it.name, " ", "_"))
		b = append(b, "<"+tag+">"...)
		b = appendText(b, fmt.Sprint(it.value))
		b = append(b, "</"+tag+">\n"...)
	}
	b = append(b, "<errors>\n"...)
	for _, e := range r.errors {
		b = appendText(append(b, "<object><name>"...), e[0])
		b = appendText(append(b, "</name><status>"...), e[1])
		b = append(b, "</status></object>\n"...)
	}
	return append(b, "</errors>\n</"+r.root+">\n"...)
}

// reportFormat is the type of a report that the client takes, false if he takes
// none of them.
func reportFormat(h http.Header) (string, bool) {
	i, err := bestMatch(joined(h["Accept"]))
	if err != nil {
		return formats[0].name, false
	}
	return formats[i].name, true
}

// statusLine is a status as reports have it, "404 Not Found".
func statusLine(status int) string { return strconv.Itoa(status) + " " + statusText(status) }

// A pulse keeps a connection alive by a blank now and then, while the client
// waits for a report.
type pulse struct {
	c    *call
	last time.Time
}

// pulseEvery is how often, as /info tells (yield_frequency).
const pulseEvery = 10 * time.Second

// beat sends a blank if it is time for one.
func (p *pulse) beat() {
	if now := time.Now(); now.Sub(p.last) >= pulseEvery {
		p.last = now
		p.c.w.WriteString(" ") // an error here is the client's, who is gone
		p.c.w.Flush()
	}
}
