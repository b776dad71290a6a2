package storage

import (
	"context"
	"io"
	"iter"
	"time"
)

// A Stager keeps objects-to-be whose bytes come in any order, out of sight of
// everybody else, also over the end of a connection or of the process. It is
// an extra power of a Backend; the file doors stand on it.
type Stager interface {
	// Stage opens what was kept under key, or begins anew if nothing was or key
	// is empty. What it becomes is an object at p, whose container must exist.
	// A key that is open already is fs.ErrExist.
	//
	// What was kept is found again as it was kept, should the process die while
	// it is open, until it is written or truncated below the size it was kept
	// with, or ends; so is what a Checkpointer has made safe.
	Stage(ctx context.Context, p Path, key string) (Stage, error)

	// Staged yields what is kept under keys with this prefix, in order of key;
	// also what is open at the moment.
	Staged(ctx context.Context, prefix string) iter.Seq2[Kept, error]

	// Forget drops what is kept under key; fs.ErrNotExist if nothing is, and
	// fs.ErrExist if it is open.
	Forget(ctx context.Context, key string) error
}

// A Stage is an object-to-be. ReadAt and WriteAt may be called concurrently;
// a gap between what was written reads as zeros. Close without a successful
// Commit or Keep before leaves no trace.
type Stage interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	Size() int64
	Truncate(size int64) error

	// Note is what Keep was given when the stage was kept, nil if it is new.
	Note() []byte

	// Commit makes the object appear as Writer.Commit does; in.ETag is the MD5
	// of the bytes, which the caller has hashed. Its cost does not grow with
	// the bytes if they were written from the first to the last.
	Commit(ctx context.Context, in Info, c Cond) (Info, error)

	// Keep makes what was written durable under the key the stage was opened
	// with, beside a note of the caller's, and ends the stage.
	Keep(note []byte) error
}

// A Cloner is a Stage that can take its bytes from an object without moving
// them through this process; an extra power of a Stage.
type Cloner interface {
	// Clone makes the bytes of an object, of that version if from.Version is
	// not 0 (else ErrPrecondition), those of the stage. Whether who asks may
	// read the object is judged by the caller.
	Clone(ctx context.Context, from Info) error
}

// Kept describes a stage that is kept or open.
type Kept struct {
	Key     string
	Path    Path // where it is to become an object
	Size    int64
	ModTime time.Time // when it was kept, or last written
	Note    []byte
	Open    bool // somebody has it open; the note is that of the last time it was kept
}

// A TreeMover renames many objects at once without moving bytes.
type TreeMover interface {
	// MoveTree renames from to to within one account and returns how many
	// objects moved with it. Both are containers, or both are prefixes of
	// object names: then every object whose name begins with from.Object has
	// that beginning replaced by to.Object. A target that exists, as a
	// container or as any object beneath the prefix, is fs.ErrExist; a source
	// with nothing beneath is fs.ErrNotExist. Others see the tree at one place
	// or the other, never a part of it at each.
	MoveTree(ctx context.Context, from, to Path) (int64, error)
}
