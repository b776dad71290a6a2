package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A row names one line for one target.
type row struct{ what, server, proto string }

// A result is what it came to.
type result struct {
	took  time.Duration
	cpu   time.Duration // of the server
	bytes int64
	files int
}

// megabytes is how many of them, of a million bytes, were moved per second.
func (r result) megabytes() float64 { return float64(r.bytes) / 1e6 / r.took.Seconds() }

func (r result) perSecond() float64 { return float64(r.files) / r.took.Seconds() }

// measure measures one line once. What goes wrong is noted: the other lines are
// measured all the same.
func (b *bench) measure(ctx context.Context, t *target, what string, i int) {
	if !slices.Contains(b.protos, t.proto) {
		return
	}
	r, err := b.once(ctx, t, what, i)
	if err != nil {
		if t.server == "memstore" { // a peer is as it is
			b.failed = append(b.failed, fmt.Sprintf("%s of %s: %v", what, t, err))
		}
		fmt.Fprintf(b.log, "%-9s %-6s %-5s FAILED: %v\n", t.server, t.proto, what, err)
		return
	}
	fmt.Fprintf(b.log, "%-9s %-6s %-5s %8.3f s %9.1f MB/s %9.1f files/s, %.2f s of the server's\n",
		t.server, t.proto, what, r.took.Seconds(), r.megabytes(), r.perSecond(), r.cpu.Seconds())
	at := row{what, t.server, t.proto}
	if had, ok := b.results[at]; !ok || r.took < had.took {
		b.results[at] = r
	}
}

// once does it, with everything beside the line itself before or after.
func (b *bench) once(ctx context.Context, t *target, what string, i int) (r result, err error) {
	name := fmt.Sprintf("%s-%d", what, i)
	switch what {
	case "put":
		r.bytes, r.files = b.size, 1
		err = b.time(t, &r, func() error { return b.upload(ctx, t, "large", name) })
		if err == nil && i > 0 { // of those that were put the last stays, to be got
			err = b.remove(ctx, t, fmt.Sprintf("put-%d", i-1))
		}
	case "get":
		name = fmt.Sprintf("put-%d", i)
		if !slices.Contains(b.cases, "put") {
			name = "put-0"
			if i == 0 {
				if err := b.upload(ctx, t, "large", name); err != nil {
					return r, err
				}
			}
		}
		r.bytes, r.files = b.size, 1
		back := filepath.Join(b.work, "back-large")
		defer os.Remove(back)
		if err = b.time(t, &r, func() error { return b.download(ctx, t, name, "back-large") }); err == nil {
			err = sameFile(filepath.Join(b.work, "large"), back)
		}
	case "many":
		part := b.size / int64(b.workers)
		r.bytes, r.files = part*int64(b.workers), b.workers
		err = b.time(t, &r, func() error {
			return each(b.workers, b.workers, func(w int) error { return b.upload(ctx, t, "part", fmt.Sprintf("%s-%d", name, w)) })
		})
		for w := range b.workers {
			if err == nil {
				err = b.remove(ctx, t, fmt.Sprintf("%s-%d", name, w))
			}
		}
	case "up":
		r.bytes, r.files = b.small*int64(b.files), b.files
		err = b.time(t, &r, func() error { return b.mirror(ctx, t, name, true) })
	case "down":
		name = fmt.Sprintf("up-%d", i)
		if !slices.Contains(b.cases, "up") {
			name = "up-0"
			if i == 0 {
				if err := b.mirror(ctx, t, name, true); err != nil {
					return r, err
				}
			}
		}
		r.bytes, r.files = b.small*int64(b.files), b.files
		back := filepath.Join(b.work, "back")
		defer os.RemoveAll(back)
		if err = b.time(t, &r, func() error { return b.mirror(ctx, t, name, false) }); err == nil {
			err = sameTree(filepath.Join(b.work, "tree"), back)
		}
	case "list":
		r.files = b.entries
		var n int
		err = b.time(t, &r, func() (err error) { n, err = b.list(ctx, t); return err })
		if err == nil && n < b.entries {
			err = fmt.Errorf("%d entries of %d were listed", n, b.entries)
		}
	}
	return r, err
}

// time does something with the disk at rest before, and notes how long it took
// and what it has cost the server.
func (b *bench) time(t *target, r *result, do func() error) error {
	if !b.quick {
		syscall.Sync() // what others have written, and not synced, is not to be paid for here
	}
	m := startMeter(t.pid)
	begun := time.Now()
	err := do()
	r.took = time.Since(begun)
	r.cpu = m.total()
	return err
}

// floors are how fast one stream is hashed, and how fast a large file is written
// and synced.
func (b *bench) floors() (hash, disk float64, err error) {
	block := make([]byte, 1<<20)
	noise := rand.NewChaCha8([32]byte{'f'})
	noise.Read(block)
	h, begun, n := md5.New(), time.Now(), 0
	for time.Since(begun) < 500*time.Millisecond {
		h.Write(block)
		n += len(block)
	}
	hash = float64(n) / time.Since(begun).Seconds()
	name := filepath.Join(b.dir, "floor")
	defer os.Remove(name)
	syscall.Sync()
	begun = time.Now()
	f, err := os.Create(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for at := int64(0); at < b.size; at += int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return 0, 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, 0, err
	}
	return hash, float64(b.size) / time.Since(begun).Seconds(), nil
}

// writeNoise writes a file that nothing can compress.
func writeNoise(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8(sha256.Sum256([]byte(name))), size); err != nil {
		return err
	}
	return f.Close()
}

// sameFile compares what was downloaded with what was uploaded.
func sameFile(want, got string) error {
	w, err := os.Open(want)
	if err != nil {
		return err
	}
	defer w.Close()
	g, err := os.Open(got)
	if err != nil {
		return err
	}
	defer g.Close()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, werr := io.ReadFull(w, a)
		m, gerr := io.ReadFull(g, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("%s came back with other bytes from %d on", filepath.Base(want), at)
		}
		if at += int64(n); werr != nil || gerr != nil {
			return nil
		}
	}
}

func sameTree(want, got string) error {
	return filepath.WalkDir(want, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return sameFile(name, filepath.Join(got, d.Name()))
	})
}
