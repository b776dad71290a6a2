package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"memstore.dev/memstore/storage"
)

// A blob file is the bytes of an object, then a footer, so that the bytes
// begin where sendfile wants them:
//
//	bytes                size
//	magic                8
//	version              1
//	log2 of block size   1
//	blob id              8, big-endian, as all that follows
//	size                 8
//	MD5                  16
//	checksums            4 for each block, CRC-32C; the last block may be short
//	what it was put as   varints and strings, see footer.encode
//	checksum             4, CRC-32C of the footer up to here
//	footer's length      4, from the magic to here
//	end magic            8
//
// The footer makes the file speak for itself: fsck proves it without the
// index, and salvage builds the index from it.
const (
	footerMagic   = "MSblob1\n"
	footerEnd     = "\nMSend1\n"
	footerVersion = 1
	footerHead    = 8 + 1 + 1 + 8 + 8 + md5Size
	footerTail    = 4 + 4 + 8

	// blockShift is the size of the blocks that are checked as one. A read of
	// one byte costs a block: with 64 KiB about 9 µs, with 256 KiB about 40;
	// a footer costs 4 bytes a block: 64 KiB for each GiB.
	blockShift = 16

	maxBlockShift = 24
)

var (
	errFooter = errors.New("footer cannot be read")
	errBlock  = errors.New("checksum of stored bytes does not match")
)

// A footer is what a blob file says of itself.
type footer struct {
	id     uint64
	size   int64
	sum    [md5Size]byte // MD5 of all, or zeros where an ETag that is none has not told it
	shift  uint8
	blocks []uint32 // CRC-32C of each block

	put salvaged // as what it was put; only for salvage, and not decoded for a read
}

// salvaged is what can be known of an object from its file alone.
type salvaged struct {
	path     storage.Path
	etag     string
	created  int64
	deleteAt int64 // if expires
	expires  bool
	typ      string
	meta     storage.Meta
}

func blocksOf(size int64, shift uint8) int64 {
	return (size + 1<<shift - 1) >> shift
}

func (f *footer) encode() []byte {
	b := make([]byte, 0, footerHead+4*len(f.blocks)+256+metaSize(f.put.meta)+footerTail)
	b = append(b, footerMagic...)
	b = append(b, footerVersion, f.shift)
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = binary.BigEndian.AppendUint64(b, uint64(f.size))
	b = append(b, f.sum[:]...)
	for _, c := range f.blocks {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	p := &f.put
	b = append(b, recordVersion)
	b = appendString(b, p.path.Account)
	b = appendString(b, p.path.Container)
	b = appendString(b, p.path.Object)
	b = appendString(b, p.etag)
	b = binary.AppendVarint(b, p.created)
	if p.expires {
		b = binary.AppendVarint(append(b, 1), p.deleteAt)
	} else {
		b = append(b, 0)
	}
	b = appendString(b, p.typ)
	return sealFooter(appendMeta(b, p.meta))
}

// sealFooter appends what ends a footer.
func sealFooter(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = binary.BigEndian.AppendUint32(b, uint32(len(b)+4+len(footerEnd)))
	return append(b, footerEnd...)
}

// decodeFooter reads a footer, all of it if it is for salvage.
func decodeFooter(b []byte, salvage bool) (*footer, error) {
	if len(b) < footerHead+footerTail ||
		string(b[:8]) != footerMagic || string(b[len(b)-8:]) != footerEnd ||
		binary.BigEndian.Uint32(b[len(b)-12:]) != uint32(len(b)) {
		return nil, errFooter
	}
	body := b[:len(b)-footerTail]
	if binary.BigEndian.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return nil, errFooter
	}
	if b[8] != footerVersion || b[9] == 0 || b[9] > maxBlockShift {
		return nil, fmt.Errorf("%w: version %d, blocks of 2^%d", errFooter, b[8], b[9])
	}
	f := &footer{shift: b[9], id: binary.BigEndian.Uint64(b[10:]), size: int64(binary.BigEndian.Uint64(b[18:]))}
	copy(f.sum[:], b[26:])
	rest := body[footerHead:]
	if f.size < 0 || f.size > 1<<56 || blocksOf(f.size, f.shift) > int64(len(rest)/4) {
		return nil, errFooter
	}
	f.blocks = make([]uint32, blocksOf(f.size, f.shift))
	for i := range f.blocks {
		f.blocks[i] = binary.BigEndian.Uint32(rest[4*i:])
	}
	if !salvage {
		return f, nil
	}
	d := decode(rest[4*len(f.blocks):])
	p := &f.put
	p.path = storage.Path{Account: d.string(), Container: d.string(), Object: d.string()}
	p.etag, p.created = d.string(), d.varint()
	if p.expires = d.byte() != 0; p.expires {
		p.deleteAt = d.varint()
	}
	p.typ, p.meta = d.string(), d.meta()
	return f, d.end()
}

// readFooter reads the footer of a file. If the size of the content is known
// it takes one read, else (size < 0) the end of the file tells.
func readFooter(f *os.File, size int64, salvage bool) (*footer, error) {
	in, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !in.Mode().IsRegular() {
		return nil, errFooter
	}
	if size < 0 {
		tail := make([]byte, footerTail)
		if in.Size() < footerHead+footerTail {
			return nil, errFooter
		}
		if _, err := f.ReadAt(tail, in.Size()-footerTail); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		if string(tail[8:]) != footerEnd {
			return nil, errFooter
		}
		size = in.Size() - int64(binary.BigEndian.Uint32(tail[4:]))
	}
	n := in.Size() - size
	if size < 0 || n < footerHead+footerTail || n > 1<<31 {
		return nil, errFooter
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, size); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	foot, err := decodeFooter(b, salvage)
	if err == nil && foot.size != size {
		err = errFooter
	}
	return foot, err
}

// checkBlock holds a whole block against its checksum.
func (f *footer) checkBlock(i int64, b []byte) bool {
	return i < int64(len(f.blocks)) && crc32.Checksum(b, castagnoli) == f.blocks[i]
}

// blockLen is the length of block i.
func (f *footer) blockLen(i int64) int64 {
	return min(1<<f.shift, f.size-i<<f.shift)
}

// verify reads all of a file's content and holds it against its checksums and
// its MD5, if that is known. Before each stretch it calls pace, if there is one.
func (f *footer) verify(r io.ReaderAt, pace func(n int) error) error {
	sum, known := newMD5(), f.sum != [md5Size]byte{}
	buf := takeBuffer()
	defer giveBuffer(buf)
	for i := range int64(len(f.blocks)) {
		n := f.blockLen(i)
		if n > int64(len(*buf)) {
			*buf = make([]byte, n)
		}
		b := (*buf)[:n]
		if pace != nil {
			if err := pace(len(b)); err != nil {
				return err
			}
		}
		if _, err := r.ReadAt(b, i<<f.shift); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		if !f.checkBlock(i, b) {
			return fmt.Errorf("%w: block %d", errBlock, i)
		}
		if known {
			sum.Write(b)
		}
	}
	if known && !bytes.Equal(sum.Sum(nil), f.sum[:]) {
		return errMD5
	}
	return nil
}

var (
	errUnreadable = errors.New("stored bytes cannot be read")
	errMD5        = errors.New("MD5 of stored bytes does not match")
)

// Files are spread over directories of 4,096 consecutive ids.
const shelfShift = 12

func shelfName(shelf uint64) string { return strconv.FormatUint(shelf, 16) }

func blobPath(dir string, id uint64) string { return filepath.Join(dir, dirBlobs, blobName(id)) }

// blobName is where a blob is within the directory of blobs.
func blobName(id uint64) string {
	return filepath.Join(shelfName(id>>shelfShift), strconv.FormatUint(id, 16))
}

// parseName reads the name of a file or directory of blobs, which is a number
// in hex in its only form.
func parseName(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && strconv.FormatUint(n, 16) == s
}
