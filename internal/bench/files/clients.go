package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// execute runs a client, and returns what it printed.
func execute(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		said := complaints.String()
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said[max(0, len(said)-500):]))
	}
	return out.String(), nil
}

// sftp has OpenSSH's client carry out commands.
func (b *bench) sftp(ctx context.Context, t *target, batch string) error {
	_, err := b.sftpSays(ctx, t, batch)
	return err
}

func (b *bench) sftpSays(ctx context.Context, t *target, batch string) (string, error) {
	return execute(ctx, batch, "sftp", "-q", "-b", "-", "-P", t.port, "-i", t.key, "-oCiphers=aes128-gcm@openssh.com",
		"-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", t.user+"@"+t.host)
}

// curl transfers by FTP or HTTP.
func (b *bench) curl(ctx context.Context, t *target, args ...string) (string, error) {
	standard := []string{"-sSf", "-q"}
	switch t.proto {
	case "ftp":
		standard = append(standard, "-u", t.user+":"+t.password)
	case "ftps":
		standard = append(standard, "-u", t.user+":"+t.password, "--ssl-reqd", "--insecure")
	case "swift":
		standard = append(standard, "-H", "X-Auth-Token: "+t.token, "-H", "Expect:")
	}
	return execute(ctx, "", "curl", append(standard, args...)...)
}

// address is the URL of a name.
func (t *target) address(name string) string {
	if t.proto == "swift" {
		return t.url + t.path(name)
	}
	return "ftp://" + t.host + ":" + t.port + t.path(name)
}

// lftp carries out commands.
func (b *bench) lftp(ctx context.Context, t *target, commands string) error {
	set := "set net:max-retries 1; set net:timeout 60; set cmd:fail-exit yes; set mirror:use-pget-n 1; set xfer:clobber yes; set ssl:verify-certificate no;"
	scheme := "ftp"
	switch t.proto {
	case "ftp":
		set += "set ftp:ssl-allow no;"
	case "ftps":
		set += "set ftp:ssl-force yes; set ftp:ssl-protect-data yes;"
	case "sftp":
		scheme = "sftp"
		set += fmt.Sprintf("set sftp:auto-confirm yes; set sftp:connect-program \"ssh -a -x -i %s -oIdentitiesOnly=yes -oStrictHostKeyChecking=no"+
			" -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR -oCiphers=aes128-gcm@openssh.com\";", t.key)
	}
	password := t.password
	if password == "" {
		password = "none"
	}
	_, err := execute(ctx, "", "lftp", "--norc", "-c",
		fmt.Sprintf("%s open -u \"%s,%s\" -p %s %s://%s; %s", set, t.user, password, t.port, scheme, t.host, commands))
	return err
}

// upload puts a file of the clients' under a name.
func (b *bench) upload(ctx context.Context, t *target, file, name string) error {
	file = filepath.Join(b.work, file)
	if t.proto == "sftp" {
		return b.sftp(ctx, t, fmt.Sprintf("put %s %s\n", file, t.path(name)))
	}
	_, err := b.curl(ctx, t, "-T", file, t.address(name))
	return err
}

func (b *bench) download(ctx context.Context, t *target, name, file string) error {
	file = filepath.Join(b.work, file)
	if t.proto == "sftp" {
		return b.sftp(ctx, t, fmt.Sprintf("get %s %s\n", t.path(name), file))
	}
	_, err := b.curl(ctx, t, "-o", file, t.address(name))
	return err
}

// remove takes a file away again.
func (b *bench) remove(ctx context.Context, t *target, name string) error {
	switch {
	case t.local != "":
		return os.Remove(filepath.Join(t.local, t.proto, name))
	case t.proto == "sftp":
		return b.sftp(ctx, t, "rm "+t.path(name)+"\n")
	}
	return newSwift(t).remove(ctx, t.path(name))
}

// mirror moves the tree of small files up or down.
func (b *bench) mirror(ctx context.Context, t *target, name string, up bool) error {
	here := filepath.Join(b.work, "tree")
	if t.proto == "swift" {
		return b.mirrorSwift(ctx, t, name, up)
	}
	how := fmt.Sprintf("mirror --no-perms --no-umask --parallel=%d", b.workers)
	if up {
		return b.lftp(ctx, t, fmt.Sprintf("%s -R %s %s", how, here, t.path(name)))
	}
	return b.lftp(ctx, t, fmt.Sprintf("%s %s %s", how, t.path(name), filepath.Join(b.work, "back")))
}

// mirrorSwift does it by the Swift door, where a request moves a file.
func (b *bench) mirrorSwift(ctx context.Context, t *target, name string, up bool) error {
	s := newSwift(t)
	back := filepath.Join(b.work, "back")
	if err := os.MkdirAll(back, 0o755); err != nil {
		return err
	}
	return each(b.files, b.workers, func(i int) error {
		base := fmt.Sprintf("f%05d", i)
		if up {
			f, err := os.Open(filepath.Join(b.work, "tree", base))
			if err != nil {
				return err
			}
			defer f.Close()
			return s.put(ctx, t.path(name)+"/"+base, f, b.small)
		}
		return s.get(ctx, t.path(name)+"/"+base, filepath.Join(back, base))
	})
}

// list lists the long directory once, and reports how many of its entries came.
func (b *bench) list(ctx context.Context, t *target) (int, error) {
	var out string
	var err error
	switch t.proto {
	case "sftp":
		out, err = b.sftpSays(ctx, t, "ls -ln "+t.dir+"-list\n")
	case "swift":
		out, err = b.curl(ctx, t, t.url+t.dir+"-list?limit=10000&format=json")
	default:
		out, err = b.curl(ctx, t, "ftp://"+t.host+":"+t.port+t.dir+"-list/")
	}
	return strings.Count(out, "entry-"), err
}

// A swift is a client of the Swift door that keeps its connections.
type swift struct {
	t    *target
	http *http.Client
}

func newSwift(t *target) *swift {
	return &swift{t, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}}
}

func (s *swift) do(ctx context.Context, method, path string, body io.Reader, size int64, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, method, s.t.url+path, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("X-Auth-Token", s.t.token)
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

func (s *swift) put(ctx context.Context, path string, body io.Reader, size int64) error {
	if size == 0 {
		body = nil
	}
	return s.do(ctx, "PUT", path, body, size, io.Discard)
}

func (s *swift) remove(ctx context.Context, path string) error {
	return s.do(ctx, "DELETE", path, nil, 0, io.Discard)
}

func (s *swift) get(ctx context.Context, path, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(s.do(ctx, "GET", path, nil, 0, f), f.Close())
}

// each does something for every number below n, so many at a time, until the
// first error.
func each(n, workers int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < n && failed.Load() == nil; i = int(next.Add(1) - 1) {
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
