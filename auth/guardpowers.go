package auth

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"net/url"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// The extra powers of the Backend behind a Guard, each judged as the verbs are
// that it stands for.

var (
	_ storage.Copier    = (*Guard)(nil)
	_ storage.Mover     = (*Guard)(nil)
	_ storage.TreeMover = (*Guard)(nil)
	_ storage.Stager    = (*Guard)(nil)
	_ storage.Expirer   = (*Guard)(nil)
	_ storage.Journal   = (*Guard)(nil)
)

// Copy needs the right to read the source and to write the target.
func (g *Guard) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (storage.Info, error) {
	if !g.may(ctx, read, from.Path) {
		return storage.Info{}, storage.Wrap("copy", from.Path, fs.ErrPermission)
	}
	if !g.may(ctx, write, to.Path) {
		return storage.Info{}, storage.Wrap("copy", to.Path, fs.ErrPermission)
	}
	copier, ok := g.b.(storage.Copier)
	if !ok {
		return storage.Info{}, storage.Wrap("copy", to.Path, errors.ErrUnsupported)
	}
	return copier.Copy(ctx, from, to, c)
}

// Move needs the right to read and to write the source, since it ceases to be
// where it was and may be read where it comes to be, and to write the target.
func (g *Guard) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (storage.Info, error) {
	if err := g.mayMove(ctx, from, to); err != nil {
		return storage.Info{}, err
	}
	mover, ok := g.b.(storage.Mover)
	if !ok {
		return storage.Info{}, storage.Wrap("move", from, errors.ErrUnsupported)
	}
	return mover.Move(ctx, from, to, c)
}

func (g *Guard) mayMove(ctx context.Context, from, to storage.Path) error {
	if !g.may(ctx, read, from) || !g.may(ctx, write, from) {
		return storage.Wrap("move", from, fs.ErrPermission)
	}
	if !g.may(ctx, write, to) {
		return storage.Wrap("move", to, fs.ErrPermission)
	}
	return nil
}

// MoveTree needs what Move does: of two containers the right to change the
// containers themselves, which no container's access control list grants.
func (g *Guard) MoveTree(ctx context.Context, from, to storage.Path) (int64, error) {
	if err := g.mayMove(ctx, from, to); err != nil {
		return 0, err
	}
	mover, ok := g.b.(storage.TreeMover)
	if !ok {
		return 0, storage.Wrap("move", from, errors.ErrUnsupported)
	}
	return mover.MoveTree(ctx, from, to)
}

// Stage opens an object-to-be where who asks may write, also when it is
// committed. What is kept under a
// key is seen by the user who kept it only: the Guard sets his name before it.
func (g *Guard) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	own, ok := ownKeys(ctx)
	if !g.may(ctx, write, p) || key != "" && !ok {
		return nil, storage.Wrap("put", p, fs.ErrPermission)
	}
	s, ok := g.b.(storage.Stager)
	if !ok {
		return nil, storage.Wrap("put", p, errors.ErrUnsupported)
	}
	if key != "" {
		key = own + key
	}
	stage, err := s.Stage(ctx, p, key)
	if err != nil {
		return nil, err
	}
	return &guardedStage{stage, g.commitment(ctx, p)}, nil
}

// Staged yields what the user keeps under keys with this prefix.
func (g *Guard) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	own, ok := ownKeys(ctx)
	if !ok {
		return failed[storage.Kept](fs.ErrPermission)
	}
	s, ok := g.b.(storage.Stager)
	if !ok {
		return failed[storage.Kept](errors.ErrUnsupported)
	}
	return func(yield func(storage.Kept, error) bool) {
		for k, err := range s.Staged(ctx, own+prefix) {
			k.Key = strings.TrimPrefix(k.Key, own)
			if !yield(k, err) {
				return
			}
		}
	}
}

// Forget drops what the user keeps under key.
func (g *Guard) Forget(ctx context.Context, key string) error {
	own, ok := ownKeys(ctx)
	if !ok {
		return fs.ErrPermission
	}
	s, ok := g.b.(storage.Stager)
	if !ok {
		return errors.ErrUnsupported
	}
	return s.Forget(ctx, own+key)
}

// ownKeys is what the keys of a user's stages begin with: his name, escaped so
// that no other's can begin alike. The Store sees the keys of all.
func ownKeys(ctx context.Context) (string, bool) {
	if storage.ByStore(ctx) {
		return "", true
	}
	id := FromContext(ctx)
	return url.PathEscape(id.User) + "/", !id.Stranger()
}

// Expire is for the Store and for resellers, since it concerns all accounts.
func (g *Guard) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	if !everywhere(ctx, write) {
		return nil, fs.ErrPermission
	}
	e, ok := g.b.(storage.Expirer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return e.Expire(ctx, now, max)
}

// Changes is for the Store and for resellers, since it tells of all accounts.
func (g *Guard) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	if !everywhere(ctx, read) {
		return failed[storage.Change](fs.ErrPermission)
	}
	j, ok := g.b.(storage.Journal)
	if !ok {
		return failed[storage.Change](errors.ErrUnsupported)
	}
	return j.Changes(ctx, after)
}

// everywhere reports whether who ctx acts for may do a in every account.
func everywhere(ctx context.Context, a act) bool {
	id := FromContext(ctx)
	if id.Ticket != nil {
		return storage.ByStore(ctx)
	}
	return storage.ByStore(ctx) ||
		id.Role == RoleReseller && (a == read || !id.ReadOnly) ||
		id.Role == RoleResellerReader && a == read
}

// failed yields nothing but an error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}
