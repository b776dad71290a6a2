package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage/disk"
)

// backupKeys copies what the file doors prove themselves with into a backup,
// and into its manifest, so that clients find the server they know after a
// restore.
func backupKeys(data, dst string) error {
	entries, err := os.ReadDir(filepath.Join(data, keysDirectory))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name()[0] != '.' { // as what was never finished is called
			names = append(names, path.Join(keysDirectory, e.Name()))
		}
	}
	if err := copyKeys(data, dst, names); err != nil {
		return fmt.Errorf("copy of %s: %w", keysDirectory, err)
	}
	return disk.Enlist(dst, names...)
}

// restoreKeys brings back the keys that the manifest of a backup has, and has
// vouched for.
func restoreKeys(backup, dst string) error {
	m, err := disk.ReadManifest(backup)
	if err != nil {
		return err
	}
	var names []string
	for _, f := range m.Files {
		if path.Dir(f.Name) == keysDirectory {
			names = append(names, f.Name)
		}
	}
	if err := copyKeys(backup, dst, names); err != nil {
		return fmt.Errorf("%s of %s: %w", keysDirectory, backup, err)
	}
	return nil
}

// copyKeys copies files, named with slashes, from one directory to another, in
// place of what is there.
func copyKeys(src, dst string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := durable.MkdirAll(filepath.Join(dst, keysDirectory), 0o700); err != nil {
		return err
	}
	for _, name := range names {
		name = filepath.FromSlash(name)
		if _, err := durable.CopyFile(filepath.Join(dst, name), filepath.Join(src, name), 0o600); err != nil {
			return err
		}
	}
	return nil
}
