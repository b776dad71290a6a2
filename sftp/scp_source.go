package sftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/afero"
)

// source sends files to a client.
func (s *scp) source(args []word) error {
	if bad, err := s.response(); bad || err != nil {
		return errors.Join(err, errFatal)
	}
	for _, w := range args {
		names := []string{resolve(w.text)}
		if w.pattern != "" {
			if found := s.glob(w.pattern); len(found) > 0 {
				names = found
			}
		}
		for _, name := range names {
			if err := s.send(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// send sends a file, or a directory with all that is in it. What it returns ends
// the download; what concerns one file is told to the client.
func (s *scp) send(name string) error {
	info, err := s.fs.Stat(name)
	switch {
	case err != nil:
		return s.refuse(name, err)
	case info.IsDir() && !s.recursive:
		return s.refuse(name, errIsDirectory)
	case info.IsDir() && name == "/":
		return s.sendAll(name) // there is no name that a client would take it under
	case !plainName(path.Base(name)):
		return s.tell(name + ": name cannot be sent")
	case info.IsDir():
		return s.sendDir(name, info)
	}
	return s.sendFile(name)
}

func (s *scp) sendDir(name string, info fs.FileInfo) error {
	if bad, err := s.record(info, 'D', 0, path.Base(name)); bad || err != nil {
		return err
	}
	if err := s.sendAll(name); err != nil {
		return err
	}
	if _, err := io.WriteString(s.out, "E\n"); err != nil {
		return err
	}
	_, err := s.response()
	return err
}

// sendAll sends what is in a directory.
func (s *scp) sendAll(name string) error {
	d, err := s.fs.Open(name)
	if err != nil {
		return s.refuse(name, err)
	}
	defer d.Close()
	for {
		list, err := d.Readdir(256)
		for _, info := range list {
			if err := s.send(path.Join(name, info.Name())); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || err == nil && len(list) == 0 {
			return nil
		}
		if err != nil {
			return s.refuse(name, err)
		}
	}
}

func (s *scp) sendFile(name string) error {
	op := Operation{Protocol: "scp", Verb: "get", Path: name, Began: time.Now()}
	f, err := s.fs.Open(name)
	if err != nil {
		op.Err = err
		s.finish(op)
		return s.refuse(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s.refuse(name, err)
	}
	size := info.Size()
	if bad, err := s.record(info, 'C', size, path.Base(name)); bad || err != nil {
		return err
	}
	var fatal error
	for op.Bytes < size && fatal == nil {
		p := s.buf[:min(int64(len(s.buf)), size-op.Bytes)]
		if op.Err == nil {
			var n int
			if n, op.Err = io.ReadFull(f, p); op.Err != nil {
				clear(p[n:]) // the length was promised: zeros, and the truth afterwards
			}
		} else {
			clear(p)
		}
		var n int
		n, fatal = s.out.Write(p)
		op.Bytes += int64(n)
	}
	if fatal == nil && op.Err == nil {
		fatal = s.ack()
	} else if fatal == nil {
		fatal = s.refuse(name, unexpectedEnd(op.Err))
	}
	if fatal == nil {
		_, fatal = s.response()
	}
	op.Err = errors.Join(op.Err, fatal)
	s.finish(op)
	return fatal
}

// errShrunk says that a file was shorter than it said.
var errShrunk = &status{errInternal.code, "file became shorter while it was read"}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShrunk
	}
	return err
}

// record sends what goes before the content of a file or directory.
func (s *scp) record(info fs.FileInfo, kind byte, size int64, name string) (bad bool, err error) {
	if s.preserve {
		t := max(info.ModTime().Unix(), 0)
		if _, err := fmt.Fprintf(s.out, "T%d 0 %d 0\n", t, t); err != nil {
			return false, err
		}
		if bad, err := s.response(); bad || err != nil {
			return bad, err
		}
	}
	if _, err := fmt.Fprintf(s.out, "%c%04o %d %s\n", kind, info.Mode().Perm(), size, name); err != nil {
		return false, err
	}
	return s.response()
}

// glob is what a pattern means to a shell: names that begin with a dot want to
// be asked for by it.
func (s *scp) glob(pattern string) []string {
	found := []string{"/"}
	for part := range strings.SplitSeq(path.Join("/", strings.TrimPrefix(pattern, "~/")), "/") {
		if part == "" {
			continue
		}
		var next []string
		for _, dir := range found {
			next = append(next, s.match(dir, part)...)
		}
		found = next
	}
	return found
}

// maxMatches bounds what one pattern may expand to, as the length of a command
// line would.
const maxMatches = 10_000

func (s *scp) match(dir, part string) []string {
	if !strings.ContainsAny(part, `*?[\`) {
		name := path.Join(dir, part)
		if ok, _ := afero.Exists(s.fs, name); ok {
			return []string{name}
		}
		return nil
	}
	d, err := s.fs.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	var found []string
	for len(found) < maxMatches {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			if name[0] == '.' && part[0] != '.' {
				continue
			}
			if ok, _ := path.Match(part, name); ok {
				found = append(found, path.Join(dir, name))
			}
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	slices.Sort(found)
	return found
}
