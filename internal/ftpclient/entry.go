package ftpclient

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// An Entry describes a file or directory as MLST and MLSD do.
type Entry struct {
	name    string
	dir     bool
	size    int64
	modTime time.Time
	mode    fs.FileMode
}

var (
	_ fs.FileInfo = Entry{}
	_ fs.DirEntry = Entry{}
)

func (e Entry) Name() string               { return e.name }
func (e Entry) IsDir() bool                { return e.dir }
func (e Entry) Size() int64                { return e.size }
func (e Entry) ModTime() time.Time         { return e.modTime }
func (e Entry) Mode() fs.FileMode          { return e.mode }
func (e Entry) Type() fs.FileMode          { return e.mode.Type() }
func (e Entry) Sys() any                   { return nil }
func (e Entry) Info() (fs.FileInfo, error) { return e, nil }

// parseEntry reads a line of facts and a name.
func parseEntry(line string) (e Entry, kind string, err error) {
	facts, name, ok := strings.Cut(line, " ")
	if !ok {
		return e, "", fmt.Errorf("no facts in %q", line)
	}
	e.name = name
	for fact := range strings.SplitSeq(facts, ";") {
		key, value, _ := strings.Cut(fact, "=")
		switch strings.ToLower(key) {
		case "type":
			kind = strings.ToLower(value)
			e.dir = kind == "dir" || kind == "cdir" || kind == "pdir"
		case "size":
			e.size, err = strconv.ParseInt(value, 10, 64)
		case "modify":
			e.modTime, err = time.Parse(timeFormat, value)
		case "unix.mode":
			var bits uint64
			bits, err = strconv.ParseUint(value, 8, 12)
			e.mode |= fs.FileMode(bits) & fs.ModePerm
		}
		if err != nil {
			return e, kind, fmt.Errorf("fact %q: %w", fact, err)
		}
	}
	if e.dir {
		e.mode |= fs.ModeDir
	}
	return e, kind, nil
}

// Stat describes a file or directory.
func (c *Conn) Stat(name string) (Entry, error) {
	text, err := c.Command(250, "MLST %s", name)
	if err != nil {
		return Entry{}, err
	}
	for line := range strings.Lines(text) {
		if facts, ok := strings.CutPrefix(line, " "); ok {
			e, _, err := parseEntry(strings.TrimRight(facts, "\r\n"))
			e.name = path.Base(e.name)
			return e, err
		}
	}
	return Entry{}, fmt.Errorf("MLST %s: no facts in %q", name, text)
}

// List describes what is in a directory.
func (c *Conn) List(name string) ([]Entry, error) {
	d, err := c.retrieve("MLSD "+name, 0)
	if err != nil {
		return nil, err
	}
	var all []Entry
	lines := bufio.NewScanner(d)
	for lines.Scan() {
		e, kind, bad := parseEntry(lines.Text())
		if bad != nil {
			err = errors.Join(err, bad)
		} else if kind == "file" || kind == "dir" {
			all = append(all, e)
		}
	}
	return all, errors.Join(err, lines.Err(), d.Close())
}
