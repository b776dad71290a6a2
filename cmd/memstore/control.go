package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"memstore.dev/memstore/storage/disk"
)

// controlName is the socket in the data directory by which commands of the same
// machine and user reach the server that holds it. It can be asked whether the
// server is ready, to hold a snapshot, and what the CDN's commands want.
const controlName = "control.sock"

// snapshotReply is the first line that GET /snapshot answers.
type snapshotReply struct {
	Dir string `json:"dir"`
}

// listenControl opens the socket. Whoever holds the data directory's lock may
// take away a socket that a killed server left behind.
func listenControl(data string) (net.Listener, error) {
	path, done, err := socketPath(data)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // path may be gone by then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// listenPrivately makes a socket that nobody else could connect to even for a
// moment: on Linux the file takes its mode from that of the socket.
func listenPrivately(path string) (net.Listener, error) {
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); failed != nil {
			return failed
		}
		return err
	}}
	return private.Listen(context.Background(), "unix", path)
}

// socketPath is a path of the socket that fits the 108 bytes which the kernel
// has for one, however deep the data directory lies. It holds until done is
// called.
func socketPath(data string) (path string, done func(), err error) {
	path = filepath.Join(data, controlName)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlName), func() { dir.Close() }, nil
}

// controlServer answers on the socket. ready says what is wrong, or nil; engine
// may be nil.
func controlServer(engine *disk.Backend, ready func(context.Context) error, log *slog.Logger, more ...func(*http.ServeMux)) *http.Server {
	mux := http.NewServeMux()
	for _, add := range more {
		add(mux)
	}
	mux.Handle("GET /readyz", readiness(ready))
	mux.HandleFunc("GET /snapshot", func(w http.ResponseWriter, r *http.Request) {
		if engine == nil {
			http.Error(w, "this server keeps its objects in memory: there is nothing to read on disk", http.StatusConflict)
			return
		}
		snap, err := engine.Snapshot(r.Context())
		if err != nil {
			log.Error("snapshot failed", "error", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		log.Info("snapshot held", "dir", snap.Dir)
		defer func() {
			if err := snap.Close(); err != nil {
				log.Error("snapshot not released", "dir", snap.Dir, "error", err)
				return
			}
			log.Info("snapshot released", "dir", snap.Dir)
		}()
		json.NewEncoder(w).Encode(snapshotReply{snap.Dir})
		http.NewResponseController(w).Flush()
		<-r.Context().Done() // whoever asked is done with it, or gone
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}

// controlClient speaks to the server that holds data.
func controlClient(data string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, done, err := socketPath(data)
			if err != nil {
				return nil, err
			}
			defer done()
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// answers reports whether a server that holds data is there to be asked.
func answers(data string) bool {
	path, done, err := socketPath(data)
	if err != nil {
		return false
	}
	defer done()
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// askControl asks the server that holds data for what; the caller closes the
// body.
func askControl(ctx context.Context, data, what string) (*http.Response, error) {
	return tellControl(ctx, "GET", data, what)
}

// tellControl is askControl by another method, for what changes something.
func tellControl(ctx context.Context, method, data, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://memstore/"+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := controlClient(data).Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		if err := isData(data); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("no server runs on %s", data)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the server that holds %s may be asked by the user that it runs as only", data)
	case err != nil:
		return nil, fmt.Errorf("asking the server that holds %s: %w", data, err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		return nil, fmt.Errorf("the server that holds %s: %s", data, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// borrowSnapshot has the running server hold a snapshot, whose directory it
// returns, until release is called or this process ends.
func borrowSnapshot(ctx context.Context, data string) (dir string, release func() error, err error) {
	resp, err := askControl(ctx, data, "snapshot")
	if err != nil {
		return "", nil, err
	}
	var reply snapshotReply
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		resp.Body.Close()
		return "", nil, fmt.Errorf("the server that holds %s: %w", data, err)
	}
	return reply.Dir, resp.Body.Close, nil
}
