package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A journal is the list of what is gone since a snapshot of the index began,
// in the order in which it went. A line is written before Remove, or whatever
// else replaces an entry, returns; written to the kernel, not to the platter,
// so it outlives the process at once and the machine after the next sync.
//
// Lines are 32 bytes in a file of zeroes, so none crosses a page and a process
// that is killed leaves each whole or not at all. A line that is neither whole
// nor zero is damage, and since nobody can tell what it took away, the whole
// content of the tier goes.
type journal struct {
	file   *os.File
	off    int64
	length int64 // of allocated space
}

const (
	journalLine = 32
	journalGrow = 1 << 20

	lineRemoved = 1 // key, and the seq up to which its records are dead
	lineDropped = 2 // a segment's id in place of the seq
)

type journalEntry struct {
	kind uint32
	seq  uint64
	key  Key
}

func journalPath(dir string, n uint32) string {
	return filepath.Join(dir, fmt.Sprintf("removed-%08x", n))
}

func createJournal(d *disk, n uint32) (*journal, error) {
	err := d.fault("journal")
	if err != nil {
		return nil, err
	}
	path := journalPath(d.dir, n)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fallocate(file, journalGrow); err != nil {
		file.Close()
		os.Remove(path)
		return nil, err
	}
	return &journal{file: file, length: journalGrow}, nil
}

// continueJournal opens the last journal of an earlier store, of so many lines.
// Going on with it takes no room on a disk that may be full.
func continueJournal(d *disk, n uint32, lines int) (*journal, error) {
	file, err := os.OpenFile(journalPath(d.dir, n), os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &journal{file: file, off: int64(lines) * journalLine, length: info.Size()}, nil
}

// write appends a line; d.journalMu is held.
func (j *journal) write(e journalEntry) error {
	if j.off == j.length {
		if err := fallocate(j.file, j.length+journalGrow); err != nil {
			return err
		}
		j.length += journalGrow
	}
	var b [journalLine]byte
	le := binary.LittleEndian
	le.PutUint32(b[4:], e.kind)
	le.PutUint64(b[8:], e.seq)
	copy(b[16:], e.key[:])
	le.PutUint32(b[:], checksum(b[4:]))
	if _, err := j.file.WriteAt(b[:], j.off); err != nil {
		return err
	}
	j.off += journalLine
	return nil
}

// readJournal calls f for every line of a journal that an earlier store left,
// and returns how many there are.
func readJournal(dir string, n uint32, f func(journalEntry)) (lines int, err error) {
	b, err := os.ReadFile(journalPath(dir, n))
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	var zero [journalLine]byte
	ended := false
	for ; len(b) > 0; b = b[min(journalLine, len(b)):] {
		if len(b) < journalLine {
			return 0, errJournal
		}
		if [journalLine]byte(b) == zero {
			ended = true
			continue
		}
		if ended || le.Uint32(b) != checksum(b[4:journalLine]) {
			return 0, errJournal
		}
		lines++
		f(journalEntry{le.Uint32(b[4:]), le.Uint64(b[8:]), Key(b[16:32])})
	}
	return lines, nil
}

var errJournal = errors.New("the list of removals is damaged")
