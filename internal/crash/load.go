package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
)

// mark is the one item of metadata that objects and containers carry.
const (
	objectMark    = "X-Object-Meta-Mark"
	containerMark = "X-Container-Meta-Mark"
)

// A load is the writers at work on one life of the store.
type load struct {
	w *world
	c *client

	lateAcks bool        // an answer that comes after the blow still counts
	quit     atomic.Bool // writers finish what they are at
	struck   atomic.Bool // the blow may have fallen: no answer is no surprise

	flood atomic.Int64  // so many small writes come first
	early chan struct{} // closed when they are done

	acked, unanswered, resumed atomic.Int64

	logins [][]fileDoor // by writer and door; nil until it is needed

	mu    sync.Mutex
	wrong []finding
}

func (l *load) complain(k *key, kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, finding{kind, k.String(), fmt.Sprintf(format, args...)})
}

// newLoad returns a load that begins with so many small writes.
func newLoad(w *world, c *client, flood int) *load {
	l := &load{w: w, c: c, early: make(chan struct{})}
	if l.flood.Store(int64(flood)); flood <= 0 {
		close(l.early)
	}
	return l
}

// run lets the writers work until quit is set or nobody answers any more.
func (l *load) run(ctx context.Context, writers int, seed uint64) {
	var wg sync.WaitGroup
	l.logins = make([][]fileDoor, writers)
	for i := range writers {
		wg.Go(func() {
			defer l.logOut(i)
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for !l.quit.Load() && !l.struck.Load() && ctx.Err() == nil {
				l.step(ctx, r, i)
			}
		})
	}
	wg.Wait()
}

// step does one thing, chosen by r, as writer i.
func (l *load) step(ctx context.Context, r *rand.Rand, i int) {
	switch n := r.IntN(100); {
	case l.flooding():
		l.small(ctx, r)
	case n < 12:
		l.contend(ctx, r)
	case n < 24:
		l.ownContainer(ctx, r, i)
	case n < 44 && len(l.c.at.files) > 0:
		l.file(ctx, r, i)
	default:
		k := l.w.keys[r.IntN(len(l.w.keys))]
		if !k.turn.TryLock() {
			return
		}
		defer k.turn.Unlock()
		if now, ok := k.settled(); ok {
			l.object(ctx, r, k, now)
		}
	}
}

// flooding takes one from the small writes that come first.
func (l *load) flooding() bool {
	if l.flood.Load() <= 0 {
		return false
	}
	if l.flood.Add(-1) == 0 {
		close(l.early)
	}
	return true
}

// small writes something that an engine would keep in its index.
func (l *load) small(ctx context.Context, r *rand.Rand) {
	k := l.w.keys[r.IntN(len(l.w.keys))]
	if !k.turn.TryLock() {
		return
	}
	defer k.turn.Unlock()
	s := state{present: true, kind: "application/x-crash", body: newBody(l.w.bodies.Add(1), 15<<10+r.IntN(1<<10))}
	l.change(ctx, k, s, 201, "PUT", path(k.container, k.object), s.body.reader(), int64(s.body.size), header(s)...)
}

// object does something to a key that is in the state now.
func (l *load) object(ctx context.Context, r *rand.Rand, k *key, now state) {
	switch n := r.IntN(100); {
	case n < 52:
		l.put(ctx, r, k, now, n < 6)
	case n < 66:
		l.remove(ctx, k, now)
	case n < 76:
		l.post(ctx, r, k, now)
	case n < 88:
		l.copy(ctx, r, k, now)
	case n < 92:
		l.abandon(ctx, r, k)
	default:
		l.get(ctx, k, now)
	}
}

// change asks for a change and records what came of it: after if the answer is
// the status want, and an error if it is any other.
func (l *load) change(ctx context.Context, k *key, after state, want int, method, path string, b io.Reader, size int64, header ...string) bool {
	e := event{begun: l.w.tick(), ended: never, state: after}
	a, err := l.c.doBody(ctx, method, path, b, size, header...)
	late := l.struck.Load()
	if err != nil || late && (!l.lateAcks || a.status != want) {
		if !late && ctx.Err() == nil {
			l.complain(k, "unanswered", "%s: %v, and nobody had touched the store", method, err)
		}
		l.unanswered.Add(1)
		k.record(e)
		return false
	}
	if a.status != want {
		l.complain(k, "answer", "%s: %v, want %d", method, a, want)
		k.record(e)
		return false
	}
	e.ended, e.acked = l.w.tick(), true
	l.acked.Add(1)
	k.record(e)
	return true
}

// refuse asks for a change that must be refused with this status.
func (l *load) refuse(ctx context.Context, k *key, want int, method, path string, b io.Reader, size int64, header ...string) {
	a, err := l.c.doBody(ctx, method, path, b, size, header...)
	switch {
	case l.struck.Load() || ctx.Err() != nil:
	case err != nil:
		l.complain(k, "unanswered", "%s: %v, and nobody had touched the store", method, err)
	case a.status != want:
		l.complain(k, "answer", "%s: %v, want %d", method, a, want)
	}
}

func (l *load) newState(r *rand.Rand) state {
	s := state{present: true, body: l.w.newBody(r), kind: fmt.Sprintf("application/x-crash-%d", r.IntN(9))}
	if r.IntN(2) == 0 {
		s.mark = strconv.FormatUint(r.Uint64(), 36)
	}
	return s
}

// header is what a PUT of s says of it.
func header(s state) []string {
	h := []string{"Content-Type", s.kind, "Etag", s.body.etag}
	if s.mark != "" {
		h = append(h, objectMark, s.mark)
	}
	return h
}

func (l *load) put(ctx context.Context, r *rand.Rand, k *key, now state, onlyNew bool) {
	s := l.newState(r)
	h, p := header(s), path(k.container, k.object)
	if onlyNew {
		h = append(h, "If-None-Match", "*")
		if now.present {
			l.refuse(ctx, k, 412, "PUT", p, s.body.reader(), int64(s.body.size), h...)
			return
		}
	}
	l.change(ctx, k, s, 201, "PUT", p, s.body.reader(), int64(s.body.size), h...)
}

func (l *load) remove(ctx context.Context, k *key, now state) {
	if !now.present {
		l.refuse(ctx, k, 404, "DELETE", path(k.container, k.object), nil, 0)
		return
	}
	l.change(ctx, k, state{}, 204, "DELETE", path(k.container, k.object), nil, 0)
}

func (l *load) post(ctx context.Context, r *rand.Rand, k *key, now state) {
	mark := strconv.FormatUint(r.Uint64(), 36)
	if !now.present {
		l.refuse(ctx, k, 404, "POST", path(k.container, k.object), nil, 0, objectMark, mark)
		return
	}
	now.mark = mark
	l.change(ctx, k, now, 202, "POST", path(k.container, k.object), nil, 0, objectMark, mark)
}

// copy makes another key a copy of k.
func (l *load) copy(ctx context.Context, r *rand.Rand, k *key, now state) {
	to := l.w.keys[r.IntN(len(l.w.keys))]
	if to == k || !to.turn.TryLock() {
		return
	}
	defer to.turn.Unlock()
	if _, ok := to.settled(); !ok {
		return
	}
	dest := path(to.container, to.object)
	if !now.present {
		l.refuse(ctx, to, 404, "COPY", path(k.container, k.object), nil, 0, "Destination", dest)
		return
	}
	var h []string
	if r.IntN(2) == 0 {
		now.mark = strconv.FormatUint(r.Uint64(), 36)
		h = []string{objectMark, now.mark}
	}
	if r.IntN(2) == 0 {
		l.change(ctx, to, now, 201, "COPY", path(k.container, k.object), nil, 0, append(h, "Destination", dest)...)
	} else {
		l.change(ctx, to, now, 201, "PUT", dest, empty{}, 0, append(h, "X-Copy-From", path(k.container, k.object))...)
	}
}

// empty is a body of no bytes.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }

var errChangedMind = errors.New("the client went away")

// A halfway reader ends in an error where its bytes do.
type halfway struct{ io.Reader }

func (h halfway) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if err == io.EOF {
		err = errChangedMind
	}
	return n, err
}

// abandon begins an upload that the client never finishes, which must change
// nothing: it is not even recorded.
func (l *load) abandon(ctx context.Context, r *rand.Rand, k *key) {
	s := l.newState(r)
	if s.body.size == 0 {
		return
	}
	part := halfway{io.LimitReader(s.body.reader(), int64(r.IntN(s.body.size)))}
	// The connection is broken after that: no other request may come to use it.
	h := append(header(s), "Connection", "close")
	if a, err := l.c.doBody(ctx, "PUT", path(k.container, k.object), part, int64(s.body.size), h...); err == nil && a.ok() {
		l.complain(k, "answer", "PUT of less than was announced: %v", a)
	}
}

// get reads a key that nobody is changing, so that it can be in one state only.
func (l *load) get(ctx context.Context, k *key, now state) {
	got, fault, err := l.c.fetch(ctx, k)
	switch {
	case l.struck.Load() || ctx.Err() != nil:
	case err != nil:
		l.complain(k, "unanswered", "GET: %v, and nobody had touched the store", err)
	case fault != "":
		l.complain(k, "torn", "GET: %s", fault)
	case got != anonymous(now):
		l.complain(k, "answer", "GET: found %v, want %v", got, now)
	}
}

// contend writes or removes a key that others may be writing and removing.
func (l *load) contend(ctx context.Context, r *rand.Rand) {
	k := l.w.contended[r.IntN(len(l.w.contended))]
	if r.IntN(4) > 0 {
		l.put(ctx, r, k, state{}, false)
		return
	}
	// Whether it was there when its turn came nobody knows. That it was not is
	// an answer as good as that it is no more.
	e := event{begun: l.w.tick(), ended: never}
	a, err := l.c.do(ctx, "DELETE", path(k.container, k.object))
	late := l.struck.Load()
	switch {
	case err == nil && (a.status == 204 || a.status == 404) && (!late || l.lateAcks):
		e.ended, e.acked = l.w.tick(), true
		l.acked.Add(1)
	case late || ctx.Err() != nil:
		l.unanswered.Add(1)
	default:
		l.complain(k, "answer", "DELETE: %v %v", a, err)
	}
	k.record(e)
}

// ownContainer makes, marks, fills, empties or removes the container of writer
// i, on which nobody else works.
func (l *load) ownContainer(ctx context.Context, r *rand.Rand, i int) {
	con := l.w.containers[i]
	now, ok := con.settled()
	if !ok {
		return
	}
	p := path(con.container, "")
	k := l.w.inside[i][r.IntN(len(l.w.inside[i]))]
	in, ok := k.settled()
	if !ok {
		return
	}
	if !now.present {
		if r.IntN(8) == 0 {
			s := l.newState(r)
			l.refuse(ctx, k, 404, "PUT", path(k.container, k.object), s.body.reader(), int64(s.body.size), header(s)...)
			return
		}
		mark := strconv.FormatUint(r.Uint64(), 36)
		l.change(ctx, con, state{present: true, mark: mark}, 201, "PUT", p, empty{}, 0, containerMark, mark)
		return
	}
	switch n := r.IntN(10); {
	case n < 1:
		now.mark = strconv.FormatUint(r.Uint64(), 36)
		l.change(ctx, con, now, 204, "POST", p, nil, 0, containerMark, now.mark)
	case n < 4:
		l.removeOwn(ctx, i)
	case n < 7 && in.present:
		l.remove(ctx, k, in)
	default:
		l.put(ctx, r, k, in, false)
	}
}

// removeOwn removes the container of writer i, which succeeds only if nothing
// is in it.
func (l *load) removeOwn(ctx context.Context, i int) {
	con := l.w.containers[i]
	full := false
	for _, k := range l.w.inside[i] {
		in, ok := k.settled()
		if !ok {
			return
		}
		full = full || in.present
	}
	if full {
		l.refuse(ctx, con, 409, "DELETE", path(con.container, ""), nil, 0)
		return
	}
	l.change(ctx, con, state{}, 204, "DELETE", path(con.container, ""), nil, 0)
}

// anonymous is s as it is seen from outside, where bodies have no numbers.
func anonymous(s state) state {
	s.body.id = 0
	return s
}

// fetch reads an object or the metadata of a container. fault says what is
// wrong with the answer in itself: a body that is not what its own headers say.
func (c *client) fetch(ctx context.Context, k *key) (s state, fault string, err error) {
	method, mark := "GET", objectMark
	if k.object == "" {
		method, mark = "HEAD", containerMark
	}
	resp, err := c.send(ctx, method, path(k.container, k.object), nil, 0)
	if err != nil {
		return s, "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case 200, 204:
	case 404:
		return s, "", nil
	default:
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return s, fmt.Sprintf("status %d %s", resp.StatusCode, b), nil
	}
	s = state{present: true, mark: resp.Header.Get(mark)}
	if k.object == "" {
		return s, "", nil
	}
	s.kind = resp.Header.Get("Content-Type")
	h := md5.New()
	n, err := io.Copy(h, resp.Body)
	s.body = body{size: int(n), etag: resp.Header.Get("Etag")}
	switch sum := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
		return s, fmt.Sprintf("%d bytes of %d, then %v", n, resp.ContentLength, err), nil
	case resp.ContentLength >= 0 && n != resp.ContentLength:
		return s, fmt.Sprintf("%d bytes of %d", n, resp.ContentLength), nil
	case sum != s.body.etag:
		return s, fmt.Sprintf("%d bytes whose MD5 is %s, not %s", n, sum, s.body.etag), nil
	}
	return s, "", nil
}
