// Package storage holds what every part of Memstore agrees on: how accounts,
// containers and objects are named and described, what keeps them (Backend),
// and the Store, which adds to any Backend what must be the same whatever
// keeps the bytes.
//
// The verbs are those of the OpenStack Swift API: HEAD, GET of a listing, GET
// of content, PUT of content, PUT of a container, POST and DELETE.
package storage

import (
	"context"
	"io"
	"iter"
	"maps"
	"time"
)

// A Path names an account, a container or an object, depending on how many of
// its fields are filled in. Names are opaque bytes: "a//b", ".." and "a%2Fb"
// are ordinary object names, and never become paths of a file system.
type Path struct{ Account, Container, Object string }

// IsAccount reports whether p names an account.
func (p Path) IsAccount() bool { return p.Container == "" && p.Object == "" }

// IsContainer reports whether p names a container.
func (p Path) IsContainer() bool { return p.Container != "" && p.Object == "" }

// IsObject reports whether p names an object.
func (p Path) IsObject() bool { return p.Object != "" }

// Parent is the container of an object, or the account of a container.
func (p Path) Parent() Path {
	if p.IsObject() {
		return Path{Account: p.Account, Container: p.Container}
	}
	return Path{Account: p.Account}
}

// String is the path as Swift writes it, "/AUTH_ann/pics/cat.jpg", unescaped.
func (p Path) String() string {
	s := "/" + p.Account
	if p.Container != "" {
		s += "/" + p.Container
	}
	if p.Object != "" {
		s += "/" + p.Object
	}
	return s
}

// Meta holds the headers kept with a path, under their canonical names
// (http.CanonicalHeaderKey): "X-Object-Meta-Color", "Cache-Control",
// "X-Container-Read". What is not a client's to see is kept under
// "X-…-Sysmeta-…" names, which no door lets in or out.
type Meta map[string]string

// Clone returns a copy that shares nothing with m; a nil Meta stays nil.
func (m Meta) Clone() Meta { return maps.Clone(m) }

// Info describes what a path names.
type Info struct {
	Path Path

	// Version is drawn from one sequence for the whole store and changes with
	// every change of an object's bytes or metadata, or of the metadata of a
	// container or account. Equal versions of a path mean equal content.
	Version uint64

	Size       int64 // bytes of an object, or of all objects beneath
	Objects    int64 // objects beneath a container or an account
	Containers int64 // containers beneath an account

	ETag string // MD5 of an object's bytes in lower-case hex
	Type string // content type of an object

	Created  time.Time // when an account or container was made, or an object's bytes were put
	ModTime  time.Time // last change of bytes or metadata; multiples of 10 µs, as X-Timestamp has
	DeleteAt time.Time // when an object ceases to be, in whole seconds; zero for never

	Meta Meta

	// Large is set by a Store if the object is a large one. Size and ETag are
	// those of the whole then, and ETag is no MD5 of bytes.
	Large *Large

	// Link is set by a Store if the object is a link, and described itself;
	// Linked if a link led to the object, so that Path is not what was asked for.
	Link   *Link
	Linked bool

	// Subdir marks an entry of a listing that stands for all names sharing a
	// prefix up to the delimiter. Only Path is set beside it.
	Subdir bool
}

// Expired reports whether the object's DeleteAt has come.
func (in *Info) Expired(now time.Time) bool {
	return !in.DeleteAt.IsZero() && !now.Before(in.DeleteAt)
}

// A Range is a stretch of an object's bytes. A negative Offset counts from the
// end (and if larger than the object means all of it); a negative Length runs
// to the end. All is the whole object.
type Range struct{ Offset, Length int64 }

// All is the Range of every byte.
var All = Range{0, -1}

// Resolve turns r into an offset and a length within an object of the given
// size. It fails with ErrRange if not one byte of the object is in r, unless r
// is All, which any object satisfies.
func (r Range) Resolve(size int64) (offset, length int64, err error) {
	if r == All {
		return 0, size, nil
	}
	if r.Offset < 0 {
		offset = max(size+r.Offset, 0)
	} else {
		offset = r.Offset
	}
	if offset >= size || r.Length == 0 {
		return 0, 0, ErrRange
	}
	length = size - offset
	if r.Length > 0 {
		length = min(length, r.Length)
	}
	return offset, length, nil
}

// A Cond is what must hold of the path at the very moment a change to it is
// made; else nothing changes and the change fails with ErrPrecondition, or
// with ErrQuota. The zero Cond always holds.
type Cond struct {
	Absent  bool   // nothing is there ("If-None-Match: *")
	Version uint64 // if not 0, this version is there
	Quota   *Quota // if not nil, the totals after the change stay within

	// Keep, if not nil, is no condition: it says what becomes of the object that
	// the change takes the place of, or removes. Commit, Copy, Move and Remove
	// heed it.
	Keep *Keep

	// Retype is no condition either: it says that a Move is a renaming by somebody
	// for whom names tell what a file is, so that a Type which was guessed from
	// the old name gives way to what the new one says; see TypeAfter.
	Retype bool
}

// A Keep has an object outlive the change that takes its place, or removes it,
// without its bytes being moved. Its functions are called within that change,
// so they must be quick and call nothing of the Backend's; they may be called
// for a change that is refused in the end.
type Keep struct {
	// Old, if not nil, is given what is there, expired or not, and returns it as
	// it is to be kept. Of the result Path, DeleteAt and Meta count; the rest
	// stays as it is, but for the Version. What is at that Path already is
	// replaced. If its container is not there the change fails with
	// ErrNoArchive. The zero Info lets go of what is there. What is expired can be
	// removed if it is kept so.
	Old func(old Info) Info

	// Counted says that what is kept counts among the bytes of the container it
	// was in, so that what takes its place is growth there.
	Counted bool

	// Mark, if not nil, has a removal leave an object without bytes somewhere:
	// it is given the time of the removal and returns that object's Path, Type
	// and Meta. Then also what is not there can be removed, if its container is.
	Mark func(at time.Time) Info
}

// A Quota bounds totals. A negative bound is none. A change that lowers or
// keeps a total is never refused for it.
type Quota struct {
	ContainerBytes   int64
	ContainerObjects int64
	AccountBytes     int64
}

// A Backend keeps accounts, containers and objects. Its verbs are those of the
// Swift API, each taking a path of any depth for which it makes sense. All
// methods may be called concurrently. Package storagetest holds the contract
// in executable form.
//
// A change is atomic: it is seen whole or not at all, in listings and totals
// too; and when the call has returned without an error it is durable (as
// durable as the backend can be) and seen by every call that begins later.
//
// A missing path is fs.ErrNotExist, and so is a path whose parent is missing.
// An object whose DeleteAt has passed is absent to every verb but List.
//
// A backend neither judges names nor limits; the Store does. It must keep any
// bytes, except NUL and the empty string, as a name, and containers' names
// contain no slash.
type Backend interface {
	// Stat describes a path, with its Meta. (HEAD)
	Stat(ctx context.Context, p Path) (Info, error)

	// List yields what lies directly beneath an account or a container, in
	// byte order of name, as it was at the moment the iteration began, and
	// stops after the first error it yields. Query tells which, and Query.Page
	// is the reference for the order and the rolling-up of names. (GET)
	List(ctx context.Context, p Path, q Query) iter.Seq2[Info, error]

	// Open returns a stretch of an object, and the Info of all of it. A reader
	// once open keeps reading the object as it was, also when it is
	// overwritten or removed; one that is an io.ReaderAt too reads anywhere
	// within the stretch, concurrently. If the range cannot be satisfied the
	// error is ErrRange and the Info is valid nevertheless. A byte that fails
	// its checksum is never returned: the read fails with ErrDamaged. (GET)
	Open(ctx context.Context, p Path, r Range) (io.ReadCloser, Info, error)

	// Create starts an object, which appears, whole, when the Writer is
	// committed. Its container must exist, and be the same at Commit: not one
	// that was made since under that name. Of in only the Path is binding:
	// Size is a hint for what room will be needed (negative if unknown), the
	// rest is what is known already. (PUT)
	Create(ctx context.Context, in Info) (Writer, error)

	// Make creates an account or a container with this metadata, and reports
	// whether it was absent before; if it was not, nothing changes. The
	// account of a container must exist. (PUT)
	Make(ctx context.Context, p Path, m Meta) (created bool, err error)

	// Update replaces the metadata of a path: all of Meta, and of an object
	// also DeleteAt, and Type unless in.Type is empty. (POST)
	Update(ctx context.Context, in Info, c Cond) (Info, error)

	// Remove deletes an object, or a container or account in which nothing is
	// left (else ErrNotEmpty). (DELETE)
	Remove(ctx context.Context, p Path, c Cond) error
}

// A Writer takes the bytes of one object. Close without a successful Commit
// leaves no trace of it, so "defer w.Close()" is right everywhere; Close after
// Commit does nothing. A Writer is not for concurrent use.
type Writer interface {
	io.WriteCloser

	// Commit makes the object appear with the bytes written so far, in place
	// of what was there. in gives the ETag of those bytes, Type, DeleteAt and
	// Meta as they are to be, and ModTime if it is not to be now; its Path and
	// Size are ignored. Commit returns the object's final Info.
	Commit(ctx context.Context, in Info, c Cond) (Info, error)
}

// The interfaces below are extra powers: what some backends can do better than
// by the seven verbs. A wrapper around a Backend implements them all, and
// answers errors.ErrUnsupported where the wrapped one does not; callers then
// take the long way.

// A Copier copies an object without moving its bytes through this process.
type Copier interface {
	// Copy makes to.Path an object with the bytes and ETag of from, and with
	// Type, DeleteAt and Meta of to. If from.Version is not 0 the source must
	// still be of that version, else ErrPrecondition. c is about to.Path.
	Copy(ctx context.Context, from, to Info, c Cond) (Info, error)
}

// A Mover renames an object, within or between containers of one account,
// without moving its bytes. Everything but the Version is kept, ModTime too, and
// the Type unless Cond.Retype says otherwise.
type Mover interface {
	Move(ctx context.Context, from, to Path, c Cond) (Info, error)
}

// An Expirer removes objects whose DeleteAt has come.
type Expirer interface {
	// Expire removes at most max objects that are due at now, the longest due
	// first, and returns their paths.
	Expire(ctx context.Context, now time.Time, max int) ([]Path, error)
}

// A Journal tells in order what has changed, durably: an entry is written in
// the same step as the change itself.
type Journal interface {
	// Changes yields the changes with a Version greater than after, oldest
	// first, up to the newest, or ErrGap if some of them are forgotten.
	Changes(ctx context.Context, after uint64) iter.Seq2[Change, error]
}

// A Change is something that happened to a path.
type Change struct {
	Op      Op
	Path    Path
	Version uint64
	Time    time.Time

	// Tree says that it happened to all objects whose names begin with the
	// Path's, or of a container to it and all in it.
	Tree bool
}

// An Op is a kind of Change.
type Op uint8

// The kinds of change, as the journal's format numbers them.
const (
	OpPut    Op = 1 + iota // an object's bytes, or a new container or account
	OpUpdate               // metadata
	OpRemove
)

func (o Op) String() string {
	switch o {
	case OpPut:
		return "put"
	case OpUpdate:
		return "update"
	case OpRemove:
		return "remove"
	case OpStale:
		return "stale"
	case OpDrop:
		return "drop"
	}
	return "unknown"
}
