package ftp

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/spf13/afero"
)

// What a file is sent by must be able to have the kernel send it, in the clear,
// and must not pretend to under TLS.
func TestTheKernelSendsFiles(t *testing.T) {
	for name, private := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			content := strings.Repeat("0123456789abcdef", 1<<16)
			if err := os.WriteFile(dir+"/f", []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			fsys := &sendingFs{Fs: afero.NewBasePathFs(afero.NewOsFs(), dir), path: dir + "/f"}
			b := start(t, fsys, withTLS)
			c := b.dial(t)
			c.want("", 220)
			if private {
				c.private = clientTLS()
				c.secure(c.private)
				c.want("PROT P", 200)
			}
			c.want("USER "+testUser, 331)
			c.want("PASS "+testPassword, 230)
			if got := c.get("RETR /f", 226); got != content {
				t.Errorf("got %s", brief(got))
			}
			c.want("REST 1048570", 350)
			if got := c.get("RETR /f", 226); got != "abcdef" {
				t.Errorf("got %s", brief(got))
			}
			if fsys.direct == private {
				t.Errorf("the kernel could send: %v", fsys.direct)
			}
		})
	}
}

// A sendingFs sends files as Memstore's engine does: from an *os.File, bounded.
type sendingFs struct {
	afero.Fs
	path   string
	direct bool
}

func (s *sendingFs) OpenFile(name string, flag int, mode os.FileMode) (afero.File, error) {
	f, err := s.Fs.OpenFile(name, flag, mode)
	return &sendingFile{f, s}, err
}

type sendingFile struct {
	afero.File
	fs *sendingFs
}

func (s *sendingFile) WriteTo(w io.Writer) (int64, error) {
	at, _ := s.Seek(0, io.SeekCurrent)
	f, err := os.Open(s.fs.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	f.Seek(at, io.SeekStart)
	to, ok := w.(io.ReaderFrom)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{f})
	}
	p, plain := w.(*plainConn)
	s.fs.direct = plain && p.tcp != nil
	return to.ReadFrom(&io.LimitedReader{R: f, N: 1 << 40})
}

func benchServer(b *testing.B, secured bool) (*client, string) {
	dir := b.TempDir()
	s := start(b, afero.NewBasePathFs(afero.NewOsFs(), dir), withTLS, func(s *Server) { s.Log, s.Hooks = slog.New(slog.DiscardHandler), Hooks{} })
	c := s.dial(b)
	c.want("", 220)
	if secured {
		c.private = clientTLS()
		c.secure(c.private)
		c.want("PROT P", 200)
	}
	c.want("USER "+testUser, 331)
	c.want("PASS "+testPassword, 230)
	return c, dir
}

func BenchmarkTransfers(b *testing.B) {
	for _, secured := range []bool{false, true} {
		for _, size := range []int{4 << 10, 64 << 20} {
			name := fmt.Sprintf("tls=%v/%dKiB", secured, size>>10)
			b.Run("put/"+name, func(b *testing.B) {
				c, _ := benchServer(b, secured)
				content := make([]byte, size)
				b.SetBytes(int64(size))
				for b.Loop() {
					d := c.data()
					c.want("STOR /f", 150)
					if _, err := d.Write(content); err != nil {
						b.Fatal(err)
					}
					d.Close()
					c.want("", 226)
				}
			})
			b.Run("get/"+name, func(b *testing.B) {
				c, dir := benchServer(b, secured)
				if err := os.WriteFile(dir+"/f", make([]byte, size), 0o600); err != nil {
					b.Fatal(err)
				}
				buf := make([]byte, 256<<10)
				b.SetBytes(int64(size))
				for b.Loop() {
					d := c.data()
					c.want("RETR /f", 150)
					for err := error(nil); err == nil; {
						_, err = d.Read(buf)
					}
					c.want("", 226)
					d.Close()
				}
			})
		}
	}
}

func BenchmarkListing(b *testing.B) {
	for _, secured := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", secured), func(b *testing.B) {
			fsys := memFs(b)
			for i := range 10_000 {
				write(b, fsys, fmt.Sprintf("/c/a file with a name %05d", i), "")
			}
			s := start(b, fsys, withTLS, func(s *Server) { s.Log = slog.New(slog.DiscardHandler) })
			c := s.dial(b)
			c.want("", 220)
			if secured {
				c.private = clientTLS()
				c.secure(c.private)
				c.want("PROT P", 200)
			}
			c.want("USER "+testUser, 331)
			c.want("PASS "+testPassword, 230)
			for b.Loop() {
				if got := c.get("MLSD /c", 226); strings.Count(got, "\n") != 10_000 {
					b.Fatal("entries are missing")
				}
			}
		})
	}
}
