package cdn

import (
	"io"
	"net/http"
	"time"
)

// A serving is one request to a site, as it is counted and logged: a
// ResponseWriter that sees what is written.
type serving struct {
	http.ResponseWriter
	e    *Edge
	rec  *record
	r    *http.Request
	at   time.Time
	code int
	n    int64 // bytes of the body
	seen status
}

// A fileServing is one whose answers can be files that the kernel sends.
type fileServing struct {
	serving
	from io.ReaderFrom
}

// watch begins a serving, and returns what the answer is to be written to.
func (e *Edge) watch(w http.ResponseWriter, r *http.Request, rec *record) (*serving, http.ResponseWriter) {
	s := serving{ResponseWriter: w, e: e, rec: rec, r: r}
	if rec.site.Logs {
		s.at = time.Now()
	}
	if from, ok := w.(io.ReaderFrom); ok {
		f := &fileServing{s, from}
		return &f.serving, f
	}
	return &s, &s
}

// end counts the serving, also one that ends in a panic, which cuts it off.
func (s *serving) end() {
	s.rec.tally.add(&s.seen, s.code, s.n)
	if s.rec.site.Logs && s.e.Logs != nil {
		s.e.Logs.add(s)
	}
}

func (s *serving) WriteHeader(code int) {
	if s.code == 0 && code >= 200 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *serving) Write(p []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	n, err := s.ResponseWriter.Write(p)
	s.n += int64(n)
	return n, err
}

// WriteString is Write for strings.
func (s *serving) WriteString(text string) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	n, err := io.WriteString(s.ResponseWriter, text)
	s.n += int64(n)
	return n, err
}

// Flush sends what there is.
func (s *serving) Flush() {
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (s *serving) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// ReadFrom sends what r has.
func (f *fileServing) ReadFrom(r io.Reader) (int64, error) {
	if f.code == 0 {
		f.code = http.StatusOK
	}
	n, err := f.from.ReadFrom(r)
	f.n += n
	return n, err
}
