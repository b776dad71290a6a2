package sftp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"memstore.dev/memstore/internal/door"
)

// An answer is what the filter does with an extension: it reads the request from
// body and returns what appends the data of a reply, or nil if success is all
// there is to say.
type answer func(h *handler, body *fields) (data func(b []byte) []byte, err error)

// extensions are what the server says it has. The first two are pkg/sftp's own.
var extensions = []struct {
	name, version string
	answer        answer
}{
	{"posix-rename@openssh.com", "1", nil},
	{"statvfs@openssh.com", "2", nil},
	{"fstatvfs@openssh.com", "2", (*handler).fstatvfs},
	{"fsync@openssh.com", "1", (*handler).fsync},
	{"limits@openssh.com", "1", (*handler).limits},
	{"copy-data", "1", (*handler).copyData},
	{"check-file", "1", (*handler).checkFile},
}

// answerer is the answer to an extension, or nil if the RequestServer has it or
// nobody does.
func answerer(name string) answer {
	switch name {
	case "check-file-handle":
		name = "check-file"
	case "check-file-name":
		return (*handler).checkName
	}
	for _, e := range extensions {
		if e.name == name {
			return e.answer
		}
	}
	return nil
}

// extended answers request id for an extension.
func (h *handler) extended(id uint32, name string, f answer, body *fields) []byte {
	data, err := func() (data func([]byte) []byte, err error) {
		defer h.guard(name, "", &err)
		return f(h, body)
	}()
	if body.bad {
		err = errBadMessage
	}
	if err != nil || data == nil {
		return statusPacket(id, err)
	}
	return packet(typeExtendedReply, func(b []byte) []byte {
		return data(binary.BigEndian.AppendUint32(b, id))
	})
}

func (h *handler) limits(*fields) (func([]byte) []byte, error) {
	return func(b []byte) []byte {
		for _, n := range []uint64{maxPacket, maxData, maxData, uint64(door.Limit(h.srv.MaxOpenFiles, 256))} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	}, nil
}

func (h *handler) fsync(body *fields) (func([]byte) []byte, error) {
	f, err := h.byHandle(body.string())
	if err != nil {
		return nil, err
	}
	return nil, f.inner.Sync()
}

func (h *handler) fstatvfs(body *fields) (func([]byte) []byte, error) {
	f, err := h.byHandle(body.string())
	if err != nil {
		return nil, err
	}
	s, err := h.space(h.pathOf(f))
	return func(b []byte) []byte {
		for _, n := range []uint64{s.Bsize, s.Frsize, s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree, s.Favail, s.Fsid, s.Flag, s.Namemax} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	}, err
}

// copyData copies from one open file to another. A whole file onto a fresh one,
// which is what clients ask for, is left to the filesystem if it can.
func (h *handler) copyData(body *fields) (func([]byte) []byte, error) {
	from, offset, length := body.string(), body.uint64(), body.uint64()
	to, at := body.string(), body.uint64()
	if body.bad {
		return nil, errBadMessage
	}
	src, err := h.byHandle(from)
	if err != nil {
		return nil, err
	}
	dst, err := h.byHandle(to)
	if err != nil {
		return nil, err
	}
	switch {
	case src.directory || dst.directory:
		return nil, errIsDirectory
	case dst.mode&(os.O_WRONLY|os.O_RDWR) == 0 || src.mode&os.O_WRONLY != 0:
		return nil, fs.ErrPermission
	case offset > 1<<62 || length > 1<<62 || at > 1<<62:
		return nil, fs.ErrInvalid
	case src == dst && (length == 0 || offset < at+length && at < offset+length):
		return nil, fs.ErrInvalid // onto itself
	}
	h.working.Add(1)
	defer h.working.Add(-1)
	op := Operation{Protocol: "sftp", Verb: "copy", Path: h.pathOf(src), Target: h.pathOf(dst), Began: time.Now()}
	op.Err = h.copyWhole(src, dst, offset, length, at)
	if errors.Is(op.Err, errors.ErrUnsupported) {
		op.Err = h.copyBytes(src, dst, int64(offset), int64(length), int64(at))
	}
	h.finish(op)
	return nil, reported(op.Err)
}

// copyWhole lets the filesystem copy, if the request is for no less than the
// file; errors.ErrUnsupported says that the bytes must be moved.
func (h *handler) copyWhole(src, dst *file, offset, length, at uint64) error {
	copier, ok := h.fs.(Copier)
	discarder, ok2 := dst.inner.(Discarder)
	if !ok || !ok2 || offset != 0 || at != 0 || dst.written.Load() != 0 || dst.appending || src.mode != os.O_RDONLY {
		return errors.ErrUnsupported
	}
	if length != 0 {
		info, err := src.inner.Stat()
		if err != nil {
			return err
		}
		if length < uint64(info.Size()) {
			return errors.ErrUnsupported
		}
	}
	if info, err := dst.inner.Stat(); err != nil || info.Size() != 0 {
		return errors.Join(err, errors.ErrUnsupported)
	}
	if err := copier.Copy(h.pathOf(src), h.pathOf(dst)); err != nil {
		return err
	}
	dst.settled = true
	return discarder.Discard()
}

func (h *handler) copyBytes(src, dst *file, offset, length, at int64) error {
	buf := make([]byte, maxData)
	for rest := length; length == 0 || rest > 0; {
		select {
		case <-h.gone:
			return errCut
		default:
		}
		p := buf
		if length != 0 {
			p = buf[:min(int64(len(buf)), rest)]
		}
		n, err := src.inner.ReadAt(p, offset)
		if _, werr := dst.inner.WriteAt(p[:n], at); werr != nil {
			return werr
		}
		offset, at, rest = offset+int64(n), at+int64(n), rest-int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFile hashes what an open file holds.
func (h *handler) checkFile(body *fields) (func([]byte) []byte, error) {
	f, err := h.byHandle(body.string())
	if err != nil {
		return nil, err
	}
	if f.directory {
		return nil, errIsDirectory
	}
	if f.mode&os.O_WRONLY != 0 {
		return nil, fs.ErrPermission
	}
	info, err := f.inner.Stat()
	if err != nil {
		return nil, err
	}
	return h.hashes(body, h.pathOf(f), info.Size(), f.inner, false)
}

// checkName hashes a file by name, or looks up its hash.
func (h *handler) checkName(body *fields) (func([]byte) []byte, error) {
	name := path.Join("/", body.string())
	if err := h.check(name); err != nil {
		return nil, err
	}
	f, err := h.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errIsDirectory
	}
	return h.hashes(body, name, info.Size(), f, true)
}

// hashes reads the rest of a check-file request, of which the file is known, and
// answers it: with one hash, or one for each block if the client names a size of
// blocks. kept says that a hash that is stored under the name is that of r.
func (h *handler) hashes(body *fields, name string, size int64, r io.ReaderAt, kept bool) (func([]byte) []byte, error) {
	wanted, start, length, block := body.string(), body.uint64(), body.uint64(), body.uint32()
	if body.bad {
		return nil, errBadMessage
	}
	algorithm := ""
	for a := range strings.SplitSeq(wanted, ",") {
		if newHash(a) != nil {
			algorithm = a
			break
		}
	}
	switch {
	case algorithm == "":
		return nil, errors.ErrUnsupported
	case start > uint64(size) || block != 0 && block < 256:
		return nil, fs.ErrInvalid
	}
	from, until := int64(start), size
	if length != 0 && length < uint64(size)-start {
		until = from + int64(length)
	}
	step := max(until-from, 1)
	if block != 0 {
		step = int64(block)
	}
	if (until-from)/step > maxSmall/64 {
		return nil, fs.ErrInvalid // more hashes than a reply should hold
	}

	op := Operation{Protocol: "sftp", Verb: "hash", Path: name, Began: time.Now()}
	var sums []byte
	if kept && from == 0 && until == size && block == 0 {
		sums = h.keptHash(name, algorithm)
	}
	for at := from; sums == nil || at < until && block != 0; at += step {
		sum, err := h.sum(algorithm, io.NewSectionReader(r, at, min(step, until-at)))
		if err != nil {
			op.Err = err
			h.finish(op)
			return nil, reported(err)
		}
		sums = append(sums, sum...)
	}
	h.finish(op)
	return func(b []byte) []byte {
		return append(appendString(appendString(b, "check-file"), algorithm), sums...)
	}, nil
}

// keptHash is a hash that the filesystem has at hand, or nil.
func (c *session) keptHash(name, algorithm string) []byte {
	hasher, ok := c.login.Fs.(Hasher)
	if !ok {
		return nil
	}
	text, err := hasher.Hash(name, algorithm)
	if err != nil {
		return nil
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != newHash(algorithm).Size() {
		return nil
	}
	return sum
}
