package sftp

import (
	"log/slog"
	"net"

	"memstore.dev/memstore/internal/door"
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
// Its Protocol is "sftp", "scp" or "exec", its Verb "get", "put", "update" (of a
// file that is read and written), "copy", "hash", "remove", "rename", "mkdir" or
// "rmdir".
type Operation = door.Operation

// finish reports an operation.
func (c *session) finish(op Operation) { c.Finish(c.ctx, op) }

// answer is what the client hears of err. An error that no table knows goes to
// the log, unless an Operation takes it there.
func (c *session) answer(verb, path string, err error) error {
	as, known := toStatus(err)
	if !known {
		c.Log.LogAttrs(c.ctx, slog.LevelError, "sftp: request failed",
			slog.String("verb", verb), slog.String("path", path), slog.String("err", door.Cause(err)))
	}
	return as
}
