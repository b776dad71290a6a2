package main

import (
	"errors"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"memstore.dev/memstore/storage/crypt"
)

func encryptionCommand() *cobra.Command {
	cmd := group("encryption", "Look at the keys of encryption at rest, and make new ones")
	cmd.Long = `Encryption is about the file with the keys that objects are encrypted with
(encryption.key_file). A server reads it when it starts.`
	cmd.Example = "  memstore encryption new-key\n  memstore encryption list"
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the keys in the key file, the oldest first, without their secrets",
		Example: "  memstore encryption list",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := encryptionKeyFile(cmd)
			if err != nil {
				return err
			}
			keys, err := readEncryptionKeys(name)
			if err != nil {
				return err
			}
			t := table{head: []string{"KEY", "CREATED", "USE"}}
			all := keys.List()
			for i, k := range all {
				use := "reads what it encrypted"
				if i == len(all)-1 {
					use = "encrypts"
				}
				t.add(k.ID, k.Created.UTC().Format(time.DateTime), use)
			}
			return t.print(cmd)
		},
	}
	list.Flags().Bool("json", false, "print JSON")
	create := &cobra.Command{
		Use:   "new-key",
		Short: "Make a new key, which encrypts from the next start of the server on",
		Long: `New-key makes the key file, or adds a key to it. What is stored from the next
start of the server on is encrypted with the new key; those before it stay in the
file, since what they have encrypted is not encrypted anew. Keep a copy of the
file: without it nobody can read what is stored.`,
		Example: "  memstore encryption new-key",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := encryptionKeyFile(cmd)
			if err != nil {
				return err
			}
			keys, err := readEncryptionKeys(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				keys = crypt.NewKeys()
			case err != nil:
				return err
			default:
				keys = keys.Rotate()
			}
			if err := writeEncryptionKeys(name, keys); err != nil {
				return err
			}
			all := keys.List()
			return say(cmd, "key %s added to %s; it encrypts from the next start of the server on. Keep a copy of the file", all[len(all)-1].ID, name)
		},
	}
	cmd.AddCommand(create, list)
	return cmd
}

// encryptionKeyFile is where the configuration has the keys.
func encryptionKeyFile(cmd *cobra.Command) (string, error) {
	l, err := load(cmd)
	if err != nil {
		return "", err
	}
	if l.Encryption.KeyFile == "" {
		return "", usage(errors.New("no key file is set: name one with encryption.key_file, or in MEMSTORE_ENCRYPTION_KEY_FILE"))
	}
	return l.Encryption.KeyFile, nil
}
