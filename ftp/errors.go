package ftp

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/afero"
)

// A refusal is a reply that says no. As an error it is one whose text may go to
// the client.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// Refusals of this package's own.
var (
	errAborted     = &refusal{426, "transfer aborted"}
	errNoData      = &refusal{425, "cannot open data connection"}
	errPassive     = &refusal{425, "use PASV or EPSV first"}
	errLost        = &refusal{426, "data connection lost"}
	errStalled     = &refusal{426, "no data has moved for too long"}
	errInternal    = &refusal{451, "internal error"}
	errIsDirectory = &refusal{550, "is a directory"}
	errNotEmpty    = &refusal{550, "directory is not empty"}
	errOffset      = &refusal{554, "the file does not reach to where the transfer is to start"}
	errVanished    = &refusal{426, "control connection lost"}
	errShort       = &refusal{426, "fewer bytes have arrived than ALLO announced"}
)

// table is asked from top to bottom with errors.Is. ENOTEMPTY stands before
// fs.ErrExist because to the syscall package it is one.
var table = []struct {
	err error
	as  *refusal
}{
	{syscall.ENOTEMPTY, errNotEmpty},
	{fs.ErrNotExist, &refusal{550, "no such file or directory"}},
	{fs.ErrPermission, &refusal{550, "permission denied"}},
	{syscall.EROFS, &refusal{550, "read-only"}},
	{fs.ErrExist, &refusal{550, "file exists"}},
	{syscall.EISDIR, errIsDirectory},
	{syscall.ENOTDIR, &refusal{550, "not a directory"}},
	{syscall.EDQUOT, &refusal{552, "quota exceeded"}},
	{syscall.ENOSPC, &refusal{452, "no space left"}},
	{syscall.EFBIG, &refusal{552, "file too large"}},
	{syscall.ENAMETOOLONG, &refusal{553, "name too long"}},
	{syscall.EMFILE, &refusal{450, "too many open files"}},
	{errors.ErrUnsupported, &refusal{504, "not supported"}},
	{fs.ErrInvalid, &refusal{550, "invalid argument"}},
	{syscall.EINVAL, &refusal{550, "invalid argument"}},
	{afero.ErrOutOfRange, errOffset},
	{context.Canceled, errAborted},
	{context.DeadlineExceeded, &refusal{451, "timed out"}},
	{os.ErrDeadlineExceeded, errStalled},
}

// toRefusal is what the client may know of err. known is false if the table
// does not know err: then it is a fault of ours, or of what is beneath, and
// belongs into the log.
func toRefusal(err error) (as *refusal, known bool) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r, true
	}
	found := errInternal
	for _, row := range table {
		if errors.Is(err, row.err) {
			found, known = row.as, true
			break
		}
	}
	if e, ok := errors.AsType[Explainer](err); ok {
		code := found.code
		if !known {
			code = 550
		}
		return &refusal{code, e.ClientText()}, true
	}
	return found, known
}

// printable is text as part of one line, which can neither end a reply nor move
// a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
