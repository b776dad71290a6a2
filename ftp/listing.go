package ftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/afero"

	"memstore.dev/memstore/internal/door"
)

// listingPage is how many entries of a directory are held at a time.
const listingPage = 1000

// mostStat is how many entries STAT tells over the control connection.
const mostStat = 10_000

// A listing is a directory on its way to a client. To ftpserverlib it is a file
// that is retrieved, which is written as the directory is read: the library's
// own listings hold all of it at once.
type listing struct {
	c       *session
	dir     string
	pattern string // what a name must match, if not empty
	before  string // goes before each name
	format  func(b []byte, in fs.FileInfo, name string) []byte

	d   afero.File  // the directory, or
	one fs.FileInfo // the file
}

// listDir answers LIST, NLST and MLSD.
func (c *session) listDir(cmd command) {
	c.list = c.newListing(cmd)
	c.pass(cmd, "RETR "+listingName, true, nil)
}

func (c *session) newListing(cmd command) *listing {
	arg := cmd.arg
	if cmd.verb != "MLSD" {
		arg = withoutOptions(arg)
	}
	l := &listing{c: c, dir: c.path(arg)}
	switch cmd.verb {
	case "MLSD":
		facts := c.facts
		l.format = func(b []byte, in fs.FileInfo, name string) []byte { return append(facts.appendTo(b, in), name...) }
	case "NLST":
		if l.before = arg; arg != "" && !strings.HasSuffix(arg, "/") {
			l.before += "/"
		}
		l.format = func(b []byte, _ fs.FileInfo, name string) []byte { return append(append(b, l.before...), name...) }
	default:
		now := time.Now()
		l.format = func(b []byte, in fs.FileInfo, name string) []byte { return append(appendLine(b, in, now), name...) }
	}
	// Clients that read NLST to know what to get say it with a pattern.
	if dir, base := path.Split(arg); cmd.verb != "MLSD" && strings.ContainsAny(base, "*?[") {
		if _, err := c.login.Fs.Stat(l.dir); errors.Is(err, fs.ErrNotExist) {
			if _, err := path.Match(base, ""); err == nil {
				l.dir, l.pattern, l.before = c.path(dir), base, dir
			}
		}
	}
	if cmd.verb == "MLSD" {
		return l
	}
	if in, err := c.login.Fs.Stat(l.dir); err == nil && !in.IsDir() {
		l.one = in
		l.before = ""
	}
	if l.one != nil && cmd.verb == "NLST" {
		l.format = func(b []byte, _ fs.FileInfo, _ string) []byte { return append(b, arg...) }
	}
	return l
}

// withoutOptions is the argument of LIST without what was meant for ls.
func withoutOptions(arg string) string {
	for strings.HasPrefix(arg, "-") {
		_, arg, _ = strings.Cut(arg, " ")
		arg = strings.TrimLeft(arg, " ")
	}
	return arg
}

func (l *listing) open() error {
	if l.one != nil {
		return nil
	}
	d, err := l.c.login.Fs.Open(l.dir)
	if err != nil {
		return err
	}
	in, err := d.Stat()
	if err == nil && !in.IsDir() {
		err = fs.ErrInvalid
	}
	if err != nil {
		d.Close()
		return err
	}
	l.d = d
	return nil
}

// each calls f with the entries that can be shown.
func (l *listing) each(f func(in fs.FileInfo) error) error {
	if l.one != nil {
		return f(l.one)
	}
	for {
		found, err := l.d.Readdir(listingPage)
		for _, in := range found {
			if !shown(in.Name()) {
				continue
			}
			if l.pattern != "" {
				if ok, _ := path.Match(l.pattern, in.Name()); !ok {
					continue
				}
			}
			if err := f(in); err != nil {
				return err
			}
		}
		if err == io.EOF || err == nil && len(found) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// shown reports whether a name can stand in a line. Others could be lines of
// their own, and replies at that.
func shown(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/") &&
		utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

func (l *listing) WriteTo(w io.Writer) (total int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.c.panicked(p)
			err = l.c.note(errInternal)
		}
	}()
	line := make([]byte, 0, 256)
	err = l.each(func(in fs.FileInfo) error {
		line = append(l.format(line[:0], in, in.Name()), "\r\n"...)
		n, err := w.Write(line)
		total += int64(n)
		return err
	})
	return total, l.c.note(err)
}

func (l *listing) Read([]byte) (int, error)       { return 0, io.EOF }
func (l *listing) Write([]byte) (int, error)      { return 0, fs.ErrPermission }
func (l *listing) Seek(int64, int) (int64, error) { return 0, nil }
func (l *listing) TransferError(error)            {}

func (l *listing) Close() error {
	defer l.c.open.Done()
	if l.d != nil {
		return l.d.Close()
	}
	return nil
}

// describeFile answers MLST.
func (c *session) describeFile(cmd command) {
	name := c.path(cmd.arg)
	in, err := c.login.Fs.Stat(name)
	if err != nil {
		c.deny(cmd, err)
		return
	}
	c.details(250, "facts:", []string{string(c.facts.appendTo(nil, in)) + name}, "end")
}

// stat answers STAT: of the connection, or a listing without a data connection.
func (c *session) stat(cmd command) {
	arg := withoutOptions(cmd.arg)
	if cmd.arg == "" {
		c.status()
		return
	}
	l := c.newListing(command{verb: "LIST", arg: arg})
	if err := l.open(); err != nil {
		c.deny(cmd, err)
		return
	}
	c.open.Add(1)
	defer l.Close()
	var lines []string
	code := 213
	if l.one == nil {
		code = 212
	}
	err := l.each(func(in fs.FileInfo) error {
		if len(lines) == mostStat {
			return errEnough
		}
		lines = append(lines, string(l.format(nil, in, in.Name())))
		return nil
	})
	last := "end"
	if err == errEnough {
		last = "there is more"
	} else if err != nil {
		c.deny(cmd, err)
		return
	}
	c.details(code, "status of "+c.path(arg)+":", lines, last)
}

var errEnough = errors.New("enough")

// status tells of the connection, and of a transfer that is under way.
func (c *session) status() {
	lines := []string{"connected from " + door.AddrString(c.Remote), "logged in as " + c.user}
	if c.secured.Load() {
		lines = append(lines, "TLS is spoken")
	}
	if c.task != nil {
		n := int64(0)
		c.mu.Lock()
		d := c.data
		c.mu.Unlock()
		if d != nil {
			n, _ = d.transferred()
		}
		lines = append(lines, fmt.Sprintf("%s %s: %d bytes", c.task.verb, c.task.arg, n))
	}
	c.details(211, "status:", lines, "end")
}

// appendLine is the line of an entry as ls has it, but for the name. Times are
// in UTC, as they are everywhere in FTP.
func appendLine(b []byte, in fs.FileInfo, now time.Time) []byte {
	kind := byte('-')
	if in.IsDir() {
		kind = 'd'
	}
	b = append(b, kind)
	const letters = "rwxrwxrwx"
	for i := range letters {
		if in.Mode()&(1<<(8-i)) != 0 {
			b = append(b, letters[i])
		} else {
			b = append(b, '-')
		}
	}
	when := in.ModTime().UTC()
	format := "Jan _2 15:04"
	if age := now.Sub(when); age > 180*24*time.Hour || age < -24*time.Hour {
		format = "Jan _2  2006"
	}
	b = fmt.Appendf(b, " 1 ftp ftp %12d ", in.Size())
	b = when.AppendFormat(b, format)
	return append(b, ' ')
}

// facts are those of RFC 3659 that a client wants, as a set of bits.
type facts int

const (
	factType facts = 1 << iota
	factSize
	factModify
	factPerm
	factMode

	allFacts = factType | factSize | factModify | factPerm | factMode
)

var factNames = []string{"Type", "Size", "Modify", "Perm", "UNIX.mode"}

// String is all there are, with those that are chosen marked.
func (f facts) String() string {
	var b strings.Builder
	for i, name := range factNames {
		b.WriteString(name)
		if f&(1<<i) != 0 {
			b.WriteByte('*')
		}
		b.WriteByte(';')
	}
	return b.String()
}

func (f facts) chosen() string {
	var b strings.Builder
	for i, name := range factNames {
		if f&(1<<i) != 0 {
			b.WriteString(name + ";")
		}
	}
	return b.String()
}

func parseFacts(list string) (f facts) {
	for name := range strings.SplitSeq(list, ";") {
		for i, known := range factNames {
			if strings.EqualFold(name, known) {
				f |= 1 << i
			}
		}
	}
	return f
}

// appendTo is what goes before the name, the space included.
func (f facts) appendTo(b []byte, in fs.FileInfo) []byte {
	kind, perm := "file", "r"
	writable := in.Mode()&0o200 != 0
	switch {
	case in.IsDir() && writable:
		kind, perm = "dir", "cdeflmp"
	case in.IsDir():
		kind, perm = "dir", "el"
	case writable:
		perm = "adfrw"
	}
	if f&factType != 0 {
		b = append(append(append(b, "Type="...), kind...), ';')
	}
	if f&factSize != 0 && !in.IsDir() {
		b = fmt.Appendf(b, "Size=%d;", in.Size())
	}
	if f&factModify != 0 {
		b = append(in.ModTime().UTC().AppendFormat(append(b, "Modify="...), timeFormat), ';')
	}
	if f&factPerm != 0 {
		b = append(append(append(b, "Perm="...), perm...), ';')
	}
	if f&factMode != 0 {
		b = fmt.Appendf(b, "UNIX.mode=%04o;", in.Mode().Perm())
	}
	return append(b, ' ')
}

func fileMode(bits uint64) os.FileMode { return os.FileMode(bits) & os.ModePerm }
