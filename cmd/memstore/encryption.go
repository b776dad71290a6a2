package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"memstore.dev/memstore/internal/durable"
	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/crypt"
)

// encrypted puts encryption before what keeps the bytes, if it is switched on,
// or if something is encrypted there.
func (n *node) encrypted(ctx context.Context, b storage.Backend) (storage.Backend, error) {
	c := n.conf.Encryption
	needed, err := crypt.Needed(ctx, b)
	if err != nil {
		return nil, err
	}
	var keys *crypt.Keys
	switch {
	case c.KeyFile != "":
		keys, err = n.encryptionKeys(len(needed) == 0 && c.Encrypt)
		if errors.Is(err, fs.ErrNotExist) {
			if len(needed) == 0 {
				return b, nil // and nothing is to be
			}
			return nil, fmt.Errorf("encryption.key_file: %s does not exist, and what is in %s cannot be read without the key %s: bring the file back",
				c.KeyFile, n.conf.Data, strings.Join(needed, ", "))
		}
		if err != nil {
			return nil, err
		}
	case len(needed) > 0:
		return nil, fmt.Errorf("what is in %s cannot be read without the key %s: set encryption.key_file to the file that has it",
			n.conf.Data, strings.Join(needed, ", "))
	}
	around, err := crypt.Attach(ctx, b, keys, c.Encrypt)
	if errors.Is(err, crypt.ErrNoKey) {
		return nil, fmt.Errorf("encryption.key_file: %s has not every key that what is in %s is encrypted with (%w): set it to the file that has",
			c.KeyFile, n.conf.Data, err)
	}
	return around, err
}

// encryptionKeys reads the key file, and makes it if it is missing and may be
// made.
func (n *node) encryptionKeys(may bool) (*crypt.Keys, error) {
	name := n.conf.Encryption.KeyFile
	if within(n.conf.Data, filepath.Dir(name)) {
		return nil, usage(n.conf.complain("encryption.key_file",
			fmt.Sprintf("%s lies in the data directory: whoever gets hold of the one has the other", name)))
	}
	keys, err := readEncryptionKeys(name)
	if errors.Is(err, fs.ErrNotExist) && may {
		keys = crypt.NewKeys()
		if err = writeEncryptionKeys(name, keys); err == nil {
			n.log.Warn("made the key of encryption at rest: keep a copy of the file, without which nobody can read what is stored",
				"file", name, "key", keys.List()[0].ID)
		}
	}
	return keys, err
}

// readEncryptionKeys reads a key file. Its errors hold nothing of what is in it.
func readEncryptionKeys(name string) (*crypt.Keys, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("encryption.key_file: %w", err)
	}
	keys := new(crypt.Keys)
	if err := keys.UnmarshalText(text); err != nil {
		return nil, fmt.Errorf("encryption.key_file: %s: %w", name, err)
	}
	return keys, nil
}

// writeEncryptionKeys writes a key file, durably and for its owner alone, before
// anything is encrypted with what is in it.
func writeEncryptionKeys(name string, keys *crypt.Keys) error {
	text, err := keys.MarshalText()
	if err == nil {
		err = durable.MkdirAll(filepath.Dir(name), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(name, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("encryption.key_file: %w", err)
	}
	return nil
}
