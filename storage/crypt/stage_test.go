package crypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// A tap hears what is written to the stages of a Backend, and makes every so
// manieth write fall short.
type tap struct {
	*memory.Backend
	wrote func(p []byte, off int64)
	fails int // one write in so many, if not 0
	n     int
}

type tapped struct {
	storage.Stage
	t *tap
}

var errTap = errors.New("fell short")

func (b *tap) Stage(ctx context.Context, p storage.Path, key string) (storage.Stage, error) {
	g, err := b.Backend.Stage(ctx, p, key)
	return &tapped{g, b}, err
}

func (g *tapped) WriteAt(p []byte, off int64) (int, error) {
	g.t.wrote(p, off)
	if g.t.n++; g.t.fails > 0 && g.t.n%g.t.fails == 0 {
		n, _ := g.Stage.WriteAt(p[:len(p)/2], off)
		return n, errTap
	}
	return g.Stage.WriteAt(p, off)
}

func (g *tapped) Clone(ctx context.Context, from storage.Info) error {
	return g.Stage.(storage.Cloner).Clone(ctx, from)
}

// TestKeyStream writes, writes over, cuts, keeps and clones at random, holds
// what a stage reads against what it should, and proves that no part of a key
// stream ever hides two different things: who has an old copy of the disk, or a
// blob that is still there, could tell them apart.
func TestKeyStream(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { keyStream(t, seed, 800, 4096, 256) })
	}
	t.Run("thinned", func(t *testing.T) { keyStream(t, 99, 3000, 1<<15, 24) })
}

func keyStream(t *testing.T, seed uint64, steps, size, longest int) {
	r := rand.New(rand.NewPCG(seed, 1))
	behind := &tap{Backend: memory.New(), fails: int(seed % 2 * 23)}
	b := New(behind, NewKeys(), true)
	makeBox(t, b)

	// model is what the stage is to read, and next what it is to read once the
	// write under way is done. used has, by offset, of the key stream that hid a
	// byte there and its neighbours, what the bytes were.
	var model, next []byte
	const part = 8 // bytes, of which chance makes no two the same
	type place struct {
		off int64
		key [part]byte
	}
	used := map[place][part]byte{}
	behind.wrote = func(p []byte, off int64) {
		for i := 0; i+part <= len(p); i++ {
			clear := [part]byte(next[off+int64(i):])
			at := place{off: off + int64(i)}
			for j := range at.key {
				at.key[j] = p[i+j] ^ clear[j]
			}
			if was, ok := used[at]; ok && was != clear {
				t.Fatalf("the key stream at %d hides %q and has hidden %q", at.off, clear, was)
			}
			used[at] = clear
		}
	}
	fill := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.IntN(256))
		}
		return p
	}
	g := stager(t, b, "k")
	most := 0
	for step := range steps {
		switch op := r.IntN(100); {
		case op < 90:
			off, p := r.IntN(size), fill(1+r.IntN(longest))
			if op < 30 {
				off = len(model) // goes on
			}
			if off+len(p) > size {
				off = r.IntN(size - len(p))
			}
			next = append(bytes.Clone(model), make([]byte, max(0, off+len(p)-len(model)))...)
			copy(next[off:], p)
			n, err := g.WriteAt(p, int64(off))
			if err != nil && !errors.Is(err, errTap) || err == nil && n != len(p) {
				t.Fatalf("WriteAt = %d, %v", n, err)
			}
			if n < len(p) {
				next = append(bytes.Clone(model), make([]byte, max(0, off+n-len(model)))...)
				copy(next[off:], p[:n])
			}
			model = next
		case op < 94:
			n := max(0, min(size, len(model)+r.IntN(2*longest)-longest))
			if err := g.Truncate(int64(n)); err != nil {
				t.Fatal(err)
			}
			model = append(bytes.Clone(model[:min(n, len(model))]), make([]byte, max(0, n-len(model)))...)
		case op < 97:
			if err := g.Keep([]byte("note")); err != nil {
				t.Fatal(err)
			}
			g = stager(t, b, "k")
		default:
			if _, err := g.Commit(t.Context(), storage.Info{ETag: sum(model)}, storage.Cond{}); err != nil {
				t.Fatal(err)
			}
			want(t, b, thing, model)
			g = stager(t, b, "k")
			if err := g.(storage.Cloner).Clone(t.Context(), storage.Info{Path: thing}); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, len(g.(*stage).spans))
		if step%16 > 0 && size > 4096 {
			continue // which would take long
		}
		got := make([]byte, len(model)+1)
		if n, err := g.ReadAt(got, 0); err != io.EOF || !bytes.Equal(got[:n], model) {
			t.Fatalf("after step %d the stage reads otherwise: %d bytes of %d, %v", step, n, len(model), err)
		}
	}
	if limit := maxSpans + size/spanBytes + 16; most > limit {
		t.Errorf("there were %d spans at a time, and at most %d are meant to be", most, limit)
	} else if size > 4096 && most < maxSpans {
		t.Errorf("there were %d spans at most: nothing was thinned", most)
	}
}

// TestTogether writes, reads and makes checkpoints of one stage at once, and
// goes on from the last of them.
func TestTogether(t *testing.T) {
	engine := openDisk(t)
	b := New(engine, NewKeys(), true)
	makeBox(t, b)
	const size, step = 2 << 20, 10_000
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	g := stager(t, b, "k")
	writeAt(t, g, data[:1<<20], 0)
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for off := 1<<20 + w*step; off < size; off += 4 * step {
				p := data[off:min(off+step, size)]
				if n, err := g.WriteAt(p, int64(off)); n != len(p) || err != nil {
					t.Errorf("WriteAt = %d, %v", n, err)
				}
				got := make([]byte, len(p))
				if _, err := g.ReadAt(got, int64(off)); err != nil && err != io.EOF || !bytes.Equal(got, p) {
					t.Errorf("what was written at %d reads otherwise: %v", off, err)
				}
			}
		})
		work.Go(func() { // over what is there, where a checkpoint is made
			for off := w * step; off < 1<<20; off += 4 * step {
				if _, err := g.WriteAt(data[off:min(off+step, 1<<20)], int64(off)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Go(func() {
		for i := range 10 {
			if err := g.(storage.Checkpointer).Checkpoint(1<<20, fmt.Appendf(nil, "note %d", i)); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
	if err := g.(storage.Checkpointer).Checkpoint(1<<20+5, []byte("last")); err != nil {
		t.Fatal(err)
	}
	// What a process that dies leaves is the record of the checkpoint.
	var note []byte
	for k, err := range b.Staged(t.Context(), "k") {
		if note = k.Note; err != nil || !k.Open {
			t.Errorf("an open stage is told as %+v, %v", k, err)
		}
	}
	if string(note) != "last" {
		t.Errorf("the note of the checkpoint is %q", note)
	}
	if err := g.Keep([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	g = stager(t, b, "k")
	if string(g.Note()) != "kept" {
		t.Errorf("the note is %q", g.Note())
	}
	if _, err := g.Commit(t.Context(), storage.Info{ETag: sum(data)}, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	want(t, b, thing, data)
}

// FuzzSealed reads what might have been sealed.
func FuzzSealed(f *testing.F) {
	b := New(memory.New(), NewKeys(), true)
	whole := layout{[]counter{newCounter(), newCounter()}, []span{{0, 10, 0}, {10, 20, 1}, {1 << 40, 1 << 41, 0}}}
	f.Add(append(append([]byte{1, 3, 'a', 'b', 'c'}, make([]byte, keySize)...), whole.append(nil)...))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, plain []byte) {
		o, err := b.look(string(b.keys.seal(sealsObject, plain)))
		if err != nil {
			return
		}
		again, err := b.look(b.sealETag(o))
		if err != nil || again.etag != o.etag || fmt.Sprint(again.layout) != fmt.Sprint(o.layout) {
			t.Errorf("%+v was sealed and opened as %+v, %v", o, again, err)
		}
		content := make([]byte, 100)
		o.content().turn(content, 5) // must not fall over
		b.openNote(b.keys.seal(sealsNote, plain))
		b.openMeta(storage.Meta{metaSealed: string(b.keys.seal(sealsMeta, plain))})
	})
}

// TestCounter counts over the end of half of it, and begins anywhere.
func TestCounter(t *testing.T) {
	o := object{key: newKey(), layout: layout{[]counter{{7: 9}}, []span{{0, 1 << 20, 0}}}}
	for i := 8; i < 16; i++ {
		o.counters[0][i] = 0xff
	}
	o.counters[0][15] = 0xf0
	c := o.content()
	whole := make([]byte, 1000)
	c.turn(whole, 0)
	for _, from := range []int{0, 1, 15, 16, 17, 255, 256, 257, 500} {
		part := make([]byte, 100)
		c.turn(part, int64(from))
		if !bytes.Equal(part, whole[from:from+100]) {
			t.Errorf("the key stream from %d on is not that of the whole", from)
		}
	}
}
