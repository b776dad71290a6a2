package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// notes hold small durable state of the caller's.
type notes struct {
	mu sync.Mutex
	m  map[string][]byte // without a disk tier
}

const notePrefix = "note-"

func (d *disk) notePath(name string) string {
	return filepath.Join(d.dir, notePrefix+hex.EncodeToString([]byte(name)))
}

// SaveNote keeps a small piece of the caller's own state under a short name, in
// place of what was there: a cursor, generation numbers. It is durable when
// SaveNote returns, even through a power cut, and so is every Remove that
// returned before SaveNote was called. Without a disk tier it lives as long as
// the store.
//
//	fdatasync(journal) open write fsync close rename fsync(dir)
func (s *Store) SaveNote(name string, data []byte) error {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if s.disk == nil {
		if s.notes.m == nil {
			s.notes.m = make(map[string][]byte)
		}
		s.notes.m[name] = slices.Clone(data)
		return nil
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.disk.syncJournal(); err != nil {
		return fmt.Errorf("store: note %s: %w", name, err)
	}
	path := s.disk.notePath(name)
	if err := writeSynced(path, binary.LittleEndian.AppendUint32(slices.Clone(data), checksum(data))); err != nil {
		return fmt.Errorf("store: note %s: %w", name, err)
	}
	return nil
}

// Note returns what SaveNote kept under a name, or fs.ErrNotExist.
func (s *Store) Note(name string) ([]byte, error) {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if s.disk == nil {
		b, ok := s.notes.m[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return slices.Clone(b), nil
	}
	b, err := os.ReadFile(s.disk.notePath(name))
	if err != nil {
		return nil, err
	}
	n := len(b) - 4
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != checksum(b[:n]) {
		return nil, fmt.Errorf("store: note %s: %w", name, ErrDamaged)
	}
	return b[:n], nil
}

// syncJournal makes all removals so far durable.
func (d *disk) syncJournal() error {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.journalMu.Lock()
	j := d.journal
	d.journalMu.Unlock()
	if j == nil {
		return nil
	}
	if err := j.file.Sync(); err != nil && !errors.Is(err, fs.ErrClosed) { // closed: the tier was given up
		return err
	}
	return nil
}

// writeSynced puts a file in place of what has that name, for good.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDirectory(filepath.Dir(path))
}
