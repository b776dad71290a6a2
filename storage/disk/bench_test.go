package disk

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"memstore.dev/memstore/storage"
)

func benchStore(b *testing.B, o Options) *Backend {
	o.Ballast, o.ScrubRate, o.Reserve = -1, -1, 1
	s := open(b, b.TempDir(), o)
	for _, p := range []storage.Path{{Account: "a"}, {Account: "a", Container: "c"}} {
		if _, err := s.Make(b.Context(), p, nil); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func etagOf(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

// write puts an object as the Store does, with the ETag computed by it.
func write(ctx context.Context, s storage.Backend, p storage.Path, data []byte, etag string) (storage.Info, error) {
	w, err := s.Create(ctx, storage.Info{Path: p, Size: int64(len(data))})
	if err != nil {
		return storage.Info{}, err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return storage.Info{}, err
	}
	return w.Commit(ctx, storage.Info{ETag: etag, Type: "application/octet-stream"}, storage.Cond{})
}

func object(n int64) storage.Path {
	return storage.Path{Account: "a", Container: "c", Object: fmt.Sprintf("dir%03d/object%08d", n%1000, n)}
}

// BenchmarkPut is a durable PUT; the MD5 is the caller's and not in it.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/c=%d", size>>10, writers), func(b *testing.B) {
				s := benchStore(b, Options{})
				data := make([]byte, size)
				etag := etagOf(data)
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(max(writers/2, 1))
				b.ResetTimer()
				put := func() bool {
					if _, err := write(b.Context(), s, object(n.Add(1)), data, etag); err != nil {
						b.Error(err)
						return false
					}
					return true
				}
				if writers == 1 {
					for b.Loop() {
						put()
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() && put() {
					}
				})
			})
		}
	}
}

// discard is a response writer that copies what it is given by ReadFrom, as
// one without sendfile does.
type discard struct{ io.Writer }

func BenchmarkGet(b *testing.B) {
	for _, verify := range []Verify{VerifyAlways, VerifyRecent} {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("verify=%d/%dKiB", verify, size>>10), func(b *testing.B) {
				s := benchStore(b, Options{Sync: SyncNone, Verify: verify})
				data := make([]byte, size)
				etag := etagOf(data)
				for n := range int64(100) {
					if _, err := write(b.Context(), s, object(n), data, etag); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(size))
				var n int64
				for b.Loop() {
					n++
					r, _, err := s.Open(b.Context(), object(n%100), storage.All)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(discard{io.Discard}, r); err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
			})
		}
	}
}

// BenchmarkRange is one byte out of the middle of 1 MiB: what a block costs.
func BenchmarkRange(b *testing.B) {
	s := benchStore(b, Options{Verify: VerifyAlways})
	data := make([]byte, 1<<20)
	if _, err := write(b.Context(), s, object(1), data, etagOf(data)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, _, err := s.Open(b.Context(), object(1), storage.Range{Offset: 500_000, Length: 1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(discard{io.Discard}, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

const fullContainer = 200_000

func BenchmarkList(b *testing.B) {
	s := benchStore(b, Options{Sync: SyncNone})
	fill(b, s, fullContainer)
	c := storage.Path{Account: "a", Container: "c"}
	for name, q := range map[string]storage.Query{
		"page":      {Limit: 10_000, Marker: object(500).Object},
		"reverse":   {Limit: 10_000, Reverse: true},
		"delimiter": {Limit: 10_000, Delimiter: "/"},
		"deep":      {Limit: 100, Prefix: "dir777/"},
	} {
		b.Run(name, func(b *testing.B) {
			entries := 0
			for b.Loop() {
				for _, err := range s.List(b.Context(), c, q) {
					if err != nil {
						b.Fatal(err)
					}
					entries++
				}
			}
			b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// fill puts so many empty objects, by way of the loop, many at a time.
func fill(b testing.TB, s *Backend, n int64) {
	b.Helper()
	for from := int64(0); from < n; from += 1000 {
		err := s.submit(b.Context(), 1000*256, func(t *tx) error {
			for i := from; i < min(from+1000, n); i++ {
				slot, err := t.slot(object(i), 0, storage.Cond{})
				if err != nil {
					return err
				}
				r := &row{etag: "d41d8cd98f00b204e9800998ecf8427e", typ: "application/octet-stream"}
				t.put(slot, r, storage.Info{})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	s := benchStore(b, Options{Sync: SyncNone})
	fill(b, s, 10_000)
	for name, p := range map[string]storage.Path{
		"account": {Account: "a"}, "container": {Account: "a", Container: "c"}, "object": object(5000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Stat(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCopy(b *testing.B) {
	s := benchStore(b, Options{})
	data := make([]byte, 1<<20)
	if _, err := write(b.Context(), s, object(0), data, etagOf(data)); err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for b.Loop() {
		n++
		if _, err := s.Copy(b.Context(), storage.Info{Path: object(0)}, storage.Info{Path: object(n)}, storage.Cond{}); err != nil {
			b.Fatal(err)
		}
	}
}
