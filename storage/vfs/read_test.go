package vfs_test

import (
	"bytes"
	"os"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/vfs"
)

// Who reads on in what he has uploaded meanwhile finds it, wherever he begins.
func TestReadingOnAfterTheUpload(t *testing.T) {
	h := newHouse(t)
	ann := vfs.New(t.Context(), storage.New(memory.New()), account, vfs.Options{Owner: "ann"}) // whose readers can seek
	h.must(ann.Mkdir("/c", 0))
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i >> 10)
	}
	up := h.open(ann, "/c/o", anew)
	_, err := up.Write(data)
	h.must(err)
	live := h.open(ann, "/c/o", os.O_RDONLY)
	h.must(up.Close())
	for _, at := range []int64{900_000, 600_000, 10_000, 990_000} {
		b := make([]byte, 1000)
		if n, err := live.ReadAt(b, at); !bytes.Equal(b[:n], data[at:][:1000]) {
			t.Errorf("from %d: not what was uploaded, %v", at, err)
		}
	}
	h.must(live.Close())
}
