package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
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

// newCall is a call that answers to w.
func newCall(w http.ResponseWriter) *call {
	c := &call{g: new(gateway), r: new(http.Request), begun: time.Now()}
	c.w = response{ResponseWriter: w, call: c}
	c.body.call = c
	return c
}

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
	c := newCall(below)
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

// slowWriter is a ResponseWriter that takes its time, and remembers until when
// it had been given any.
type slowWriter struct {
	fileTaker
	takes     time.Duration
	deadlines []time.Time
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error {
	w.deadlines = append(w.deadlines, t)
	return nil
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	return len(p), nil
}

func (w *slowWriter) ReadFrom(r io.Reader) (int64, error) {
	time.Sleep(w.takes)
	return io.Copy(io.Discard, r)
}

// A client that is slow but goes on taking keeps its answer; one that is quick
// costs no deadlines.
func TestWriteDeadlineFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, takes := range []time.Duration{time.Minute, time.Millisecond} {
			w := &slowWriter{takes: takes}
			c := newCall(w)
			end := c.begun.Add(writeIdle) // as the server gives it
			for range 5 {
				c.w.Write(make([]byte, 1000))
				c.w.ReadFrom(&io.LimitedReader{R: zeros{}, N: 3 * piece})
			}
			took := time.Since(c.begun)
			if takes == time.Millisecond {
				if len(w.deadlines) != 0 {
					t.Errorf("%d deadlines set within %v", len(w.deadlines), took)
				}
				continue
			}
			for i, d := range w.deadlines {
				if !d.After(end) {
					t.Errorf("deadline %d is not after the one before", i)
				}
				end = d
			}
			if left := time.Until(end); left <= 0 || took < writeIdle {
				t.Errorf("after %v there are %v left", took, left)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// HTTP/2 has other framing and the same answers.
func TestHTTP2(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(l.g, nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	big := bytes.Repeat([]byte("x"), 3<<20)
	for _, step := range []struct {
		method, target string
		body           io.Reader
		status         int
		length         int
	}{
		{"PUT", "c/empty", nil, 201, 0},
		{"PUT", "c/known", bytes.NewReader(big), 201, 0},
		{"PUT", "c/unknown", io.MultiReader(bytes.NewReader(big)), 201, 0},
		{"GET", "c/known", nil, 200, len(big)},
		{"GET", "c/unknown", nil, 200, len(big)},
		{"GET", "c/empty", nil, 200, 0},
		{"GET", "c", nil, 200, len("empty\nknown\nunknown\n")},
		{"PUT", "none/o", bytes.NewReader(big), 404, len(bareNotFound)},
		{"DELETE", "c/known", nil, 204, 0},
	} {
		req, err := http.NewRequest(step.method, s.URL+"/v1/AUTH_ann/"+step.target, step.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", "AUTH_tkann")
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != step.status || len(b) != step.length || err != nil {
			t.Errorf("%s %s: %s %d with %d bytes, %v; want %d with %d", step.method, step.target, res.Proto, res.StatusCode, len(b), err, step.status, step.length)
		}
	}
}
