package storage

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"sync"
)

// An Upload is an object on its way into a Store. It counts and hashes what is
// written; Commit compares both with what was announced. Close without Commit
// leaves no trace.
type Upload struct {
	// Info is the object as it will be. Type, DeleteAt, Meta and ModTime may be
	// changed until Commit.
	Info Info

	ctx    context.Context
	s      *Store
	w      Writer
	c      Cond
	size   int64  // announced, negative if not
	etag   string // announced, "" if not
	n      int64
	md5    hash.Hash
	beside chan []byte   // to the hashing goroutine, once there is one
	hashed chan struct{} // from it, one for each buffer
}

// Create starts an object at in.Path, to appear with the rest of in when it is
// committed. If in.Size is not negative so many bytes must come; if in.ETag is
// set it must be the MD5 of them. An empty in.Type is guessed from the name.
// c must hold at the commit; what is certain to fail then fails here, before
// any bytes are sent.
func (s *Store) Create(ctx context.Context, in Info, c Cond) (*Upload, error) {
	if err := CheckName(in.Path); err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	if err := CheckMeta(in.Path, in.Meta); err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	if in.Type == "" {
		in.Type = TypeByName(in.Path.Object)
	}
	w, err := s.b.Create(ctx, in) // first, so that a guard speaks before a quota does
	if err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	if c.Quota, err = s.admit(ctx, in.Path, in.Size, c); err != nil {
		w.Close()
		return nil, Wrap("put", in.Path, err)
	}
	return &Upload{Info: in, ctx: ctx, s: s, w: w, c: c, size: in.Size, etag: in.ETag, md5: md5.New()}, nil
}

// Write takes the next bytes. More than were announced is ErrTooLarge.
func (u *Upload) Write(p []byte) (int, error) {
	if u.size >= 0 && u.n+int64(len(p)) > u.size {
		return 0, Wrap("put", u.Info.Path, ErrTooLarge)
	}
	// Hashing takes as long as writing, so with anything but small pieces the
	// two go on at the same time.
	const small = 32 << 10
	beside := len(p) > small
	if beside {
		u.hashBeside(p)
	} else {
		u.md5.Write(p)
	}
	n, err := u.w.Write(p)
	if beside {
		<-u.hashed
	}
	u.n += int64(n)
	return n, Wrap("put", u.Info.Path, err)
}

// hashBeside has p hashed by another goroutine, which tells on u.hashed when
// it is done with p.
func (u *Upload) hashBeside(p []byte) {
	if u.beside == nil {
		u.beside, u.hashed = make(chan []byte), make(chan struct{})
		go func() {
			for p := range u.beside {
				u.md5.Write(p)
				u.hashed <- struct{}{}
			}
			close(u.hashed)
		}()
	}
	u.beside <- p
}

// pieces are the buffers that bodies pass through.
var pieces = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// ReadFrom takes bytes from r until it ends, reading ahead while what was read
// is hashed and written.
func (u *Upload) ReadFrom(r io.Reader) (int64, error) {
	if u.size >= 0 && u.size-u.n <= 256<<10 {
		return u.readSmall(r)
	}
	type piece struct {
		buf *[]byte
		n   int
		err error
	}
	full, stop := make(chan piece, 2), make(chan struct{})
	go func() {
		defer close(full)
		for {
			buf := pieces.Get().(*[]byte)
			n, err := fill(*buf, r)
			select {
			case full <- piece{buf, n, err}:
			case <-stop:
				pieces.Put(buf)
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var total int64
	var failed error
	for p := range full {
		if failed == nil && p.n > 0 {
			n, err := u.Write((*p.buf)[:p.n])
			total += int64(n)
			if failed = err; failed != nil {
				close(stop)
			}
		}
		pieces.Put(p.buf)
		if failed == nil && p.err != nil && p.err != io.EOF {
			failed = p.err
		}
	}
	return total, failed
}

// readSmall reads a body that fits one buffer, on the caller's own goroutine.
func (u *Upload) readSmall(r io.Reader) (int64, error) {
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	var total int64
	for {
		n, err := fill(*buf, r)
		if n > 0 {
			n, werr := u.Write((*buf)[:n])
			total += int64(n)
			if werr != nil {
				return total, werr
			}
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// fill reads until buf is full or r fails, and returns r's own error: a body cut
// short (io.ErrUnexpectedEOF) must not look like one that ended (io.EOF), as it
// would behind io.ReadFull.
func fill(buf []byte, r io.Reader) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// Commit makes the object appear. Fewer bytes than announced are
// ErrIncomplete, and an MD5 other than announced is ErrChecksum; then nothing
// has changed.
func (u *Upload) Commit(ctx context.Context) (Info, error) {
	p := u.Info.Path
	if u.size >= 0 && u.n < u.size {
		return Info{}, Wrap("put", p, ErrIncomplete)
	}
	sum := hex.EncodeToString(u.md5.Sum(nil))
	if u.etag != "" && u.etag != sum {
		return Info{}, Wrap("put", p, ErrChecksum)
	}
	if err := CheckMeta(p, u.Info.Meta); err != nil {
		return Info{}, Wrap("put", p, err)
	}
	u.Info.ETag, u.Info.Size = sum, u.n
	in, err := u.w.Commit(ctx, u.Info, u.c)
	if err != nil {
		return Info{}, Wrap("put", p, err)
	}
	u.s.tell(OpPut, p, in.Version, in.ModTime)
	return in, nil
}

// Close ends the upload; without a successful Commit before, it leaves no
// trace.
func (u *Upload) Close() error {
	if u.beside != nil {
		close(u.beside)
		<-u.hashed
		u.beside = nil
	}
	return u.w.Close()
}

// Copy makes to.Path an object with the bytes of from, and Type, DeleteAt and
// Meta of to. If from.Version is not 0 the source must still be of that
// version. Where the Backend cannot copy by itself the bytes pass through here.
func (s *Store) Copy(ctx context.Context, from, to Info, c Cond) (Info, error) {
	if err := CheckName(to.Path); err != nil {
		return Info{}, Wrap("copy", to.Path, err)
	}
	if err := CheckMeta(to.Path, to.Meta); err != nil {
		return Info{}, Wrap("copy", to.Path, err)
	}
	in, err := s.copyWithin(ctx, from, to, c)
	if !errors.Is(err, errors.ErrUnsupported) {
		return in, Wrap("copy", to.Path, err)
	}
	r, in, err := s.b.Open(ctx, from.Path, All)
	if err != nil {
		return Info{}, Wrap("copy", from.Path, err)
	}
	defer r.Close()
	if from.Version != 0 && in.Version != from.Version {
		return Info{}, Wrap("copy", from.Path, ErrPrecondition)
	}
	to.Size, to.ETag = in.Size, ""
	up, err := s.Create(ctx, to, c)
	if err != nil {
		return Info{}, err
	}
	defer up.Close()
	if _, err := up.ReadFrom(r); err != nil {
		return Info{}, Wrap("copy", from.Path, err)
	}
	return up.Commit(ctx)
}

func (s *Store) copyWithin(ctx context.Context, from, to Info, c Cond) (Info, error) {
	copier, ok := s.b.(Copier)
	if !ok {
		return Info{}, errors.ErrUnsupported
	}
	var err error
	if c.Quota, _, _, err = s.room(ctx, to.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, err // a missing container is for the call below to tell, which a guard judges
	}
	in, err := copier.Copy(ctx, from, to, c)
	if err != nil {
		return Info{}, err
	}
	s.tell(OpPut, to.Path, in.Version, in.ModTime)
	return in, nil
}

// Move renames an object within its account, keeping everything but its
// Version. Where the Backend cannot, the object is copied and then removed.
func (s *Store) Move(ctx context.Context, from, to Path, c Cond) (Info, error) {
	if err := CheckName(to); err != nil {
		return Info{}, Wrap("move", to, err)
	}
	var err error
	if c.Quota, _, _, err = s.room(ctx, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, Wrap("move", to, err)
	}
	var in Info
	err = errors.ErrUnsupported
	if mover, ok := s.b.(Mover); ok {
		in, err = mover.Move(ctx, from, to, c)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return s.moveByCopy(ctx, from, to, c)
	}
	if err != nil {
		return Info{}, Wrap("move", from, err)
	}
	s.tell(OpPut, to, in.Version, in.ModTime)
	s.tell(OpRemove, from, in.Version, in.ModTime)
	return in, nil
}

func (s *Store) moveByCopy(ctx context.Context, from, to Path, c Cond) (Info, error) {
	old, err := s.Stat(ctx, from)
	if err != nil || from == to {
		return old, err
	}
	next := old
	next.Path = to
	in, err := s.Copy(ctx, old, next, c)
	if err != nil {
		return Info{}, err
	}
	return in, s.Remove(ctx, from, Cond{Version: old.Version})
}
