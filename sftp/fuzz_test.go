package sftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/spf13/afero"
)

// A wire feeds a server with what a client is supposed to have sent, and keeps
// what it answers.
type wire struct {
	in io.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// A smallFs keeps files of 64 KiB at most: that a write far away must not fill
// the memory is for the filesystem to see to, and MemMapFs does not.
type smallFs struct{ serialFs }

type smallFile struct{ afero.File }

func (s *smallFs) OpenFile(name string, flag int, perm os.FileMode) (afero.File, error) {
	f, err := s.serialFs.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return smallFile{f}, nil
}

func (f smallFile) WriteAt(p []byte, off int64) (int, error) {
	if off > 64<<10-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	return f.File.WriteAt(p, off)
}

func (f smallFile) Truncate(size int64) error {
	if size > 64<<10 {
		return syscall.EFBIG
	}
	return f.File.Truncate(size)
}

// Whatever bytes a client sends, the server answers in whole packets, each to a
// request, and comes to an end.
func FuzzSFTP(f *testing.F) {
	request := func(kind byte, args ...any) []byte {
		return packet(kind, func(b []byte) []byte {
			b = binary.BigEndian.AppendUint32(b, 7)
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
		})
	}
	open := request(typeOpen, "/f", flagRead|flagWrite|flagCreate, uint32(0))
	more := request(typeOpen, "/f", flagWrite|flagAppend, uint32(0))
	write := request(typeWrite, "1", uint64(3), "data")
	for _, seed := range [][]byte{
		bytes.Join([][]byte{open, write, request(5, "1", uint64(0), uint32(100)), request(typeFstat, "1"), request(typeClose, "1")}, nil),
		bytes.Join([][]byte{open, more, request(typeWrite, "2", uint64(0), "x"), request(typeExtended, "copy-data", "1", uint64(0), uint64(9), "2", uint64(0))}, nil),
		bytes.Join([][]byte{open, write, request(typeExtended, "fsync@openssh.com", "1"), request(typeExtended, "check-file-handle", "1", "md5", uint64(0), uint64(0), uint32(0))}, nil),
		bytes.Join([][]byte{open, request(18, "/f", "/g"), request(typeFsetstat, "1", uint32(1), uint64(2)), request(13, "/g")}, nil),
		bytes.Join([][]byte{request(14, "/d", uint32(0)), request(11, "/"), request(12, "1"), request(12, "1"), request(15, "/d")}, nil),
		bytes.Join([][]byte{request(typeExtended, "limits@openssh.com"), request(typeExtended, "statvfs@openssh.com", "/"), request(99), request(16, ".")}, nil),
	} {
		f.Add(seed)
	}
	s := &Server{Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, sent []byte) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		fsys := &smallFs{serialFs{Fs: afero.NewMemMapFs()}}
		c := fuzzed(ctx, s, fsys)
		w := &wire{in: io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 5, typeInit, 0, 0, 0, 3}), bytes.NewReader(sent))}
		c.speakSFTP(w)
		c.mu.Lock()
		busy := c.busy
		c.mu.Unlock()
		if busy != 0 {
			t.Errorf("%d files are still open, or requests under way", busy)
		}

		requests := 1
		for rest := sent; len(rest) >= 5; requests++ {
			n := 4 + int64(binary.BigEndian.Uint32(rest))
			if n < 5 || n > maxPacket+4 || n > int64(len(rest)) {
				break
			}
			rest = rest[n:]
		}
		replies := 0
		for rest := w.out.Bytes(); len(rest) > 0; replies++ {
			if len(rest) < 5 {
				t.Fatalf("reply %d is cut off: %x", replies, rest)
			}
			n := 4 + int64(binary.BigEndian.Uint32(rest))
			kind := rest[4]
			if n > int64(len(rest)) || kind != typeVersion && (kind < typeStatus || kind > 105) && kind != typeExtendedReply {
				t.Fatalf("reply %d has type %d and %d bytes of %d", replies, kind, len(rest), n)
			}
			rest = rest[n:]
		}
		if replies > requests {
			t.Errorf("%d replies to %d requests", replies, requests)
		}
	})
}

// The commands likewise: scp in both directions, whatever is said to it.
func FuzzScp(f *testing.F) {
	for _, seed := range []string{"C0644 5 f\nhello\x00", "D0755 0 d\nC0600 0 g\n\x00E\n", "T1 0 2 0\nC0644 1 x\ny\x01oops\n", "\x01a\n\x02b\n", "\x00\x00\x00\x00"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	s := &Server{Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, sent string, sink bool) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		fsys := &serialFs{Fs: afero.NewMemMapFs()}
		fsys.MkdirAll("/d/sub", 0o755)
		put(t, fsys, "/outside", []byte("outside"))
		put(t, fsys, "/d/f", []byte("f"))
		c := fuzzed(ctx, s, fsys)
		w := &wire{in: bytes.NewReader([]byte(sent))}
		line := "scp -r -p -f d"
		if sink {
			line = "scp -r -p -t d"
		}
		c.runCommand(w, io.Discard, line)
		// Nothing happens anywhere but in the directory.
		wantFile(t, fsys, "/outside", []byte("outside"))
		d, _ := fsys.Open("/")
		names, _ := d.Readdirnames(-1)
		d.Close()
		if len(names) != 2 {
			t.Errorf("the root holds %q", names)
		}
	})
}

// fuzzed is a session on a connection that nobody listens to.
func fuzzed(ctx context.Context, s *Server, fsys afero.Fs) *session {
	nc, _ := net.Pipe()
	c := &session{Visit: s.keeper.Visit(nc, s.rules()), srv: s, ctx: ctx, gone: make(chan struct{}), login: Login{Fs: fsys}}
	c.ID, c.Log = "fuzz", s.Log
	return c
}
