package crypt

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"memstore.dev/memstore/storage"
)

const (
	idSize     = 8
	secretSize = 32
)

// Keys are root secrets. The youngest seals; each opens what it has sealed, so
// one is needed for as long as anything that it has sealed is there.
type Keys struct {
	roots []*root // the oldest first
}

// A root is a root secret.
type root struct {
	id      [idSize]byte // made from the secret, so that no other passes for it
	created time.Time
	secret  []byte
	aead    cipher.AEAD
}

// A Key describes a root secret, and does not have it.
type Key struct {
	ID      string
	Created time.Time
}

// ErrNoKey says that something is sealed with a root secret that is not there.
var ErrNoKey = errors.New("the key it is encrypted with is missing")

// NewKeys returns Keys with one secret, which is new.
func NewKeys() *Keys { return new(Keys).Rotate() }

// Rotate returns the keys with a new one, which seals from then on.
func (k *Keys) Rotate() *Keys {
	secret := make([]byte, secretSize)
	rand.Read(secret)
	r, err := newRoot(secret, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		panic(err) // the size is right, and nothing else can be wrong
	}
	return &Keys{append(k.roots[:len(k.roots):len(k.roots)], r)}
}

func newRoot(secret []byte, created time.Time) (*root, error) {
	derived := func(what string, size int) ([]byte, error) {
		return hkdf.Key(sha256.New, secret, nil, "memstore encryption at rest: "+what, size)
	}
	id, err := derived("name of the secret", idSize)
	if err != nil {
		return nil, err
	}
	key, err := derived("sealing", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	r := &root{created: created, secret: secret, id: [idSize]byte(id)}
	r.aead, err = chacha20poly1305.NewX(key)
	return r, err
}

// List describes the keys, the oldest first.
func (k *Keys) List() (list []Key) {
	for _, r := range k.roots {
		list = append(list, Key{r.name(), r.created})
	}
	return list
}

func (r *root) name() string { return hex.EncodeToString(r.id[:]) }

func (k *Keys) youngest() *root { return k.roots[len(k.roots)-1] }

// keyWord begins the line of a key.
const keyWord = "memstore-key-1"

// MarshalText writes the keys as the key file has them: a line for each, with
// a word that tells what it is, its name, when it was made, and the secret.
func (k *Keys) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# The secrets with which Memstore encrypts what it stores. Whoever has them can\n" +
		"# read it, and without them nobody can: keep a copy, and not beside the data.\n" +
		"# The last one seals; the others open what they have sealed.\n")
	for _, r := range k.roots {
		fmt.Fprintln(&b, keyWord, r.name(), r.created.Format(time.RFC3339), base64.StdEncoding.EncodeToString(r.secret))
	}
	return b.Bytes(), nil
}

// UnmarshalText reads what MarshalText has written. Its errors do not hold
// what it reads.
func (k *Keys) UnmarshalText(text []byte) error {
	var roots []*root
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := parseRoot(strings.Fields(line))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		roots = append(roots, r)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(roots) == 0 {
		return errors.New("there is no key in it")
	}
	k.roots = roots
	return nil
}

func parseRoot(fields []string) (*root, error) {
	if len(fields) != 4 || fields[0] != keyWord {
		return nil, fmt.Errorf("not of the form %s NAME TIME SECRET", keyWord)
	}
	created, err := time.Parse(time.RFC3339, fields[2])
	if err != nil {
		return nil, errors.New("its time cannot be read")
	}
	secret, err := base64.StdEncoding.DecodeString(fields[3])
	if err != nil || len(secret) != secretSize {
		return nil, fmt.Errorf("its secret is not %d bytes in base64", secretSize)
	}
	r, err := newRoot(secret, created)
	if err != nil {
		return nil, err
	}
	if r.name() != fields[1] {
		return nil, errors.New("its name is not that of its secret: it has been changed")
	}
	return r, nil
}

// What is sealed is marked by how it begins, and by what it is: one cannot pass
// for another.
const (
	sealedMark = "\x00\x01" // which begins no ETag, and no metadata of a client's
	sealedHead = len(sealedMark) + idSize + chacha20poly1305.NonceSizeX

	sealsObject = 'o'
	sealsMeta   = 'm'
	sealsKind   = 'k'
	sealsNote   = 'n'
)

func sealed(s string) bool { return strings.HasPrefix(s, sealedMark) }

// seal seals with the youngest secret:
//
//	00 01  name of the secret (8)  nonce (24)  ciphertext  tag (16)
func (k *Keys) seal(what byte, plain []byte) []byte {
	r := k.youngest()
	b := make([]byte, sealedHead, sealedHead+len(plain)+chacha20poly1305.Overhead)
	nonce := b[copy(b[copy(b, sealedMark):], r.id[:])+len(sealedMark):]
	rand.Read(nonce)
	return r.aead.Seal(b, nonce, plain, []byte{what})
}

// open opens what seal has made. If it is not as it was made the error is
// storage.ErrDamaged, and if its secret is not there ErrNoKey.
func (k *Keys) open(what byte, s string) ([]byte, error) {
	if len(s) < sealedHead+chacha20poly1305.Overhead || !sealed(s) {
		return nil, fmt.Errorf("%w: what is encrypted is cut short", storage.ErrDamaged)
	}
	id := s[len(sealedMark):][:idSize]
	for _, r := range k.roots {
		if string(r.id[:]) != id {
			continue
		}
		b := []byte(s)
		plain, err := r.aead.Open(b[:sealedHead][sealedHead:], b[sealedHead-chacha20poly1305.NonceSizeX:sealedHead], b[sealedHead:], []byte{what})
		if err != nil {
			return nil, fmt.Errorf("%w: what is encrypted is not as it was sealed", storage.ErrDamaged)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("%w: %x", ErrNoKey, id)
}
