package disk

import (
	"context"
	"io/fs"
	"sync"

	"memstore.dev/memstore/storage"
)

const bufferSize = 256 << 10 // of writes and reads of files

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

func giveBuffer(b *[]byte) {
	if len(*b) == bufferSize {
		buffers.Put(b)
	}
}

// Create starts an object. Its bytes stay in memory as long as they may go
// into the index, and are written to a file without a name from then on.
func (b *Backend) Create(ctx context.Context, in storage.Info) (storage.Writer, error) {
	w := &writer{ctx: ctx}
	if err := w.start(ctx, b, in.Path, max(in.Size, 0)); err != nil {
		return nil, storage.Wrap("put", in.Path, err)
	}
	if in.Size >= 0 && in.Size <= b.o.InlineLimit {
		w.small = make([]byte, 0, in.Size)
	}
	return w, nil
}

// A writer takes the bytes of one object: into small, until there are too many
// for the index, then through buf into the file.
type writer struct {
	upload
	ctx  context.Context // of Create: when it ends, so does the upload
	done bool
	err  error // of a write; there is no way on

	small []byte // until there is a file

	buf     *[]byte
	filled  int   // bytes in buf
	written int64 // bytes in file
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.write(p)
	return n, storage.Wrap("put", w.path, err)
}

func (w *writer) write(p []byte) (int, error) {
	if w.done {
		return 0, fs.ErrClosed
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil || len(p) == 0 {
		return 0, w.err
	}
	if w.file == nil {
		if int64(len(w.small)+len(p)) <= w.b.o.InlineLimit {
			if w.err = w.b.space.use(&w.promise, int64(len(p))); w.err != nil {
				return 0, w.err
			}
			w.small = append(w.small, p...)
			return len(p), nil
		}
		if w.err = w.spill(); w.err != nil {
			return 0, w.err
		}
	}
	if w.err = w.b.space.use(&w.promise, int64(len(p))); w.err != nil {
		return 0, w.err
	}
	for rest := p; len(rest) > 0; {
		if w.filled == 0 && len(rest) >= bufferSize {
			n := len(rest) &^ (bufferSize - 1)
			if w.err = w.writeFile(rest[:n]); w.err != nil {
				return 0, w.err
			}
			rest = rest[n:]
			continue
		}
		n := copy((*w.buf)[w.filled:], rest)
		w.filled += n
		rest = rest[n:]
		if w.filled == bufferSize {
			if w.err = w.flush(); w.err != nil {
				return 0, w.err
			}
		}
	}
	return len(p), nil
}

// spill goes over from memory to a file.
func (w *writer) spill() (err error) {
	if w.file, err = w.b.newSpool(); err != nil {
		return noSpace(err)
	}
	w.buf = takeBuffer()
	w.filled = copy(*w.buf, w.small) // an inline limit is less than a buffer
	w.small = nil
	return nil
}

func (w *writer) flush() error {
	n := w.filled
	w.filled = 0
	return w.writeFile((*w.buf)[:n])
}

// writeFile appends to the file and to its checksums.
func (w *writer) writeFile(p []byte) error {
	w.sums.add(w.written, p)
	if _, err := w.file.Write(p); err != nil {
		return noSpace(err)
	}
	w.written += int64(len(p))
	w.writeBehind()
	return nil
}

// Commit makes the object appear.
func (w *writer) Commit(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if w.done {
		return storage.Info{}, storage.Wrap("put", w.path, fs.ErrClosed)
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	committed, err := storage.Info{}, w.err
	if err == nil && !w.b.enter() { // Close waits: it gives up the directory
		err = storage.ErrUnavailable
	} else if err == nil {
		defer w.b.leave()
		in.Path, in.Meta = w.path, in.Meta.Clone()
		committed, err = w.commit(ctx, in, c)
	}
	if err != nil {
		return storage.Info{}, storage.Wrap("put", w.path, err)
	}
	w.Close()
	return handOut(committed), nil
}

func (w *writer) commit(ctx context.Context, in storage.Info, c storage.Cond) (committed storage.Info, err error) {
	if w.file == nil {
		return w.commitSmall(ctx, w.small, in, c, nil)
	}
	if w.filled > 0 {
		if w.err = w.flush(); w.err != nil {
			return committed, w.err
		}
	}
	committed, w.err = w.commitFile(ctx, w.written, in, c, nil)
	return committed, w.err
}

// Close gives up what is not committed.
func (w *writer) Close() error {
	if w.done {
		return nil
	}
	w.done, w.small = true, nil
	if w.buf != nil {
		giveBuffer(w.buf)
		w.buf = nil
	}
	w.giveUp()
	return nil
}
