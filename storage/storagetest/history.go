package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"memstore.dev/memstore/storage"
)

// testHistory makes random histories on the backend and on a model of it, in
// which everything is a map, and compares after each step. rapid cuts what
// fails down to the shortest history that does.
func (s *suite) testHistory() {
	round := 0
	rapid.Check(s.T, func(t *rapid.T) {
		round++
		h := &history{s: s, account: storage.Path{Account: fmt.Sprint("AUTH_", round)}}
		t.Repeat(map[string]func(*rapid.T){
			"make":   h.make,
			"put":    h.put,
			"update": h.update,
			"remove": h.remove,
			"copy":   h.copy,
			"move":   h.move,
			"open":   h.open,
			"list":   h.list,
			"":       h.compare,
		})
	})
}

// A history is a backend's account beside its model.
type history struct {
	s       *suite
	account storage.Path
	made    *place            // the account; nil if it is absent
	inside  map[string]*place // containers
	objects map[storage.Path]*thing
}

// A place models an account or a container.
type place struct {
	version uint64
	meta    storage.Meta
}

// A thing models an object.
type thing struct {
	version  uint64
	data     []byte
	kind     string
	deleteAt time.Time
	meta     storage.Meta
}

func (o *thing) expired() bool { return !o.deleteAt.IsZero() && !time.Now().Before(o.deleteAt) }

// alive returns the object at p, or nil if it is absent or expired.
func (h *history) alive(p storage.Path) *thing {
	if o := h.objects[p]; o != nil && !o.expired() {
		return o
	}
	return nil
}

// place returns the account or container at p, or nil if it is absent.
func (h *history) place(p storage.Path) *place {
	if p.IsAccount() {
		return h.made
	}
	return h.inside[p.Container]
}

func (h *history) set(p storage.Path, at *place) {
	switch {
	case p.IsAccount():
		h.made, h.inside, h.objects = at, map[string]*place{}, map[storage.Path]*thing{}
	case at == nil:
		delete(h.inside, p.Container)
	default:
		h.inside[p.Container] = at
	}
}

// usage adds up objects and bytes, of all containers if the name is empty.
func (h *history) usage(container string) (objects, size int64) {
	for p, o := range h.objects {
		if container == "" || p.Container == container {
			objects, size = objects+1, size+int64(len(o.data))
		}
	}
	return objects, size
}

func (h *history) drawObject(t *rapid.T, label string) storage.Path {
	p := h.drawContainer(t, label)
	p.Object = rapid.SampledFrom([]string{"x", "y", "x/y", "x/z"}).Draw(t, label)
	return p
}

func (h *history) drawContainer(t *rapid.T, label string) storage.Path {
	p := h.account
	p.Container = rapid.SampledFrom([]string{"c", "d"}).Draw(t, label)
	return p
}

func (h *history) drawPath(t *rapid.T) storage.Path {
	switch rapid.IntRange(0, 5).Draw(t, "depth") {
	case 0:
		return h.account
	case 1:
		return h.drawContainer(t, "path")
	}
	return h.drawObject(t, "path")
}

func drawMeta(t *rapid.T) storage.Meta {
	value := rapid.SampledFrom([]string{"1", "2"})
	return rapid.MapOfN(rapid.SampledFrom([]string{"X-Meta-A", "X-Meta-B"}), value, 0, 2).Draw(t, "meta")
}

func drawData(t *rapid.T) []byte {
	size := rapid.SampledFrom([]int{0, 1, 100, 16 << 10, 70_000}).Draw(t, "size")
	return content(rapid.Uint64Range(0, 1000).Draw(t, "seed"), size)
}

func drawDeleteAt(t *rapid.T) time.Time {
	hours := rapid.SampledFrom([]int{0, 0, 0, 1, -1}).Draw(t, "due in hours")
	if hours == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(hours) * time.Hour).Truncate(time.Second)
}

// drawCond draws a condition on what has this version, or is absent if it is 0.
func drawCond(t *rapid.T, version uint64) (c storage.Cond, holds bool) {
	switch rapid.IntRange(0, 7).Draw(t, "condition") {
	case 0:
		return storage.Cond{Absent: true}, version == 0
	case 1:
		return storage.Cond{Version: version}, true // none, if nothing is there
	case 2:
		return storage.Cond{Version: version + 1}, false
	}
	return storage.Cond{}, true
}

// judge compares how a change went with how it should.
func judge(t *rapid.T, what string, err error, want ...error) (done bool) {
	switch {
	case len(want) == 0 && err != nil:
		t.Fatalf("%s: %v", what, err)
	case len(want) > 0 && !isAny(err, want...):
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
	return err == nil
}

func (h *history) make(t *rapid.T) {
	p := h.drawContainer(t, "path")
	if rapid.IntRange(0, 3).Draw(t, "depth") == 0 {
		p = h.account
	}
	meta := drawMeta(t)
	created, err := h.s.b.Make(h.s.ctx, p, meta)
	if p.IsContainer() && h.made == nil {
		judge(t, "Make in no account", err, fs.ErrNotExist)
		return
	}
	judge(t, "Make", err)
	if absent := h.place(p) == nil; created != absent {
		t.Fatalf("Make = %v, want %v", created, absent)
	}
	if created {
		h.set(p, &place{h.s.stat(p).Version, meta})
	}
}

func (h *history) put(t *rapid.T) {
	p := h.drawObject(t, "path")
	in := storage.Info{Path: p, Type: rapid.SampledFrom([]string{"a/a", "b/b"}).Draw(t, "type"), Meta: drawMeta(t), DeleteAt: drawDeleteAt(t)}
	data := drawData(t)
	h.replace(t, "put", in, data, nil, func(c storage.Cond) (storage.Info, error) {
		return write(h.s.ctx, h.s.b, in, data, c)
	})
}

func (h *history) copy(t *rapid.T) {
	from := h.drawObject(t, "from")
	in := storage.Info{Path: h.drawObject(t, "path"), Type: "c/c", Meta: drawMeta(t), DeleteAt: drawDeleteAt(t)}
	copier, ok := h.s.b.(storage.Copier)
	if !ok {
		return
	}
	var data []byte
	var problem error
	if source := h.alive(from); source != nil {
		data = source.data
	} else {
		problem = fs.ErrNotExist
	}
	h.replace(t, "Copy", in, data, problem, func(c storage.Cond) (storage.Info, error) {
		return copier.Copy(h.s.ctx, storage.Info{Path: from}, in, c)
	})
}

// replace makes an object of data at in.Path, or fails with the problem if
// there is one, under a condition and a quota.
func (h *history) replace(t *rapid.T, what string, in storage.Info, data []byte, problem error, do func(storage.Cond) (storage.Info, error)) {
	var there, held uint64
	var size int64
	if o := h.objects[in.Path]; o != nil {
		held, size = 1, int64(len(o.data))
	}
	if o := h.alive(in.Path); o != nil {
		there = o.version
	}
	c, holds := drawCond(t, there)
	within := true
	if rapid.IntRange(0, 3).Draw(t, "quota") == 0 {
		c.Quota = &storage.Quota{
			ContainerBytes:   rapid.Int64Range(-1, 150_000).Draw(t, "container bytes"),
			ContainerObjects: rapid.Int64Range(-1, 4).Draw(t, "container objects"),
			AccountBytes:     rapid.Int64Range(-1, 200_000).Draw(t, "account bytes"),
		}
		objects, bytes := h.usage(in.Path.Container)
		_, total := h.usage("")
		grown := int64(len(data)) - size
		within = !(c.Quota.ContainerBytes >= 0 && grown > 0 && bytes+grown > c.Quota.ContainerBytes ||
			c.Quota.ContainerObjects >= 0 && held == 0 && objects+1 > c.Quota.ContainerObjects ||
			c.Quota.AccountBytes >= 0 && grown > 0 && total+grown > c.Quota.AccountBytes)
	}
	got, err := do(c)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	// Which of several reasons a refusal gives is the backend's choice.
	var want []error
	if problem != nil {
		want = append(want, problem)
	}
	if h.inside[in.Path.Container] == nil {
		want = append(want, fs.ErrNotExist)
	}
	if !holds {
		want = append(want, storage.ErrPrecondition)
	}
	if !within {
		want = append(want, storage.ErrQuota)
	}
	if judge(t, what, err, want...) {
		h.objects[in.Path] = &thing{got.Version, data, in.Type, in.DeleteAt, in.Meta}
	}
}

func (h *history) move(t *rapid.T) {
	from, to := h.drawObject(t, "from"), h.drawObject(t, "to")
	mover, ok := h.s.b.(storage.Mover)
	if !ok {
		return
	}
	var there uint64
	if o := h.alive(to); o != nil {
		there = o.version
	}
	c, holds := drawCond(t, there)
	got, err := mover.Move(h.s.ctx, from, to, c)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	var want []error
	if h.alive(from) == nil || h.inside[to.Container] == nil {
		want = append(want, fs.ErrNotExist)
	}
	if !holds {
		want = append(want, storage.ErrPrecondition)
	}
	if judge(t, "Move", err, want...) {
		o := h.objects[from]
		delete(h.objects, from)
		o.version = got.Version
		h.objects[to] = o
	}
}

func (h *history) update(t *rapid.T) {
	in := storage.Info{Path: h.drawPath(t), Meta: drawMeta(t)}
	if in.Path.IsObject() {
		in.DeleteAt = drawDeleteAt(t)
		in.Type = rapid.SampledFrom([]string{"", "u/u"}).Draw(t, "type")
	}
	version := h.version(in.Path)
	c, holds := drawCond(t, version)
	got, err := h.s.b.Update(h.s.ctx, in, c)
	if !judge(t, "Update", err, refusals(version, holds, nil)...) {
		return
	}
	if !in.Path.IsObject() {
		*h.place(in.Path) = place{got.Version, in.Meta}
		return
	}
	o := h.objects[in.Path]
	o.version, o.meta, o.deleteAt = got.Version, in.Meta, in.DeleteAt
	if in.Type != "" {
		o.kind = in.Type
	}
}

func (h *history) remove(t *rapid.T) {
	p := h.drawPath(t)
	version := h.version(p)
	c, holds := drawCond(t, version)
	var full error
	if objects, _ := h.usage(p.Container); p.IsContainer() && objects > 0 || p.IsAccount() && len(h.inside) > 0 {
		full = storage.ErrNotEmpty
	}
	if !judge(t, "Remove", h.s.b.Remove(h.s.ctx, p, c), refusals(version, holds, full)...) {
		return
	}
	if p.IsObject() {
		delete(h.objects, p)
	} else {
		h.set(p, nil)
	}
}

// version is that of what is at p, or 0 if nothing is.
func (h *history) version(p storage.Path) uint64 {
	if p.IsObject() {
		if o := h.alive(p); o != nil {
			return o.version
		}
	} else if at := h.place(p); at != nil {
		return at.version
	}
	return 0
}

// refusals are the reasons why a change of what has this version may fail.
func refusals(version uint64, holds bool, other error) (reasons []error) {
	if version == 0 {
		reasons = append(reasons, fs.ErrNotExist)
	}
	if !holds {
		reasons = append(reasons, storage.ErrPrecondition)
	}
	if other != nil {
		reasons = append(reasons, other)
	}
	return reasons
}

func (h *history) open(t *rapid.T) {
	p := h.drawObject(t, "path")
	r := storage.All
	if rapid.Bool().Draw(t, "ranged") {
		r.Offset = rapid.Int64Range(-100, 20_000).Draw(t, "offset")
		r.Length = rapid.SampledFrom([]int64{-1, 0, 1, 50, 16 << 10, 1 << 40}).Draw(t, "length")
	}
	body, in, err := h.s.b.Open(h.s.ctx, p, r)
	o := h.alive(p)
	if o == nil {
		judge(t, "Open", err, fs.ErrNotExist)
		return
	}
	offset, length, unsatisfiable := r.Resolve(int64(len(o.data)))
	h.same(t, p, in, o)
	if unsatisfiable != nil {
		judge(t, "Open", err, storage.ErrRange)
		return
	}
	judge(t, "Open", err)
	got, err := drain(body)
	judge(t, "reading", err)
	if want := o.data[offset:][:length]; !bytes.Equal(got, want) {
		t.Fatalf("Open(%q, %+v) reads %s, want %s", p, r, brief(got), brief(want))
	}
}

// same holds an Info against the model's object.
func (h *history) same(t *rapid.T, p storage.Path, in storage.Info, o *thing) {
	if in.Path != p || in.Version != o.version || in.Size != int64(len(o.data)) || in.ETag != etag(o.data) ||
		in.Type != o.kind || !in.DeleteAt.Equal(o.deleteAt) || !sameMeta(in.Meta, o.meta) {
		t.Fatalf("%q is %+v, want version %d of %s, type %q, DeleteAt %v, Meta %v",
			p, in, o.version, brief(o.data), o.kind, o.deleteAt, o.meta)
	}
}

func (h *history) list(t *rapid.T) {
	p := h.drawContainer(t, "path")
	q := storage.Query{
		Prefix:    rapid.SampledFrom([]string{"", "x", "x/", "z"}).Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom([]string{"", "/", "x"}).Draw(t, "delimiter"),
		Marker:    rapid.SampledFrom([]string{"", "x", "x/", "x/y"}).Draw(t, "marker"),
		EndMarker: rapid.SampledFrom([]string{"", "", "x/z", "y"}).Draw(t, "end marker"),
		Reverse:   rapid.Bool().Draw(t, "reverse"),
		Limit:     rapid.IntRange(0, 3).Draw(t, "limit"),
	}
	listed, err := list(h.s.ctx, h.s.b, p, q)
	if h.inside[p.Container] == nil {
		judge(t, "List", err, fs.ErrNotExist)
		return
	}
	judge(t, "List", err)
	var names []string
	for o := range h.objects {
		if o.Container == p.Container {
			names = append(names, o.Object)
		}
	}
	if got, want := entriesOf(listed), Listing(names, q); !slices.Equal(got, want) {
		t.Fatalf("List(%q, %+v)\nhas  %v\nwant %v", p, q, got, want)
	}
}

// compare holds all there is against the model.
func (h *history) compare(t *rapid.T) {
	stat := func(p storage.Path, at *place, containers, objects, size int64) {
		in, err := h.s.b.Stat(h.s.ctx, p)
		if at == nil {
			judge(t, "Stat", err, fs.ErrNotExist)
			return
		}
		judge(t, "Stat", err)
		if in.Version != at.version || !sameMeta(in.Meta, at.meta) || in.Containers != containers || in.Objects != objects || in.Size != size {
			t.Fatalf("%q is %+v,\nwant version %d, Meta %v, %d containers, %d objects, %d bytes",
				p, in, at.version, at.meta, containers, objects, size)
		}
	}
	objects, size := h.usage("")
	stat(h.account, h.made, int64(len(h.inside)), objects, size)
	if h.made == nil {
		return
	}
	containers, err := list(h.s.ctx, h.s.b, h.account, storage.Query{})
	judge(t, "List", err)
	if want := slices.Sorted(maps.Keys(h.inside)); !slices.Equal(names(containers), want) {
		t.Fatalf("the account has containers %q, want %q", names(containers), want)
	}
	for name, at := range h.inside {
		objects, size := h.usage(name)
		p := storage.Path{Account: h.account.Account, Container: name}
		stat(p, at, 0, objects, size)
		listed, err := list(h.s.ctx, h.s.b, p, storage.Query{Meta: true})
		judge(t, "List", err)
		if len(listed) != int(objects) {
			t.Fatalf("%q lists %q, want %d objects", p, names(listed), objects)
		}
		for _, in := range listed {
			o := h.objects[in.Path]
			if o == nil {
				t.Fatalf("%q is listed but should not be there", in.Path)
			}
			h.same(t, in.Path, in, o)
		}
	}
}
