package sftp

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/afero"
	"golang.org/x/crypto/ssh"

	"memstore.dev/memstore/internal/door"
)

// A rawClient speaks packets.
type rawClient struct {
	t  testing.TB
	ch ssh.Channel
	id uint32
}

// raw starts an SFTP session and greets the server, unless told not to.
func (b *bench) raw(t testing.TB) *rawClient {
	t.Helper()
	ch, reqs, err := b.dial(t).OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return &rawClient{t: t, ch: ch}
}

func (r *rawClient) send(p []byte) {
	r.t.Helper()
	if _, err := r.ch.Write(p); err != nil {
		r.t.Fatal(err)
	}
}

// receive reads one packet.
func (r *rawClient) receive() (kind byte, body fields) {
	r.t.Helper()
	head := make([]byte, 5)
	if _, err := io.ReadFull(r.ch, head); err != nil {
		r.t.Fatalf("read packet: %v", err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-1)
	if _, err := io.ReadFull(r.ch, rest); err != nil {
		r.t.Fatalf("read packet of %d bytes: %v", len(rest), err)
	}
	return head[4], fields{rest: rest}
}

func (r *rawClient) greet() map[string]string {
	r.t.Helper()
	r.send(packet(typeInit, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, 3) }))
	kind, body := r.receive()
	if version := body.uint32(); kind != typeVersion || version != 3 {
		r.t.Fatalf("greeting has type %d and version %d", kind, version)
	}
	extensions := make(map[string]string)
	for len(body.rest) > 0 {
		name := body.string()
		extensions[name] = body.string()
	}
	return extensions
}

// a request is made of strings, and of integers of 32 and 64 bits.
func (r *rawClient) request(kind byte, args ...any) uint32 {
	r.id++
	r.send(packet(kind, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, r.id)
		for _, a := range args {
			switch a := a.(type) {
			case string:
				b = appendString(b, a)
			case uint32:
				b = binary.BigEndian.AppendUint32(b, a)
			case uint64:
				b = binary.BigEndian.AppendUint64(b, a)
			}
		}
		return b
	}))
	return r.id
}

// ask sends a request and returns its reply.
func (r *rawClient) ask(kind byte, args ...any) (byte, fields) {
	r.t.Helper()
	id := r.request(kind, args...)
	kind, body := r.receive()
	if got := body.uint32(); got != id {
		r.t.Fatalf("reply to request %d, want %d", got, id)
	}
	return kind, body
}

// status sends a request and returns the code and text it is answered with.
func (r *rawClient) status(kind byte, args ...any) (uint32, string) {
	r.t.Helper()
	got, body := r.ask(kind, args...)
	if got != typeStatus {
		r.t.Fatalf("reply of type %d, want a status", got)
	}
	return body.uint32(), body.string()
}

const (
	flagRead, flagWrite, flagAppend, flagCreate, flagTruncate, flagExclusive = uint32(1), uint32(2), uint32(4), uint32(8), uint32(16), uint32(32)
)

func (r *rawClient) open(name string, flags uint32) string {
	r.t.Helper()
	kind, body := r.ask(typeOpen, name, flags, uint32(0))
	if kind != typeHandle {
		r.t.Fatalf("open %s: type %d, %q", name, kind, body.rest)
	}
	return body.string()
}

func (r *rawClient) ok(kind byte, args ...any) {
	r.t.Helper()
	if code, text := r.status(kind, args...); code != 0 {
		r.t.Fatalf("status %d, %s", code, text)
	}
}

func TestGreeting(t *testing.T) {
	got := start(t, memFs(t)).raw(t).greet()
	for _, name := range []string{"posix-rename@openssh.com", "statvfs@openssh.com", "fstatvfs@openssh.com", "fsync@openssh.com",
		"limits@openssh.com", "copy-data", "check-file"} {
		if got[name] == "" {
			t.Errorf("extension %s is not named", name)
		}
	}
	if v, ok := got["hardlink@openssh.com"]; ok {
		t.Errorf("hard links are offered, version %s", v)
	}
}

func TestLimitsExtension(t *testing.T) {
	r := start(t, memFs(t)).raw(t)
	r.greet()
	kind, body := r.ask(typeExtended, "limits@openssh.com")
	got := []uint64{body.uint64(), body.uint64(), body.uint64(), body.uint64()}
	if want := []uint64{262144, 261120, 261120, 256}; kind != typeExtendedReply || body.bad || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("limits = %d %v, want %v", kind, got, want)
	}
	// And they hold: a write and a read of that size.
	data := content(maxData)
	h := r.open("/f", flagRead|flagWrite|flagCreate)
	r.ok(typeWrite, h, uint64(0), string(data))
	kind, body = r.ask(5, h, uint64(0), uint32(maxData+1000))
	if got := body.string(); kind != 103 || got != string(data) {
		t.Errorf("read of the largest size gives type %d and %d bytes", kind, len(got))
	}
}

// Extensions are answered after what was asked before them, and before what was
// asked after: here an fsync amid writes, all sent without waiting.
func TestExtensionsKeepOrder(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t)}
	r := start(t, fsys).raw(t)
	r.greet()
	h := r.open("/f", flagRead|flagWrite|flagCreate)
	data := content(64 * 5000)
	var ids []uint32
	for i := range 64 {
		ids = append(ids, r.request(typeWrite, h, uint64(i*5000), string(data[i*5000:(i+1)*5000])))
		if i%8 == 7 {
			ids = append(ids, r.request(typeExtended, "fsync@openssh.com", h))
		}
	}
	ids = append(ids, r.request(typeExtended, "check-file-handle", h, "md5", uint64(0), uint64(0), uint32(0)))
	for i, want := range ids[:len(ids)-1] {
		kind, body := r.receive()
		if id, code := body.uint32(), body.uint32(); kind != typeStatus || id != want || code != 0 {
			t.Fatalf("reply %d is to request %d with status %d, want request %d", i, id, code, want)
		}
	}
	kind, body := r.receive()
	sum := md5.Sum(data)
	if id, name, algorithm := body.uint32(), body.string(), body.string(); kind != typeExtendedReply || id != ids[len(ids)-1] ||
		name != "check-file" || algorithm != "md5" || !bytes.Equal(body.rest, sum[:]) {
		t.Errorf("check-file = %d %q %q %x, want %x", kind, name, algorithm, body.rest, sum)
	}
	r.ok(typeClose, h)
	wantFile(t, fsys, "/f", data)
}

func TestCheckFile(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t), hashes: map[string]string{"sha1 /f": strings.Repeat("ab", 20)}}
	data := content(1000)
	put(t, fsys.Fs, "/f", data)
	r := start(t, fsys).raw(t)
	r.greet()
	whole := sha256.Sum256(data)
	part := sha256.Sum256(data[300:500])
	var blocks []byte
	for at := 0; at < 1000; at += 256 {
		s := sha256.Sum256(data[at:min(at+256, 1000)])
		blocks = append(blocks, s[:]...)
	}
	for name, c := range map[string]struct {
		algorithms    string
		start, length uint64
		block         uint32
		want          []byte
	}{
		"whole":    {"crc32,sha256,md5", 0, 0, 0, whole[:]},
		"too long": {"sha256", 0, 99999, 0, whole[:]},
		"a part":   {"sha256", 300, 200, 0, part[:]},
		"blocks":   {"sha256", 0, 0, 256, blocks},
		"kept":     {"sha1", 0, 0, 0, bytes.Repeat([]byte{0xab}, 20)},
	} {
		kind, body := r.ask(typeExtended, "check-file-name", "f", c.algorithms, c.start, c.length, c.block)
		if kind != typeExtendedReply || body.string() != "check-file" || !strings.HasSuffix(c.algorithms, body.string()) && name != "whole" || !bytes.Equal(body.rest, c.want) {
			t.Errorf("%s: type %d, %x, want %x", name, kind, body.rest, c.want)
		}
	}
	if n := fsys.kept.Load(); n != 1 {
		t.Errorf("a kept hash was used %d times, want once", n)
	}
	fsys.Mkdir("/d", 0o755)
	for name, args := range map[string][]any{
		"a small block":      {"/f", "md5", uint64(0), uint64(0), uint32(255)},
		"beyond the end":     {"/f", "md5", uint64(1001), uint64(0), uint32(0)},
		"an unknown hash":    {"/f", "crc32", uint64(0), uint64(0), uint32(0)},
		"a missing file":     {"/none", "md5", uint64(0), uint64(0), uint32(0)},
		"a directory":        {"/d", "md5", uint64(0), uint64(0), uint32(0)},
		"a request cut off":  {"/f", "md5", uint64(0)},
		"a name of no UTF-8": {"/\xff", "md5", uint64(0), uint64(0), uint32(0)},
	} {
		if code, text := r.status(typeExtended, append([]any{"check-file-name"}, args...)...); code < 2 {
			t.Errorf("%s: status %d, %s", name, code, text)
		}
	}
}

func TestCopyData(t *testing.T) {
	data := content(700_001)
	for name, c := range map[string]struct {
		fsys   func() afero.Fs
		copies int32
		args   []any // offset and length, and where to
		want   []byte
	}{
		"by bytes":            {func() afero.Fs { return tempFs(t) }, 0, []any{uint64(0), uint64(0), uint64(0)}, data},
		"by the filesystem":   {func() afero.Fs { return &richFs{Fs: tempFs(t)} }, 1, []any{uint64(0), uint64(0), uint64(0)}, data},
		"longer than it is":   {func() afero.Fs { return &richFs{Fs: tempFs(t)} }, 1, []any{uint64(0), uint64(1 << 40), uint64(0)}, data},
		"a part":              {func() afero.Fs { return &richFs{Fs: tempFs(t)} }, 0, []any{uint64(5), uint64(300_000), uint64(0)}, data[5:300_005]},
		"to somewhere within": {func() afero.Fs { return &richFs{Fs: tempFs(t)} }, 0, []any{uint64(700_000), uint64(0), uint64(2)}, append([]byte{0, 0}, data[700_000])},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := c.fsys()
			put(t, fsys, "/from", data)
			b := start(t, fsys)
			r := b.raw(t)
			r.greet()
			from, to := r.open("/from", flagRead), r.open("/to", flagWrite|flagCreate|flagTruncate)
			r.ok(typeExtended, append([]any{"copy-data", from}, c.args[0], c.args[1], to, c.args[2])...)
			r.ok(typeClose, from)
			r.ok(typeClose, to)
			wantFile(t, fsys, "/to", c.want)
			if rich, ok := fsys.(*richFs); ok && rich.copies.Load() != c.copies {
				t.Errorf("the filesystem copied %d times, want %d", rich.copies.Load(), c.copies)
			}
			if _, err := fsys.Stat("/to.upload"); err == nil {
				t.Error("the upload that the copy took the place of is still there")
			}
		})
	}
	t.Run("refusals", func(t *testing.T) {
		fsys := tempFs(t)
		put(t, fsys, "/from", data)
		r := start(t, fsys).raw(t)
		r.greet()
		from, to, both := r.open("/from", flagRead), r.open("/to", flagWrite|flagCreate), r.open("/from", flagRead|flagWrite)
		for name, args := range map[string][]any{
			"from no handle":       {"99", uint64(0), uint64(0), to, uint64(0)},
			"to no handle":         {from, uint64(0), uint64(0), "99", uint64(0)},
			"to a reader":          {from, uint64(0), uint64(0), from, uint64(0)},
			"from a writer":        {to, uint64(0), uint64(0), both, uint64(0)},
			"onto itself":          {both, uint64(0), uint64(10), both, uint64(5)},
			"onto itself for ever": {both, uint64(0), uint64(0), both, uint64(700_001)},
			"to beyond":            {from, uint64(0), uint64(0), to, uint64(1 << 63)},
			"half a request":       {from, uint64(0)},
		} {
			if code, text := r.status(typeExtended, append([]any{"copy-data"}, args...)...); code < 3 {
				t.Errorf("%s: status %d, %s", name, code, text)
			}
		}
		r.ok(typeExtended, "copy-data", both, uint64(0), uint64(10), both, uint64(10)) // beside itself is fine
	})
}

func TestExclusiveCreate(t *testing.T) {
	fsys := tempFs(t)
	put(t, fsys, "/f", []byte("old"))
	r := start(t, fsys).raw(t)
	r.greet()
	if code, text := r.status(typeOpen, "/f", flagWrite|flagCreate|flagExclusive, uint32(0)); code != 4 || text != "file exists" {
		t.Errorf("status %d, %q", code, text)
	}
}

// What protocol 3 does not have is refused, and the session goes on.
func TestUnknownRequests(t *testing.T) {
	r := start(t, memFs(t)).raw(t)
	r.greet()
	for _, kind := range []byte{2, 21, 22, 99, 101, 102, 105, 199, 201, 255} {
		if code, _ := r.status(kind, "whatever"); code != 8 {
			t.Errorf("type %d: status %d, want 8", kind, code)
		}
	}
	for _, name := range []string{"", "hardlink@openssh.com", "lsetstat@openssh.com", "expand-path@openssh.com", "vendor-id"} {
		if code, text := r.status(typeExtended, name, "/a", "/b"); code != 8 {
			t.Errorf("extension %q: status %d, %s", name, code, text)
		}
	}
	for _, name := range []string{"fsync@openssh.com", "fstatvfs@openssh.com"} {
		if code, _ := r.status(typeExtended, name, "77"); code != 4 {
			t.Errorf("extension %q on no handle: status %d", name, code)
		}
	}
	r.open("/f", flagWrite|flagCreate)
}

// Clients that make no sense are hung up on, with no more memory than a packet.
func TestHostilePackets(t *testing.T) {
	huge := []byte{0x7f, 0xff, 0xff, 0xff, typeWrite}
	for name, p := range map[string][]byte{
		"empty":               {0, 0, 0, 0, typeStat},
		"huge":                huge,
		"no greeting":         packet(typeStat, func(b []byte) []byte { return appendString(b, "/") }),
		"garbage":             []byte("GET / HTTP/1.0\r\n\r\n"),
		"greeting twice":      append(packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) }), packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) })...),
		"extension cut off":   append(packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) }), 0, 0, 0, 3, typeExtended, 1, 2),
		"large extension":     append(packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) }), 0, 3, 0, 0, typeExtended),
		"close without a tag": append(packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) }), 0, 0, 0, 2, typeClose, 0),
		"string without end":  append(packet(typeInit, func(b []byte) []byte { return append(b, 0, 0, 0, 3) }), packet(typeStat, func(b []byte) []byte { return append(b, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff) })...),
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, memFs(t)).raw(t)
			r.send(p)
			if n, err := io.Copy(io.Discard, r.ch); err != nil || n > 4096 {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
	}
}

// Offsets that a signed number does not hold.
func TestHostileOffsets(t *testing.T) {
	r := start(t, tempFs(t)).raw(t)
	r.greet()
	h := r.open("/f", flagRead|flagWrite|flagCreate)
	for _, offset := range []uint64{1 << 63, 1<<64 - 1} {
		if code, _ := r.status(typeWrite, h, offset, "x"); code != 4 {
			t.Errorf("write at %d: status %d", offset, code)
		}
		if code, _ := r.status(5, h, offset, uint32(1)); code != 4 {
			t.Errorf("read at %d: status %d", offset, code)
		}
	}
	if code, _ := r.status(typeSetstat, "/f", uint32(1), uint64(1<<63)); code != 4 {
		t.Error("a size of 2^63 was set")
	}
	if code, _ := r.status(typeSetstat, "/f", uint32(1)); code != 5 {
		t.Error("a size that is not there was set")
	}
}

// An uploads that the line drops in the middle of leaves the old file.
func TestLineDropsDuringUpload(t *testing.T) {
	fsys := &richFs{Fs: tempFs(t)}
	put(t, fsys.Fs, "/f", []byte("old"))
	ended := make(chan Operation, 1)
	b := start(t, fsys, func(s *Server) { s.Hooks.Operation = func(op Operation) { ended <- op } })
	conn := b.dial(t)
	ch, reqs, err := conn.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
	r := &rawClient{t: t, ch: ch}
	r.greet()
	h := r.open("/f", flagWrite|flagCreate|flagTruncate)
	r.ok(typeWrite, h, uint64(0), "new, but")
	conn.Close()
	if op := <-ended; op.Err == nil || op.Bytes != 8 {
		t.Errorf("operation %+v, want a failed one", op)
	}
	wantFile(t, fsys, "/f", []byte("old"))
}

// Whatever goes wrong beneath, the client learns a code and words of ours.
func TestErrorsSayNothingOfTheInside(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code uint32
		text string
	}{
		"missing":     {fmt.Errorf("stat /srv/secret: %w", os.ErrNotExist), 2, "no such file or directory"},
		"forbidden":   {fmt.Errorf("stat /srv/secret: %w", os.ErrPermission), 3, "permission denied"},
		"quota":       {fmt.Errorf("put secret: %w", syscall.EDQUOT), 4, "quota exceeded"},
		"full":        {&os.PathError{Op: "write", Path: "/srv/secret", Err: syscall.ENOSPC}, 4, "no space left"},
		"not empty":   {syscall.ENOTEMPTY, 4, "directory is not empty"},
		"unsupported": {errors.ErrUnsupported, 8, "operation not supported"},
		"anything":    {errors.New("dial 10.0.0.7: token secret rejected"), 4, "internal error"},
		"a panic":     {nil, 4, "internal error"},
		"explained":   {explained{}, 3, "the container is read-only?[31m"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, failingFs{memFs(t), c.err})
			r := b.raw(t)
			r.greet()
			for what, f := range map[string]func() (uint32, string){
				"stat":   func() (uint32, string) { return r.status(typeStat, "/x") },
				"open":   func() (uint32, string) { return r.status(typeOpen, "/x", flagRead, uint32(0)) },
				"mkdir":  func() (uint32, string) { return r.status(14, "/x", uint32(0)) },
				"rename": func() (uint32, string) { return r.status(typeExtended, "posix-rename@openssh.com", "/x", "/y") },
				"list":   func() (uint32, string) { return r.status(11, "/x") },
				"check": func() (uint32, string) {
					return r.status(typeExtended, "check-file-name", "/x", "md5", uint64(0), uint64(0), uint32(0))
				},
			} {
				if code, text := f(); code != c.code || text != c.text {
					t.Errorf("%s: status %d %q, want %d %q", what, code, text, c.code, c.text)
				}
			}
			if name == "anything" && !strings.Contains(b.logged(), "token secret rejected") {
				t.Error("the cause is not in the log")
			}
		})
	}
}

// What a filesystem hides from its text the log has all the same.
func TestCause(t *testing.T) {
	err := &os.PathError{Op: "open", Path: "/x", Err: reticent{}}
	if got, want := door.Cause(err), "open /x: input/output error: disk 3 is on fire"; got != want {
		t.Errorf("cause = %q, want %q", got, want)
	}
}

type reticent struct{}

func (reticent) Error() string   { return syscall.EIO.Error() }
func (reticent) Unwrap() []error { return []error{syscall.EIO, errors.New("disk 3 is on fire")} }

type explained struct{}

func (explained) Error() string      { return "secret" }
func (explained) ClientText() string { return "the container is read-only\x1b[31m" }
func (explained) Unwrap() error      { return os.ErrPermission }

// failingFs fails at everything, or panics if there is no error to fail with.
type failingFs struct {
	afero.Fs
	err error
}

func (f failingFs) fail() error {
	if f.err == nil {
		panic("secret")
	}
	return f.err
}

func (f failingFs) Stat(string) (os.FileInfo, error)                      { return nil, f.fail() }
func (f failingFs) Open(string) (afero.File, error)                       { return nil, f.fail() }
func (f failingFs) OpenFile(string, int, os.FileMode) (afero.File, error) { return nil, f.fail() }
func (f failingFs) Mkdir(string, os.FileMode) error                       { return f.fail() }
func (f failingFs) Rename(string, string) error                           { return f.fail() }

// A client may say that it is done before it has read the answers.
func TestAnswersAfterTheLastQuestion(t *testing.T) {
	b := start(t, memFs(t))
	for range 20 {
		r := b.raw(t)
		r.greet()
		var ids []uint32
		for range 50 {
			ids = append(ids, r.request(typeStat, "/"))
		}
		r.ch.CloseWrite()
		for _, want := range ids {
			if kind, body := r.receive(); kind != 105 || body.uint32() != want {
				t.Fatalf("reply of type %d", kind)
			}
		}
	}
}

// Handles are easy to guess. Whether one counts before the client was told of it
// depends on who is quicker; there is one answer to each request either way, and
// the race detector has nothing to say.
func TestGuessedHandles(t *testing.T) {
	r := start(t, tempFs(t)).raw(t)
	r.greet()
	for guess := range 50 {
		handle := fmt.Sprint(guess + 1)
		asked := map[uint32]bool{
			r.request(typeOpen, "/f", flagRead|flagWrite|flagCreate, uint32(0)): true,
			r.request(typeWrite, handle, uint64(0), "x"):                        true,
			r.request(typeRead, handle, uint64(0), uint32(1)):                   true,
			r.request(typeClose, handle):                                        true,
			r.request(typeRead, handle, uint64(0), uint32(1)):                   true,
		}
		for range len(asked) {
			_, body := r.receive()
			id := body.uint32()
			if !asked[id] {
				t.Fatalf("reply to request %d, which was answered or never made", id)
			}
			asked[id] = false
		}
		r.status(typeClose, handle)
	}
	for _, handle := range []string{"", "0", "99", strings.Repeat("9", 16)} {
		if code, _ := r.status(typeWrite, handle, uint64(0), string(content(maxData))); code != 4 {
			t.Errorf("a large write to handle %q: status %d", handle, code)
		}
		for _, kind := range []byte{typeClose, typeRead, typeFstat, typeReaddir} {
			if code, _ := r.status(kind, handle, uint64(0), uint32(1)); code != 4 {
				t.Errorf("type %d on handle %q: status %d", kind, handle, code)
			}
		}
	}
}
