package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A room is how many bytes a cache may keep.
type room struct{ memory, disk int64 }

var (
	large = room{256 << 20, 4 << 30}
	small = room{64 << 20, 64 << 20} // the least that Memstore takes on a disk
)

// A server is one that is running.
type server struct {
	name string
	url  string
	cmd  *exec.Cmd
}

func (s *server) stop() {
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // with its workers
	s.cmd.Wait()
}

// start starts a server in a directory of its own.
func (b *bench) start(name, dir string, room room) (*server, error) {
	switch name {
	case "bare":
		return b.startSelf(name)
	case "memstore":
		env := []string{fmt.Sprintf("MEMSTORE_CDN_MEMORY=%d", room.memory), fmt.Sprintf("MEMSTORE_CDN_DISK=%d", room.disk)}
		return startProgram(name, "", env, b.bin, "edge", "--origin", b.origin.url, "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
	}
	program, err := lookSystem(map[string]string{"nginx": "nginx", "varnish": "varnishd"}[name])
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args, err := nginx(dir, addr, b.origin.url, room)
	if name == "varnish" {
		args, err = varnish(dir, addr, b.origin.url, room)
	}
	if err != nil {
		return nil, err
	}
	return startProgram(name, "http://"+addr, nil, program, args...)
}

// lookSystem finds a program that only root has in his path.
func lookSystem(name string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		if in, serr := os.Stat("/usr/sbin/" + name); serr == nil && in.Mode()&0o111 != 0 {
			return "/usr/sbin/" + name, nil
		}
	}
	return program, err
}

// freeAddress is one that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// nginx writes what nginx is to do: cache in files that the kernel sends, which
// are in its page cache, with descriptors kept open, and log nothing.
func nginx(dir, addr, origin string, room room) ([]string, error) {
	conf := fmt.Sprintf(`daemon off;
user root;
pid %[1]s/pid;
worker_processes auto;
worker_rlimit_nofile 65536;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  keepalive_requests 100000000;
  open_file_cache max=20000 inactive=60s;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  proxy_cache_path %[1]s/cache levels=1:2 use_temp_path=off keys_zone=c:32m max_size=%[4]d inactive=600m;
  upstream origin { server %[3]s; keepalive 64; }
  server {
    listen %[2]s backlog=4096;
    location / {
      proxy_pass http://origin;
      proxy_cache c;
      proxy_cache_lock on;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`, dir, addr, strings.TrimPrefix(origin, "http://"), room.memory+room.disk)
	name := filepath.Join(dir, "nginx.conf")
	return []string{"-c", name, "-e", filepath.Join(dir, "error.log"), "-p", dir}, os.WriteFile(name, []byte(conf), 0o644)
}

// varnish writes what Varnish is to do: all of it in memory.
func varnish(dir, addr, origin string, room room) ([]string, error) {
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(origin, "http://"))
	name := filepath.Join(dir, "default.vcl")
	conf := fmt.Sprintf("vcl 4.1;\nbackend default { .host = %q; .port = %q; }\n", host, port)
	bytes := min(room.memory+room.disk, 2<<30)
	return []string{"-F", "-j", "none", "-n", filepath.Join(dir, "n"), "-a", addr, "-f", name,
		"-s", fmt.Sprintf("malloc,%d", bytes), "-p", "thread_pool_min=50"}, os.WriteFile(name, []byte(conf), 0o644)
}

// startProgram starts a program that dies with this one. If there is no url it
// prints its own.
func startProgram(name, url string, env []string, program string, args ...string) (*server, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	var out io.ReadCloser
	if url == "" {
		var err error
		if out, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: name, url: url, cmd: cmd}
	if url != "" {
		return s, nil
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr := address.FindString(line)
	if err != nil || addr == "" {
		s.stop()
		return nil, fmt.Errorf("it said %q, %v: %s", line, err, &complaints)
	}
	s.url = "http://" + addr
	return s, nil
}

var address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// ready returns when the server answers.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.get(ctx, "/1k", 1<<10)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// get asks for an object, and sees that it is whole.
func (s *server) get(ctx context.Context, path string, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK || err == nil && int(n) != size {
		err = fmt.Errorf("%s: %s with %d bytes, not %d", path, resp.Status, n, size)
	}
	return err
}

// asked is how often the origin was asked for objects.
func (s *server) asked(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+countPath, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// worked is how long the server's processes have had a processor, all in all.
func (s *server) worked() (all time.Duration, err error) {
	pids := []int{s.cmd.Process.Pid}
	for len(pids) > 0 {
		pid := pids[0]
		pids = pids[1:]
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name before it may have spaces
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
		}
		for _, f := range fields[11:13] { // user and system, in hundredths of a second
			n, _ := strconv.ParseInt(f, 10, 64)
			all += time.Duration(n) * 10 * time.Millisecond
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		for word := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return all, nil
}
