package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/ftpclient"
	"memstore.dev/memstore/internal/spawn"
)

var soakSize = flag.Int64("soak", 40, "MiB of each file of TestSoak; make soak has 6144")

// A pattern is a file of any size that is made as it is read: no two of its
// blocks are alike, nor are those of two patterns.
type pattern struct {
	seed uint64
	size int64
}

const patternBlock = 64 << 10

var patternNoise = func() (b [patternBlock]byte) {
	rand.NewChaCha8([32]byte{'s', 'o', 'a', 'k'}).Read(b[:])
	return b
}()

func (p pattern) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && off < p.size {
		block := patternNoise
		binary.BigEndian.PutUint64(block[:], p.seed<<40+uint64(off/patternBlock))
		from := off % patternBlock
		m := copy(b[n:], block[from:min(patternBlock, from+p.size-off)])
		n, off = n+m, off+int64(m)
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// from reads the pattern from an offset on.
func (p pattern) from(off int64) io.Reader { return io.NewSectionReader(p, off, p.size-off) }

func (p pattern) sum() string {
	h := md5.New()
	io.Copy(h, p.from(0))
	return hex.EncodeToString(h.Sum(nil))
}

// A soaked is a server at work on large files.
type soaked struct {
	*testing.T
	p          *spawn.Process
	doors      map[string]string
	url, token string
	dir        string
	mtime      time.Time
}

// TestSoak moves a large file by each door: up, with the line cut in the middle
// and the upload resumed, and down by every door, with the same. Bytes, size and
// time must be those that were sent, and the server's memory must not grow with
// the file.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("moves much")
	}
	needProgram(t, "scp")
	bin, err := spawn.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &soaked{T: t, dir: t.TempDir(), mtime: time.Unix(1614834367, 0)}
	data := filepath.Join(s.dir, "data")
	s.p, err = spawn.Start(bin, data, []string{"--sftp", "127.0.0.1:0", "--ftp", "127.0.0.1:0", "--ftps", "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.p.Kill)
	s.must(s.p.Ready(t.Context()))
	s.doors, err = s.p.FileDoors(t.Context())
	s.must(err)
	s.url, s.token, err = s.p.Login(t.Context())
	s.must(err)
	s.swift("PUT", "box", nil, 0)
	size := *soakSize<<20 + 12345

	uploads := map[string]func(name string, p pattern){"swift": s.swiftUp, "ftp": s.ftpUp, "ftps": s.ftpsUp, "sftp": s.sftpUp, "scp": s.scpUp}
	downloads := map[string]func(name string, size int64) string{"swift": s.swiftDown, "ftp": s.ftpDown, "ftps": s.ftpsDown, "sftp": s.sftpDown}
	seed := uint64(0)
	for by, up := range uploads {
		seed++
		p := pattern{seed, size}
		if by == "swift" {
			p.size = min(p.size, 5<<30) // no more is taken in one request
		}
		want, name := p.sum(), "box/by-"+by
		s.flat("upload by "+by, func() { up(name, p) })
		h := s.swift("HEAD", name, nil, 0).Header
		if h.Get("Etag") != want || h.Get("Content-Length") != strconv.FormatInt(p.size, 10) {
			t.Errorf("by %s came %s bytes with the MD5 %s, want %d with %s", by, h.Get("Content-Length"), h.Get("Etag"), p.size, want)
		}
		if got := h.Get("X-Object-Meta-Mtime"); got != strconv.FormatInt(s.mtime.Unix(), 10) {
			t.Errorf("what came by %s is of %q", by, got)
		}
		for from, down := range downloads {
			s.flat("download by "+from, func() {
				if got := down(name, p.size); got != want {
					t.Errorf("what came by %s is by %s another: %s, want %s", by, from, got, want)
				}
			})
		}
		s.swift("DELETE", name, nil, 0)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.must(s.p.Stop(ctx))
	if out, err := exec.CommandContext(t.Context(), bin, "fsck", "--data", data, "--read-data").CombinedOutput(); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

func (s *soaked) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// flat does something during which the server's memory stays within bounds that
// the file is many times larger than.
func (s *soaked) flat(what string, do func()) {
	s.Helper()
	const most int64 = 400 << 20
	s.must(s.p.ForgetPeak())
	began := time.Now()
	do()
	_, peak, err := s.p.Resident()
	s.must(err)
	s.Logf("%-18s %6.1f s, memory at most %d MB", what, time.Since(began).Seconds(), peak/1e6)
	if peak > most {
		s.Errorf("during an %s the server had %d MB of memory, want at most %d", what, peak/1e6, most/1e6)
	}
}

func (s *soaked) swift(method, name string, body io.Reader, size int64, header ...string) *http.Response {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+"/"+name, body)
	s.must(err)
	req.ContentLength = size
	req.Header.Set("X-Auth-Token", s.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	s.must(err)
	if body == nil && method != "GET" || resp.StatusCode >= 300 {
		resp.Body.Close()
	}
	if resp.StatusCode >= 300 {
		s.Fatalf("%s %s: %s", method, name, resp.Status)
	}
	s.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (s *soaked) swiftUp(name string, p pattern) {
	s.swift("PUT", name, p.from(0), p.size, "X-Object-Meta-Mtime", strconv.FormatInt(s.mtime.Unix(), 10))
}

// twice reads a file from the start to its middle, and then on, and returns the
// MD5 of all.
func (s *soaked) twice(size int64, open func(off int64) io.ReadCloser) string {
	s.Helper()
	h := md5.New()
	first := open(0)
	_, err := io.CopyN(h, first, size/2)
	s.must(err)
	first.Close() // the line is cut
	second := open(size / 2)
	defer second.Close()
	_, err = io.Copy(h, second)
	s.must(err)
	return hex.EncodeToString(h.Sum(nil))
}

func (s *soaked) swiftDown(name string, size int64) string {
	return s.twice(size, func(off int64) io.ReadCloser {
		return s.swift("GET", name, nil, 0, "Range", fmt.Sprintf("bytes=%d-", off)).Body
	})
}

func (s *soaked) dialFTP(door string) *ftpclient.Conn {
	s.Helper()
	o := ftpclient.Options{User: fileUser, Password: spawn.Password, Timeout: 2 * time.Minute}
	if door == "FTPS" {
		o.TLS, o.Implicit = &tls.Config{InsecureSkipVerify: true}, true
	}
	c, err := ftpclient.Dial(s.Context(), s.doors[door], o)
	s.must(err)
	s.Cleanup(c.Cut)
	return c
}

var fileUser = strings.Replace(spawn.User, ":", ".", 1)

func (s *soaked) ftpUp(name string, p pattern)            { s.byFTP("FTP", name, p) }
func (s *soaked) ftpsUp(name string, p pattern)           { s.byFTP("FTPS", name, p) }
func (s *soaked) ftpDown(name string, size int64) string  { return s.fromFTP("FTP", name, size) }
func (s *soaked) ftpsDown(name string, size int64) string { return s.fromFTP("FTPS", name, size) }

func (s *soaked) byFTP(door, name string, p pattern) {
	u, err := s.dialFTP(door).Store("/"+name, 0)
	s.must(err)
	_, err = io.CopyN(u, p.from(0), p.size/2)
	s.must(err)
	u.Cut()
	c := s.dialFTP(door)
	// Until the server knows that the line is cut it takes what it has from the
	// one before.
	off, err := c.Size("/" + name)
	s.must(err)
	s.must(c.Resume("/"+name, off, p.from(off)))
	s.must(c.SetModTime("/"+name, s.mtime))
	s.must(c.Close())
}

func (s *soaked) fromFTP(door, name string, size int64) string {
	return s.twice(size, func(off int64) io.ReadCloser {
		d, err := s.dialFTP(door).Retrieve("/"+name, off)
		s.must(err)
		return d
	})
}

// dialSFTP logs in, and returns what cuts the line.
func (s *soaked) dialSFTP() (*pkgsftp.Client, net.Conn) {
	s.Helper()
	nc, err := net.Dial("tcp", s.doors["SFTP"])
	s.must(err)
	conn, chans, reqs, err := ssh.NewClientConn(nc, s.doors["SFTP"], &ssh.ClientConfig{
		User: fileUser, Auth: []ssh.AuthMethod{ssh.Password(spawn.Password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	s.must(err)
	s.Cleanup(func() { conn.Close() })
	c, err := pkgsftp.NewClient(ssh.NewClient(conn, chans, reqs), pkgsftp.UseConcurrentWrites(true))
	s.must(err)
	return c, nc
}

func (s *soaked) sftpUp(name string, p pattern) {
	c, line := s.dialSFTP()
	f, err := c.Create("/" + name)
	s.must(err)
	_, err = f.ReadFrom(io.NewSectionReader(p, 0, p.size/2))
	s.must(err)
	line.Close()
	c, _ = s.dialSFTP()
	in, err := c.Stat("/" + name)
	s.must(err)
	f, err = c.OpenFile("/"+name, os.O_WRONLY)
	s.must(err)
	_, err = f.Seek(in.Size(), io.SeekStart)
	s.must(err)
	_, err = f.ReadFrom(p.from(in.Size()))
	s.must(err)
	s.must(f.Close())
	s.must(c.Chtimes("/"+name, s.mtime, s.mtime))
	s.must(c.Close())
}

func (s *soaked) sftpDown(name string, size int64) string {
	return s.twice(size, func(off int64) io.ReadCloser {
		c, line := s.dialSFTP()
		f, err := c.Open("/" + name)
		s.must(err)
		_, err = f.Seek(off, io.SeekStart)
		s.must(err)
		r, w := io.Pipe() // WriteTo asks ahead, as Read does not
		go func() { _, err := f.WriteTo(w); w.CloseWithError(err) }()
		return closing{r, func() { r.Close(); line.Close() }}
	})
}

type closing struct {
	io.Reader
	end func()
}

func (c closing) Close() error { c.end(); return nil }

// scpUp is the old protocol, which cannot resume.
func (s *soaked) scpUp(name string, p pattern) {
	file := filepath.Join(s.dir, "scp")
	defer os.Remove(file)
	f, err := os.Create(file)
	s.must(err)
	_, err = io.Copy(f, p.from(0))
	s.must(err)
	s.must(f.Close())
	s.must(os.Chtimes(file, s.mtime, s.mtime))
	ask := filepath.Join(s.dir, "askpass")
	s.must(os.WriteFile(ask, []byte("#!/bin/sh\necho '"+spawn.Password+"'\n"), 0o700))
	host, port, _ := net.SplitHostPort(s.doors["SFTP"])
	cmd := exec.CommandContext(s.Context(), "scp", "-q", "-O", "-p", "-P", port, "-oNoHostAuthenticationForLocalhost=yes",
		"-oPubkeyAuthentication=no", file, fileUser+"@"+host+":/"+name)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		s.Fatalf("scp: %v: %s", err, &said)
	}
}
