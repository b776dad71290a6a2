package gateway

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/storage"
)

// statusDisconnected is Swift's status for an upload that broke off. Nobody is
// left to see it; it is for the log.
const statusDisconnected = 499

// Types of short answers.
const (
	html  = "text/html; charset=UTF-8"
	plain = "text/plain"
)

// A refusal is an error that knows its answer.
type refusal struct {
	status int
	text   string // the body; empty for Swift's words for the status
	kind   string // its type, if not text/html
	silent bool   // no body at all
	hangUp bool   // what else comes over this connection is of no use
}

func (r *refusal) Error() string {
	if r.text != "" {
		return r.text
	}
	return "refused with status " + strconv.Itoa(r.status)
}

// badRequest is a 400 whose sentence Swift sends as plain text.
func badRequest(text string) error {
	return &refusal{status: http.StatusBadRequest, text: text, kind: plain}
}

var (
	errUnauthorized = &refusal{status: http.StatusUnauthorized}
	errForbidden    = &refusal{status: http.StatusForbidden}
	errTooLarge     = &refusal{status: http.StatusRequestEntityTooLarge, text: "Your request is too large.", kind: plain, hangUp: true}
)

// answers tells the answer to each kind of error. What is not here is an
// internal error: the client is told so, and the log what happened.
var answers = []struct {
	err error
	refusal
}{
	{fs.ErrNotExist, refusal{status: http.StatusNotFound}},
	{storage.ErrNoArchive, refusal{status: http.StatusPreconditionFailed}},
	{storage.ErrUnversioned, refusal{status: http.StatusBadRequest, text: "version-aware operations require that the container is versioned"}},
	{storage.ErrVersionID, refusal{status: http.StatusBadRequest, text: "Invalid version parameter"}},
	{storage.ErrPrecondition, refusal{status: http.StatusPreconditionFailed}},
	{storage.ErrChecksum, refusal{status: http.StatusUnprocessableEntity}},
	{storage.ErrVersionsLeft, refusal{status: http.StatusConflict, text: "Delete all versions before deleting container."}},
	{storage.ErrNotEmpty, refusal{status: http.StatusConflict}},
	{fs.ErrExist, refusal{status: http.StatusConflict}},
	{storage.ErrQuota, refusal{status: http.StatusRequestEntityTooLarge, text: "Upload exceeds quota."}},
	{storage.ErrTooLarge, *errTooLarge},
	{storage.ErrLink, refusal{status: http.StatusConflict}},
	{storage.ErrSegment, refusal{status: http.StatusConflict}},
	{storage.ErrRange, refusal{status: http.StatusRequestedRangeNotSatisfiable}},
	{storage.ErrIncomplete, refusal{status: statusDisconnected, hangUp: true}},
	{storage.ErrNoSpace, refusal{status: http.StatusInsufficientStorage}},
	{storage.ErrUnavailable, refusal{status: http.StatusServiceUnavailable}},
	{auth.ErrBanned, refusal{status: http.StatusForbidden, hangUp: true}},
	{errors.ErrUnsupported, refusal{status: http.StatusNotImplemented}},
	{context.Canceled, refusal{status: statusDisconnected, hangUp: true}},
	{context.DeadlineExceeded, refusal{status: http.StatusServiceUnavailable}},
	{fs.ErrInvalid, refusal{status: http.StatusBadRequest}},
}

var internalError = refusal{status: http.StatusInternalServerError}

// answerTo finds the answer to an error.
func (c *call) answerTo(err error) refusal {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return *r
	}
	if errors.Is(err, fs.ErrPermission) {
		if c.id.Stranger() {
			return *errUnauthorized
		}
		return *errForbidden
	}
	for _, a := range answers {
		if !errors.Is(err, a.err) {
			continue
		}
		r := a.refusal
		if said := (*storage.Refusal)(nil); errors.As(err, &said) {
			r.text, r.kind = said.Text, plain
		}
		if met := (*storage.LinkError)(nil); errors.As(err, &met) && met.Text != "" {
			r.text, r.kind = met.Text, plain
		}
		return r
	}
	return internalError
}

// fail answers with an error, and reports whether that could still be done:
// where an answer has begun already, all that is left is to break it off, so
// that nobody takes the part for the whole.
func (c *call) fail(err error) bool {
	r := c.answerTo(err)
	if r.status == http.StatusInternalServerError && !c.gone(err) {
		c.logFault(err)
	}
	if c.w.status != 0 {
		return false
	}
	h := c.w.Header()
	for key := range h { // what was to describe the answer that it did not come to
		switch key {
		case "Allow", "Retry-After", "X-Account-Status", "X-Trans-Id", "X-Openstack-Request-Id", versionHeader, currentHeader:
		default:
			delete(h, key)
		}
	}
	if met := (*storage.LinkError)(nil); errors.As(err, &met) && met.Path.IsObject() {
		c.set("Content-Location", location(met.Path))
	}
	if r.status == http.StatusUnauthorized {
		realm := c.w.realm
		if realm == "" {
			realm = "unknown"
		}
		c.set("Www-Authenticate", cmp.Or(c.w.challenge, `Swift realm="`+quote(realm)+`"`))
	}
	if r.hangUp {
		c.set("Connection", "close")
	}
	if r.kind == "" {
		r.kind = html
	}
	text := r.text
	if text == "" && !r.silent {
		text = bare(r.status)
	}
	c.say(r.status, r.kind, text)
	return true
}

// logFault tells the log of what the client is not told.
func (c *call) logFault(err error) {
	c.g.Log.LogAttrs(c.ctx, slog.LevelError, "request failed", slog.String("txid", c.txid),
		slog.String("method", c.r.Method), slog.Any("error", err))
}

// htmlText makes text into HTML that shows it, for sentences that quote what was
// asked for. (Quotation marks, which they have in Swift, do no harm outside of
// tags.)
var htmlText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// gone reports whether it was the client who broke off the answer.
func (c *call) gone(err error) bool {
	op := (*net.OpError)(nil)
	return c.w.status != 0 && (c.r.Context().Err() != nil || errors.As(err, &op) && op.Op != "read" && op.Op != "dial")
}

// say answers with a status and a short text.
func (c *call) say(status int, kind, text string) {
	head := c.r.Method == http.MethodHead
	if head && status >= 400 {
		text = "" // such an answer to HEAD says nothing about one to GET, in Swift
	}
	c.set("Content-Type", kind)
	if status >= 400 {
		c.notSniffed()
	}
	c.set("Content-Length", strconv.Itoa(len(text)))
	c.w.WriteHeader(status)
	if text != "" && !head {
		c.w.WriteString(text) // an error here is the client's, who is gone
	}
}

// notSniffed says that what we wrote is of the type we say: names of objects in
// a listing, or what an error quotes, must not make it a page with scripts.
func (c *call) notSniffed() { c.set("X-Content-Type-Options", "nosniff") }

// done answers with a status and nothing else to say than Swift does, which
// is a sentence for 202 and nothing for the others.
func (c *call) done(status int) error {
	text := ""
	if status == http.StatusAccepted {
		text = bare(status)
	}
	c.say(status, html, text)
	return nil
}

// bare is the body that Swift gives an answer which has none of its own.
func bare(status int) string {
	s, ok := sentences[status]
	if !ok {
		return ""
	}
	return "<html><h1>" + s.title + "</h1><p>" + s.text + "</p></html>"
}

var sentences = map[int]struct{ title, text string }{
	http.StatusAccepted:                     {"Accepted", "The request is accepted for processing."},
	http.StatusBadRequest:                   {"Bad Request", "The server could not comply with the request since it is either malformed or otherwise incorrect."},
	http.StatusUnauthorized:                 {"Unauthorized", "This server could not verify that you are authorized to access the document you requested."},
	http.StatusForbidden:                    {"Forbidden", "Access was denied to this resource."},
	http.StatusNotFound:                     {"Not Found", "The resource could not be found."},
	http.StatusMethodNotAllowed:             {"Method Not Allowed", "The method is not allowed for this resource."},
	http.StatusNotAcceptable:                {"Not Acceptable", "The resource is not available in a format acceptable to your browser."},
	http.StatusRequestTimeout:               {"Request Timeout", "The server has waited too long for the request to be sent by the client."},
	http.StatusConflict:                     {"Conflict", "There was a conflict when trying to complete your request."},
	http.StatusLengthRequired:               {"Length Required", "Content-Length header required."},
	http.StatusPreconditionFailed:           {"Precondition Failed", "A precondition for this request was not met."},
	http.StatusRequestEntityTooLarge:        {"Request Entity Too Large", "The body of your request was too large for this server."},
	http.StatusRequestURITooLong:            {"Request URI Too Long", "The request URI was too long for this server."},
	http.StatusRequestedRangeNotSatisfiable: {"Requested Range Not Satisfiable", "The Range requested is not available."},
	http.StatusUnprocessableEntity:          {"Unprocessable Entity", "Unable to process the contained instructions"},
	statusDisconnected:                      {"Client Disconnect", "The client was disconnected during request."},
	http.StatusInternalServerError:          {"Internal Error", "The server has either erred or is incapable of performing the requested operation."},
	http.StatusNotImplemented:               {"Not Implemented", "The requested method is not implemented by this server."},
	http.StatusServiceUnavailable:           {"Service Unavailable", "The server is currently unavailable. Please try again at a later time."},
	http.StatusInsufficientStorage:          {"Insufficient Storage", "There was not enough space to save the resource."},
}
