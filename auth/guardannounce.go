package auth

import (
	"context"
	"errors"
	"io/fs"

	"memstore.dev/memstore/storage"
)

var _ storage.Announcer = (*Guard)(nil)

// Announce needs the right to change what it is about.
func (g *Guard) Announce(ctx context.Context, c storage.Change) (storage.Change, error) {
	if !g.may(ctx, write, c.Path) {
		return c, storage.Wrap("announce", c.Path, fs.ErrPermission)
	}
	a, ok := g.b.(storage.Announcer)
	if !ok {
		return c, storage.Wrap("announce", c.Path, errors.ErrUnsupported)
	}
	return a.Announce(ctx, c)
}
