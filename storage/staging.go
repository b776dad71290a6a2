package storage

import (
	"context"
	"crypto/md5"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Staging, so that one stray offset cannot make a file that no
// disk holds and no hash gets through.
const (
	maxStaged = 5 << 40 // bytes of an object
	maxGap    = 1 << 30 // bytes a write may leave out beyond the size so far
)

// A Staging is an object on its way into a Store whose bytes come in any order,
// and may be read back, cut off and kept for another day. All methods may be
// called concurrently. Close without Commit or Keep leaves no trace.
//
// Bytes are hashed while more of them arrive: a goroutine follows the frontier,
// before which all is written, and reads behind it. So a Commit has nothing
// left to do for bytes that came once and from the first to the last, nearly
// in order. What is rewritten behind the hash costs reading all of it again.
type Staging struct {
	// Info is the object as it will be. Type, DeleteAt, Meta and ModTime may be
	// changed until Commit; an ETag that is set is compared. The fields are for
	// who commits, and not guarded.
	Info Info

	ctx     context.Context // of Stage: for the quotas that are read as it grows
	s       *Store
	g       Stage
	key     string
	c       Cond
	resumed bool

	gate  sync.RWMutex           // held to write; held alone to end, or change the shape
	ended error                  // what ended it, under gate
	note  atomic.Pointer[[]byte] // apart from gate: others look at it meanwhile

	mu        sync.Mutex
	track     track // what is written
	limit     int64 // what quotas allowed it to grow to when last asked; negative for no bound
	sum       hash.Hash
	hashed    int64 // of these bytes
	dirty     bool  // some of them have changed since
	rewritten bool  // something was written, or is now, that had been before
	hashing   bool  // by a goroutine
	idle      *sync.Cond
	checks    checkpoints
}

// Stage starts an object at in.Path whose bytes come in any order, or opens
// what was kept under key. An empty key cannot be kept; one that is open
// already is fs.ErrExist. As with Create c must hold at the commit, and what is
// certain to fail then fails here.
//
// Where the Backend cannot stage, the bytes go to a temporary file, and into
// the Backend at the commit; nothing can be kept then.
func (s *Store) Stage(ctx context.Context, in Info, key string, c Cond) (*Staging, error) {
	if err := CheckName(in.Path); err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	if err := CheckMeta(in.Path, in.Meta); err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	g, err := s.stage(ctx, in.Path, key)
	if err != nil {
		return nil, Wrap("put", in.Path, err)
	}
	up := &Staging{Info: in, ctx: ctx, s: s, g: g, key: key, c: c, sum: md5.New()}
	up.idle = sync.NewCond(&up.mu)
	if up.limit, err = s.allowance(ctx, in.Path, in.Size, c); err != nil {
		if g.Note() == nil {
			g.Close()
		} else {
			g.Keep(g.Note())
		}
		return nil, Wrap("put", in.Path, err)
	}
	up.resume()
	s.live.add(up)
	return up, nil
}

func (s *Store) stage(ctx context.Context, p Path, key string) (Stage, error) {
	if st, ok := s.b.(Stager); ok {
		g, err := st.Stage(ctx, p, key)
		if !errors.Is(err, errors.ErrUnsupported) {
			return g, err
		}
	}
	return s.spool(ctx, p)
}

// allowance is how large an object at p may grow, as quotas and what they
// count stand now; negative if there is no bound.
func (s *Store) allowance(ctx context.Context, p Path, size int64, c Cond) (int64, error) {
	q, _, err := s.admit(ctx, p, size, c)
	if err != nil || q == nil {
		return -1, err
	}
	_, container, account, err := s.room(ctx, p)
	if err != nil {
		return -1, err
	}
	old, err := s.b.Stat(ownEyes(ctx), p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return -1, err
	}
	limit := int64(-1)
	for _, b := range []struct{ bound, have int64 }{{q.ContainerBytes, container.Size}, {q.AccountBytes, account.Size}} {
		if b.bound < 0 {
			continue
		}
		// What does not grow a total is allowed, though it be over its bound.
		if left := max(b.bound-b.have, 0) + old.Size; limit < 0 || left < limit {
			limit = left
		}
	}
	return limit, nil
}

// Resumed reports whether the stage was opened with what had been kept.
func (u *Staging) Resumed() bool { return u.resumed }

// Note is the caller's note about the stage: what SetNote said last, also
// before it was kept.
func (u *Staging) Note() []byte {
	if n := u.note.Load(); n != nil {
		return *n
	}
	return nil
}

// SetNote replaces the note that the stage will be kept with.
func (u *Staging) SetNote(note []byte) { u.note.Store(&note) }

// Size is the offset behind the last byte.
func (u *Staging) Size() int64 { return u.g.Size() }

// Whole reports whether every byte up to Size was written.
func (u *Staging) Whole() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.track.frontier >= u.g.Size()
}

// ReadAt reads what was written; a gap reads as zeros.
func (u *Staging) ReadAt(p []byte, off int64) (int, error) {
	u.gate.RLock()
	defer u.gate.RUnlock()
	if u.ended != nil {
		return 0, Wrap("put", u.Info.Path, u.ended)
	}
	n, err := u.g.ReadAt(p, off)
	if err != io.EOF {
		err = Wrap("put", u.Info.Path, err)
	}
	return n, err
}

// WriteAt writes where it is told. It waits for nothing but the hash, if that
// has fallen far behind. A write beyond the quotas is ErrQuota, and one that
// leaves out more than 1 GiB is ErrTooLarge.
func (u *Staging) WriteAt(p []byte, off int64) (int, error) {
	n, err := u.writeAt(p, off)
	return n, Wrap("put", u.Info.Path, err)
}

func (u *Staging) writeAt(p []byte, off int64) (int, error) {
	u.gate.RLock()
	defer u.gate.RUnlock()
	if u.ended != nil {
		return 0, u.ended
	}
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off > u.g.Size()+maxGap {
		return 0, ErrTooLarge
	}
	if err := u.mayGrow(off + int64(len(p))); err != nil {
		return 0, err
	}
	u.writes(off)
	n, err := u.g.WriteAt(p, off)
	if n > 0 {
		u.wrote(off, off+int64(n))
	}
	return n, err
}

// mayGrow judges by the quotas, which are read again before they are said to
// be exceeded.
func (u *Staging) mayGrow(size int64) error {
	if size > maxStaged || size < 0 {
		return ErrTooLarge
	}
	u.mu.Lock()
	over := u.limit >= 0 && size > u.limit
	u.mu.Unlock()
	if !over || size <= u.g.Size() {
		return nil
	}
	limit, err := u.s.allowance(u.ctx, u.Info.Path, -1, Cond{})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limit = limit
	if limit >= 0 && size > limit {
		return ErrQuota
	}
	return nil
}

// Truncate makes the object of that size. What it grows by reads as zeros.
func (u *Staging) Truncate(size int64) error {
	u.gate.Lock()
	defer u.gate.Unlock()
	if u.ended != nil {
		return Wrap("put", u.Info.Path, u.ended)
	}
	if err := u.mayGrow(size); err != nil {
		return Wrap("put", u.Info.Path, err)
	}
	return Wrap("put", u.Info.Path, u.truncate(size))
}

// truncate is called with the gate held alone.
func (u *Staging) truncate(size int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settle()
	if err := u.g.Truncate(size); err != nil {
		return err
	}
	u.track.cut(size)
	switch {
	case size == 0:
		u.sum.Reset()
		u.hashed, u.dirty = 0, false
	case size < u.hashed:
		u.dirty = true
	}
	return nil
}

// Load makes the bytes of an object, and nothing else, those of the stage. It
// returns the object's Info.
func (u *Staging) Load(ctx context.Context, from Path) (Info, error) {
	in, err := u.load(ctx, from)
	return in, Wrap("open", from, err)
}

func (u *Staging) load(ctx context.Context, from Path) (Info, error) {
	in, err := u.s.Stat(ctx, from) // which says also whether who asks may read it
	if err != nil {
		return Info{}, err
	}
	if err := u.Truncate(0); err != nil {
		return Info{}, err
	}
	if err := u.mayGrow(in.Size); err != nil {
		return Info{}, err
	}
	if c, ok := u.g.(Cloner); ok && in.Large == nil {
		u.gate.RLock()
		err := u.ended
		if err == nil {
			err = c.Clone(ctx, in)
		}
		if err == nil {
			u.loaded(in)
		}
		u.gate.RUnlock()
		if !errors.Is(err, errors.ErrUnsupported) {
			return in, err
		}
	}
	r, in, err := u.s.Open(ctx, from, All)
	if err != nil {
		return Info{}, err
	}
	defer r.Close()
	_, err = io.Copy(io.NewOffsetWriter(u, 0), r)
	return in, err
}

// Commit makes the object appear. After an error the stage is as it was, and
// may be kept.
func (u *Staging) Commit(ctx context.Context) (Info, error) {
	in, err := u.commit(ctx)
	return in, Wrap("put", u.Info.Path, err)
}

func (u *Staging) commit(ctx context.Context) (Info, error) {
	u.gate.Lock()
	defer u.gate.Unlock()
	if u.ended != nil {
		return Info{}, u.ended
	}
	in := u.Info
	if err := CheckMeta(in.Path, in.Meta); err != nil {
		return Info{}, err
	}
	sum, err := u.finish(ctx)
	if err != nil {
		return Info{}, err
	}
	if in.ETag != "" && in.ETag != sum {
		return Info{}, ErrChecksum
	}
	in.ETag, in.Size = sum, u.g.Size()
	in.Meta = u.withHash(keepKind(in.Meta, nil), in.Size)
	if in.Type == "" {
		in.Type = TypeByName(in.Path.Object)
	}
	c := u.c
	var home Info
	if c.Quota, home, _, err = u.s.room(ctx, in.Path); err != nil {
		return Info{}, err
	}
	versioningOf(home.Meta).apply(&in, &c)
	in, err = u.g.Commit(ctx, in, c)
	if err != nil {
		return Info{}, err
	}
	u.end(fs.ErrClosed)
	u.s.tell(OpPut, in.Path, in.Version, in.ModTime)
	return in, nil
}

// kept is what a stage is kept with: the state of its hash, and the note of
// whoever staged it.
type kept struct {
	Format int    `json:"format"`
	Hashed int64  `json:"hashed,omitempty"`
	MD5    []byte `json:"md5,omitempty"` // state over so many bytes, as crypto/md5 marshals it
	Note   []byte `json:"note,omitempty"`
}

// Keep puts what arrived without a gap aside, durably, under the key, and ends
// the Staging. Where there is a quota, what is kept may come to as much again;
// more is ErrQuota.
func (u *Staging) Keep() error { return u.keep(fs.ErrClosed) }

func (u *Staging) keep(end error) error {
	u.gate.Lock()
	defer u.gate.Unlock()
	if u.ended != nil {
		return Wrap("keep", u.Info.Path, u.ended)
	}
	u.mu.Lock()
	frontier, bounded := u.track.frontier, u.limit >= 0
	u.mu.Unlock()
	if bounded {
		if err := u.s.mayKeep(u.ctx, u.Info.Path, frontier); err != nil {
			return Wrap("keep", u.Info.Path, err)
		}
	}
	if frontier < u.g.Size() {
		if err := u.truncate(frontier); err != nil {
			return Wrap("keep", u.Info.Path, err)
		}
	}
	k := kept{Format: 1, Note: u.Note()}
	u.mu.Lock()
	u.settle()
	if !u.dirty {
		if state, err := u.sum.(encoding.BinaryMarshaler).MarshalBinary(); err == nil {
			k.Hashed, k.MD5 = u.hashed, state
		}
	}
	u.mu.Unlock()
	note, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("a note that cannot be written: %w", err)
	}
	if err := u.g.Keep(note); err != nil {
		return Wrap("keep", u.Info.Path, err)
	}
	u.end(end)
	return nil
}

// mayKeep judges whether so much more may be kept of objects-to-be at p, so that
// what never becomes an object is not beyond all quotas.
func (s *Store) mayKeep(ctx context.Context, p Path, size int64) error {
	ctx = ownEyes(context.WithoutCancel(ctx)) // what was cut off is kept
	q, _, _, err := s.room(ctx, p)
	if err != nil || q == nil {
		return err
	}
	account, container := size, size
	for k, err := range s.Staged(ctx, "") {
		switch {
		case err != nil:
			return err
		case k.Open || k.Path.Account != p.Account:
			continue
		case k.Path.Container == p.Container:
			container += k.Size
		}
		account += k.Size
	}
	if q.ContainerBytes >= 0 && container > q.ContainerBytes || q.AccountBytes >= 0 && account > q.AccountBytes {
		return ErrQuota
	}
	return nil
}

// resume takes up what was kept.
func (u *Staging) resume() {
	note := u.g.Note()
	if note == nil {
		return
	}
	var k kept
	u.resumed = true
	u.mu.Lock()
	defer u.mu.Unlock()
	u.track.frontier = u.g.Size()
	if json.Unmarshal(note, &k) == nil && k.Format == 1 {
		u.SetNote(k.Note)
		if k.MD5 != nil && k.Hashed <= u.track.frontier && u.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(k.MD5) == nil {
			u.hashed = k.Hashed
		} else {
			u.sum.Reset()
		}
	}
	u.follow()
}

// Close ends the stage; without a successful Commit or Keep before, it leaves
// no trace, neither of what was kept before.
func (u *Staging) Close() error {
	u.gate.Lock()
	defer u.gate.Unlock()
	if u.ended == nil {
		u.end(fs.ErrClosed)
	}
	return u.g.Close()
}

// end is called with the gate held alone.
func (u *Staging) end(why error) {
	u.ended = why
	u.mu.Lock()
	u.settle()
	u.mu.Unlock()
	u.checks.running.Wait()
	u.s.live.remove(u)
}

// ErrTakenOver is what meets whoever goes on with a stage that was taken over.
var ErrTakenOver = errors.New("taken over by a later upload")

// TakeOver ends the stage that is open under key and keeps what it has, so
// that it can be opened anew: its client has come back while the connection
// that he lost is not known to be dead. It is fs.ErrNotExist if none is open.
func (s *Store) TakeOver(key string) error {
	u := s.live.find(key)
	if u == nil {
		return fs.ErrNotExist
	}
	if err := u.keep(ErrTakenOver); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// Staged yields what is kept under keys with this prefix, in order of key, and
// what is open, with the notes its callers gave it.
func (s *Store) Staged(ctx context.Context, prefix string) iter.Seq2[Kept, error] {
	return func(yield func(Kept, error) bool) {
		st, ok := s.b.(Stager)
		if !ok {
			return
		}
		for k, err := range st.Staged(ctx, prefix) {
			if errors.Is(err, errors.ErrUnsupported) {
				return
			}
			if err == nil {
				var with kept
				if json.Unmarshal(k.Note, &with) == nil {
					k.Note = with.Note
				}
				if u := s.live.find(k.Key); u != nil && k.Open {
					k.Note = u.Note()
				}
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}

// Forget drops what is kept under key; fs.ErrNotExist if nothing is, and
// fs.ErrExist if it is open.
func (s *Store) Forget(ctx context.Context, key string) error {
	st, ok := s.b.(Stager)
	if !ok {
		return fs.ErrNotExist
	}
	err := st.Forget(ctx, key)
	if errors.Is(err, errors.ErrUnsupported) {
		return fs.ErrNotExist
	}
	return err
}

// SweepStaged drops what was kept before a time, whoever kept it, and returns
// how many stages that were.
func (s *Store) SweepStaged(ctx context.Context, before time.Time) (n int, err error) {
	ctx = ownEyes(ctx)
	var old []string
	for k, err := range s.Staged(ctx, "") {
		if err != nil {
			return 0, err
		}
		if !k.Open && k.ModTime.Before(before) {
			old = append(old, k.Key)
		}
	}
	for _, key := range old {
		switch err := s.Forget(ctx, key); {
		case err == nil:
			n++
		case !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist): // else somebody came before
			return n, err
		}
	}
	return n, nil
}

// stagings are those that are open under a key.
type stagings struct {
	mu    sync.Mutex
	byKey map[string]*Staging
}

func (l *stagings) add(u *Staging) {
	if u.key == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = map[string]*Staging{}
	}
	l.byKey[u.key] = u
}

func (l *stagings) remove(u *Staging) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey[u.key] == u {
		delete(l.byKey, u.key)
	}
}

func (l *stagings) find(key string) *Staging {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[key]
}
