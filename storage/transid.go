package storage

import "context"

type transIDKey struct{}

// WithTransID returns a context that carries the transaction id of the request
// or session on whose behalf things are asked for: the one its client knows
// and the log has. A Backend that asks elsewhere hands it on, so that what one
// client did can be followed through every log.
func WithTransID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, transIDKey{}, id)
}

// TransID is the transaction id that ctx carries, "" if it carries none.
func TransID(ctx context.Context) string {
	id, _ := ctx.Value(transIDKey{}).(string)
	return id
}
