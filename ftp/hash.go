package ftp

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
)

// An algorithm is a hash as HASH (draft-ietf-ftpext2-hash) names it, and as an
// Fs does. MD5 and SHA-1 prove nothing here, they only find what was damaged on
// the way.
type algorithm struct {
	name, key string
	make      func() hash.Hash
}

// algorithms, of which the first is used until another is chosen.
var algorithms = []algorithm{
	{"SHA-256", "sha256", sha256.New},
	{"SHA-512", "sha512", sha512.New},
	{"SHA-1", "sha1", sha1.New},
	{"MD5", "md5", md5.New},
	{"CRC32", "crc32", func() hash.Hash { return crc32.NewIEEE() }},
}

// hashVerbs are the commands of others who thought of it before.
var hashVerbs = map[string]string{
	"XMD5": "MD5", "XSHA": "SHA-1", "XSHA1": "SHA-1", "XSHA256": "SHA-256", "XSHA512": "SHA-512", "XCRC": "CRC32",
}

func algorithmByName(name string) int {
	for i, a := range algorithms {
		if strings.EqualFold(a.name, name) {
			return i
		}
	}
	return -1
}

func (c *session) hashName() string { return algorithms[c.hashing].name }

func (c *session) chooseHash(name string) bool {
	i := algorithmByName(name)
	if i >= 0 {
		c.hashing = i
	}
	return i >= 0
}

// hash answers HASH and its elders.
func (c *session) hash(cmd command) {
	a := algorithms[c.hashing]
	name, from, to := cmd.arg, int64(0), int64(-1)
	switch {
	case cmd.verb == "MD5":
		a = algorithms[algorithmByName("MD5")]
	case cmd.verb != "HASH":
		a = algorithms[algorithmByName(hashVerbs[cmd.verb])]
		name, from, to = c.hashArgument(cmd.arg)
	}
	if name == "" {
		c.reply(501, "that is no name and range")
		return
	}
	p := c.path(name)
	c.start(cmd, func(ctx context.Context) reply {
		began := time.Now()
		sum, size, err := c.sum(ctx, a, p, from, to)
		c.finish(Operation{Verb: "hash", Path: p, Began: began, Err: err})
		if err != nil {
			no, _ := toRefusal(err)
			return reply{no.code, []string{no.text}}
		}
		switch cmd.verb {
		case "HASH":
			return reply{213, []string{fmt.Sprintf("%s 0-%d %s %s", a.name, size, sum, name)}}
		case "MD5":
			return reply{251, []string{name + " " + strings.ToUpper(sum)}}
		}
		return reply{250, []string{sum}}
	})
}

// hashArgument splits a name, which may stand in quotes, from the range that
// may follow it. Unless it is in quotes, a name that exists is a name.
func (c *session) hashArgument(arg string) (name string, from, to int64) {
	to = -1
	if quoted, ok := strings.CutPrefix(arg, `"`); ok {
		var rest string
		if name, rest, ok = strings.Cut(quoted, `"`); !ok {
			return "", 0, 0
		}
		numbers := strings.Fields(rest)
		if len(numbers) > 2 {
			return "", 0, 0
		}
		for i, n := range numbers {
			v, err := strconv.ParseInt(n, 10, 64)
			if err != nil || v < 0 {
				return "", 0, 0
			}
			*[]*int64{&from, &to}[i] = v
		}
		return name, from, to
	}
	if _, err := c.login.Fs.Stat(c.path(arg)); err == nil {
		return arg, 0, -1
	}
	words := strings.Split(arg, " ")
	n := len(words)
	number := func(i int) int64 {
		if i < 1 {
			return -1
		}
		v, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil || v < 0 {
			return -1
		}
		return v
	}
	switch last, before := number(n-1), number(n-2); {
	case last >= 0 && before >= 0:
		return strings.Join(words[:n-2], " "), before, last
	case last >= 0:
		return strings.Join(words[:n-1], " "), last, -1
	}
	return arg, 0, -1
}

// sum is the hash of the bytes from from to to, which is the end if negative.
func (c *session) sum(ctx context.Context, a algorithm, name string, from, to int64) (sum string, size int64, err error) {
	info, err := c.login.Fs.Stat(name)
	if err != nil {
		return "", 0, err
	}
	if info.IsDir() {
		return "", 0, errIsDirectory
	}
	size = info.Size()
	if to < 0 {
		to = size
	}
	if from > to || to > size {
		return "", 0, errOffset
	}
	if h, ok := c.login.Fs.(Hasher); ok && from == 0 && to == size {
		if sum, err := h.Hash(name, a.key); err == nil {
			return sum, size, nil
		}
	}
	f, err := c.login.Fs.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := a.make()
	buf := make([]byte, 256<<10)
	for left := to - from; left > 0; {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		n, err := f.Read(buf[:min(left, int64(len(buf)))])
		h.Write(buf[:n])
		left -= int64(n)
		if err == io.EOF && left > 0 {
			return "", 0, io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return "", 0, err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
