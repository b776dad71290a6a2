package main

import (
	"crypto/md5"
	"os"
	"path/filepath"
	"time"
)

// md5Floor is how many bytes per second one stream is hashed at.
func md5Floor() float64 {
	begun, n := time.Now(), 0
	for time.Since(begun) < 500*time.Millisecond {
		md5.Sum(content)
		n += len(content)
	}
	return float64(n) / time.Since(begun).Seconds()
}

// diskFloor is how many bytes per second go into files of 64 MiB, one after the
// other, synced each.
func diskFloor(dir string) (float64, error) {
	begun, n := time.Now(), 0
	for i := range 8 {
		name := filepath.Join(dir, "floor")
		if err := writeSynced(name, content); err != nil {
			return 0, err
		}
		n += len(content)
		if err := os.Remove(name); err != nil {
			return 0, err
		}
		if time.Since(begun) > 5*time.Second && i > 0 {
			break
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

func writeSynced(name string, b []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for ; len(b) > 0; b = b[min(len(b), 1<<20):] {
		if _, err := f.Write(b[:min(len(b), 1<<20)]); err != nil {
			return err
		}
	}
	return f.Sync()
}
