package ftp

import (
	"net"

	"memstore.dev/memstore/internal/door"
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
// Its Protocol is "ftp" or "ftps", its Verb "get", "put", "append", "hash",
// "remove", "rename", "mkdir" or "rmdir".
type Operation = door.Operation

// finish reports an operation.
func (c *session) finish(op Operation) {
	op.Protocol = "ftp"
	if c.secured.Load() {
		op.Protocol = "ftps"
	}
	c.Finish(c.ctx, op)
}
