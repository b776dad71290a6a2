package sftp

import (
	"log/slog"
	"net"
	"strings"
	"time"
)

// Hooks are called as things happen, from several goroutines at once; those
// that are nil are not. They must not wait for anything.
type Hooks struct {
	// Connect is told of every connection, and Disconnect of its end.
	Connect, Disconnect func(remote net.Addr)

	// Login is told how an attempt to log in came out; method is "password" or
	// "publickey". A key that is only offered is no attempt.
	Login func(a Attempt, method string, err error)

	// Operation is told of each operation on a file when it is over.
	Operation func(Operation)
}

// An Operation is something a client did with a file: a transfer, or a change.
type Operation struct {
	ID       string // transaction id
	User     string
	Remote   net.Addr
	Protocol string // "sftp", "scp" or "exec"
	Verb     string // "get", "put", "update" (of a file that is read and written), "copy", "hash", "remove", "rename", "mkdir" or "rmdir"
	Path     string
	Target   string // of a copy or rename
	Bytes    int64  // moved between client and server
	Began    time.Time
	Took     time.Duration
	Err      error // nil if it did what was asked
}

// finish reports an operation. What did not succeed is logged with its whole
// cause; what the client hears is decided elsewhere.
func (c *session) finish(op Operation) {
	op.ID, op.User, op.Remote = c.operationID(), c.user, c.remote
	op.Took = time.Since(op.Began)
	if f := c.srv.Hooks.Operation; f != nil {
		f(op)
	}
	level, outcome := slog.LevelInfo, "ok"
	attrs := []slog.Attr{
		slog.String("txid", op.ID), slog.String("user", op.User), slog.String("from", addrString(op.Remote)),
		slog.String("door", "sftp"), slog.String("protocol", op.Protocol), slog.String("verb", op.Verb), slog.String("path", op.Path),
	}
	if op.Target != "" {
		attrs = append(attrs, slog.String("target", op.Target))
	}
	attrs = append(attrs, slog.Int64("bytes", op.Bytes), slog.Float64("seconds", op.Took.Seconds()))
	if op.Err != nil {
		outcome = "failed"
		if _, known := toStatus(op.Err); !known {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("err", cause(op.Err)))
	}
	attrs = append(attrs, slog.String("outcome", outcome))
	c.srv.log().LogAttrs(c.ctx, level, "sftp: operation", attrs...)
}

// answer is what the client hears of err. An error that no table knows goes to
// the log, unless an Operation takes it there.
func (c *session) answer(verb, path string, err error) error {
	as, known := toStatus(err)
	if !known {
		c.log.LogAttrs(c.ctx, slog.LevelError, "sftp: request failed",
			slog.String("verb", verb), slog.String("path", path), slog.String("err", cause(err)))
	}
	return as
}

// cause is the text of err and of everything beneath it that the text leaves
// out: a filesystem may say little where a client could hear it.
func cause(err error) string {
	text := err.Error()
	var add func(error)
	add = func(err error) {
		if more := err.Error(); !strings.Contains(text, more) {
			text += ": " + more
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				add(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				add(inner)
			}
		}
	}
	add(err)
	return text
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
