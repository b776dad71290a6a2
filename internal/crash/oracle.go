package main

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// noise is what all bodies are cut from.
var noise = func() []byte {
	b := make([]byte, 4<<20)
	r := rand.NewChaCha8([32]byte{'c', 'r', 'a', 's', 'h'})
	r.Read(b)
	return b
}()

// A body is an object's content, which can be made again from its number: no
// two bodies of eight bytes or more are alike.
type body struct {
	id   uint64
	size int
	etag string
}

func newBody(id uint64, size int) body {
	b := body{id: id, size: size}
	h := md5.New()
	io.Copy(h, b.reader())
	b.etag = hex.EncodeToString(h.Sum(nil))
	return b
}

func (b body) parts() (head, rest []byte) {
	head = binary.BigEndian.AppendUint64(nil, b.id*0x9e3779b97f4a7c15)
	head = head[:min(len(head), b.size)]
	n := b.size - len(head)
	at := int(b.id * 7919 % uint64(len(noise)-n+1))
	return head, noise[at : at+n]
}

func (b body) reader() io.Reader {
	head, rest := b.parts()
	return io.MultiReader(bytes.NewReader(head), bytes.NewReader(rest))
}

// slice is a stretch of the body.
func (b body) slice(from, to int) []byte {
	head, rest := b.parts()
	return slices.Concat(head, rest)[from:to]
}

// A state is what a key, an object or a container, may hold: nothing, or
// something with this metadata, type and content.
type state struct {
	present bool
	mark    string // the value of its one metadata header
	kind    string // content type of an object
	body    body
}

func (s state) String() string {
	switch {
	case !s.present:
		return "nothing"
	case s.kind == "":
		return fmt.Sprintf("a container marked %q", s.mark)
	}
	return fmt.Sprintf("%d bytes %s, type %s, marked %q", s.body.size, s.body.etag, s.kind, s.mark)
}

// An event is a change that was asked for. It began and ended at ticks of the
// harness's clock, and never ended if it was not answered.
type event struct {
	begun, ended int64
	acked        bool
	state        state // after it
}

const never = math.MaxInt64

// A key is one name in the store, with everything that was asked to happen to
// it since its state was last seen for certain.
type key struct {
	container, object string // object is "" for a container

	// turn is held over an operation by whoever works on a key that is not
	// free for all, so that its state is known before each.
	turn sync.Mutex

	mu      sync.Mutex // guards what is below
	history []event    // never empty
	left    *left      // an upload to it that was left unfinished; nil if there is none
}

// A left is an upload that was not finished, which its user may go on with.
type left struct {
	body body
	size int64 // how much of it is kept
	sure bool  // that was answered; otherwise it may be less, or nothing
}

// leftover returns what is left of an upload to the key.
func (k *key) leftover() *left {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.left
}

func (k *key) setLeft(l *left) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = l
}

func newKey(container, object string) *key {
	return &key{container: container, object: object, history: []event{{acked: true}}}
}

func (k *key) String() string { return "/" + k.container + "/" + k.object }

// settled returns the state the key is in, if the last thing asked of it was
// answered. It is for those who have the turn.
func (k *key) settled() (state, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.history {
		if !e.acked {
			return state{}, false
		}
	}
	return k.history[len(k.history)-1].state, true
}

// record adds a change that ended as it did.
func (k *key) record(e event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.history = append(k.history, e)
}

// allowed returns the states the key may be found in. A change that was
// acknowledged puts an end to all that were over before it began; of those
// that went on at the same time, any may have come last. One that was never
// answered may have happened or not, at any time since, so it neither ends
// others nor is ended by them.
func (k *key) allowed() []state {
	k.mu.Lock()
	defer k.mu.Unlock()
	var latest int64
	for _, e := range k.history {
		if e.acked {
			latest = max(latest, e.begun)
		}
	}
	var states []state
	for _, e := range k.history {
		if e.ended >= latest && !slices.Contains(states, e.state) {
			states = append(states, e.state)
		}
	}
	return states
}

// past returns all states the key was meant to be in at any time since it was
// last seen.
func (k *key) past() []state {
	k.mu.Lock()
	defer k.mu.Unlock()
	var states []state
	for _, e := range k.history {
		states = append(states, e.state)
	}
	return states
}

// seen says that the key is in this state, and nothing is under way.
func (k *key) seen(s state) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.history = append(k.history[:0], event{acked: true, state: s})
}

// A world is all the names there are, and the clock.
type world struct {
	clock  atomic.Int64
	bodies atomic.Uint64

	shared     []string // containers that are always there
	keys       []*key   // objects in them, one writer at a time
	contended  []*key   // objects in them, any writer at any time
	containers []*key   // containers that come and go, one for each writer
	inside     [][]*key // objects in each of those
	files      [][]*key // objects that come and go as files, a few for each writer
	parts      []*key   // objects that are uploaded in two pieces, one for each writer
}

// filed is the container of all files.
const filed = "files"

// newWorld returns the names for so many writers.
func newWorld(writers int) *world {
	w := &world{shared: []string{"alpha", "beta bad %41", filed, "gämma"}}
	oddities := []string{"", "/", "//x/", "/../", "%2F", "?q=1&", "#", " ", "\n", "ü/ñ", "\x01", "+"}
	for i := range writers * 12 {
		name := fmt.Sprintf("k%03d%s", i, oddities[i%len(oddities)])
		w.keys = append(w.keys, newKey(w.mixed(i), name))
	}
	for i := range 12 {
		w.contended = append(w.contended, newKey(w.mixed(i), fmt.Sprintf("hot/%d", i)))
	}
	for i := range writers {
		name := fmt.Sprintf("own-%d", i)
		w.containers = append(w.containers, newKey(name, ""))
		w.inside = append(w.inside, []*key{newKey(name, "a"), newKey(name, "b/c")})
		var files []*key
		for _, form := range []string{"%d", "%d.txt", "%d ☃.jpg"} {
			files = append(files, newKey(filed, fmt.Sprintf(form, i)))
		}
		w.files = append(w.files, files)
		w.parts = append(w.parts, newKey(filed, fmt.Sprintf("part-%d", i)))
	}
	return w
}

// mixed is one of the shared containers where any name goes.
func (w *world) mixed(i int) string {
	return slices.DeleteFunc(slices.Clone(w.shared), func(name string) bool { return name == filed })[i%3]
}

// objects are all keys that are objects.
func (w *world) objects() []*key {
	return slices.Concat(w.keys, w.contended, slices.Concat(w.inside...), slices.Concat(w.files...), w.parts)
}

// tick is the next moment.
func (w *world) tick() int64 { return w.clock.Add(1) }

// newBody returns a body of which there is no other, of a random size: empty,
// tiny, around the limits between the engine's ways to keep bytes, and large.
func (w *world) newBody(r *rand.Rand) body {
	var size int
	switch n := r.IntN(100); {
	case n < 5:
		size = 0
	case n < 30:
		size = 1 + r.IntN(1<<10)
	case n < 60:
		size = 1<<10 + r.IntN(15<<10)
	case n < 70:
		size = 16<<10 - 2 + r.IntN(5)
	case n < 92:
		size = 16<<10 + r.IntN(112<<10)
	case n < 97:
		size = 256<<10 - 2 + r.IntN(5)
	default:
		size = 512<<10 + r.IntN(5<<19)
	}
	return newBody(w.bodies.Add(1), size)
}
