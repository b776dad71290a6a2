package ftp

import (
	"log/slog"
	"net"
	"time"
)

// Hooks are called as things happen, from several goroutines at once; those
// that are nil are not. They must not wait for anything.
type Hooks struct {
	// Connect is told of every connection, and Disconnect of its end.
	Connect, Disconnect func(remote net.Addr)

	// Login is told how an attempt to log in came out.
	Login func(a Attempt, err error)

	// Operation is told of each operation on a file when it is over.
	Operation func(Operation)
}

// An Operation is something a client did with a file: a transfer, or a change.
type Operation struct {
	ID       string // transaction id
	User     string
	Remote   net.Addr
	Protocol string // "ftp" or "ftps"
	Verb     string // "get", "put", "append", "hash", "remove", "rename", "mkdir" or "rmdir"
	Path     string
	Target   string // of a rename
	Bytes    int64  // moved between client and server
	Began    time.Time
	Took     time.Duration
	Err      error // nil if it did what was asked
}

// finish reports an operation. What did not succeed is logged with its whole
// cause; what the client hears is decided elsewhere.
func (c *session) finish(op Operation) {
	op.ID, op.User, op.Remote = c.operationID(), c.user, c.remote
	op.Protocol = "ftp"
	if c.secured.Load() {
		op.Protocol = "ftps"
	}
	op.Took = time.Since(op.Began)
	if f := c.srv.Hooks.Operation; f != nil {
		f(op)
	}
	level, outcome := slog.LevelInfo, "ok"
	attrs := []slog.Attr{
		slog.String("txid", op.ID), slog.String("user", op.User), slog.String("from", addrString(op.Remote)),
		slog.String("door", "ftp"), slog.String("protocol", op.Protocol), slog.String("verb", op.Verb), slog.String("path", op.Path),
	}
	if op.Target != "" {
		attrs = append(attrs, slog.String("target", op.Target))
	}
	attrs = append(attrs, slog.Int64("bytes", op.Bytes), slog.Float64("seconds", op.Took.Seconds()))
	if op.Err != nil {
		outcome = "failed"
		if _, known := toRefusal(op.Err); !known {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("err", op.Err.Error()))
	}
	attrs = append(attrs, slog.String("outcome", outcome))
	c.srv.log().LogAttrs(c.ctx, level, "ftp: operation", attrs...)
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
