package door

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"time"
)

// An Operation is something a client did with a file: a transfer, or a change.
type Operation struct {
	ID       string // transaction id
	User     string
	Remote   net.Addr
	Protocol string // "ftp", "ftps", "sftp", "scp" or "exec"
	Verb     string // "get", "put", "append", "update" (of a file that is read and written), "copy", "hash", "remove", "rename", "mkdir" or "rmdir"
	Path     string
	Target   string // of a copy or rename
	Bytes    int64  // moved between client and server
	Began    time.Time
	Took     time.Duration
	Err      error // nil if it did what was asked
}

// Finish reports an operation that is over. What did not succeed is logged with
// its whole cause; what the client hears is decided elsewhere.
func (v *Visit) Finish(ctx context.Context, op Operation) {
	r := v.rules
	op.ID, op.User, op.Remote = v.operationID(), v.User(), v.Remote
	op.Took = time.Since(op.Began)
	if r.Operation != nil {
		r.Operation(op)
	}
	level, outcome := slog.LevelInfo, "ok"
	attrs := []slog.Attr{
		slog.String("txid", op.ID), slog.String("user", op.User), slog.String("from", AddrString(op.Remote)),
		slog.String("door", r.Name), slog.String("protocol", op.Protocol), slog.String("verb", op.Verb), slog.String("path", op.Path),
	}
	if op.Target != "" {
		attrs = append(attrs, slog.String("target", op.Target))
	}
	attrs = append(attrs, slog.Int64("bytes", op.Bytes), slog.Float64("seconds", op.Took.Seconds()))
	if op.Err != nil {
		outcome = "failed"
		if r.Known != nil && !r.Known(op.Err) {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("err", Cause(op.Err)))
	}
	attrs = append(attrs, slog.String("outcome", outcome))
	r.log().LogAttrs(ctx, level, r.Name+": operation", attrs...)
}

// Cause is the text of err and of everything beneath it that the text leaves
// out: a filesystem may say little where a client could hear it.
func Cause(err error) string {
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
