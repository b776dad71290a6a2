package crypt

import (
	"crypto/aes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"memstore.dev/memstore/storage"
)

// An object is what is sealed in place of an ETag: the ETag itself, and how the
// bytes are encrypted. It does not change.
type object struct {
	etag string
	key  [keySize]byte
	layout
}

const keySize = 32 // AES-256

func newKey() (key [keySize]byte) {
	rand.Read(key[:])
	return key
}

func (o *object) content() *content {
	block, err := aes.NewCipher(o.key[:])
	if err != nil {
		panic(err) // the size is right, and nothing else can be wrong
	}
	return &content{block, o.layout}
}

var errSealed = fmt.Errorf("%w: what is encrypted cannot be read", storage.ErrDamaged)

// sealETag returns what is kept in place of the ETag.
func (b *Backend) sealETag(o *object) string {
	plain := append(make([]byte, 0, 128), 1) // version of the form
	plain = appendString(plain, o.etag)
	plain = append(plain, o.key[:]...)
	return string(b.keys.seal(sealsObject, o.layout.append(plain)))
}

// look opens what is in place of an ETag, and returns nil if that is nothing
// but an ETag.
func (b *Backend) look(etag string) (*object, error) {
	if !sealed(etag) {
		return nil, nil
	}
	plain, err := b.keys.open(sealsObject, etag)
	if err != nil {
		return nil, err
	}
	d := decoder{b: plain}
	o := new(object)
	if d.byte() != 1 {
		return nil, errSealed
	}
	o.etag = d.string()
	copy(o.key[:], d.bytes(keySize))
	o.layout = d.layout()
	return o, d.end()
}

// metaSealed is the metadata of the Backend behind that has all of an object's,
// but for what listings tell.
const metaSealed = "X-Object-Sysmeta-Crypt"

// sealMeta returns an object's metadata as it is to be kept. What is told in
// listings is sealed by itself.
func (b *Backend) sealMeta(m storage.Meta) storage.Meta {
	if !b.encrypt || len(m) == 0 {
		return m.Clone()
	}
	kept := make(storage.Meta, 2)
	kind, is := m[storage.MetaKind]
	if is {
		kept[storage.MetaKind] = string(b.keys.seal(sealsKind, []byte(kind)))
	}
	if is && len(m) == 1 {
		return kept
	}
	var plain []byte
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k != storage.MetaKind {
			plain = appendString(appendString(plain, k), m[k])
		}
	}
	kept[metaSealed] = string(b.keys.seal(sealsMeta, plain))
	return kept
}

// openMeta returns the metadata that was sealed. What is not sealed is as it
// is.
func (b *Backend) openMeta(m storage.Meta) (storage.Meta, error) {
	kind, all := m[storage.MetaKind], m[metaSealed]
	if !sealed(kind) && !sealed(all) {
		return m, nil
	}
	seen := m.Clone()
	if sealed(kind) {
		plain, err := b.keys.open(sealsKind, kind)
		if err != nil {
			return nil, err
		}
		seen[storage.MetaKind] = string(plain)
	}
	if sealed(all) {
		delete(seen, metaSealed)
		plain, err := b.keys.open(sealsMeta, all)
		if err != nil {
			return nil, err
		}
		for d := (decoder{b: plain}); len(d.b) > 0; {
			k := d.string()
			seen[k] = d.string()
			if d.err != nil {
				return nil, d.err
			}
		}
	}
	return seen, nil
}

// shown is what the Backend behind says of a path, as it is to be seen.
func (b *Backend) shown(op string, in storage.Info) (storage.Info, error) {
	if !in.Path.IsObject() || in.Subdir {
		return in, nil
	}
	o, err := b.look(in.ETag)
	if err == nil {
		in, err = b.show(in, o)
	}
	return in, storage.Wrap(op, in.Path, err)
}

func (b *Backend) show(in storage.Info, o *object) (_ storage.Info, err error) {
	if o != nil {
		in.ETag = o.etag
	}
	in.Meta, err = b.openMeta(in.Meta)
	return in, err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A decoder reads what was sealed from front to back. It was sealed by us, so
// what it finds missing is a mistake of ours, or of a version to come.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() { d.b, d.err = nil, errSealed }

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) > 0 {
		return b[0]
	}
	return 0
}

func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) number() int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<62 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *decoder) string() string {
	n := d.number()
	if n > int64(len(d.b)) {
		d.fail()
	}
	return string(d.bytes(int(n)))
}
