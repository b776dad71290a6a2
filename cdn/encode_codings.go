package cdn

import (
	"bufio"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"memstore.dev/memstore/cdn/store"
)

// A coder makes one content coding. Writers are costly to make, and so pooled.
type coder struct {
	name string
	pool *sync.Pool
}

// encodeWriter is what the writers of all codings can do.
type encodeWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// coders are the codings there are, of those that a client likes as much the
// better ones first.
var coders = [3]coder{
	{"br", &sync.Pool{New: func() any { return brotli.NewWriterLevel(io.Discard, 5) }}},
	{"zstd", &sync.Pool{New: func() any {
		// One goroutine to an encoding; browsers refuse windows over 8 MiB.
		w, _ := zstd.NewWriter(io.Discard, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20))
		return w
	}}},
	{"gzip", &sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(io.Discard, 6)
		return w
	}}},
}

// headEncoded is the head of a variant: all else is in that of what it was made
// from.
const headEncoded = 0x21

// encoders is how many bodies may be encoded at once, over all caches: half of
// the machine is for those who wait.
var encoders = make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))

// encode makes the variant of f in coding i, behind the answers. If too many are
// being made, the next who asks tries again.
func (c *Cache) encode(f *found, i int, key store.Key) {
	state := &f.encoded.of[i]
	if size, known := f.entry.Size(); !known || size < encodeMin || size > encodeMax {
		return // and never again: busy stays
	}
	select {
	case encoders <- struct{}{}:
	default:
		state.busy.Store(false)
		return
	}
	body := f.entry.Reader(c.ctx, 0, -1)
	size, _ := f.entry.Size()
	c.do(func() {
		defer func() { <-encoders }()
		defer body.Close()
		fill := c.Store.Create(key, []byte{headEncoded}, -1)
		n, err := coders[i].encode(fill, body, size-size/20)
		if err == nil {
			err = fill.Commit()
		} else {
			fill.Abort(err)
		}
		switch {
		case errors.Is(err, errNotSmaller):
			return
		case err != nil && !errors.Is(err, store.ErrNotKept) && c.ctx.Err() == nil:
			c.Log.Info("response not encoded", "coding", coders[i].name, "error", err)
		case err == nil:
			c.Log.Debug("response encoded", "coding", coders[i].name, "from", size, "to", n)
		}
		state.busy.Store(false) // it may be evicted, and wanted again
	})
}

// errNotSmaller is a body that encoding makes nothing of.
var errNotSmaller = errors.New("cdn: no smaller when encoded")

// encode writes what r has, encoded, as long as that is no more than limit.
func (c *coder) encode(w io.Writer, r io.Reader, limit int64) (int64, error) {
	enc := c.pool.Get().(encodeWriter)
	defer c.pool.Put(enc)
	defer enc.Reset(io.Discard) // what is pooled holds on to nothing
	out := &limitedWriter{w: w, left: limit}
	buffered := bufio.NewWriterSize(out, 32<<10)
	enc.Reset(buffered)
	_, err := copyBuffered(enc, r)
	if err == nil {
		err = enc.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	return limit - out.left, err
}

// A limitedWriter fails when too much is written.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errNotSmaller
	}
	return l.w.Write(p)
}
