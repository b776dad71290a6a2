package crypt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"memstore.dev/memstore/storage"
)

// register is an account that no user can have. Its metadata names the keys
// without which not everything in the store can be read: it is in the store, and
// so in every copy of it.
var register = storage.Path{Account: ".encryption"}

const registered = "X-Account-Sysmeta-Keys"

// Needed returns the names of the keys with which something in b may be
// encrypted, none if nothing ever was.
func Needed(ctx context.Context, b storage.Backend) ([]string, error) {
	in, err := b.Stat(ctx, register)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(in.Meta[registered]), err
}

// Attach returns New(b, keys, encrypt) after it has made sure that no key is
// missing, and if encrypt is set, entered in b that the youngest is needed from
// now on. Without keys, which may be nil, in a store in which nothing is
// encrypted, it returns b itself.
func Attach(ctx context.Context, b storage.Backend, keys *Keys, encrypt bool) (storage.Backend, error) {
	needed, err := Needed(ctx, b)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range needed {
		if keys == nil || !slices.ContainsFunc(keys.roots, func(r *root) bool { return r.name() == name }) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return nil, fmt.Errorf("%w: %s", ErrNoKey, strings.Join(missing, ", "))
	case keys == nil:
		return b, nil
	}
	if name := keys.youngest().name(); encrypt && !slices.Contains(needed, name) {
		in := storage.Info{Path: register, Meta: storage.Meta{registered: strings.Join(append(needed, name), " ")}}
		created, err := b.Make(ctx, register, in.Meta)
		if err == nil && !created {
			_, err = b.Update(ctx, in, storage.Cond{})
		}
		if err != nil {
			return nil, fmt.Errorf("enter in the store that it is encrypted: %w", err)
		}
	}
	return New(b, keys, encrypt), nil
}
