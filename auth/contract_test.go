package auth

import (
	"context"
	"io"
	"iter"
	"testing"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

// TestContract holds a Guard, asked by one who may do everything, to what is
// promised of any Backend.
func TestContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		return operators{NewGuard(memory.New())}
	})
}

// operators is a Guard whose callers all act for a reseller admin.
type operators struct{ g *Guard }

var (
	_ storage.Backend   = operators{}
	_ storage.Copier    = operators{}
	_ storage.Mover     = operators{}
	_ storage.TreeMover = operators{}
	_ storage.Stager    = operators{}
	_ storage.Expirer   = operators{}
	_ storage.Journal   = operators{}
)

func asOperator(ctx context.Context) context.Context {
	return NewContext(ctx, Identity{User: "op:root", Account: "op", Role: RoleReseller})
}

func (o operators) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	return o.g.Stat(asOperator(ctx), p)
}

func (o operators) List(ctx context.Context, p storage.Path, q storage.Query) iter.Seq2[storage.Info, error] {
	return o.g.List(asOperator(ctx), p, q)
}

func (o operators) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	return o.g.Open(asOperator(ctx), p, r)
}

func (o operators) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	return o.g.Create(asOperator(ctx), in)
}

func (o operators) Make(ctx context.Context, p storage.Path, m storage.Meta) (bool, error) {
	return o.g.Make(asOperator(ctx), p, m)
}

func (o operators) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	return o.g.Update(asOperator(ctx), in, c)
}

func (o operators) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	return o.g.Remove(asOperator(ctx), p, c)
}

func (o operators) Copy(ctx context.Context, from, to storage.Info, c storage.Cond) (storage.Info, error) {
	return o.g.Copy(asOperator(ctx), from, to, c)
}

func (o operators) Move(ctx context.Context, from, to storage.Path, c storage.Cond) (storage.Info, error) {
	return o.g.Move(asOperator(ctx), from, to, c)
}

func (o operators) MoveTree(ctx context.Context, from, to storage.Path) (int64, error) {
	return o.g.MoveTree(asOperator(ctx), from, to)
}

func (o operators) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	return o.g.Stage(asOperator(ctx), p, key)
}

func (o operators) Staged(ctx context.Context, prefix string) iter.Seq2[storage.Kept, error] {
	return o.g.Staged(asOperator(ctx), prefix)
}

func (o operators) Forget(ctx context.Context, key string) error {
	return o.g.Forget(asOperator(ctx), key)
}

func (o operators) Expire(ctx context.Context, now time.Time, max int) ([]storage.Path, error) {
	return o.g.Expire(asOperator(ctx), now, max)
}

func (o operators) Changes(ctx context.Context, after uint64) iter.Seq2[storage.Change, error] {
	return o.g.Changes(asOperator(ctx), after)
}
