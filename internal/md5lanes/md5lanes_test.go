package md5lanes

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sizes are lengths around every bound there is.
var sizes = []int{0, 1, 55, 56, 63, 64, 65, least - 1, least, least + 1, least + 63, 3*least + 17, 256 << 10, 256<<10 + 5}

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

func wantSum(t *testing.T, h hash.Hash, data []byte) {
	t.Helper()
	if got, want := h.Sum(nil), md5.Sum(data); !bytes.Equal(got, want[:]) {
		t.Errorf("MD5 of %d bytes = %x, want %x", len(data), got, want)
	}
}

// TestTogether has groups of every number hash messages of many lengths, some of
// which have begun already.
func TestTogether(t *testing.T) {
	if !usable {
		t.Skip("SKIPPED: this processor has no AVX2")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= lanes; n++ {
		for range 40 {
			var group []*job
			var all [][]byte
			for i := range n {
				before := noise(uint64(i), []int{0, 0, 1, 63, 64, 100, 1000}[r.IntN(7)])
				p := noise(uint64(100+i), least+r.IntN(2*least))
				h := md5.New()
				h.Write(before)
				group = append(group, &job{h: h, p: p})
				all = append(all, append(before, p...))
			}
			together(group)
			for i, j := range group {
				wantSum(t, j.h, all[i])
				j.h.Write([]byte("more")) // it is a hash as it was
				wantSum(t, j.h, append(all[i], "more"...))
			}
		}
	}
}

// TestWrite has many streams written at the same time, each with pieces of other
// sizes.
func TestWrite(t *testing.T) {
	var d desk
	var wg sync.WaitGroup
	for stream := range 21 {
		wg.Go(func() {
			h := md5.New()
			var data []byte
			for i := range 12 {
				p := noise(uint64(stream), sizes[(stream+i)%len(sizes)])
				d.write(h, p)
				data = append(data, p...)
			}
			wantSum(t, h, data)
		})
	}
	wg.Wait()
	if len(d.waiting) != 0 {
		t.Errorf("in the end %d wait", len(d.waiting))
	}
	h := md5.New()
	Write(h, []byte("abc"))
	if got := hex.EncodeToString(h.Sum(nil)); got != "900150983cd24fb0d6963f7d28e17f72" {
		t.Errorf("MD5 of abc = %s", got) // as RFC 1321 has it
	}
}

// TestTake: whoever has his turn takes others along, but not more than there are
// lanes, and always himself.
func TestTake(t *testing.T) {
	for n := 1; n < 3*lanes; n++ {
		for own := range n {
			var d desk
			for range n {
				d.waiting = append(d.waiting, &job{})
			}
			j := d.waiting[own]
			group := d.take(j)
			if len(group) != min(n, lanes) || !slices.Contains(group, j) || len(d.waiting) != n-len(group) {
				t.Fatalf("of %d, number %d takes %d, and leaves %d", n, own, len(group), len(d.waiting))
			}
			for _, j := range group {
				if d.take(j) != nil || slices.Contains(d.waiting, j) {
					t.Fatal("a job can be taken twice")
				}
			}
		}
	}
}

func FuzzTogether(f *testing.F) {
	f.Add([]byte(strings.Repeat("x", 100)), uint8(3), uint8(5))
	f.Fuzz(func(t *testing.T, seed []byte, n, begun uint8) {
		if !usable || len(seed) == 0 {
			return
		}
		var group []*job
		var all [][]byte
		for i := range 1 + int(n)%lanes {
			before := seed[:int(begun)%(len(seed)+1)]
			p := append(bytes.Repeat(seed, 1+block/len(seed)), noise(uint64(i), i*int(n))...)
			h := md5.New()
			h.Write(before)
			group = append(group, &job{h: h, p: p})
			all = append(all, append(bytes.Clone(before), p...))
		}
		together(group)
		for i, j := range group {
			wantSum(t, j.h, all[i])
		}
	})
}

func BenchmarkTogether(b *testing.B) {
	for _, n := range []int{1, 2, 3, 4, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := noise(1, 256<<10)
			var group []*job
			for range n {
				group = append(group, &job{h: md5.New(), p: p})
			}
			b.SetBytes(int64(n * len(p)))
			for b.Loop() {
				together(group)
			}
		})
	}
}
