package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A finding is something the store did that no honest store does.
type finding struct {
	kind string // lost, torn, orphan, resurrected, alien, listing, totals, answer, unanswered, start, fsck
	key  string
	text string
}

func (f finding) String() string { return fmt.Sprintf("%s: %q: %s", f.kind, f.key, f.text) }

// verify compares the whole store with what it may hold, and takes what it
// finds to be so from now on. Nothing else may be going on.
func (w *world) verify(ctx context.Context, c *client, seed uint64) ([]finding, error) {
	v := &verifier{w: w, c: c, found: map[string]map[string]state{}}
	keys := slices.Concat(w.objects(), w.containers)
	var wg sync.WaitGroup
	work := make(chan *key)
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for k := range work {
				v.key(ctx, k, r)
			}
		})
	}
	for _, k := range keys {
		work <- k
	}
	close(work)
	wg.Wait()
	if v.err == nil {
		v.err = v.listings(ctx)
	}
	if v.err == nil && len(c.at.files) > 0 {
		v.err = v.files(ctx, c.at.files[seed%uint64(len(c.at.files))])
	}
	return v.findings, v.err
}

type verifier struct {
	w *world
	c *client

	mu       sync.Mutex // guards what is below
	found    map[string]map[string]state
	findings []finding
	err      error
}

func (v *verifier) complain(kind, key, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, finding{kind, key, fmt.Sprintf(format, args...)})
}

// key reads one key and judges it.
func (v *verifier) key(ctx context.Context, k *key, r *rand.Rand) {
	got, fault, err := v.c.fetch(ctx, k)
	if err != nil {
		v.mu.Lock()
		v.err = fmt.Errorf("reading %q: %w", k, err)
		v.mu.Unlock()
		return
	}
	allowed := k.allowed()
	match := slices.IndexFunc(allowed, func(s state) bool { return anonymous(s) == got })
	switch {
	case fault != "":
		v.complain("torn", k.String(), "%s; want %v", fault, allowed)
	case match >= 0:
		got = allowed[match]
		if got.body.size > 0 && r.IntN(4) == 0 {
			v.stretch(ctx, k, got.body, r)
		}
	case !got.present:
		v.complain("lost", k.String(), "nothing is there, want %v", allowed)
	case slices.ContainsFunc(k.past(), func(s state) bool { return anonymous(s) == got }):
		kind := "lost"
		if slices.ContainsFunc(allowed, func(s state) bool { return !s.present }) {
			kind = "resurrected"
		}
		v.complain(kind, k.String(), "found %v as it was before, want %v", got, allowed)
	default:
		v.complain("alien", k.String(), "found %v, want %v", got, allowed)
	}
	k.seen(got)
	if !got.present {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.found[k.container] == nil {
		v.found[k.container] = map[string]state{}
	}
	if k.object != "" {
		v.found[k.container][k.object] = got
	}
}

// stretch reads a range of an object that is known to be good as a whole.
func (v *verifier) stretch(ctx context.Context, k *key, b body, r *rand.Rand) {
	from := r.IntN(b.size)
	to := from + 1 + r.IntN(min(b.size-from, 100<<10))
	a, err := v.c.do(ctx, "GET", path(k.container, k.object), "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	switch {
	case err != nil:
		v.complain("torn", k.String(), "bytes %d-%d: %v", from, to-1, err)
	case a.status != 206 || !bytes.Equal(a.body, b.slice(from, to)):
		v.complain("torn", k.String(), "bytes %d-%d: %d with %d bytes, not those that were put", from, to-1, a.status, len(a.body))
	}
}

// listings compares listings and totals with the objects that were found.
func (v *verifier) listings(ctx context.Context) error {
	for _, name := range v.w.shared {
		if v.found[name] == nil {
			v.found[name] = map[string]state{}
		}
	}
	rows, err := v.c.list(ctx, "")
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(v.found))
	var listed []string
	for _, row := range rows {
		listed = append(listed, row.Name)
	}
	if !slices.Equal(names, listed) {
		v.complain("listing", "/", "containers are %q, listed are %q", names, listed)
	}
	var objects, size int64
	for _, name := range names {
		n, b, err := v.container(ctx, name)
		if err != nil {
			return err
		}
		objects, size = objects+n, size+b
		if i := slices.Index(listed, name); i >= 0 && (rows[i].Count != n || rows[i].Bytes != b) {
			v.complain("totals", name, "listed with %d objects of %d bytes, holds %d of %d", rows[i].Count, rows[i].Bytes, n, b)
		}
	}
	v.totals(ctx, "", "X-Account-Object-Count", "X-Account-Bytes-Used", objects, size)
	a, err := v.c.do(ctx, "HEAD", "")
	if err != nil {
		return err
	}
	if got := a.header.Get("X-Account-Container-Count"); got != strconv.Itoa(len(names)) {
		v.complain("totals", "/", "%s containers counted, %d found", got, len(names))
	}
	return nil
}

// container compares one container's listing and totals with what was found
// in it, and returns how much that was.
func (v *verifier) container(ctx context.Context, name string) (objects, size int64, err error) {
	found := v.found[name]
	rows, err := v.c.list(ctx, path(name, ""))
	if err != nil {
		return 0, 0, err
	}
	if !slices.IsSortedFunc(rows, func(a, b entry) int { return strings.Compare(a.Name, b.Name) }) {
		v.complain("listing", name, "out of order")
	}
	seen := map[string]bool{}
	for _, row := range rows {
		s, ok := found[row.Name]
		switch {
		case !ok:
			v.complain("listing", name, "%q is listed but not there", row.Name)
		case seen[row.Name]:
			v.complain("listing", name, "%q is listed twice", row.Name)
		case row.Hash != s.body.etag || row.Bytes != int64(s.body.size) || row.Kind != s.kind:
			v.complain("listing", name, "%q is listed as %d bytes %s, type %s, but is %v", row.Name, row.Bytes, row.Hash, row.Kind, s)
		}
		seen[row.Name] = true
	}
	for object, s := range found {
		if !seen[object] {
			v.complain("listing", name, "%q is there but not listed", object)
		}
		objects, size = objects+1, size+int64(s.body.size)
	}
	v.totals(ctx, path(name, ""), "X-Container-Object-Count", "X-Container-Bytes-Used", objects, size)
	return objects, size, nil
}

func (v *verifier) totals(ctx context.Context, path, countHeader, bytesHeader string, objects, size int64) {
	a, err := v.c.do(ctx, "HEAD", path)
	if err != nil {
		v.complain("totals", path, "HEAD: %v", err)
		return
	}
	count, used := a.header.Get(countHeader), a.header.Get(bytesHeader)
	if count != strconv.FormatInt(objects, 10) || used != strconv.FormatInt(size, 10) {
		v.complain("totals", path, "%s objects of %s bytes counted, %d of %d found", count, used, objects, size)
	}
}
