// Package crypt encrypts at rest what a Backend keeps: it is a Backend around
// a Backend, and to whoever stands before it nothing is different. Sizes,
// totals, ETags, ranges, copies, versions and uploads that are resumed are as
// they were; what the Backend behind it is given to keep is not:
//
//   - The bytes of an object are encrypted with a key of the object's own
//     (AES-256 in counter mode), byte for byte, so that any range of them can
//     be read by itself and no size changes.
//   - Its ETag, that key, and which bytes are encrypted how, are sealed with a
//     root secret (XChaCha20-Poly1305) and take the place of the ETag. That
//     the Backend copies with the bytes: so a copy or a move of an object
//     moves no bytes, and shares its key.
//   - Its metadata is sealed too, and what is kept beside an upload that may
//     be resumed.
//
// Names, sizes, times and content types are not hidden, and of accounts and
// containers nothing is. What was stored before encryption was switched on is
// read as it is.
//
// Whether bytes are what they were is for the Backend's checksums to tell,
// which are of what is stored: they need no secret, and guard against rot, not
// against somebody who writes to the disk. What is sealed cannot be forged.
package crypt

import (
	"context"
	"io"
	"iter"

	"memstore.dev/memstore/storage"
)

// A Backend encrypts what another keeps.
type Backend struct {
	b       storage.Backend
	keys    *Keys
	encrypt bool
}

var _ storage.Backend = (*Backend)(nil)

// New returns a Backend around b that reads what is sealed with any of the
// keys. If encrypt is set it seals with the youngest of them what is stored
// from now on; if not, that is stored as it comes.
func New(b storage.Backend, keys *Keys, encrypt bool) *Backend {
	return &Backend{b, keys, encrypt}
}

// Stat describes a path.
func (b *Backend) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	in, err := b.b.Stat(ctx, p)
	if err != nil {
		return in, err
	}
	return b.shown("stat", in)
}

// List yields what lies directly beneath a path.
func (b *Backend) List(ctx context.Context, p storage.Path, q storage.Query) iter.Seq2[storage.Info, error] {
	if !p.IsContainer() {
		return b.b.List(ctx, p, q)
	}
	return func(yield func(storage.Info, error) bool) {
		for in, err := range b.b.List(ctx, p, q) {
			if err == nil {
				in, err = b.shown("list", in)
			}
			if !yield(in, err) || err != nil {
				return
			}
		}
	}
}

// Open returns a stretch of an object. Of one that is not encrypted it is the
// reader of the Backend behind.
func (b *Backend) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.b.Open(ctx, p, r)
	if err != nil {
		if in.Path != (storage.Path{}) { // the range is not in it, but it is there
			in, serr := b.shown("open", in)
			if serr != nil {
				return nil, storage.Info{}, serr
			}
			return nil, in, err
		}
		return nil, in, err
	}
	o, err := b.look(in.ETag)
	if err == nil {
		in, err = b.show(in, o)
	}
	offset := int64(0)
	if err == nil {
		offset, _, err = r.Resolve(in.Size)
	}
	if err != nil {
		rc.Close()
		return nil, storage.Info{}, storage.Wrap("open", p, err)
	}
	if o == nil || len(o.spans) == 0 {
		return rc, in, nil
	}
	return newReader(rc, o.content(), offset), in, nil
}

// Create starts an object. What is known of it already is told only when it is
// committed.
func (b *Backend) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	w, err := b.b.Create(ctx, storage.Info{Path: in.Path, Size: in.Size})
	if err != nil {
		return nil, err
	}
	return b.newWriter(w), nil
}

// Make creates an account or a container, whose metadata is not encrypted.
func (b *Backend) Make(ctx context.Context, p storage.Path, m storage.Meta) (bool, error) {
	return b.b.Make(ctx, p, m)
}

// Update replaces the metadata of a path.
func (b *Backend) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if in.Path.IsObject() {
		in.Meta = b.sealMeta(in.Meta)
	}
	updated, err := b.b.Update(ctx, in, b.cond(c))
	if err != nil {
		return updated, err
	}
	return b.shown("post", updated)
}

// Remove deletes a path.
func (b *Backend) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	return b.b.Remove(ctx, p, b.cond(c))
}
