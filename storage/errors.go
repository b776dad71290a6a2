package storage

import (
	"errors"
	"io/fs"
)

// Errors add to the vocabulary of io/fs: a missing path is fs.ErrNotExist, one
// in the way is fs.ErrExist, a refusal is fs.ErrPermission and a name or value
// that cannot be is fs.ErrInvalid; a power that is lacking is
// errors.ErrUnsupported. Ask with errors.Is.
var (
	ErrNotEmpty     = errors.New("not empty")
	ErrChecksum     = errors.New("checksum does not match")       // of what a client sent
	ErrPrecondition = errors.New("precondition failed")           // a Cond did not hold
	ErrRange        = errors.New("range not satisfiable")         //
	ErrTooLarge     = errors.New("too large")                     //
	ErrQuota        = errors.New("quota exceeded")                //
	ErrNoArchive    = errors.New("nowhere to keep what is there") // a Keep names a container that is missing
	ErrNoSpace      = errors.New("no space left in the store")    // nothing was stored; deletes still work
	ErrDamaged      = errors.New("stored data is damaged")        // it failed its checksum, or is missing
	ErrGap          = errors.New("journal does not reach back")   //
	ErrIncomplete   = errors.New("body ended early")              // fewer bytes came than were announced
	ErrUnavailable  = errors.New("store is not accepting work")   // it is closing, or stopped after a fault
)

// Error records what was being done to which path when Err happened.
type Error struct {
	Op   string // "put", "stat", "list", …
	Path Path
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path.String() + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Wrap returns err as an Error, or nil if err is nil. An err that records the
// same path already is returned as it is.
func Wrap(op string, p Path, err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) && e.Path == p {
		return err
	}
	return &Error{op, p, err}
}

// A Refusal is an error whose sentence is meant for the client's eyes, unlike
// every other error text: it names the rule that was broken in Swift's words
// and holds nothing but what the client said itself. Err is the kind of error
// (fs.ErrInvalid unless set), for errors.Is.
type Refusal struct {
	Text string // "Object name length of 1025 longer than 1024"
	Err  error
}

func (r *Refusal) Error() string { return r.Text }

func (r *Refusal) Unwrap() error {
	if r.Err == nil {
		return fs.ErrInvalid
	}
	return r.Err
}
