package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"memstore.dev/memstore/storage"
)

// edges are sizes at which backends change their mind about where bytes live.
var edges = []int{0, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}

// sizes are the edges, and one byte less and more.
func sizes() (sizes []int) {
	for _, n := range edges {
		for _, n := range []int{n - 1, n, n + 1} {
			if n >= 0 {
				sizes = append(sizes, n)
			}
		}
	}
	return append(sizes, 2, 3<<20+7)
}

func (s *suite) testSizes() {
	s.container(in("c"))
	var total int64
	for i, size := range sizes() {
		p := in("c", fmt.Sprint("size", size))
		data := content(uint64(i), size)
		s.checkRanges(s.put(p, data), data)
		s.wantObject(p, data)
		total += int64(size)
	}
	s.wantUsage(in("c"), 0, int64(len(sizes())), total)

	// How the bytes came, and what was announced, does not matter.
	data := content(99, 300_000)
	for _, piece := range []int{7_001, 16 << 10, 64 << 10, len(data)} {
		for _, hint := range []int64{-1, 0, 1, int64(len(data)), 1 << 40} {
			p := in("c", "pieces")
			w, err := s.b.Create(s.ctx, storage.Info{Path: p, Size: hint})
			if errors.Is(err, storage.ErrNoSpace) && hint == 1<<40 {
				continue // a backend may take the hint at its word and refuse early
			}
			if err != nil {
				s.Fatalf("Create with Size %d: %v", hint, err)
			}
			buf := make([]byte, piece)
			for piece := range slices.Chunk(data, piece) {
				// The Writer may not keep the slice it is given.
				n, err := w.Write(buf[:copy(buf, piece)])
				if n != len(piece) || err != nil {
					s.Fatalf("Write of %d bytes = %d, %v", len(piece), n, err)
				}
				clear(buf)
			}
			if n, err := w.Write(nil); n != 0 || err != nil {
				s.Fatalf("Write of nothing = %d, %v", n, err)
			}
			if _, err := w.Commit(s.ctx, storage.Info{ETag: etag(data)}, storage.Cond{}); err != nil {
				s.Fatalf("Commit: %v", err)
			}
			if err := w.Close(); err != nil {
				s.Errorf("Close after Commit: %v", err)
			}
			s.wantObject(p, data)
		}
	}
}

// checkRanges opens every kind of range of the object that info describes.
func (s *suite) checkRanges(info storage.Info, data []byte) {
	s.Helper()
	n := int64(len(data))
	marks := []int64{0, 1, n / 2, n - 1, n, n + 1, 1 << 62}
	for _, edge := range edges[1:] {
		marks = append(marks, int64(edge)-1, int64(edge), int64(edge)+1)
	}
	for _, offset := range marks {
		for _, length := range []int64{-1, 0, 1, 2, 4096, 16 << 10, n, 1 << 62} {
			for _, r := range []storage.Range{{Offset: offset, Length: length}, {Offset: -offset, Length: length}} {
				s.checkRange(info, data, r)
			}
		}
	}
}

func (s *suite) checkRange(info storage.Info, data []byte, r storage.Range) {
	s.Helper()
	p := info.Path
	offset, length, want := r.Resolve(int64(len(data)))
	body, in, err := s.b.Open(s.ctx, p, r)
	if want != nil {
		if err == nil {
			body.Close()
		}
		if !errors.Is(err, storage.ErrRange) {
			s.Fatalf("Open(%q, %+v) of %d bytes: error %v, want %v", p, r, len(data), err, storage.ErrRange)
		}
	} else {
		if err != nil {
			s.Fatalf("Open(%q, %+v) of %d bytes: %v", p, r, len(data), err)
		}
		got, err := drain(body)
		if err != nil {
			s.Fatalf("reading %q %+v of %d bytes: %v", p, r, len(data), err)
		}
		if want := data[offset:][:length]; !bytes.Equal(got, want) {
			s.Fatalf("Open(%q, %+v) of %d bytes reads %s, want %s", p, r, len(data), brief(got), brief(want))
		}
	}
	// The Info is of the whole object, whatever the range.
	if !equalInfo(in, info) {
		s.Fatalf("Open(%q, %+v) of %d bytes has Info %+v, want %+v", p, r, len(data), in, info)
	}
}

// testReadAt holds readers that read anywhere to what they read in order, with
// as many at work at once as a client of SFTP has.
func (s *suite) testReadAt() {
	s.container(in("c"))
	for _, size := range []int{1, 4 << 10, 16<<10 + 1, 64 << 10, 1<<20 + 3} {
		data := content(uint64(size), size)
		s.put(in("c", "o"), data)
		for _, r := range []storage.Range{storage.All, {Offset: int64(size / 3), Length: int64(size/2 + 1)}, {Offset: -1, Length: -1}} {
			offset, length, err := r.Resolve(int64(size))
			if err != nil {
				s.Fatal(err)
			}
			body, _, err := s.b.Open(s.ctx, in("c", "o"), r)
			if err != nil {
				s.Fatalf("Open(%+v): %v", r, err)
			}
			if at, ok := body.(io.ReaderAt); ok {
				s.readAnywhere(at, data[offset:][:length])
				// And Read is where it was.
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data[offset:][:length]) {
					s.Errorf("after ReadAt, %+v of %d bytes reads %s, %v", r, size, brief(got), err)
				}
			}
			if err := body.Close(); err != nil {
				s.Error(err)
			}
		}
	}
}

func (s *suite) readAnywhere(r io.ReaderAt, want []byte) {
	s.Helper()
	size := int64(len(want))
	var wg sync.WaitGroup
	for worker := range int64(8) {
		wg.Go(func() {
			for i, n := range []int64{1, 4 << 10, 32 << 10, 64 << 10, 100_000, size, size + 1} {
				for _, off := range []int64{0, size / 2, size - n, size - 1, (worker*8 + int64(i)) * size / 64} {
					off = max(off, 0)
					p := make([]byte, n)
					left := min(n, size-off)
					got, err := r.ReadAt(p, off)
					if int64(got) != left || left < n && err != io.EOF || err != nil && err != io.EOF {
						s.Errorf("ReadAt of %d bytes at %d of %d = %d, %v", n, off, size, got, err)
					}
					if !bytes.Equal(p[:got], want[off:][:got]) {
						s.Errorf("ReadAt of %d bytes at %d of %d reads others than were put", n, off, size)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, off := range []int64{size, size + 1, 1 << 62} {
		if n, err := r.ReadAt(make([]byte, 1), off); n != 0 || err != io.EOF {
			s.Errorf("ReadAt at %d of %d = %d, %v, want io.EOF", off, size, n, err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || err == io.EOF {
		s.Errorf("ReadAt before the beginning = %d, %v", n, err)
	}
}

func (s *suite) testOverwrite() {
	s.container(in("c"))
	sizes := []int{0, 1, 100_000, 10, 2 << 20, 0, 300_000, 16 << 10}
	for i, size := range sizes {
		data := content(uint64(i), size)
		put := s.putInfo(storage.Info{
			Path: in("c", "o"), Type: fmt.Sprint("type/", i), Meta: storage.Meta{"X-Object-Meta-" + fmt.Sprint(i): "set"},
		}, data)
		if got := s.wantObject(in("c", "o"), data); !equalInfo(got, put) {
			s.Fatalf("Stat has %+v, Commit answered %+v", got, put)
		}
		s.wantUsage(in("c"), 0, 1, int64(size))
		s.wantUsage(in(), 1, 1, int64(size))
		s.wantNames(in("c"), []string{"o"})
	}
}

// testReaders holds readers open over all that can happen to their object.
func (s *suite) testReaders() {
	for _, size := range []int{10, 16 << 10, 100_000, 2 << 20} {
		happenings := map[string]func(p storage.Path){
			"overwrite": func(p storage.Path) { s.put(p, content(2, size+1)) },
			"overwrite with nothing": func(p storage.Path) {
				s.put(p, nil)
				s.put(p, content(3, 10))
			},
			"update": func(p storage.Path) {
				if _, err := s.b.Update(s.ctx, storage.Info{Path: p, Meta: storage.Meta{"A": "1"}}, storage.Cond{}); err != nil {
					s.Fatal(err)
				}
			},
			"removal": func(p storage.Path) { s.remove(p) },
			"removal of the container too": func(p storage.Path) {
				s.remove(p)
				s.remove(p.Parent())
			},
			"removal and return": func(p storage.Path) {
				s.remove(p)
				s.put(p, content(4, size))
			},
		}
		for what, happen := range happenings {
			p := in("c", "o")
			s.container(p)
			old := content(1, size)
			s.put(p, old)
			s.heldOver(fmt.Sprintf("%s of %d bytes", what, size), p, old, func() { happen(p) })
		}
	}
}

// heldOver opens readers in several states, lets something happen, and then
// reads them to their ends.
func (s *suite) heldOver(what string, p storage.Path, old []byte, happen func()) {
	s.Helper()
	open := func(r storage.Range) io.ReadCloser {
		body, _, err := s.b.Open(s.ctx, p, r)
		if err != nil {
			s.Fatalf("Open before %s: %v", what, err)
		}
		return body
	}
	half := len(old) / 2
	rest := storage.All
	if half > 0 {
		rest.Offset = int64(half)
	}
	fresh, begun, part := open(storage.All), open(storage.All), open(rest)
	first := make([]byte, min(3, len(old)))
	if _, err := io.ReadFull(begun, first); err != nil {
		s.Fatalf("reading before %s: %v", what, err)
	}
	happen()
	for body, want := range map[io.ReadCloser][]byte{fresh: old, begun: old[len(first):], part: old[half:]} {
		got, err := drain(body)
		if err != nil {
			s.Errorf("reading over %s: %v", what, err)
		} else if !bytes.Equal(got, want) {
			s.Errorf("reading over %s: got %s, want %s", what, brief(got), brief(want))
		}
	}
}

// testAbandoned begins uploads that come to nothing.
// testMadeAgain has a container go and come back while uploads into it are on
// their way. They were begun in another, of which they know the rules.
func (s *suite) testMadeAgain() {
	st := s.stager()
	for _, size := range []int{0, 10, 100_000} {
		p, data := in("fleeting", "o"), content(1, size)
		s.container(p)
		w, err := s.b.Create(s.ctx, storage.Info{Path: p, Size: int64(size)})
		if err != nil {
			s.Fatalf("Create: %v", err)
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			s.Fatalf("Write: %v", err)
		}
		var g storage.Stage
		if st != nil {
			g = s.stage(st, p, "")
			s.writeAt(g, data, 0)
		}
		s.remove(p.Parent())
		commit := func(when string, commit func(context.Context, storage.Info, storage.Cond) (storage.Info, error)) {
			_, err := commit(s.ctx, storage.Info{ETag: etag(data)}, storage.Cond{})
			s.wantErr("Commit into a container that "+when, err, fs.ErrNotExist)
		}
		commit("is gone", w.Commit)
		if st != nil {
			commit("is gone", g.Commit)
		}
		w2, err := s.b.Create(s.ctx, storage.Info{Path: p, Size: int64(size)})
		s.wantErr("Create in a container that is gone", err, fs.ErrNotExist)
		if err == nil {
			w2.Close()
		}
		s.container(p)
		commit("was made again", w.Commit)
		if st != nil {
			commit("was made again", g.Commit)
		}
		s.wantUsage(p.Parent(), 0, 0, 0)
		s.put(p, data)
		s.remove(p)
		s.remove(p.Parent())
	}
}

func (s *suite) testAbandoned() {
	for _, size := range []int{0, 10, 100_000, 2 << 20} {
		s.container(in("c"))
		old := content(1, 1000)
		before := s.put(in("c", "old"), old)
		for _, p := range []storage.Path{in("c", "old"), in("c", "new")} {
			create := func(ctx context.Context) storage.Writer {
				w, err := s.b.Create(ctx, storage.Info{Path: p, Size: int64(size)})
				if err != nil {
					s.Fatalf("Create: %v", err)
				}
				if _, err := w.Write(content(2, size)); err != nil {
					s.Fatalf("Write: %v", err)
				}
				return w
			}
			// Left alone.
			w := create(s.ctx)
			if err := w.Close(); err != nil {
				s.Errorf("Close without Commit: %v", err)
			}
			if _, err := w.Commit(s.ctx, storage.Info{ETag: etag(nil)}, storage.Cond{}); err == nil {
				s.Error("Commit after Close did not fail")
			}
			if _, err := w.Write([]byte("x")); err == nil {
				s.Error("Write after Close did not fail")
			}
			// Cancelled before Commit, and at it.
			ctx, cancel := context.WithCancel(s.ctx)
			w = create(ctx)
			cancel()
			_, err := w.Commit(ctx, storage.Info{ETag: etag(content(2, size))}, storage.Cond{})
			s.wantErr("Commit of a cancelled upload", err, context.Canceled)
			w.Close()
			w = create(s.ctx)
			_, err = w.Commit(ctx, storage.Info{ETag: etag(content(2, size))}, storage.Cond{})
			s.wantErr("Commit in an ended context", err, context.Canceled)
			w.Close()
			// Refused.
			w = create(s.ctx)
			_, err = w.Commit(s.ctx, storage.Info{ETag: etag(content(2, size))}, storage.Cond{Version: 1 << 60})
			s.wantErr("Commit over another version", err, storage.ErrPrecondition)
			w.Close()
			// Still open while everything is looked at.
			w = create(s.ctx)
			if got := s.wantObject(in("c", "old"), old); !equalInfo(got, before) {
				s.Errorf("abandoned uploads changed %+v to %+v", before, got)
			}
			s.wantNames(in("c"), []string{"old"})
			s.wantUsage(in("c"), 0, 1, 1000)
			w.Close()
		}
		// Whose container has gone in the meantime.
		w, err := s.b.Create(s.ctx, storage.Info{Path: in("c", "late"), Size: int64(size)})
		if err != nil {
			s.Fatal(err)
		}
		if _, err := w.Write(content(2, size)); err != nil {
			s.Fatal(err)
		}
		s.remove(in("c", "old"))
		s.remove(in("c"))
		_, err = w.Commit(s.ctx, storage.Info{ETag: etag(content(2, size))}, storage.Cond{})
		s.wantErr("Commit into a removed container", err, fs.ErrNotExist)
		w.Close()
		s.wantNames(in(), nil)
		s.wantUsage(in(), 0, 0, 0)
	}
}

func (s *suite) testTwoWriters() {
	s.container(in("c"))
	p := in("c", "o")
	for _, size := range []int{10, 100_000, 2 << 20} {
		first, second := content(1, size), content(2, size+1)
		create := func(data []byte) storage.Writer {
			w, err := s.b.Create(s.ctx, storage.Info{Path: p, Size: -1})
			if err != nil {
				s.Fatal(err)
			}
			s.Cleanup(func() { w.Close() })
			return w
		}
		a, b := create(first), create(second)
		// Their bytes come in turns.
		for i := range 4 {
			for w, data := range map[storage.Writer][]byte{a: first, b: second} {
				if _, err := w.Write(data[len(data)*i/4 : len(data)*(i+1)/4]); err != nil {
					s.Fatal(err)
				}
			}
		}
		if _, err := b.Commit(s.ctx, storage.Info{ETag: etag(second)}, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
		s.wantObject(p, second)
		if _, err := a.Commit(s.ctx, storage.Info{ETag: etag(first)}, storage.Cond{}); err != nil {
			s.Fatal(err)
		}
		s.wantObject(p, first)
		if _, err := a.Commit(s.ctx, storage.Info{ETag: etag(first)}, storage.Cond{}); err == nil {
			s.Error("a second Commit did not fail")
		}
		s.wantUsage(in("c"), 0, 1, int64(size))
		s.remove(p)
	}
}

// testWholeOrNot reads one object while it is overwritten, removed and put
// again from all sides: each reader must find one of the versions, whole, or
// nothing.
func (s *suite) testWholeOrNot() {
	s.container(in("c"))
	p := in("c", "o")
	var versions [][]byte
	for i, size := range []int{0, 10, 20_000, 100_000, 600_000} {
		versions = append(versions, content(uint64(i), size))
	}
	s.put(p, versions[0])
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		writers.Go(func() {
			for i := range 40 {
				data := versions[(g+i)%len(versions)]
				if _, err := write(s.ctx, s.b, storage.Info{Path: p}, data, storage.Cond{}); err != nil {
					s.Errorf("put: %v", err)
				}
				if i%5 == 4 {
					if err := s.b.Remove(s.ctx, p, storage.Cond{}); err != nil && !errors.Is(err, fs.ErrNotExist) {
						s.Errorf("Remove: %v", err)
					}
				}
			}
		})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, in, err := s.b.Open(s.ctx, p, storage.All)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					s.Errorf("Open: %v", err)
					return
				}
				data, err := drain(r)
				if err != nil {
					s.Errorf("reading: %v", err)
					return
				}
				if int64(len(data)) != in.Size || etag(data) != in.ETag {
					s.Errorf("read %s of an object with Size %d and ETag %s", brief(data), in.Size, in.ETag)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	s.wantTotals(in())
}
