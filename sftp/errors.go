package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	pkgsftp "github.com/pkg/sftp"
	"github.com/spf13/afero"
)

// A status is what a client learns of an error: a code of the protocol, and
// words that hold nothing of the server's insides. pkg/sftp takes the code from
// what Unwrap returns and sends what Error returns.
type status struct {
	code error // one of pkgsftp.ErrSSHFx…
	text string
}

func (s *status) Error() string { return s.text }
func (s *status) Unwrap() error { return s.code }

// Statuses of this package's own.
var (
	errUnsupported  = &status{pkgsftp.ErrSSHFxOpUnsupported, "operation not supported"}
	errBadMessage   = &status{pkgsftp.ErrSSHFxBadMessage, "malformed request"}
	errBadHandle    = &status{pkgsftp.ErrSSHFxFailure, "no such handle"}
	errBadName      = &status{pkgsftp.ErrSSHFxFailure, "name is not valid UTF-8"}
	errTooManyOpen  = &status{pkgsftp.ErrSSHFxFailure, "too many open files"}
	errIsDirectory  = &status{pkgsftp.ErrSSHFxFailure, "is a directory"}
	errNotDirectory = &status{pkgsftp.ErrSSHFxFailure, "not a directory"}
	errNotEmpty     = &status{pkgsftp.ErrSSHFxFailure, "directory is not empty"}
	errExists       = &status{pkgsftp.ErrSSHFxFailure, "file exists"}
	errLost         = &status{pkgsftp.ErrSSHFxConnectionLost, "connection lost"}
	errInternal     = &status{pkgsftp.ErrSSHFxFailure, "internal error"}
)

// table is asked from top to bottom with errors.Is. ENOTEMPTY stands before
// fs.ErrExist because to the syscall package it is one.
var table = []struct {
	err error
	as  *status
}{
	{syscall.ENOTEMPTY, errNotEmpty},
	{fs.ErrNotExist, &status{pkgsftp.ErrSSHFxNoSuchFile, "no such file or directory"}},
	{fs.ErrPermission, &status{pkgsftp.ErrSSHFxPermissionDenied, "permission denied"}},
	{syscall.EROFS, &status{pkgsftp.ErrSSHFxPermissionDenied, "read-only"}},
	{fs.ErrExist, errExists},
	{syscall.EISDIR, errIsDirectory},
	{syscall.ENOTDIR, errNotDirectory},
	{syscall.EDQUOT, &status{pkgsftp.ErrSSHFxFailure, "quota exceeded"}},
	{syscall.ENOSPC, &status{pkgsftp.ErrSSHFxFailure, "no space left"}},
	{syscall.EFBIG, &status{pkgsftp.ErrSSHFxFailure, "file too large"}},
	{syscall.ENAMETOOLONG, &status{pkgsftp.ErrSSHFxFailure, "name too long"}},
	{syscall.EMFILE, errTooManyOpen},
	{errors.ErrUnsupported, errUnsupported},
	{fs.ErrInvalid, &status{pkgsftp.ErrSSHFxFailure, "invalid argument"}},
	{syscall.EINVAL, &status{pkgsftp.ErrSSHFxFailure, "invalid argument"}},
	{fs.ErrClosed, errBadHandle},
	{afero.ErrFileClosed, errBadHandle},
	{afero.ErrOutOfRange, &status{pkgsftp.ErrSSHFxFailure, "offset out of range"}},
	{context.Canceled, &status{pkgsftp.ErrSSHFxFailure, "interrupted"}},
	{context.DeadlineExceeded, &status{pkgsftp.ErrSSHFxFailure, "timed out"}},
	{os.ErrDeadlineExceeded, &status{pkgsftp.ErrSSHFxFailure, "timed out"}},
}

// toStatus is what the client may know of err; nil and io.EOF stay as they are.
// known is false if the table does not know err: then it is a fault of ours, or
// of what is beneath, and belongs into the log.
func toStatus(err error) (as error, known bool) {
	if err == nil {
		return nil, true
	}
	if errors.Is(err, io.EOF) {
		return io.EOF, true
	}
	if s, ok := errors.AsType[*status](err); ok {
		return s, true
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
			code = pkgsftp.ErrSSHFxFailure
		}
		return &status{code, printable(e.ClientText())}, true
	}
	return found, known
}

// lost says that it was the connection that failed, not the filesystem.
func lost(err error) error { return fmt.Errorf("%w: %w", errLost, err) }

// printable is text as one line that cannot move a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
