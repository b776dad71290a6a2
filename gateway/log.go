package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"memstore.dev/memstore/auth"
)

// Metrics are told of requests. A door of another protocol may be given the
// same ones; door tells them apart.
type Metrics interface {
	// Request is called when a request is over: its method and the status of
	// the answer, the bytes that came and went, and how long it took. It must
	// be quick.
	Request(door, method string, status int, in, out int64, took time.Duration)
}

// door is how this door is called in logs and metrics.
const door = "swift"

// end answers what is not answered yet, writes the log and tells the metrics,
// whatever happened, a panic included.
func (c *call) end() {
	abort := false
	if p := recover(); p != nil {
		abort = p == http.ErrAbortHandler
		if !abort {
			c.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			c.strike(auth.FailCrash)
		}
	}
	if c.err != nil && !abort {
		abort = !c.fail(c.err)
	}
	took := time.Since(c.begun)
	if c.g.Log.Enabled(c.ctx, slog.LevelInfo) {
		c.log(took)
	}
	if c.g.Metrics != nil {
		c.g.Metrics.Request(door, metricMethod(c.r.Method), c.w.status, c.body.read, c.w.sent, took)
	}
	if abort {
		panic(http.ErrAbortHandler) // which has the server close the connection
	}
}

// log writes the one record of a request. Its query stays out, for it may hold
// signatures.
func (c *call) log(took time.Duration) {
	attrs := make([]slog.Attr, 0, 11)
	attrs = append(attrs,
		slog.String("txid", c.txid),
		slog.String("door", door),
		slog.String("from", c.from()),
		slog.String("user", c.who()),
		slog.String("method", c.r.Method),
		slog.String("path", c.r.URL.EscapedPath()),
		slog.Int("status", c.w.status),
		slog.Int64("in", c.body.read),
		slog.Int64("out", c.w.sent),
		slog.Float64("seconds", took.Seconds()),
	)
	if why := c.why(); why != "" {
		attrs = append(attrs, slog.String("error", why))
	}
	c.g.Log.LogAttrs(c.ctx, slog.LevelInfo, "request", attrs...)
}

// why is what the record of a refused request says of the reason, beyond its
// status; "" for nothing. What failed inside has a record of its own.
func (c *call) why() string {
	plain := (*refusal)(nil)
	_, within := withinAccount(c.r.URL.Path)
	switch {
	case c.err == nil || c.w.status == http.StatusInternalServerError:
		return ""
	case c.w.status == http.StatusUnauthorized && !within:
		return "login refused"
	case c.w.status == http.StatusUnauthorized && c.r.Header["X-Auth-Token"] == nil && c.r.Header["X-Storage-Token"] == nil:
		return "not logged in"
	case c.w.status == http.StatusUnauthorized:
		return "the token does not hold"
	case errors.As(c.err, &plain) && plain.text == "":
		return "" // it says no more than the status does
	}
	return c.err.Error()
}

// metricMethod keeps methods that clients make up from becoming labels.
func metricMethod(method string) string {
	if _, ok := objectVerbs[method]; ok {
		return method
	}
	return "other"
}

// who is whom the log says a request was from: a user, or in what way somebody
// was let in who has not said who he is.
func (c *call) who() string {
	if t := c.id.Ticket; t != nil {
		return "." + t.By
	}
	return c.id.User
}
