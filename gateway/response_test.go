package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func dialTCP(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// A file within a limit must reach the ReadFrom of net/http as just that, or
// there is no sendfile.
func TestFilesStayFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 3*piece+17), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	below := &fileTaker{}
	c := &call{begun: time.Now()}
	c.w = response{ResponseWriter: below, call: c}
	n, err := c.w.ReadFrom(&io.LimitedReader{R: f, N: 3*piece + 10})
	if n != 3*piece+10 || err != nil || c.w.sent != n {
		t.Errorf("ReadFrom = %d, %v; sent %d", n, err, c.w.sent)
	}
	if below.files != 4 || below.others != 0 {
		t.Errorf("%d stretches of a file and %d of other things came through", below.files, below.others)
	}
	below.files = 0
	if n, err := c.w.ReadFrom(f); n != 7 || err != nil || below.files != 1 {
		t.Errorf("ReadFrom of the rest = %d, %v", n, err)
	}
}

// A fileTaker is a ResponseWriter that looks at what its ReadFrom is given.
type fileTaker struct {
	header        http.Header
	files, others int
}

func (w *fileTaker) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *fileTaker) WriteHeader(int)             {}
func (w *fileTaker) Write(p []byte) (int, error) { return len(p), nil }

func (w *fileTaker) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = limited.R.(*os.File)
	}
	if ok {
		w.files++
	} else {
		w.others++
	}
	return io.Copy(io.Discard, r)
}
