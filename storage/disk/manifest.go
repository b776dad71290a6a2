package disk

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"memstore.dev/memstore/internal/durable"
)

// fileManifest is in a backup, and nowhere else: a store that is opened to be
// written to has none.
const fileManifest = "MANIFEST"

// A Manifest says what a backup consists of, so that one of which a part was
// lost or altered is not taken for whole. Files of objects are not listed: the
// index names them, and each carries checksums of its own.
type Manifest struct {
	Format  int       `json:"format"`
	UUID    string    `json:"uuid"` // of the store
	Created time.Time `json:"created"`
	Contents
	Damaged int64          `json:"damaged"` // blobs that are missing, because they were damaged in the store
	Files   []ManifestFile `json:"files"`   // all but those of blobs, by name
}

// Contents are what an index says that there is.
type Contents struct {
	Version    uint64 `json:"version"` // of the latest change
	Accounts   int64  `json:"accounts"`
	Containers int64  `json:"containers"`
	Objects    int64  `json:"objects"`
	Bytes      int64  `json:"bytes"`      // of objects
	Blobs      int64  `json:"blobs"`      // files of objects
	BlobBytes  int64  `json:"blob_bytes"` // of content in them
}

// A ManifestFile is a file of a backup as it was written.
type ManifestFile struct {
	Name   string `json:"name"` // below the directory, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const manifestVersion = 1

var (
	errNoBackup = errors.New("no " + fileManifest + " is there, so this is not a finished backup; what is a data directory can be copied by a backup")
	errManifest = errors.New("not as the " + fileManifest + " says")
)

// ReadManifest reads the manifest of a backup. It is fs.ErrNotExist if the
// directory is no backup, or not a finished one.
func ReadManifest(dir string) (m Manifest, err error) {
	f, err := openPlain(filepath.Join(dir, fileManifest))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%w (%w)", errNoBackup, fs.ErrNotExist)
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w", fileManifest, err)
	}
	if m.Format != manifestVersion {
		return m, fmt.Errorf("%s: version %d is not known, only %d is", fileManifest, m.Format, manifestVersion)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return m, fmt.Errorf("%s: %q: %w", fileManifest, f.Name, fs.ErrInvalid)
		}
	}
	return m, nil
}

// File returns what the manifest says of a file.
func (m *Manifest) File(name string) (f ManifestFile, ok bool) {
	i := slices.IndexFunc(m.Files, func(f ManifestFile) bool { return f.Name == name })
	if i < 0 {
		return f, false
	}
	return m.Files[i], true
}

// Enlist adds files that others keep beside the store to the manifest of a
// backup. They lie in its directory already, durably.
func Enlist(dir string, names ...string) error {
	if err := enlist(dir, names); err != nil {
		return fmt.Errorf("enlist in backup %s: %w", dir, err)
	}
	return nil
}

func enlist(dir string, names []string) error {
	lock, err := takeLock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range names {
		if err := m.add(root, name, name); err != nil {
			return err
		}
	}
	return m.write(dir)
}

func (m *Manifest) write(dir string) error {
	slices.SortFunc(m.Files, func(a, b ManifestFile) int { return cmp.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return noSpace(durable.WriteFile(filepath.Join(dir, fileManifest), append(data, '\n'), 0o600))
}

// add lists a file as it is, which is to have this name.
func (m *Manifest) add(root *os.Root, file, name string) error {
	f, err := measure(root, file)
	if err != nil {
		return err
	}
	f.Name = name
	m.Files = append(slices.DeleteFunc(m.Files, func(f ManifestFile) bool { return f.Name == name }), f)
	return nil
}

// measure reads a file for its checksum.
func measure(root *os.Root, name string) (m ManifestFile, err error) {
	f, err := openPlainIn(root, filepath.FromSlash(name))
	if err != nil {
		return m, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return ManifestFile{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// differences holds what is there against the manifest, and tells each file
// that is missing or another. In meta nothing else may be.
func (m *Manifest) differences(root *os.Root) (found []Finding, err error) {
	for _, want := range m.Files {
		got, err := measure(root, want.Name)
		switch {
		case err != nil:
			found = append(found, Finding{Kind: KindManifest, File: want.Name, Detail: err.Error()})
		case got.Size != want.Size:
			found = append(found, Finding{Kind: KindManifest, File: want.Name, Detail: fmt.Sprintf("%d bytes of %d", got.Size, want.Size)})
		case got != want:
			found = append(found, Finding{Kind: KindManifest, File: want.Name, Detail: "its SHA-256 is another"})
		}
	}
	if _, ok := m.File(fileFormat); !ok {
		found = append(found, Finding{Kind: KindManifest, File: fileFormat, Detail: "not listed"})
	}
	entries, err := fs.ReadDir(root.FS(), dirMeta)
	if err != nil {
		return found, err
	}
	for _, e := range entries {
		name := dirMeta + "/" + e.Name()
		if _, ok := m.File(name); !ok && e.Name() != fileLock {
			found = append(found, Finding{Kind: KindManifest, File: name, Detail: "not listed"})
		}
	}
	return found, nil
}

// verify fails if anything is not as the manifest says.
func (m *Manifest) verify(root *os.Root) error {
	found, err := m.differences(root)
	for _, f := range found[:min(len(found), 20)] {
		err = errors.Join(err, fmt.Errorf("%w: %s: %s", errManifest, f.File, f.Detail))
	}
	return err
}

// contentsOf sums up an index. What it cannot read of the totals it leaves to
// Check.
func contentsOf(db pebble.Reader) (c Contents, err error) {
	s, err := readState(db)
	if err != nil {
		return c, err
	}
	c.Version = s.version
	err = scan(db, tableAccountTotals, func(_, value []byte) error {
		if t, err := decodeTotals(value); err == nil {
			c.Accounts++
			c.Containers += t.containers
			c.Objects += t.objects
			c.Bytes += t.bytes
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	err = eachFileBlob(db, func(_ uint64, b *blob) error {
		c.Blobs++
		c.BlobBytes += b.size
		return nil
	})
	return c, err
}

// disown removes the manifest of a directory that is no backup anymore, because
// it is about to change.
func disown(dir string) error {
	err := durable.Remove(filepath.Join(dir, fileManifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
