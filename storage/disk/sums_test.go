package disk

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestJoinCRC(t *testing.T) {
	data := content(1, 1<<blockShift)
	for _, n := range []int{0, 1, 2, 7, 8, 255, 1000, 32 << 10, 1<<blockShift - 1, 1 << blockShift} {
		at := len(data) - n
		got := joinCRC(crc32.Checksum(data[:at], castagnoli), crc32.Checksum(data[at:], castagnoli), int32(n))
		if want := crc32.Checksum(data, castagnoli); got != want {
			t.Errorf("joined before the last %d bytes it is %08x, want %08x", n, got, want)
		}
	}
}

// readCounter counts what is read of it.
type readCounter struct {
	bytes.Reader
	n int
}

func (r *readCounter) ReadAt(p []byte, off int64) (int, error) {
	r.n += len(p)
	return r.Reader.ReadAt(p, off)
}

// TestSums: bytes that come once are not read again, whatever their order, and
// others are.
func TestSums(t *testing.T) {
	const size = 5<<blockShift + 1000
	data := content(1, size)
	want := []uint32{}
	for rest := data; len(rest) > 0; rest = rest[min(1<<blockShift, len(rest)):] {
		want = append(want, crc32.Checksum(rest[:min(1<<blockShift, len(rest))], castagnoli))
	}
	for _, c := range []struct {
		name  string
		piece int
		order func(offsets []int)
		then  func(s *sums)
		reads int // blocks that may be read again
	}{
		{"forward", 10_000, func([]int) {}, func(*sums) {}, 0},
		{"backward", 10_000, slices.Reverse[[]int], func(*sums) {}, 0},
		{"shuffled", 32 << 10, func(o []int) { rand.Shuffle(len(o), func(i, j int) { o[i], o[j] = o[j], o[i] }) }, func(*sums) {}, 0},
		{"in one", size, func([]int) {}, func(*sums) {}, 0},
		{"crumbs backward", 100, slices.Reverse[[]int], func(*sums) {}, 6},
		{"rewritten", 10_000, func([]int) {}, func(s *sums) { s.add(70_000, data[70_000:70_001]) }, 1},
		{"spoiled", 10_000, func([]int) {}, func(s *sums) { s.spoil(1<<blockShift-1, 2) }, 2},
		{"cut and written again", 10_000, func([]int) {}, func(s *sums) {
			s.cut(2<<blockShift + 500)
			s.add(2<<blockShift+500, data[2<<blockShift+500:])
		}, 1},
		{"cut at a block and written again", 10_000, func([]int) {}, func(s *sums) {
			s.cut(2 << blockShift)
			s.add(2<<blockShift, data[2<<blockShift:])
		}, 0},
		{"cut to nothing", 10_000, slices.Reverse[[]int], func(s *sums) {
			s.cut(0)
			s.add(0, data)
		}, 0},
		{"nothing known", size + 1, func(o []int) {}, func(s *sums) { s.spoil(0, size) }, 6},
		{"known before", 10_000, func([]int) {}, func(s *sums) {
			known := s.known(3<<blockShift, 1<<20)
			*s = sums{}
			s.load(known, 3<<blockShift)
			s.add(3<<blockShift, data[3<<blockShift:])
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sums
			var offsets []int
			for off := 0; off < size; off += c.piece {
				offsets = append(offsets, off)
			}
			c.order(offsets)
			for _, off := range offsets {
				s.add(int64(off), data[off:min(off+c.piece, size)])
			}
			c.then(&s)
			r := &readCounter{Reader: *bytes.NewReader(data)}
			got, err := s.all(size, r)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("sums are %08x, %v; want %08x", got, err, want)
			}
			if r.n > c.reads<<blockShift || c.reads > 0 && r.n == 0 {
				t.Errorf("%d bytes were read again, want %d blocks", r.n, c.reads)
			}
		})
	}
}

// TestSumsOfHoles: what was never written is read, and reads as zeros.
func TestSumsOfHoles(t *testing.T) {
	data := make([]byte, 3<<blockShift)
	copy(data[2<<blockShift+5:], "late")
	var s sums
	s.add(2<<blockShift+5, []byte("late"))
	got, err := s.all(int64(len(data)), bytes.NewReader(data))
	zero := crc32.Checksum(data[:1<<blockShift], castagnoli)
	if want := []uint32{zero, zero, crc32.Checksum(data[2<<blockShift:], castagnoli)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("sums are %08x, %v; want %08x", got, err, want)
	}
	if off, n := s.behind(atLeast(1)); off != 0 || n != 0 {
		t.Errorf("before a hole nothing is whole, but %d bytes at %d are", n, off)
	}
}

func TestSumsBehind(t *testing.T) {
	var s sums
	const step = 1 << blockShift
	data := make([]byte, 4*step)
	s.add(step, data[:2*step])
	if _, n := s.behind(atLeast(1)); n != 0 {
		t.Errorf("%d bytes are behind what is missing", n)
	}
	s.add(0, data[:step])
	if off, n := s.behind(atLeast(step)); off != 0 || n != 3*step {
		t.Errorf("behind are %d bytes at %d, want 3 blocks", n, off)
	}
	s.add(3*step, data[:step])
	if _, n := s.behind(atLeast(2 * step)); n != 0 {
		t.Errorf("%d bytes are more than two blocks", n)
	}
	if off, n := s.behind(atLeast(step)); off != 3*step || n != step {
		t.Errorf("behind are %d bytes at %d, want the fourth block", n, off)
	}
}

func BenchmarkSums(b *testing.B) {
	data := make([]byte, 32<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var s sums
		s.add(32<<10, data)
		s.add(0, data)
	}
}

// atLeast is as much everywhere.
func atLeast(n int64) func(int64) int64 { return func(int64) int64 { return n } }
