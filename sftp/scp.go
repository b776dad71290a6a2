package sftp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The protocol of scp before it spoke SFTP has no document but its programs. A
// sender sends records of one line each, a byte that says what it is and then
// arguments; the receiver answers each with a zero byte, or with 1 and a line of
// text for an error that concerns only this record:
//
//	T<mtime> 0 <atime> 0      times of the next C or D
//	C<mode> <size> <name>     a file: once answered, its bytes follow, then a status like an answer's
//	D<mode> 0 <name>          a directory: what follows is in it, until
//	E

// An scp is one run of the program scp as the far end sees it: "scp -t" receives
// and "scp -f" sends.
type scp struct {
	*command
	recursive, preserve, directory bool
	buf                            []byte
	failed                         bool // something concerning one record went wrong
}

// scp runs scp with its arguments.
func (x *command) scp(args []word) int {
	s := &scp{command: x, buf: make([]byte, 256<<10)}
	var to, from bool
	for len(args) > 0 && len(args[0].text) > 1 && args[0].text[0] == '-' {
		option := args[0].text
		args = args[1:]
		if option == "--" {
			break
		}
		for _, c := range option[1:] {
			switch c {
			case 't':
				to = true
			case 'f':
				from = true
			case 'r':
				s.recursive = true
			case 'p':
				s.preserve = true
			case 'd':
				s.directory = true
			case 'v', 'q':
			default:
				return x.complain(2, "scp: unknown option -%c", c)
			}
		}
	}
	var err error
	switch {
	case to == from || len(args) == 0 || to && len(args) > 1:
		return x.complain(2, "usage: scp -t|-f [-dpqrv] name ...")
	case to:
		err = s.sink(resolve(args[0].text))
	default:
		err = s.source(args)
	}
	if err != nil {
		s.Log.Debug("sftp: scp ended early", "err", err)
	}
	if err != nil || s.failed {
		return 1
	}
	return 0
}

// Errors that end an scp. The last concerns one file only.
var (
	errRecord = errors.New("unexpected record")
	errName   = errors.New("unexpected file name")
	errClient = &status{errInternal.code, "the client could not read the file to its end"}
	errFatal  = lost(errors.New("client gave up"))
)

// A record is a T, C, D or E line.
type record struct {
	kind         byte
	mode         fs.FileMode
	size         int64
	name         string
	mtime, atime time.Time
}

// parseRecord reads a record from its line, without the newline.
func parseRecord(line string) (r record, err error) {
	if line == "" {
		return r, errRecord
	}
	r.kind, line = line[0], line[1:]
	switch r.kind {
	case 'E':
		if line != "" {
			return r, errRecord
		}
		return r, nil
	case 'T':
		parts := strings.Split(line, " ")
		if len(parts) != 4 {
			return r, errRecord
		}
		var n [4]int64
		for i, p := range parts {
			if n[i], err = digits(p, 10, 1<<40); err != nil {
				return r, err
			}
		}
		if n[1] >= 1e6 || n[3] >= 1e6 {
			return r, errRecord
		}
		r.mtime, r.atime = time.Unix(n[0], n[1]*1000), time.Unix(n[2], n[3]*1000)
		return r, nil
	case 'C', 'D':
		mode, rest, _ := strings.Cut(line, " ")
		size, name, ok := strings.Cut(rest, " ")
		if !ok {
			return r, errRecord
		}
		m, err := digits(mode, 8, 0o7777)
		if err != nil {
			return r, err
		}
		if r.size, err = digits(size, 10, 1<<62); err != nil {
			return r, err
		}
		if !plainName(name) {
			return r, errName
		}
		r.mode, r.name = fs.FileMode(m)&fs.ModePerm, name
		return r, nil
	}
	return r, errRecord
}

// digits is a number of nothing but digits, which strconv alone would not insist on.
func digits(text string, base int, most int64) (int64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, errRecord
	}
	n, err := strconv.ParseInt(text, base, 64)
	if err != nil || n > most {
		return 0, errRecord
	}
	return n, nil
}

// plainName reports whether a name can only mean something directly within a
// directory, and is fit to be a line of a record.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f })
}

// sink receives what a client sends to target.
func (s *scp) sink(target string) error {
	info, err := s.fs.Stat(target)
	isDir := err == nil && info.IsDir()
	if s.directory && !isDir {
		if err == nil {
			err = errNotDirectory
		}
		s.refuse(target, err)
		return err
	}
	if err := s.ack(); err != nil {
		return err
	}
	err = s.receive(target, isDir, 0)
	if errors.Is(err, errRecord) || errors.Is(err, errName) {
		s.tell(err.Error())
	}
	return err
}

// maxDepth is how deep directories may be nested in an upload: no name is long
// enough for more.
const maxDepth = 512

// receive takes records until the end, or at a depth until E. Where into is
// false, at the start of an upload, the first of them is to be called target
// instead of lying within it.
func (s *scp) receive(target string, into bool, depth int) error {
	var times record
	for {
		line, err := s.line()
		if err == io.EOF && depth == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if line[0] == 1 { // the client's own trouble with a file, which it leaves out
			s.failed = true
			continue
		}
		r, err := parseRecord(line)
		if err != nil {
			return err
		}
		name := target
		if into && (r.kind == 'C' || r.kind == 'D') {
			name = path.Join(target, r.name)
		}
		switch r.kind {
		case 'T':
			times = r
			err = s.ack()
			if err != nil {
				return err
			}
			continue
		case 'C':
			err = s.receiveFile(name, r, times)
		case 'D':
			err = s.receiveDir(name, r, times, depth)
		case 'E':
			if depth == 0 {
				return errRecord
			}
			return s.ack()
		}
		if err != nil {
			return err
		}
		times = record{}
	}
}

func (s *scp) receiveDir(name string, r, times record, depth int) error {
	if !s.recursive || depth == maxDepth {
		return errRecord
	}
	info, err := s.fs.Stat(name)
	switch {
	case err == nil && !info.IsDir():
		return s.refuse(name, errNotDirectory)
	case errors.Is(err, fs.ErrNotExist):
		began := time.Now()
		err = s.fs.Mkdir(name, 0o755)
		s.finish(Operation{Protocol: "scp", Verb: "mkdir", Path: name, Began: began, Err: err})
	}
	if err != nil {
		return s.refuse(name, err)
	}
	if err := s.ack(); err != nil {
		return err
	}
	if err := s.receive(name, true, depth+1); err != nil {
		return err
	}
	// The E was answered already, so trouble with attributes can only show in
	// the exit status.
	if err := s.attributes(name, r, times); err != nil {
		s.answer("setstat", name, err)
		s.failed = true
	}
	return nil
}

// receiveFile takes one file. What it returns ends the upload; an error that
// concerns only this file is told to the client instead.
func (s *scp) receiveFile(name string, r, times record) error {
	op := Operation{Protocol: "scp", Verb: "put", Path: name, Began: time.Now()}
	f, err := s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		op.Err = err
		s.finish(op)
		return s.refuse(name, err)
	}
	if err := s.ack(); err != nil {
		return errors.Join(err, f.Close())
	}
	var fatal error // of the connection
	var wrong error // with the file
	for op.Bytes < r.size {
		n, err := io.ReadFull(s.in, s.buf[:min(int64(len(s.buf)), r.size-op.Bytes)])
		if n > 0 && wrong == nil {
			// After a failure the rest is read all the same: the client does not
			// listen before it has sent everything.
			_, wrong = f.Write(s.buf[:n])
		}
		op.Bytes += int64(n)
		if err != nil {
			fatal = lost(unexpected(err))
			break
		}
	}
	if fatal == nil {
		var bad bool
		if bad, fatal = s.response(); bad {
			wrong = errors.Join(wrong, errClient)
		}
	}
	if err := errors.Join(wrong, fatal); err != nil {
		if a, ok := f.(Aborter); ok {
			a.TransferError(err)
		}
		f.Close()
		op.Err = err
		s.finish(op)
		if fatal != nil {
			return fatal
		}
		return s.refuse(name, wrong)
	}
	op.Err = f.Close()
	s.finish(op)
	if op.Err != nil {
		return s.refuse(name, op.Err)
	}
	if err := s.attributes(name, r, times); err != nil {
		return s.refuse(name, err)
	}
	return s.ack()
}

// attributes gives a file the mode and times it came with, if that was asked for.
func (s *scp) attributes(name string, r, times record) error {
	if s.preserve {
		if err := s.fs.Chmod(name, r.mode); err != nil {
			return err
		}
	}
	if times.kind == 'T' {
		return s.fs.Chtimes(name, times.atime, times.mtime)
	}
	return nil
}

// line reads a line without its newline.
func (s *scp) line() (string, error) {
	b, err := s.in.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return "", errRecord
	case err == io.EOF && len(b) == 0:
		return "", io.EOF
	case err != nil:
		return "", lost(unexpected(err))
	case len(b) == 1:
		return "", errRecord
	case b[0] == 2:
		return "", errFatal
	}
	return string(b[:len(b)-1]), nil
}

// response reads an answer; bad is an error that concerns only one record.
func (s *scp) response() (bad bool, err error) {
	b, err := s.in.ReadByte()
	if err != nil {
		return false, lost(unexpected(err))
	}
	if b == 0 {
		return false, nil
	}
	if b != 1 {
		return false, errFatal
	}
	s.failed = true
	for {
		switch _, err := s.in.ReadSlice('\n'); err {
		case nil:
			return true, nil
		case bufio.ErrBufferFull:
		default:
			return true, lost(unexpected(err))
		}
	}
}

func (s *scp) ack() error {
	_, err := s.out.Write([]byte{0})
	return err
}

// refuse answers a record that concerns name with an error.
func (s *scp) refuse(name string, err error) error {
	return s.tell(fmt.Sprintf("%s: %v", name, s.answer("scp", name, err)))
}

// tell sends an error that concerns only one record.
func (s *scp) tell(text string) error {
	s.failed = true
	_, err := fmt.Fprintf(s.out, "\x01scp: %s\n", printable(text))
	return err
}
