package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"

	"memstore.dev/memstore/storage"
)

// table says by which words of the operating system's an error is known to
// those who serve files. It is asked from top to bottom.
var table = []struct{ err, as error }{
	{fs.ErrNotExist, fs.ErrNotExist},
	{storage.ErrNotEmpty, syscall.ENOTEMPTY},
	{syscall.ENOTEMPTY, syscall.ENOTEMPTY}, // which is also an fs.ErrExist
	{fs.ErrExist, fs.ErrExist},
	{storage.ErrPrecondition, fs.ErrExist}, // what O_EXCL found
	{fs.ErrPermission, fs.ErrPermission},
	{syscall.EISDIR, syscall.EISDIR},
	{syscall.ENOTDIR, syscall.ENOTDIR},
	{storage.ErrLink, syscall.ELOOP},
	{storage.ErrQuota, syscall.EDQUOT},
	{storage.ErrNoSpace, syscall.ENOSPC},
	{storage.ErrTooLarge, syscall.EFBIG},
	{fs.ErrClosed, fs.ErrClosed},
	{fs.ErrInvalid, fs.ErrInvalid},
	{syscall.EINVAL, fs.ErrInvalid},
	{errors.ErrUnsupported, errors.ErrUnsupported},
	{context.Canceled, context.Canceled},
	{context.DeadlineExceeded, context.DeadlineExceeded},
}

// failure is err for whoever called op on name: a PathError without a word of
// what is beneath. nil stays nil, io.EOF stays itself.
func failure(op, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) && e.Path == name {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: known(err)}
}

func known(err error) error {
	if r := (*storage.Refusal)(nil); errors.As(err, &r) {
		return &explained{text: r.Text, kind: known(r.Unwrap())}
	}
	if e := (*explained)(nil); errors.As(err, &e) {
		return e
	}
	if errors.Is(err, storage.ErrTakenOver) {
		return &explained{text: "the upload goes on in another connection", kind: syscall.EIO}
	}
	if errors.Is(err, storage.ErrSegment) {
		return &explained{text: "a part of the file is missing, or not what it was", kind: syscall.EIO}
	}
	for _, row := range table {
		if errors.Is(err, row.err) {
			return row.as
		}
	}
	return &unexplained{err}
}

// retitle is an error of one operation that was done for another.
func retitle(op, name string, err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return &fs.PathError{Op: op, Path: name, Err: e.Err}
	}
	return failure(op, name, err)
}

// An explained error has a text that is meant for the user.
type explained struct {
	text string
	kind error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.kind }

// ClientText is the sentence to show the user, instead of a door's own words
// for this kind of error.
func (e *explained) ClientText() string { return e.text }

// An unexplained error is one that users can do nothing about. Its text tells
// them no more than that; the cause is for the log, to be found by unwrapping.
type unexplained struct{ cause error }

func (e *unexplained) Error() string   { return syscall.EIO.Error() }
func (e *unexplained) Unwrap() []error { return []error{syscall.EIO, e.cause} }
