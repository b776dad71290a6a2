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
	"sync/atomic"

	"memstore.dev/memstore/internal/md5lanes"
)

// An Upload is an object on its way into a Store. It counts and hashes what is
// written; Commit compares both with what was announced. Close without Commit
// leaves no trace.
type Upload struct {
	// Info is the object as it will be. Type, DeleteAt, Meta and ModTime may be
	// changed until Commit.
	Info Info

	ctx  context.Context
	s    *Store
	w    Writer
	c    Cond
	v    versioning // of the container
	size int64      // announced, negative if not
	etag string     // announced, "" if not
	n    int64
	md5  hash.Hash
}

// Create starts an object at in.Path, to appear with the rest of in when it is
// committed. If in.Size is not negative so many bytes must come; if in.ETag is
// set it must be the MD5 of them. An empty in.Type is guessed from the name.
// c must hold at the commit; what is certain to fail then fails here, before
// any bytes are sent.
func (s *Store) Create(ctx context.Context, in Info, c Cond) (*Upload, error) {
	in.Meta = keepKind(in.Meta, nil)
	return s.create(ctx, in, c)
}

// create is Create for objects of any kind.
func (s *Store) create(ctx context.Context, in Info, c Cond) (*Upload, error) {
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
	var v versioning
	if c.Quota, v, err = s.admit(ctx, in.Path, in.Size, c); err != nil {
		w.Close()
		return nil, Wrap("put", in.Path, err)
	}
	return &Upload{Info: in, ctx: ctx, s: s, w: w, c: c, v: v, size: in.Size, etag: in.ETag, md5: md5.New()}, nil
}

// Write takes the next bytes. More than were announced is ErrTooLarge.
func (u *Upload) Write(p []byte) (int, error) {
	n, err := u.store(p)
	u.md5.Write(p[:n])
	return n, err
}

// store writes bytes that are hashed elsewhere.
func (u *Upload) store(p []byte) (int, error) {
	if u.size >= 0 && u.n+int64(len(p)) > u.size {
		return 0, Wrap("put", u.Info.Path, ErrTooLarge)
	}
	n, err := u.w.Write(p)
	u.n += int64(n)
	return n, Wrap("put", u.Info.Path, err)
}

// hashing counts the uploads whose bytes are being hashed. One alone need not
// wait for others to be hashed with.
var hashing atomic.Int32

// pieceSize is how much of a body is read, written and hashed at a time.
const pieceSize = 256 << 10

// A piece of a body, while it is written and hashed at the same time.
type piece struct {
	buf   [pieceSize]byte
	n     int
	err   error        // that the reading of it ended with
	users atomic.Int32 // who still look at it
}

var pieces = sync.Pool{New: func() any { return new(piece) }}

func (p *piece) bytes() []byte { return p.buf[:p.n] }

// leave gives the piece back when the last of its users has left.
func (p *piece) leave() {
	if p.users.Add(-1) == 0 {
		pieces.Put(p)
	}
}

// ReadFrom takes bytes from r until it ends. Reading, writing and hashing each
// go on by themselves, some pieces apart: hashing takes about as long as all
// the rest, so it must neither wait nor be waited for.
func (u *Upload) ReadFrom(r io.Reader) (int64, error) {
	if u.size >= 0 && u.size-u.n <= pieceSize {
		return u.readSmall(r)
	}
	full, stop := make(chan *piece, 1), make(chan struct{})
	go func() {
		defer close(full)
		for err := error(nil); err == nil; {
			p := pieces.Get().(*piece)
			p.n, err = fill(p.buf[:], r)
			p.err = err
			p.users.Store(1)
			select {
			case full <- p:
			case <-stop:
				p.leave()
				return
			}
		}
	}()
	written, hashed := make(chan *piece, 3), make(chan struct{})
	go func() {
		defer close(hashed)
		hashing.Add(1)
		defer hashing.Add(-1)
		for p := range written {
			if hashing.Load() > 1 {
				md5lanes.Write(u.md5, p.bytes())
			} else {
				u.md5.Write(p.bytes())
			}
			p.leave()
		}
	}()
	var total int64
	var failed error
	for p := range full {
		if failed == nil {
			p.users.Add(1)
			written <- p
			var n int
			n, failed = u.store(p.bytes())
			total += int64(n)
			if failed != nil {
				close(stop)
			} else if p.err != io.EOF {
				failed = p.err // nil, or what ends the reading
			}
		}
		p.leave()
	}
	close(written)
	<-hashed
	return total, failed
}

// readSmall reads a body that fits one buffer, on the caller's own goroutine.
func (u *Upload) readSmall(r io.Reader) (int64, error) {
	p := pieces.Get().(*piece)
	defer pieces.Put(p)
	var total int64
	for {
		n, err := fill(p.buf[:], r)
		if n > 0 {
			n, werr := u.Write(p.buf[:n])
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
	in, c := u.Info, u.c
	u.v.apply(&in, &c)
	in, err := u.w.Commit(ctx, in, c)
	if err != nil {
		return Info{}, Wrap("put", p, err)
	}
	u.s.tell(OpPut, p, in.Version, in.ModTime)
	return in, nil
}

// Close ends the upload; without a successful Commit before, it leaves no
// trace.
func (u *Upload) Close() error { return u.w.Close() }

// Copy makes to.Path an object with the bytes of from, and Type, DeleteAt and
// Meta of to. If from.Version is not 0 the source must still be of that
// version. Where the Backend cannot copy by itself the bytes pass through here,
// and so do those of a large object, of which the copy is none.
func (s *Store) Copy(ctx context.Context, from, to Info, c Cond) (Info, error) {
	if err := CheckName(to.Path); err != nil {
		return Info{}, Wrap("copy", to.Path, err)
	}
	if err := CheckMeta(to.Path, to.Meta); err != nil {
		return Info{}, Wrap("copy", to.Path, err)
	}
	for want, failed := from.Version, error(nil); ; {
		source, err := s.Stat(ctx, from.Path)
		if err != nil {
			return Info{}, Wrap("copy", from.Path, err)
		}
		if want != 0 && source.Version != want {
			return Info{}, Wrap("copy", from.Path, ErrPrecondition)
		}
		if failed != nil && source.Version == from.Version {
			return Info{}, failed // so it was not the source that changed
		}
		in, err := s.copySeen(ctx, source, to, c)
		if !errors.Is(err, ErrPrecondition) || want != 0 || ctx.Err() != nil {
			return in, err
		}
		from.Version, failed = source.Version, err
	}
}

// copySeen copies an object of the version that was looked at.
func (s *Store) copySeen(ctx context.Context, from, to Info, c Cond) (Info, error) {
	var kind Meta
	if from.Large == nil {
		kind = withID(from.Meta, false) // it has one if what is stored is asked for
	}
	to.Meta = keepKind(to.Meta, kind)
	if from.Large == nil {
		in, err := s.copyWithin(ctx, from, to, c)
		if !errors.Is(err, errors.ErrUnsupported) {
			return in, Wrap("copy", to.Path, err)
		}
	}
	r, in, err := s.Open(ctx, from.Path, All)
	if err != nil {
		return Info{}, Wrap("copy", from.Path, err)
	}
	defer r.Close()
	if in.Version != from.Version {
		return Info{}, Wrap("copy", from.Path, ErrPrecondition)
	}
	to.Size, to.ETag = in.Size, ""
	up, err := s.create(ctx, to, c)
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
	var home Info
	var err error
	if c.Quota, home, _, err = s.room(ctx, to.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, err // a missing container is for the call below to tell, which a guard judges
	}
	versioningOf(home.Meta).apply(&to, &c)
	in, err := copier.Copy(ctx, from, to, c)
	if id, _ := askedVersion(ctx); id != "" && (errors.Is(err, ErrPrecondition) || errors.Is(err, fs.ErrNotExist)) {
		// Who may see it, and put the copy, was judged just now.
		if from.Path, _, err = s.versionAt(ctx, from.Path, id); err == nil {
			in, err = copier.Copy(ownEyes(ctx), from, to, c)
		}
	}
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
	var home Info
	if c.Quota, home, _, err = s.room(ctx, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, Wrap("move", to, err)
	}
	if from != to {
		keeps, err := s.keeps(ctx, home, from)
		if err != nil {
			return Info{}, Wrap("move", from, err)
		}
		if keeps {
			// A version stays where it was, so what goes elsewhere is another.
			return s.moveByCopy(ctx, from, to, c)
		}
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
	ctx = Unfollowed(AsStored(ctx)) // it stays what it is
	old, err := s.Stat(ctx, from)
	if err != nil || from == to {
		return old, err
	}
	next := old
	next.Path = to
	if c.Retype {
		next.Type = TypeAfter(old.Type, from, to)
	}
	in, err := s.Copy(ctx, old, next, c)
	if err != nil {
		return Info{}, err
	}
	return in, s.Remove(ctx, from, Cond{Version: old.Version})
}
