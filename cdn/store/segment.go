package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A segment is one file of the disk tier, written from front to back and
// deleted as a whole.
type segment struct {
	d      *disk
	id     uint32
	nonce  uint64
	log    int // probation or main
	path   string
	file   *os.File
	length int64

	// One bit for each blockSize of the file, set when the full block that
	// begins there has been verified since the store was opened. Full blocks do
	// not overlap, so no two begin in one stretch.
	verified []atomic.Uint64

	refs atomic.Int32 // one for being in the table, one for each who reads

	// Guarded by d.mu:
	tail int64 // where the next record goes
	keys []Key // of records and extents within

	poolMu sync.Mutex
	pool   []*os.File // descriptors of their own offset, for sendfile
}

const maxPool = 16

func segmentPath(dir string, id uint32) string {
	return filepath.Join(dir, fmt.Sprintf("segment-%08x", id))
}

// createSegment makes a file of its final length, its space allocated, so that
// no write to it meets a full disk.
func createSegment(d *disk, id uint32, nonce uint64, log int) (*segment, error) {
	path := segmentPath(d.dir, id)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	g := newSegment(d, id, nonce, log, file, d.segmentSize)
	g.tail = segmentHeader
	if err = d.fault("allocate"); err == nil {
		err = fallocate(file, d.segmentSize)
	}
	if err == nil {
		_, err = file.WriteAt(g.header(), 0)
	}
	if err != nil {
		file.Close()
		os.Remove(path)
		return nil, err
	}
	return g, nil
}

func newSegment(d *disk, id uint32, nonce uint64, log int, file *os.File, length int64) *segment {
	g := &segment{d: d, id: id, nonce: nonce, log: log, path: segmentPath(d.dir, id), file: file, length: length}
	g.verified = make([]atomic.Uint64, blocksOf(length)/64+1)
	g.refs.Store(1)
	return g
}

// fallocate gives a file its length and its space; where the file system
// cannot, its length.
func fallocate(file *os.File, size int64) error {
	err := unix.Fallocate(int(file.Fd()), 0, 0, size)
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return file.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: file.Name(), Err: err}
	}
	return nil
}

func (g *segment) header() []byte {
	le := binary.LittleEndian
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	le.PutUint64(b[8:], g.nonce)
	le.PutUint32(b[16:], g.id)
	le.PutUint32(b[20:], uint32(g.log))
	le.PutUint32(b[60:], checksum(b[:60]))
	return b
}

// openSegment opens a file that an earlier store has left.
func openSegment(d *disk, id uint32) (*segment, error) {
	file, err := os.OpenFile(segmentPath(d.dir, id), os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	le := binary.LittleEndian
	b := make([]byte, segmentHeader)
	_, err = file.ReadAt(b, 0)
	if err == nil && (string(b[:8]) != segmentMagic || le.Uint32(b[60:]) != checksum(b[:60]) || le.Uint32(b[16:]) != id || le.Uint32(b[20:]) > logMain) {
		err = fmt.Errorf("%s: %w", file.Name(), ErrDamaged)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return newSegment(d, id, le.Uint64(b[8:]), int(le.Uint32(b[20:])), file, info.Size()), nil
}

// acquire takes a reference, unless the segment is gone.
func (g *segment) acquire() bool {
	for {
		n := g.refs.Load()
		if n <= 0 {
			return false
		}
		if g.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back; with the last one the file is closed, and
// its space is free.
func (g *segment) release() {
	if g.refs.Add(-1) > 0 {
		return
	}
	g.file.Close()
	g.poolMu.Lock()
	for _, f := range g.pool {
		f.Close()
	}
	g.pool = nil
	g.poolMu.Unlock()
	g.d.lingering.Add(-g.length)
}

// descriptor lends a descriptor of the file with an offset of its own.
func (g *segment) descriptor() (*os.File, error) {
	g.poolMu.Lock()
	if n := len(g.pool); n > 0 {
		f := g.pool[n-1]
		g.pool = g.pool[:n-1]
		g.poolMu.Unlock()
		return f, nil
	}
	g.poolMu.Unlock()
	return os.OpenFile(g.path, os.O_RDONLY|unix.O_CLOEXEC, 0)
}

// giveBack takes a lent descriptor back. Its borrower holds a reference to g.
func (g *segment) giveBack(f *os.File) {
	g.poolMu.Lock()
	if len(g.pool) < maxPool {
		g.pool = append(g.pool, f)
		f = nil
	}
	g.poolMu.Unlock()
	if f != nil {
		f.Close()
	}
}

func (g *segment) isVerified(off int64) bool {
	n := off / blockSize
	return g.verified[n/64].Load()&(1<<(n%64)) != 0
}

func (g *segment) setVerified(off int64) {
	n := off / blockSize
	g.verified[n/64].Or(1 << (n % 64))
}
