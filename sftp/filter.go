package sftp

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// A filter stands between an SSH channel and pkg/sftp's RequestServer and adds
// what the latter lacks: it greets the client itself, naming more extensions,
// answers those in the RequestServer's stead, and learns which handle means
// which file. All other packets pass untouched.
//
// The RequestServer answers requests strictly in the order they came, which is
// what the filter counts on: when as many replies have passed as requests were
// let through, everything before is done.
type filter struct {
	ch io.ReadWriter
	h  *handler

	// Only the RequestServer's receiving goroutine uses these.
	greeted bool
	head    []byte   // the start of a packet, not yet handed on
	left    int      // how much of the packet is still in the channel
	buf     [64]byte // what head usually lies in

	// sending is held from the first byte of a reply to the last.
	sending sync.Mutex
	out     []byte // the start of the reply, when it comes in pieces
	missing int    // how much of it is still to come
	ended   bool   // nothing more is to be sent

	mu       sync.Mutex // guards what follows
	passed   uint64     // requests
	answered uint64     // replies
	over     bool       // nobody waits for what is not answered yet
	even     sync.Cond  // answered has caught up with passed
}

func newFilter(ch io.ReadWriter, h *handler) *filter {
	f := &filter{ch: ch, h: h}
	f.even.L = &f.mu
	return f
}

var errProtocol = errors.New("sftp: malformed packet")

// Read hands the client's packets on to the RequestServer.
func (f *filter) Read(p []byte) (n int, err error) {
	for len(f.head) == 0 && f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, f.head)
	f.head = f.head[n:]
	if p = p[n:min(len(p), n+f.left)]; len(p) == 0 || len(f.head) > 0 {
		return n, nil
	}
	m, err := f.ch.Read(p)
	f.left -= m
	f.h.touch()
	if err == io.EOF && f.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n + m, err
}

// next looks at the packet that comes next. If it is for the RequestServer, head
// and left are set when next returns.
func (f *filter) next() error {
	b := f.buf[:5]
	if _, err := io.ReadFull(f.ch, b); err != nil {
		if err == io.EOF {
			// The client asks no more. Told so at once, the RequestServer would
			// forget the replies that it has not sent yet.
			f.settle()
		}
		return err
	}
	length, kind := int64(binary.BigEndian.Uint32(b)), b[4]
	if length < 1 || length > maxPacket {
		return errProtocol
	}
	f.head, f.left = b, int(length)-1
	switch {
	case kind == typeInit:
		return f.greet()
	case !f.greeted:
		return errProtocol
	case kind == typeExtended:
		return f.extended()
	case kind < typeOpen || kind > typeSymlink:
		return f.unknown()
	case kind == typeWrite:
		return f.write()
	case kind == typeClose, kind == typeRead, kind == typeFstat, kind == typeFsetstat, kind == typeReaddir:
		return f.useHandle(kind)
	}
	f.pass()
	return nil
}

// pass counts the packet that head holds the start of as let through. It is
// something under way until it is answered.
func (f *filter) pass() {
	f.h.acquire()
	f.mu.Lock()
	f.passed++
	f.mu.Unlock()
}

// whole reads the rest of the packet into head and returns what follows its type.
func (f *filter) whole() (fields, error) {
	if f.left > maxSmall {
		return fields{}, errProtocol
	}
	return f.upTo(f.left)
}

// upTo reads n more bytes of the packet into head and returns what follows its
// type.
func (f *filter) upTo(n int) (fields, error) {
	b, have := f.buf[:], len(f.head)
	if have+n > len(b) {
		b = make([]byte, have+n)
		copy(b, f.head)
	}
	b = b[:have+n]
	if _, err := io.ReadFull(f.ch, b[have:]); err != nil {
		return fields{}, unexpected(err)
	}
	f.head, f.left = b, f.left-n
	return fields{rest: b[5:]}, nil
}

// take is whole for a packet that goes no further.
func (f *filter) take() (fields, error) {
	body, err := f.whole()
	f.head = nil
	return body, err
}

// greet answers the client's first packet. Whatever version it names, 3 is what
// it gets: there is no client that speaks only an older one.
func (f *filter) greet() error {
	if _, err := f.take(); err != nil {
		return err
	}
	if f.greeted {
		return errProtocol
	}
	f.greeted = true
	return f.reply(packet(typeVersion, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, 3)
		for _, e := range extensions {
			b = appendString(appendString(b, e.name), e.version)
		}
		return b
	}))
}

// unknown refuses a packet that protocol 3 does not have, where the
// RequestServer would hang up.
func (f *filter) unknown() error {
	body, err := f.take()
	if err != nil {
		return err
	}
	id := body.uint32()
	if body.bad {
		return errProtocol
	}
	return f.reply(statusPacket(id, errUnsupported))
}

// extended answers an extension of ours, after everything before it is done and
// before anything after it begins.
func (f *filter) extended() error {
	body, err := f.whole()
	if err != nil {
		return err
	}
	id, name := body.uint32(), body.string()
	if body.bad {
		return errProtocol
	}
	answer := answerer(name)
	if answer == nil {
		f.pass()
		return nil
	}
	f.head = nil
	f.settle()
	return f.reply(f.h.extended(id, name, answer, &body))
}

// useHandle looks at a request about a handle. The RequestServer must not see
// one that the client has not been told of, or has closed: it takes a handle for
// good from the moment that it begins to open the file, and until it has closed
// it, while its other workers are already using what they find there.
func (f *filter) useHandle(kind byte) error {
	body, err := f.whole()
	if err != nil {
		return err
	}
	id, handle := body.uint32(), body.string()
	file, err := f.h.byHandle(handle)
	switch {
	case body.bad:
		return errProtocol
	case err != nil:
		f.head = nil
		return f.reply(statusPacket(id, err))
	case kind == typeClose:
		f.h.forget(handle)
	case kind == typeFstat || kind == typeFsetstat:
		f.follow(kind, id, file, body.rest)
	}
	f.pass()
	return nil
}

// follow turns a request about a handle into one about a path if the file was
// renamed while it was open: the RequestServer would ask for the name that the
// file was opened by.
func (f *filter) follow(kind byte, id uint32, file *file, rest []byte) {
	name, moved := f.h.whereabouts(file)
	if !moved {
		return
	}
	to := byte(typeStat)
	if kind == typeFsetstat {
		to = typeSetstat
	}
	f.head = packet(to, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, id)
		return append(appendString(b, name), rest...)
	})
}

// write is useHandle for a write, whose data stay in the channel. The first to a
// file that was opened for appending tells where the others go.
func (f *filter) write() error {
	const before, offset = 4 + 4, 8 // id and length of the handle, and what follows it
	if f.left < before {
		return errProtocol
	}
	body, err := f.upTo(before)
	if err != nil {
		return err
	}
	id, length := body.uint32(), int64(body.uint32())
	if length+offset > int64(f.left) || length > maxHandle {
		return errProtocol
	}
	if body, err = f.upTo(int(length) + offset); err != nil {
		return err
	}
	body.uint32()
	file, err := f.h.byHandle(body.string())
	if err != nil {
		f.head = nil
		_, cut := io.CopyN(io.Discard, f.ch, int64(f.left))
		f.left = 0
		if cut != nil {
			return unexpected(cut)
		}
		return f.reply(statusPacket(id, err))
	}
	if file.appending {
		file.firstWrite(int64(body.uint64()))
	}
	f.pass()
	return nil
}

// settle waits until every request let through has been answered.
func (f *filter) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.answered < f.passed {
		f.even.Wait()
	}
}

// end lets the reply that is being sent be the last.
func (f *filter) end() {
	f.sending.Lock()
	defer f.sending.Unlock()
	f.ended = true
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	for range f.passed - f.answered {
		f.h.release()
	}
}

// reply sends a packet of the filter's own between those of the RequestServer.
func (f *filter) reply(p []byte) error {
	f.sending.Lock()
	defer f.sending.Unlock()
	_, err := f.ch.Write(p)
	f.h.touch()
	return err
}

// Write takes the RequestServer's replies. Data come in two pieces, a header of
// 13 bytes and the rest; put together again they cost one SSH packet less.
func (f *filter) Write(p []byte) (int, error) {
	if f.missing == 0 {
		if len(p) < 5 {
			return 0, errProtocol
		}
		f.sending.Lock()
		if f.ended {
			return 0, f.done(io.ErrClosedPipe)
		}
		f.missing = 4 + int(binary.BigEndian.Uint32(p))
		f.learn(p)
	}
	if f.missing -= len(p); f.missing < 0 {
		return 0, f.done(errProtocol)
	}
	if f.missing > 0 {
		f.out = append(f.out, p...)
		return len(p), nil
	}
	rest := p
	if len(f.out) > 0 {
		k := min(len(p), 32<<10-min(len(f.out), 32<<10))
		f.out, rest = append(f.out, p[:k]...), p[k:]
		_, err := f.ch.Write(f.out)
		f.out = f.out[:0]
		if err != nil {
			return 0, f.done(err)
		}
	}
	if len(rest) > 0 {
		if _, err := f.ch.Write(rest); err != nil {
			return 0, f.done(err)
		}
	}
	return len(p), f.done(nil)
}

// done ends a reply, sent or not.
func (f *filter) done(err error) error {
	f.missing, f.out = 0, f.out[:0]
	f.sending.Unlock()
	f.h.touch()
	f.mu.Lock()
	if f.answered++; f.answered >= f.passed {
		f.even.Broadcast()
	}
	if !f.over {
		f.h.release()
	}
	f.mu.Unlock()
	f.h.replied()
	return err
}

// learn remembers which handle a file that was just opened goes by.
func (f *filter) learn(reply []byte) {
	if reply[4] != typeHandle {
		return
	}
	body := fields{rest: reply[5:]}
	body.uint32()
	if handle := body.string(); !body.bad {
		f.h.named(handle)
	}
}

// Close is called by the RequestServer when it gives up on the client. The
// channel is closed by whoever opened it, after the exit status.
func (f *filter) Close() error { return nil }

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
