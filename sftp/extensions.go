package sftp

// An [afero.Fs] and the files it opens may be able to do more than afero asks.
// The interfaces here are found by assertion; where one is missing the server
// does without, more slowly or not at all, as each says. They use standard types
// only, so that a filesystem can have the methods without knowing this package.

// A SpaceReporter is an Fs that knows how much may be kept in it: statvfs and
// df are answered from it, and refused without. Both numbers are bytes.
type SpaceReporter interface {
	StatVFS(path string) (total, free uint64, err error)
}

// A Copier is an Fs that can copy a file without moving its bytes through the
// server. The copy appears whole, in place of a file that was there, and a copy
// of a directory is refused. Without it, copy-data reads and writes.
type Copier interface {
	Copy(from, to string) error
}

// A Hasher is an Fs that may have the hash of a file at hand: algorithm is
// "md5", "sha1", "sha256", "sha384" or "sha512", the answer is in lower-case
// hexadecimal. It must not compute: a hash that is not kept is an error
// (errors.ErrUnsupported), and then the server reads the file.
type Hasher interface {
	Hash(path, algorithm string) (string, error)
}

// A DirRemover is an Fs that can remove an empty directory, and only that, in
// one step. Without it, Rmdir looks before it removes. The method is also what
// ftpserverlib looks for.
type DirRemover interface {
	RemoveDir(path string) error
}

// An Aborter is a file that must know when a transfer failed: the line dropped,
// the session was cut, or the client said that what it sent is not the file.
// Close follows; what was written must not become visible then, but may be kept
// for its owner to resume. The method is what pkg/sftp and ftpserverlib call too.
type Aborter interface {
	TransferError(err error)
}

// A Discarder is a file open for writing that can be closed as though it had
// never been opened: nothing becomes visible, nothing is kept. copy-data needs
// it to make use of a Copier, as the client has opened the target by then.
type Discarder interface {
	Discard() error
}

// An Explainer is an error whose text is meant for the client, in place of the
// words of this package's own table; errors.As finds it.
type Explainer interface {
	error
	ClientText() string
}
