package vfs_test

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/spf13/afero"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/vfs"
)

// benchmarks runs f over each backend, with a directory to work in.
func benchmarks(b *testing.B, f func(b *testing.B, fsys *vfs.FS)) {
	for _, c := range []struct {
		name string
		open func() storage.Backend
	}{
		{"memory", func() storage.Backend { return memory.New() }},
		{"disk", func() storage.Backend { return openDisk(b) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			fsys := vfs.New(b.Context(), storage.New(c.open()), account, vfs.Options{Owner: "ann"})
			if err := fsys.MkdirAll("/c/d", 0); err != nil {
				b.Fatal(err)
			}
			f(b, fsys)
		})
	}
}

// BenchmarkUpload is one file, as FTP sends it and as SFTP does.
func BenchmarkUpload(b *testing.B) {
	const size, packet = 64 << 20, 255 << 10
	benchmarks(b, func(b *testing.B, fsys *vfs.FS) {
		open := func(b *testing.B) afero.File {
			f, err := fsys.OpenFile("/c/d/f", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0)
			if err != nil {
				b.Fatal(err)
			}
			return f
		}
		b.Run("stream", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				f := open(b)
				if _, err := io.Copy(f, io.LimitReader(zeros{}, size)); err != nil {
					b.Fatal(err)
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("packets", func(b *testing.B) {
			b.SetBytes(size)
			data := make([]byte, packet)
			for b.Loop() {
				f := open(b)
				offsets := make(chan int64)
				var workers sync.WaitGroup
				for range 8 {
					workers.Go(func() {
						for at := range offsets {
							f.WriteAt(data[:min(packet, size-at)], at)
						}
					})
				}
				for at := int64(0); at < size; at += packet {
					offsets <- at
				}
				close(offsets)
				workers.Wait()
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkSmallFiles uploads files of 4 KiB, each with what is asked around it.
func BenchmarkSmallFiles(b *testing.B) {
	data := make([]byte, 4<<10)
	benchmarks(b, func(b *testing.B, fsys *vfs.FS) {
		n := 0
		for b.Loop() {
			name := fmt.Sprintf("/c/d/%06d", n)
			n++
			fsys.Stat(name)
			if err := afero.WriteFile(fsys, name, data, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkListing(b *testing.B) {
	const files = 10_000
	benchmarks(b, func(b *testing.B, fsys *vfs.FS) {
		var writers sync.WaitGroup
		for w := range 16 {
			writers.Go(func() {
				for i := w; i < files; i += 16 {
					afero.WriteFile(fsys, fmt.Sprintf("/c/d/%05d", i), nil, 0)
				}
			})
		}
		writers.Wait()
		for b.Loop() {
			n := 0
			for range fsys.All("/c/d") {
				n++
			}
			if n != files {
				b.Fatal(n)
			}
		}
	})
}
