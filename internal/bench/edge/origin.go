package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// largest is the size of the largest object.
const largest = 1 << 20

// modified is when every object was made.
var modified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// serve is this program as the origin, or as the bare server, which is the least
// that a handler of net/http does who answers the same. It prints where it
// listens, and ends with its parent.
func serve(what string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	noise := make([]byte, largest)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(noise)
	fmt.Println(l.Addr())
	if what == "bare" {
		return http.Serve(l, bare(noise))
	}
	return http.Serve(l, &origin{noise: noise})
}

// sizeOf is the length of the object at a path.
func sizeOf(path string) (int, bool) {
	switch path {
	case "/1k":
		return 1 << 10, true
	case "/64k":
		return 64 << 10, true
	case "/1m":
		return 1 << 20, true
	}
	if strings.HasPrefix(path, "/miss/") {
		return 1 << 10, true
	}
	if n, ok := strings.CutPrefix(path, "/mix/"); ok {
		i, err := strconv.Atoi(n)
		return mixSize(i), err == nil
	}
	return 0, false
}

// An origin makes objects up, and counts who asks.
type origin struct {
	noise []byte
	asked atomic.Int64
}

// countPath tells how many requests there have been for objects.
const countPath = "/count"

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.URL.Path == countPath {
		h.Set("Cache-Control", "no-store")
		fmt.Fprint(w, o.asked.Load())
		return
	}
	size, ok := sizeOf(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	o.asked.Add(1)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=86400")
	h.Set("Etag", `"`+strings.ReplaceAll(r.URL.Path[1:], "/", "-")+`"`)
	http.ServeContent(w, r, "", modified, bytes.NewReader(o.noise[:size]))
}

// bare answers from memory as an edge does, knowing all answers beforehand.
func bare(noise []byte) http.Handler {
	type answer struct {
		body                               []byte
		kind, control, etag, length, about []string
	}
	answers := map[string]*answer{}
	for _, path := range []string{"/1k", "/64k", "/1m"} {
		size, _ := sizeOf(path)
		answers[path] = &answer{noise[:size], []string{"application/octet-stream"}, []string{"public, max-age=86400"},
			[]string{`"` + path[1:] + `"`}, []string{strconv.Itoa(size)}, []string{modified.Format(http.TimeFormat)}}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.URL.Path]
		if a == nil {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h["Content-Type"], h["Cache-Control"], h["Etag"], h["Last-Modified"] = a.kind, a.control, a.etag, a.about
		if r.Header["Range"] != nil {
			http.ServeContent(w, r, "", modified, bytes.NewReader(a.body))
			return
		}
		h["Content-Length"] = a.length
		w.Write(a.body)
	})
}

// selfEnv marks a process that is one of those servers: also that of a test.
const selfEnv = "MEMSTORE_BENCH_EDGE"

// startSelf starts this program as a server.
func (b *bench) startSelf(what string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startProgram(what, "", []string{selfEnv + "=" + what}, self, what)
}
