package ftp

// An [afero.Fs] and the files it opens may be able to do more than afero asks.
// The interfaces here are found by assertion; where one is missing the server
// does without, as each says. They use standard types only, so that a filesystem
// can have the methods without knowing this package.

// A SpaceReporter is an Fs that knows how much may be kept in it, in bytes: AVBL
// and ALLO are answered from it. Without it AVBL is refused, and ALLO agrees to
// anything.
type SpaceReporter interface {
	StatVFS(path string) (total, free uint64, err error)
}

// A Hasher is an Fs that may have the hash of a file at hand: algorithm is
// "md5", "sha1", "sha256", "sha512" or "crc32", the answer is in lower-case
// hexadecimal. It must not compute: a hash that is not kept is an error
// (errors.ErrUnsupported), and then the server reads the file.
type Hasher interface {
	Hash(path, algorithm string) (string, error)
}

// A DirRemover is an Fs that can remove an empty directory, and only that, in
// one step. Without it, RMD looks before it removes.
type DirRemover interface {
	RemoveDir(path string) error
}

// A FileRemover is an Fs that can remove a file, and only that, in one step.
// Without it, DELE looks before it removes.
type FileRemover interface {
	RemoveFile(path string) error
}

// An Aborter is a file that must know when a transfer failed: the line dropped,
// the client asked for it, the session was cut. Close follows; what was written
// must not become visible then, but may be kept for its owner to resume. An Fs
// whose files lack it shows what had arrived.
type Aborter interface {
	TransferError(err error)
}

// An Explainer is an error whose text is meant for the client, in place of the
// words of this package's own table; errors.As finds it.
type Explainer interface {
	error
	ClientText() string
}

// A Discarder is a file open for writing that can be closed as though it had
// never been opened: nothing becomes visible, nothing is kept. It is for uploads
// whose data connection never came.
type Discarder interface {
	Discard() error
}
