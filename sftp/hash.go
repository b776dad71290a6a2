package sftp

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"io"
)

// newHash is a hash by the name that check-file and the commands have for it,
// or nil. MD5 and SHA-1 prove nothing here, they only find what was damaged on
// the way.
func newHash(name string) hash.Hash {
	switch name {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// errCut ends work for a client that is gone.
var errCut = lost(context.Canceled)

// sum hashes r, as long as the connection lives.
func (c *session) sum(algorithm string, r io.Reader) ([]byte, error) {
	c.working.Add(1)
	defer c.working.Add(-1)
	h := newHash(algorithm)
	buf := make([]byte, 256<<10)
	for {
		select {
		case <-c.gone:
			return nil, errCut
		default:
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return h.Sum(nil), nil
		}
		if err != nil {
			return nil, err
		}
	}
}
