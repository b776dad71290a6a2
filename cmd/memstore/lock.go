package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockData takes a data directory for this process, where no engine does it. It
// is the engine's own lock, so neither can run beside the other.
func lockData(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f.Close, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, inUse(dir)
	}
	return nil, fmt.Errorf("lock of %s: %w", dir, err)
}

// inUse is the error of opening a data directory that a process has open.
func inUse(dir string) error {
	return fmt.Errorf("data directory %s is in use by another process: a server, or a repair; only one at a time may have it", dir)
}
