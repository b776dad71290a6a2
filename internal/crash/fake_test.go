package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A fake is a machine in this process, which speaks as much of the Swift API as
// the campaign does. Without a lie it keeps every promise.
type fake struct {
	lie string // what it does wrong, see the tests
	r   *rand.Rand

	mu         sync.Mutex // guards what is below
	containers map[string]*fakeContainer
	undo       []func()       // how to take back each change of this life, oldest first
	kept       map[string]int // bytes of files that were left unfinished
	server     *httptest.Server
	dead       bool
}

type fakeContainer struct {
	mark    string
	objects map[string]fakeObject
}

type fakeObject struct {
	data []byte
	etag string
	kind string
	mark string
}

func newFake(lie string) *fake {
	return &fake{lie: lie, r: rand.New(rand.NewPCG(1, 2)), containers: map[string]*fakeContainer{}, kept: map[string]int{}}
}

func (f *fake) start(context.Context) (endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.undo, f.dead = nil, false
	f.server = httptest.NewServer(f)
	dial := func(context.Context) (fileDoor, error) { return fakeFiles{f}, nil }
	return endpoint{f.server.URL + "/v1/AUTH_fake", "token", []dialer{dial}}, nil
}

func (f *fake) stumble(context.Context, time.Duration) error { return nil }
func (f *fake) inspect(context.Context, int) error           { return nil }
func (f *fake) lateAcks() bool                               { return f.lie != "late" }

// strike ends this life and does then what the lie is.
func (f *fake) strike(context.Context) error {
	f.mu.Lock()
	f.dead = true
	switch f.lie {
	case "forgets the last change", "forgets the last hundred":
		n := 1
		if strings.HasSuffix(f.lie, "hundred") {
			n = 100
		}
		for range min(n, len(f.undo)) {
			f.undo[len(f.undo)-1]()
			f.undo = f.undo[:len(f.undo)-1]
		}
	case "tears", "keeps bytes of another", "forgets metadata", "brings back", "forgets an object":
		f.spoil()
	case "forgets what was kept", "keeps too little", "leaves an orphan":
		f.spoilKept()
	}
	f.mu.Unlock()
	f.server.CloseClientConnections()
	f.server.Close()
	return nil
}

// spoil does something to an object that is there.
func (f *fake) spoil() {
	for _, c := range f.containers {
		for name, o := range c.objects {
			if len(o.data) < 8 || o.mark == "" {
				continue
			}
			switch f.lie {
			case "tears":
				o.data = o.data[:len(o.data)-1]
			case "keeps bytes of another":
				o.data = slices.Clone(o.data)
				o.data[0]++
				o.etag = sum(o.data)
			case "forgets metadata":
				o.mark = ""
			case "brings back":
				name += "~"
			case "forgets an object":
				delete(c.objects, name)
				return
			}
			c.objects[name] = o
			return
		}
	}
}

func sum(b []byte) string {
	s := md5.Sum(b)
	return hex.EncodeToString(s[:])
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(499)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		panic(http.ErrAbortHandler)
	}
	_, p, _ := strings.Cut(r.URL.EscapedPath(), "/v1/AUTH_fake")
	container, object := split(p)
	if container == "" {
		f.account(w, r)
		return
	}
	c := f.containers[container]
	switch {
	case c == nil && r.Method == "PUT" && object == "":
		f.containers[container] = &fakeContainer{r.Header.Get(containerMark), map[string]fakeObject{}}
		f.undo = append(f.undo, func() { delete(f.containers, container) })
		w.WriteHeader(201)
	case c == nil:
		w.WriteHeader(404)
	case object == "":
		f.container(w, r, container, c)
	default:
		if status := f.object(w, r, c, object, data); status != 0 {
			w.WriteHeader(status)
		}
	}
}

// split takes an escaped path apart.
func split(p string) (container, object string) {
	container, object, _ = strings.Cut(strings.TrimPrefix(p, "/"), "/")
	container, _ = url.PathUnescape(container)
	object, _ = url.PathUnescape(object)
	return container, object
}

func (f *fake) account(w http.ResponseWriter, r *http.Request) {
	var rows []entry
	var objects, size int64
	for name, c := range f.containers {
		n, b := c.totals(f.lie)
		rows = append(rows, entry{Name: name, Count: n, Bytes: b})
		objects, size = objects+n, size+b
	}
	w.Header().Set("X-Account-Container-Count", strconv.Itoa(len(rows)))
	w.Header().Set("X-Account-Object-Count", strconv.FormatInt(objects, 10))
	w.Header().Set("X-Account-Bytes-Used", strconv.FormatInt(size, 10))
	if r.Method == "GET" {
		page(w, r, rows)
	}
}

func (c *fakeContainer) totals(lie string) (objects, size int64) {
	for _, o := range c.objects {
		objects, size = objects+1, size+int64(len(o.data))
	}
	if lie == "miscounts" {
		size++
	}
	return objects, size
}

func (f *fake) container(w http.ResponseWriter, r *http.Request, name string, c *fakeContainer) {
	objects, size := c.totals(f.lie)
	h := w.Header()
	h.Set("X-Container-Object-Count", strconv.FormatInt(objects, 10))
	h.Set("X-Container-Bytes-Used", strconv.FormatInt(size, 10))
	h.Set(containerMark, c.mark)
	switch r.Method {
	case "GET":
		var rows []entry
		for name, o := range c.objects {
			rows = append(rows, entry{Name: name, Hash: o.etag, Bytes: int64(len(o.data)), Kind: o.kind})
		}
		if f.lie == "lists too little" && len(rows) > 0 {
			rows = rows[1:]
		}
		page(w, r, rows)
	case "HEAD":
		w.WriteHeader(204)
	case "PUT":
		w.WriteHeader(202)
	case "POST":
		old := c.mark
		c.mark = r.Header.Get(containerMark)
		f.undo = append(f.undo, func() { c.mark = old })
		w.WriteHeader(204)
	case "DELETE":
		if objects > 0 {
			w.WriteHeader(409)
			return
		}
		delete(f.containers, name)
		f.undo = append(f.undo, func() { f.containers[name] = c })
		w.WriteHeader(204)
	}
}

// page writes one page of a listing.
func page(w http.ResponseWriter, r *http.Request, rows []entry) {
	slices.SortFunc(rows, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	some := []entry{}
	for _, row := range rows {
		if row.Name > q.Get("marker") && len(some) < limit {
			some = append(some, row)
		}
	}
	json.NewEncoder(w).Encode(some)
}

// set changes an object, or removes it.
func (f *fake) set(c *fakeContainer, name string, o *fakeObject) {
	old, was := c.objects[name]
	f.undo = append(f.undo, func() {
		delete(c.objects, name)
		if was {
			c.objects[name] = old
		}
	})
	delete(c.objects, name)
	if o != nil {
		c.objects[name] = *o
	}
}

// object does what is asked of an object, and returns the status unless all
// of the answer is written.
func (f *fake) object(w http.ResponseWriter, r *http.Request, c *fakeContainer, name string, data []byte) int {
	o, ok := c.objects[name]
	mark := r.Header.Get(objectMark)
	from, to, toName := r.Header.Get("X-Copy-From"), c, name
	if d := r.Header.Get("Destination"); r.Method == "COPY" {
		var container string
		container, toName = split(d)
		to = f.containers[container]
	} else if from != "" {
		container, object := split(from)
		o, ok = f.containers[container].objects[object]
	}
	switch {
	case r.Method == "COPY" || from != "":
		if !ok {
			return 404
		}
		if mark != "" {
			o.mark = mark
		}
		f.set(to, toName, &o)
		return 201
	case r.Method == "PUT":
		if ok && r.Header.Get("If-None-Match") == "*" {
			return 412
		}
		f.set(c, name, &fakeObject{data, sum(data), r.Header.Get("Content-Type"), mark})
		return 201
	case !ok:
		return 404
	case r.Method == "POST":
		o.mark = mark
		f.set(c, name, &o)
		return 202
	case r.Method == "DELETE":
		f.set(c, name, nil)
		return 204
	}
	h := w.Header()
	h.Set("Etag", o.etag)
	h.Set("Content-Type", o.kind)
	h.Set(objectMark, o.mark)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	return 0
}
