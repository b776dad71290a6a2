package gateway_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A script is a file of requests under testdata/differential:
//
//	# What the requests are about.
//	as tester
//
//	# A comment says what the case is about.
//	PUT ~/box/a%20name
//	Content-Type: text/plain
//	@body some bytes
//
//	GET ~/box/a%20name
//	Range: bytes=0-3
//
// Blank lines part the cases. "~" before a target is the storage account of
// test:tester, /v1/AUTH_test. "as" names whose token the cases from there on
// carry: a user of the peer, or nobody. In targets, headers and bodies, ${…} is
// replaced; see expand. Lines that begin with @ are directives:
//
//	@as USER         for this case alone
//	@body TEXT       the request's body; a Go string if it begins with "
//	@fill N          a body of N bytes
//	@tar KIND FILES  a body that is an archive; see archive
//	@chunked         send the body in chunks, without a length
//	@length N        announce N bytes, send the body, and send no more
//	@framing none    announce nothing about the body
//	@set NAME HEADER keep a header of the answer as ${NAME}
//	@update          let Swift bring its accounts' totals up to date before
//	@until STATUS    ask again until the answer has this status
//	@differs LABEL   the answers differ, for the reason that accepted.txt gives
//	@raw TEXT        send this, a Go string, instead of a request; the request's
//	                 line only names the case
type script struct {
	name  string // of the file, without ".txt"
	cases []*testCase
}

type testCase struct {
	line           int
	comment        string
	user           string
	method, target string
	header         []string // "Name: value", in order
	body           string
	hasBody        bool
	chunked        bool
	unframed       bool
	length         string // announced, if not that of the body
	set            map[string]string
	update         bool
	until          int
	raw            string
	differs        string // label of a rule
}

// name identifies a case within its script.
func (c *testCase) name() string { return c.method + " " + c.target }

// scripts reads all there are.
func scripts() ([]*script, error) {
	files, err := filepath.Glob("testdata/differential/*.txt")
	if err != nil {
		return nil, err
	}
	var scripts []*script
	for _, file := range files {
		if filepath.Base(file) == "accepted.txt" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s, err := parseScript(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s:%w", file, err)
		}
		s.name = strings.TrimSuffix(filepath.Base(file), ".txt")
		scripts = append(scripts, s)
	}
	return scripts, nil
}

func parseScript(text string) (*script, error) {
	s := new(script)
	user := "nobody"
	var c *testCase
	var comment []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		first, rest, _ := strings.Cut(line, " ")
		var err error
		switch {
		case line == "":
			c, comment = nil, nil
		case line[0] == '#':
			comment = append(comment, strings.TrimSpace(line[1:]))
		case c == nil && first == "as":
			user = rest
		case c == nil:
			c = &testCase{line: n, comment: strings.Join(comment, " "), user: user, method: first, target: rest, set: map[string]string{}}
			s.cases = append(s.cases, c)
		case line[0] == '@':
			err = c.direct(first[1:], rest)
		case strings.Contains(line, ":"):
			c.header = append(c.header, line)
		default:
			err = fmt.Errorf("neither header nor directive: %q", line)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
	}
	return s, nil
}

// direct obeys a directive.
func (c *testCase) direct(verb, rest string) (err error) {
	switch verb {
	case "as":
		c.user = rest
	case "body", "raw":
		if strings.HasPrefix(rest, `"`) {
			if rest, err = strconv.Unquote(rest); err != nil {
				return err
			}
		}
		if verb == "raw" {
			c.raw = rest
		} else {
			c.body, c.hasBody = rest, true
		}
	case "tar":
		if c.body, err = archive(rest); err == nil {
			c.hasBody = true
		}
	case "fill":
		n, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		c.body, c.hasBody = filling(n), true
	case "chunked":
		c.chunked = true
	case "length":
		c.length = rest
	case "framing":
		c.unframed = true
	case "set":
		name, header, _ := strings.Cut(rest, " ")
		c.set[name] = header
	case "differs":
		c.differs = rest
	case "update":
		c.update = true
	case "until":
		c.until, err = strconv.Atoi(rest)
	default:
		err = fmt.Errorf("no such directive: @%s", verb)
	}
	return err
}

// archive makes an archive, plain ("tar") or compressed ("tar.gz"), of files such
// as
//
//	name=content
//	name=content;SCHILY.xattr.user.meta.a=b
//	name/
//	name->target
func archive(text string) (string, error) {
	kind, files, _ := strings.Cut(text, " ")
	var b bytes.Buffer
	var packed io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&b, io.NopCloser(nil)}
	if kind == "tar.gz" {
		packed = gzip.NewWriter(&b)
	}
	w := tar.NewWriter(packed)
	for file := range strings.SplitSeq(files, " ") {
		h := &tar.Header{Mode: 0o644, Typeflag: tar.TypeReg}
		file, attributes, extended := strings.Cut(file, ";")
		content := ""
		if name, target, ok := strings.Cut(file, "->"); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if h.Name, content, ok = strings.Cut(file, "="); !ok {
			h.Typeflag = tar.TypeDir
		}
		if extended {
			key, value, _ := strings.Cut(attributes, "=")
			h.PAXRecords = map[string]string{key: value}
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			return "", err
		}
		io.WriteString(w, content)
	}
	err := errors.Join(w.Close(), packed.Close())
	return b.String(), err
}

// filling is n bytes of text, no two stretches of which are alike.
func filling(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()[:n]
}

// expand replaces in s:
//
//	${NAME}           what @set kept, or a variable of the server
//	${repeat S N}     S, N times
//	${hex 00ff}       these bytes
//	${md5 S}          the MD5 of S; ${md5fill N} that of @fill N
//	${now N}          the Unix time N seconds from now
//	${date N}         the same as an HTTP date; ${iso N} as ISO 8601
//	${sign D KEY T}   the HMAC of T with digest D in hexadecimal, where each space
//	                  of T is a newline, "+N" or "-N" by itself the Unix time N
//	                  seconds from now, and \x20 a space
//	${sign64 D KEY T} the same as "D:" and base64 for URLs
func expand(s string, vars map[string]string, now time.Time) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		inside, after, found := strings.Cut(rest, "}")
		if !found {
			return "", fmt.Errorf("no } after ${%s", rest)
		}
		value, err := variable(inside, vars, now)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", inside, err)
		}
		out.WriteString(value)
		s = after
	}
}

func variable(inside string, vars map[string]string, now time.Time) (string, error) {
	verb, arg, isCall := strings.Cut(inside, " ")
	if !isCall {
		value, ok := vars[inside]
		if !ok {
			return "", fmt.Errorf("nothing is set")
		}
		return value, nil
	}
	sum := func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	n := 0
	if verb == "sign" || verb == "sign64" {
		return signature(verb, arg, now)
	}
	if verb != "hex" && verb != "md5" {
		last := arg[strings.LastIndexByte(arg, ' ')+1:]
		var err error
		if n, err = strconv.Atoi(last); err != nil {
			return "", err
		}
	}
	switch verb {
	case "repeat":
		return strings.Repeat(arg[:strings.LastIndexByte(arg, ' ')], n), nil
	case "hex":
		b, err := hex.DecodeString(arg)
		return string(b), err
	case "md5":
		return sum(arg), nil
	case "md5fill":
		return sum(filling(n)), nil
	case "now":
		return strconv.FormatInt(now.Unix()+int64(n), 10), nil
	case "date":
		return now.Add(time.Duration(n) * time.Second).UTC().Format(http.TimeFormat), nil
	}
	if verb == "iso" {
		return now.Add(time.Duration(n) * time.Second).UTC().Format("2006-01-02T15:04:05Z"), nil
	}
	return "", fmt.Errorf("no such function")
}

// signature signs as the owner of a key does.
func signature(verb, arg string, now time.Time) (string, error) {
	digest, arg, _ := strings.Cut(arg, " ")
	key, text, _ := strings.Cut(arg, " ")
	lines := strings.Split(text, " ")
	for i, line := range lines {
		if n, err := strconv.Atoi(line); err == nil && (line[0] == '+' || line[0] == '-') {
			lines[i] = strconv.FormatInt(now.Unix()+int64(n), 10)
		}
	}
	text, err := strconv.Unquote(`"` + strings.Join(lines, `\n`) + `"`)
	if err != nil {
		return "", err
	}
	hashes := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New, "md5": md5.New}
	mac := hmac.New(hashes[digest], []byte(key))
	mac.Write([]byte(text))
	if verb == "sign64" {
		return digest + ":" + base64.URLEncoding.EncodeToString(mac.Sum(nil)), nil
	}
	return hex.EncodeToString(mac.Sum(nil)), nil
}
