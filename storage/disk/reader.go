package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/storage"
)

// Open returns a stretch of an object. The reader holds what it reads from, so
// it goes on when the object is overwritten or removed. Of a file it hands out
// no byte whose block it has not checked (see Options.Verify), and if it is
// asked to write itself to a net/http response, blocks that were checked
// recently go there by sendfile.
func (b *Backend) Open(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	rc, in, err := b.openObject(ctx, p, r)
	return rc, in, storage.Wrap("open", p, err)
}

func (b *Backend) openObject(ctx context.Context, p storage.Path, r storage.Range) (io.ReadCloser, storage.Info, error) {
	if err := ready(ctx, p); err != nil {
		return nil, storage.Info{}, err
	}
	if !p.IsObject() {
		return nil, storage.Info{}, fs.ErrInvalid
	}
	if !b.enter() {
		return nil, storage.Info{}, storage.ErrUnavailable
	}
	defer b.leave()
	for {
		v := b.look()
		found, err := b.row(v, p)
		if err == nil && (found == nil || found.expired(time.Now())) {
			err = fs.ErrNotExist
		}
		if err != nil {
			v.release()
			return nil, storage.Info{}, err
		}
		in := found.info(p)
		offset, length, err := r.Resolve(in.Size)
		if err != nil {
			v.release()
			return nil, in, err
		}
		rc, err := b.openBlob(v, found, offset, length)
		replaced := err != nil && b.view.Load() != v
		v.release()
		if replaced {
			// Between the row and its file a change may have come, and the
			// reclaimer with it. Look again; it is only damage if it stays.
			again := b.look()
			now, rerr := b.row(again, p)
			again.release()
			if rerr == nil && (now == nil || now.blob != found.blob) {
				continue
			}
		}
		if isDamage(err) {
			b.damaged(p, found.blob, err)
			// Told, not wrapped: whoever asks must not take a missing file for a
			// missing object, and delete his own copy.
			err = fmt.Errorf("%w: %v", storage.ErrDamaged, err)
		}
		if err != nil {
			return nil, storage.Info{}, err
		}
		if f, ok := rc.(*fileReader); ok {
			f.path = p
		}
		return rc, in, nil
	}
}

// isDamage reports whether err says that content is not what it was, or not
// there; and not, for example, that there are too many open files.
func isDamage(err error) bool {
	for _, damage := range [...]error{fs.ErrNotExist, errFooter, errBlock, errMD5, errRecord, errUnreadable} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

// openBlob opens the bytes of a row. Damage may also be a lost race.
func (b *Backend) openBlob(v *view, r *row, offset, length int64) (io.ReadCloser, error) {
	if r.size == 0 {
		return &inlineReader{*bytes.NewReader(nil)}, nil
	}
	// What is small is looked for in the index first, without asking the
	// blob's record where it is: one lookup less for most.
	if r.size <= inlineGuess {
		data, err := readInline(v, r.blob)
		if err != nil {
			return nil, err
		}
		if data != nil {
			if int64(len(data)) != r.size {
				return nil, errBlock
			}
			return &inlineReader{*bytes.NewReader(data[offset:][:length])}, nil
		}
	}
	return b.openFile(r, offset, length)
}

// inlineGuess is the size up to which content may be in the index.
const inlineGuess = 64 << 10

// readInline returns a copy of inline bytes, or nil if there are none.
func readInline(v *view, id uint64) (data []byte, err error) {
	_, err = lookup(v.snap, idKey(tableInline, id), func(value []byte) error {
		stored, err := decodeInline(value)
		data = append(make([]byte, 0, len(stored)), stored...)
		return err
	})
	return data, err
}

// An inlineReader reads bytes that are in memory, and checked.
type inlineReader struct{ bytes.Reader }

func (*inlineReader) Close() error { return nil }

func (b *Backend) openFile(r *row, offset, length int64) (io.ReadCloser, error) {
	f, err := os.Open(blobPath(b.dir, r.blob))
	if err != nil {
		return nil, err
	}
	hot := b.footers.get(r.blob)
	if hot == nil {
		foot, err := readFooter(f, r.size, false)
		if err == nil && foot.id != r.blob {
			err = errFooter
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		hot = b.footers.add(foot)
	}
	b.footers.trust(hot, func() bool { return inMemory(f, hot.size) })
	if hot.size != r.size {
		f.Close()
		return nil, errFooter
	}
	return &fileReader{b: b, f: f, foot: hot, start: offset, at: offset, end: offset + length}, nil
}

// A fileReader reads a stretch of a blob file. ReadAt may be called
// concurrently, also with one of the other methods, and takes no notice of
// where they are.
type fileReader struct {
	b      *Backend
	path   storage.Path
	f      *os.File
	foot   *hotFooter
	closed atomic.Bool
	start  int64 // first byte of the stretch
	at     int64 // next byte to hand out
	end    int64 // first not to

	buf  *[]byte // of whole blocks that were checked; nil until one is needed
	from int64   // where in the object the bytes in buf begin
	n    int     // how many there are
}

var (
	_ io.ReadSeekCloser = (*fileReader)(nil)
	_ io.ReaderAt       = (*fileReader)(nil)
	_ io.WriterTo       = (*fileReader)(nil)
)

func (r *fileReader) Read(p []byte) (int, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	if r.at >= r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.peek()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	r.at += int64(n)
	return n, nil
}

// peek returns bytes from r.at on, at least one, checked.
func (r *fileReader) peek() ([]byte, error) {
	if r.at < r.from || r.at >= r.from+int64(r.n) {
		if err := r.load(); err != nil {
			return nil, err
		}
	}
	return (*r.buf)[r.at-r.from : min(int64(r.n), r.end-r.from)], nil
}

// load reads whole blocks, from that of r.at on, and checks them.
func (r *fileReader) load() error {
	size := int64(1) << r.foot.shift
	if r.buf == nil {
		r.buf = takeBuffer()
		if int64(len(*r.buf)) < size {
			big := make([]byte, size)
			r.buf = &big
		}
	}
	first := r.at >> r.foot.shift
	r.from, r.n = first*size, 0
	upto := min((r.end+size-1)&^(size-1), r.foot.size, r.from+int64(len(*r.buf))&^(size-1))
	b := (*r.buf)[:upto-r.from]
	if _, err := r.f.ReadAt(b, r.from); err != nil {
		return r.damaged(fmt.Errorf("%w: %w", errUnreadable, err))
	}
	if sound := r.check(first, b); sound < len(b) {
		return r.damaged(fmt.Errorf("%w: block %d", errBlock, first+int64(sound)>>r.foot.shift))
	}
	r.n = len(b)
	return nil
}

// check holds whole blocks, from the first on, against their checksums, and
// returns how many bytes come before one that is not sound.
func (r *fileReader) check(first int64, b []byte) int {
	if r.b.o.Verify == VerifyNever {
		return len(b)
	}
	size := 1 << r.foot.shift
	for sound := 0; sound < len(b); sound += size {
		i := first + int64(sound)>>r.foot.shift
		if !r.foot.checkBlock(i, b[sound:min(sound+size, len(b))]) {
			return sound
		}
		r.b.footers.checked(r.foot, i)
	}
	return len(b)
}

// WriteTo writes the rest. What was checked recently goes by way of w's
// ReadFrom, if it has one, as a stretch of a file.
func (r *fileReader) WriteTo(w io.Writer) (written int64, err error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	rf, sends := w.(io.ReaderFrom)
	for r.at < r.end {
		if sends {
			n, err := r.send(rf)
			written += n
			if err != nil {
				return written, err
			}
			if n > 0 {
				continue
			}
		}
		b, err := r.peek()
		if err != nil {
			return written, err
		}
		n, err := w.Write(b)
		written += int64(n)
		r.at += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// send hands the run of recently checked blocks at r.at to w, if there is one.
func (r *fileReader) send(w io.ReaderFrom) (int64, error) {
	n := r.trusted(r.at)
	if n == 0 {
		return 0, nil
	}
	if _, err := r.f.Seek(r.at, io.SeekStart); err != nil {
		return 0, r.damaged(err)
	}
	sent, err := w.ReadFrom(&io.LimitedReader{R: r.f, N: n})
	r.at += sent
	if err == nil && sent < n {
		err = r.damaged(io.ErrUnexpectedEOF)
	}
	return sent, err
}

// trusted is how many bytes from at on need not be checked again.
func (r *fileReader) trusted(at int64) int64 {
	switch r.b.o.Verify {
	case VerifyAlways:
		return 0
	case VerifyNever:
		return r.end - at
	}
	first := at >> r.foot.shift
	last := (r.end - 1) >> r.foot.shift
	run := r.b.footers.run(r.foot, first, last)
	if run == 0 {
		return 0
	}
	return min(r.end, (first+run)<<r.foot.shift) - at
}

// ReadAt reads anywhere within the stretch. It stands by the same promise as
// WriteTo: whole blocks are checked, unless they were recently.
func (r *fileReader) ReadAt(p []byte, off int64) (n int, err error) {
	switch {
	case r.closed.Load():
		return 0, fs.ErrClosed
	case off < 0:
		return 0, storage.Wrap("read", r.path, fs.ErrInvalid)
	case off >= r.end-r.start:
		return 0, io.EOF
	}
	at := r.start + off
	short := int64(len(p)) > r.end-at
	if short {
		p = p[:r.end-at]
	}
	for n < len(p) && err == nil {
		var more int
		more, err = r.readAt(p[n:], at+int64(n))
		n += more
	}
	if err != nil {
		clear(p[n:]) // where unsound bytes may be
	} else if short {
		err = io.EOF
	}
	return n, err
}

// readAt reads at least one byte of what is in the stretch.
func (r *fileReader) readAt(p []byte, at int64) (int, error) {
	if n := min(r.trusted(at), int64(len(p))); n > 0 {
		return r.fill(p[:n], at)
	}
	size := int64(1) << r.foot.shift
	first := at >> r.foot.shift
	if from := first * size; from < at || min(size, r.foot.size-from) > int64(len(p)) {
		return r.readPart(p, at)
	}
	// Straight to where they are wanted: blocks that are wanted whole, and the
	// last of all, which may be shorter.
	b := p
	if at+int64(len(p)) < r.foot.size {
		b = p[:int64(len(p))&^(size-1)]
	}
	if _, err := r.fill(b, at); err != nil {
		return 0, err
	}
	sound := r.check(first, b)
	if sound < len(b) {
		return sound, r.damaged(fmt.Errorf("%w: block %d", errBlock, first+int64(sound)>>r.foot.shift))
	}
	return sound, nil
}

// readPart reads of one block what is wanted of it.
func (r *fileReader) readPart(p []byte, at int64) (int, error) {
	block := at >> r.foot.shift
	buf := takeBuffer()
	defer giveBuffer(buf)
	n := int(r.foot.blockLen(block))
	if n > len(*buf) {
		big := make([]byte, n)
		buf = &big
	}
	b := (*buf)[:n]
	from := block << r.foot.shift
	if _, err := r.fill(b, from); err != nil {
		return 0, err
	}
	if r.check(block, b) < n {
		return 0, r.damaged(fmt.Errorf("%w: block %d", errBlock, block))
	}
	return copy(p, b[at-from:]), nil
}

// fill reads all of b from the file.
func (r *fileReader) fill(b []byte, from int64) (int, error) {
	n, err := r.f.ReadAt(b, from)
	if n < len(b) {
		return 0, r.damaged(fmt.Errorf("%w: %w", errUnreadable, err))
	}
	return n, nil
}

// Seek sets where Read and WriteTo go on; positions are of the stretch.
func (r *fileReader) Seek(offset int64, whence int) (int64, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	switch whence {
	case io.SeekStart:
		offset += r.start
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.end
	default:
		return 0, storage.Wrap("seek", r.path, fs.ErrInvalid)
	}
	if offset < r.start {
		return 0, storage.Wrap("seek", r.path, fs.ErrInvalid)
	}
	r.at = offset
	return r.at - r.start, nil
}

func (r *fileReader) damaged(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return err
	}
	r.b.damaged(r.path, r.foot.id, err)
	return storage.Wrap("read", r.path, fmt.Errorf("%w: %w", storage.ErrDamaged, err))
}

func (r *fileReader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if r.buf != nil {
		giveBuffer(r.buf)
		r.buf = nil
	}
	return r.f.Close()
}
