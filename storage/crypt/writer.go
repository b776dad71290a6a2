package crypt

import (
	"context"
	"crypto/cipher"

	"memstore.dev/memstore/storage"
)

// A writer encrypts the bytes of an object on their way.
type writer struct {
	storage.Writer
	b    *Backend
	o    object
	size int64
	key  cipher.Stream // nil if nothing is to be encrypted
	err  error         // of a write, after which the key stream is ahead of the bytes
}

func (b *Backend) newWriter(behind storage.Writer) *writer {
	w := &writer{Writer: behind, b: b}
	if b.encrypt {
		w.o.key, w.o.counters = newKey(), []counter{newCounter()}
		w.key = stream(w.o.content().block, w.o.counters[0], 0)
	}
	return w
}

// Write encrypts into a buffer: p is its caller's.
func (w *writer) Write(p []byte) (written int, err error) {
	if w.key == nil {
		return w.Writer.Write(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	buf := takeBuffer(len(p))
	defer giveBuffer(buf)
	for {
		part := (*buf)[:min(len(p)-written, len(*buf))]
		w.key.XORKeyStream(part, p[written:][:len(part)])
		n, err := w.Writer.Write(part)
		written += n
		w.size += int64(n)
		if err != nil || written == len(p) {
			w.err = err
			return written, err
		}
	}
}

func (w *writer) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if w.err != nil {
		return storage.Info{}, w.err
	}
	if w.key != nil {
		w.o.etag = in.ETag
		if w.size > 0 {
			w.o.spans = []span{{0, w.size, 0}}
		}
		in.ETag = w.b.sealETag(&w.o)
	}
	in.Meta = w.b.sealMeta(in.Meta)
	committed, err := w.Writer.Commit(ctx, in, w.b.cond(c))
	if err != nil {
		return committed, err
	}
	return w.b.shown("put", committed)
}
