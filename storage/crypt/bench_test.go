package crypt

import (
	"fmt"
	"io"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// BenchmarkCrypt compares putting, getting, looking and listing with encryption
// and without, over memory, where nothing else takes time; so does the cost of a
// few hundred nanoseconds show.
func BenchmarkCrypt(b *testing.B) {
	for _, mode := range []string{"plain", "encrypted"} {
		open := func() storage.Backend {
			if mode == "plain" {
				return memory.New()
			}
			return New(memory.New(), NewKeys(), true)
		}
		for _, size := range []int{1 << 10, 1 << 20} {
			data := text(size)
			store := open()
			makeBox(b, store)
			meta := storage.Meta{"X-Object-Meta-Mtime": "1700000000.000000"}
			etag := sum(data)
			put(b, store, thing, data, meta)
			b.Run(fmt.Sprintf("put/%d/%s", size, mode), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					w, err := store.Create(b.Context(), storage.Info{Path: thing, Size: int64(size)})
					if err != nil {
						b.Fatal(err)
					}
					if _, err := w.Write(data); err != nil {
						b.Fatal(err)
					}
					if _, err := w.Commit(b.Context(), storage.Info{ETag: etag, Meta: meta}, storage.Cond{}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("get/%d/%s", size, mode), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					r, _, err := store.Open(b.Context(), thing, storage.All)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(struct{ io.Writer }{io.Discard}, r); err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
			})
		}
		store := open()
		makeBox(b, store)
		for i := range 1000 {
			put(b, store, at(fmt.Sprint(i)), []byte("x"), storage.Meta{"X-Object-Meta-Mtime": "1700000000.000000"})
		}
		b.Run("stat/"+mode, func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Stat(b.Context(), at("500")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("list1000/"+mode, func(b *testing.B) {
			for b.Loop() {
				for _, err := range store.List(b.Context(), box, storage.Query{}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
