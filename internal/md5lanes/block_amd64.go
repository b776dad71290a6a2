package md5lanes

import (
	"math"

	"golang.org/x/sys/cpu"
)

// blocks8 adds n blocks, which is at least one, of each of eight messages to
// their states: the first words of all, then the second, and so on.
//
//go:noescape
func blocks8(state *[4][lanes]uint32, in *[lanes]*byte, n int, k *[64]uint32)

// constants are what RFC 1321 makes of the sine.
var constants = func() (k [64]uint32) {
	for i := range k {
		k[i] = uint32(math.Floor(math.Abs(math.Sin(float64(i+1))) * (1 << 32)))
	}
	return k
}()

var hasLanes = cpu.X86.HasAVX2

func blocks(state *[4][lanes]uint32, in *[lanes]*byte, n int) { blocks8(state, in, n, &constants) }
