package disk

import (
	"hash/crc32"
	"io"
	"math/bits"
	"slices"
	"sync"
)

// sums gathers the CRC-32C of each block of a file on the way, though its bytes
// come in any order: the checksum of a stretch is that of its parts put
// together. Only blocks that were written more than once, or not wholly, must
// be read again at the end.
type sums struct {
	mu     sync.Mutex // guards what follows
	groups []*[sumGroup]blockSum
	early  map[int64][]piece // by block: what came before what is in front of it
	whole  int64             // so many blocks from the first on will not change
	told   int64             // of these, by behind
}

// sumGroup is how many blocks are described together, so that a file with a
// hole of terabytes costs little.
const sumGroup = 1024

// A blockSum is what is known of a block: the checksum of its first n bytes, or
// nothing if n is stale.
type blockSum struct {
	crc uint32
	n   int32
}

const stale = -1

// maxEarly bounds the pieces of a block that wait for another. Who writes a
// block in more pieces than these, and not in order, has it read again.
const maxEarly = 64

// A piece is a stretch of a block.
type piece struct {
	from, to int32
	crc      uint32
}

// add notes bytes that are about to be written.
func (s *sums) add(off int64, p []byte) {
	for len(p) > 0 {
		from := off & (1<<blockShift - 1)
		n := min(1<<blockShift-from, int64(len(p)))
		crc := crc32.Checksum(p[:n], castagnoli)
		s.mu.Lock()
		s.put(off>>blockShift, piece{int32(from), int32(from + n), crc})
		s.mu.Unlock()
		off += n
		p = p[n:]
	}
}

// block is called with mu held, as what follows it.
func (s *sums) block(i int64) *blockSum {
	if group := i / sumGroup; group >= int64(len(s.groups)) {
		s.groups = append(s.groups, make([]*[sumGroup]blockSum, group+1-int64(len(s.groups)))...)
	}
	group := &s.groups[i/sumGroup]
	if *group == nil {
		*group = new([sumGroup]blockSum)
	}
	return &(*group)[i%sumGroup]
}

func (s *sums) put(i int64, pc piece) {
	b := s.block(i)
	early := s.early[i]
	overlaps := func(e piece) bool { return pc.from < e.to && e.from < pc.to }
	switch {
	case b.n == stale:
		return
	case pc.from < b.n, len(early) == maxEarly, slices.ContainsFunc(early, overlaps):
		b.n = stale
		delete(s.early, i)
	case pc.from > b.n:
		if s.early == nil {
			s.early = make(map[int64][]piece)
		}
		s.early[i] = append(early, pc)
		return
	default:
		b.append(pc)
		for len(early) > 0 {
			next := slices.IndexFunc(early, func(e piece) bool { return e.from == b.n })
			if next < 0 {
				break
			}
			b.append(early[next])
			if early = slices.Delete(early, next, next+1); len(early) > 0 {
				s.early[i] = early
			} else {
				delete(s.early, i)
			}
		}
	}
	for i == s.whole && (b.n == stale || b.n == 1<<blockShift) {
		s.whole++
		i++
		if i/sumGroup >= int64(len(s.groups)) || s.groups[i/sumGroup] == nil {
			break
		}
		b = s.block(i)
	}
}

func (b *blockSum) append(pc piece) {
	if b.n == 0 {
		b.crc = pc.crc
	} else {
		b.crc = joinCRC(b.crc, pc.crc, pc.to-pc.from)
	}
	b.n = pc.to
}

// spoil has the blocks of a stretch read again: what was written there is not
// what was to be.
func (s *sums) spoil(off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := off >> blockShift; i<<blockShift < off+n; i++ {
		s.block(i).n = stale
		delete(s.early, i)
	}
}

// cut forgets what is behind a size, as the bytes there are gone.
func (s *sums) cut(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := size >> blockShift
	for i := range s.early {
		if i >= last {
			delete(s.early, i)
		}
	}
	s.whole, s.told = min(s.whole, last), min(s.told, last)
	if last/sumGroup >= int64(len(s.groups)) {
		return
	}
	s.groups = s.groups[:last/sumGroup+1]
	group := s.groups[last/sumGroup]
	if group == nil {
		return
	}
	clear(group[last%sumGroup+1:])
	switch b, left := &group[last%sumGroup], int32(size&(1<<blockShift-1)); {
	case left == 0:
		*b = blockSum{}
	case b.n > left:
		b.n = stale
	}
}

// behind returns a stretch that will not change, if there is one that it has
// not returned before, and that is long enough for where it begins.
func (s *sums) behind(enough func(off int64) int64) (off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	off, n = s.told<<blockShift, (s.whole-s.told)<<blockShift
	if n == 0 || n < enough(off) {
		return 0, 0
	}
	s.told = s.whole
	return off, n
}

// load takes over what is known of blocks from the first on, of so many bytes.
func (s *sums) load(blocks []uint32, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, crc := range blocks {
		n := min(1<<blockShift, size-int64(i)<<blockShift)
		*s.block(int64(i)) = blockSum{crc, int32(n)}
		if n == 1<<blockShift {
			s.whole = int64(i) + 1
		}
	}
	s.told = s.whole
}

// known returns the checksums of blocks up to the first that is not known, at
// most so many.
func (s *sums) known(size int64, most int) (blocks []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range min(blocksOf(size, blockShift), int64(most)) {
		b := s.block(i)
		if int64(b.n) != min(1<<blockShift, size-i<<blockShift) {
			break
		}
		blocks = append(blocks, b.crc)
	}
	return blocks
}

// all returns the checksums of all blocks, and reads those that are not known.
func (s *sums) all(size int64, r io.ReaderAt) ([]uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	blocks := make([]uint32, blocksOf(size, blockShift))
	var buf []byte
	for i := range blocks {
		at := int64(i) << blockShift
		n := min(1<<blockShift, size-at)
		b := s.block(int64(i))
		if int64(b.n) != n {
			if buf == nil {
				buf = make([]byte, 1<<blockShift)
			}
			if _, err := r.ReadAt(buf[:n], at); err != nil && err != io.EOF {
				return nil, err
			}
			delete(s.early, int64(i))
			*b = blockSum{crc32.Checksum(buf[:n], castagnoli), int32(n)}
		}
		blocks[i] = b.crc
	}
	return blocks, nil
}

// joinCRC is the CRC-32C of bytes whose beginning has the one checksum and
// whose last n have the other: the first is multiplied by x to the power of
// 8n, in the field of polynomials modulo that of the CRC.
func joinCRC(first, last uint32, n int32) uint32 {
	for n := uint32(n); n != 0; n &= n - 1 {
		first = timesCRC(first, powersCRC[bits.TrailingZeros32(n)])
	}
	return first ^ last
}

// powersCRC are x to the powers of 8, 16, 32 and so on.
var powersCRC = func() (powers [blockShift + 1]uint32) {
	powers[0] = 1 << (31 - 8) // bits are reflected: the highest is x to the power of 0
	for i := range powers[1:] {
		powers[i+1] = timesCRC(powers[i], powers[i])
	}
	return powers
}()

// timesCRC multiplies polynomials modulo that of the CRC.
func timesCRC(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}
