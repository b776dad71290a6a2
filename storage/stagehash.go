package storage

import (
	"context"
	"crypto/md5"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"slices"

	"memstore.dev/memstore/internal/md5lanes"
)

// maxLag is how far the hash of a stage may fall behind what is written. What
// is left to hash when the last byte has come is time its client waits.
const maxLag = 8 << 20

// writes takes note that a stretch that begins there is about to be written.
func (u *Staging) writes(from int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if from < u.track.frontier {
		u.rewritten = true
	}
}

// wrote takes note that a stretch was written, and has it hashed when its turn
// has come. It is called with the gate held.
func (u *Staging) wrote(from, to int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	// A write that was under way while these bytes were hashed may have come
	// before or after: it is told only now, so it is seen here in either case.
	if from < u.hashed {
		u.dirty = true
	}
	u.track.add(from, to)
	u.follow()
	for u.hashing && !u.dirty && u.track.frontier-u.hashed > maxLag {
		u.idle.Wait()
	}
}

// follow starts the goroutine that hashes, if there is enough to do for one.
// It is called with mu held. The goroutine ends when it has caught up; settle
// waits for it.
func (u *Staging) follow() {
	if u.hashing || u.dirty || u.track.frontier-u.hashed < pieceSize {
		return
	}
	u.hashing = true
	go func() {
		p := pieces.Get().(*piece)
		defer pieces.Put(p)
		u.mu.Lock()
		defer u.mu.Unlock()
		for !u.dirty && u.track.frontier-u.hashed >= pieceSize {
			from := u.hashed
			u.hashed += pieceSize
			u.mu.Unlock()
			_, err := u.g.ReadAt(p.buf[:], from)
			md5lanes.Write(u.sum, p.buf[:])
			u.mu.Lock()
			if err != nil && err != io.EOF {
				u.dirty = true // Commit will read again, and tell
			}
			u.checkpoint()
			u.idle.Broadcast()
		}
		u.hashing = false
		u.idle.Broadcast()
	}()
}

// settle waits until nothing is being hashed. It is called with mu held.
func (u *Staging) settle() {
	for u.hashing {
		u.idle.Wait()
	}
}

// finish hashes what is left, and returns the MD5 of everything. It is called
// with the gate held alone.
func (u *Staging) finish(ctx context.Context) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settle()
	if u.dirty {
		u.sum.Reset()
		u.hashed, u.dirty = 0, false
	}
	p := pieces.Get().(*piece)
	defer pieces.Put(p)
	for size := u.g.Size(); u.hashed < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		part := p.buf[:min(pieceSize, size-u.hashed)]
		n, err := u.g.ReadAt(part, u.hashed)
		u.sum.Write(part[:n])
		u.hashed += int64(n)
		if n < len(part) {
			u.dirty = true
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
	return hex.EncodeToString(u.sum.Sum(nil)), nil
}

// metaHash keeps with an object the state of its hash behind the last byte, so
// that appending to it need not read it again. What is kept shows by itself
// whether it is true: the state's sum must be the ETag.
const metaHash = "X-Object-Sysmeta-Md5-State"

// worthHashState is the size from which the state is kept; smaller objects are
// hashed sooner than the growth of their rows would pay.
const worthHashState = 4 << 20

// withHash adds to m the state of the hash, which covers size bytes.
func (u *Staging) withHash(m Meta, size int64) Meta {
	m = maps.Clone(m)
	delete(m, metaHash)
	if size < worthHashState {
		return m
	}
	if state, err := u.sum.(encoding.BinaryMarshaler).MarshalBinary(); err == nil {
		if m == nil {
			m = Meta{}
		}
		m[metaHash] = base64.StdEncoding.EncodeToString(state)
	}
	return m
}

// loaded takes note that the stage holds the bytes of an object.
func (u *Staging) loaded(in Info) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.track.add(0, u.g.Size())
	if state, err := base64.StdEncoding.DecodeString(in.Meta[metaHash]); err == nil && len(state) > 0 {
		sum := md5.New()
		if sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(state) == nil && hex.EncodeToString(sum.Sum(nil)) == in.ETag {
			u.sum, u.hashed = sum, u.g.Size()
		}
	}
	u.follow()
}

// A track remembers what was written: everything before the frontier, and
// stretches beyond it.
type track struct {
	frontier int64
	beyond   []stretch // in order, apart from each other and from the frontier
}

type stretch struct{ from, to int64 }

// maxStretches bounds what one who writes here and there makes us remember.
const maxStretches = 4096

func (t *track) add(from, to int64) {
	if from >= to {
		return
	}
	if from > t.frontier {
		t.addBeyond(from, to)
		return
	}
	t.frontier = max(t.frontier, to)
	t.advance()
}

// advance moves the frontier over the stretches it has reached.
func (t *track) advance() {
	n := 0
	for n < len(t.beyond) && t.beyond[n].from <= t.frontier {
		t.frontier = max(t.frontier, t.beyond[n].to)
		n++
	}
	t.beyond = slices.Delete(t.beyond, 0, n)
}

func (t *track) addBeyond(from, to int64) {
	// i is the first that ends at from or later, j the first that begins after to.
	i, _ := slices.BinarySearchFunc(t.beyond, from, func(s stretch, at int64) int { return sign(s.to - at) })
	j, _ := slices.BinarySearchFunc(t.beyond, to+1, func(s stretch, at int64) int { return sign(s.from - at) })
	if i < j {
		from, to = min(from, t.beyond[i].from), max(to, t.beyond[j-1].to)
	} else if len(t.beyond) >= maxStretches {
		return // what is not remembered counts as not written
	}
	t.beyond = slices.Replace(t.beyond, i, j, stretch{from, to})
}

func sign(n int64) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// cut forgets what was written at size and beyond.
func (t *track) cut(size int64) {
	t.frontier = min(t.frontier, size)
	for i, s := range t.beyond {
		if s.to > size {
			if s.from < size {
				t.beyond[i].to = size
				i++
			}
			t.beyond = t.beyond[:i]
			return
		}
	}
}
