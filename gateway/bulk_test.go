package gateway

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

// outcome is a report, read as a client reads it.
type outcome struct {
	Status   string      `json:"Response Status"`
	Body     string      `json:"Response Body"`
	Deleted  int         `json:"Number Deleted"`
	NotFound int         `json:"Number Not Found"`
	Created  int         `json:"Number Files Created"`
	Errors   [][2]string `json:"Errors"`
}

func (l *lab) outcome(a answer) (o outcome) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(a.body), &o); a.status != 200 || err != nil {
		l.t.Fatalf("the report is %d %q: %v", a.status, a.body, err)
	}
	return o
}

func TestBulkDelete(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	var names strings.Builder
	const n = 500
	for i := range n {
		l.must(201, "PUT", fmt.Sprintf("/v1/AUTH_ann/c/o%d", i), "x")
		fmt.Fprintf(&names, "/c/o%d\n", i)
	}
	names.WriteString("/c\n/c/none")
	o := l.outcome(l.ask("ann", "POST", "/v1/AUTH_ann?bulk-delete", names.String(), "Accept: application/json"))
	if o.Deleted != n+1 || o.NotFound != 1 || len(o.Errors) != 0 || o.Status != "200 OK" {
		t.Errorf("the report is %+v", o)
	}
	l.must(404, "HEAD", "/v1/AUTH_ann/c", "")
}

// Whoever may not delete is told so for each, and after a thousand the rest is
// not tried.
func TestBulkDeleteGivesUp(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x")
	o := l.outcome(l.ask("bob", "POST", "/v1/AUTH_ann?bulk-delete", strings.Repeat("/c/o\n", 9000), "Accept: application/json"))
	if n := len(o.Errors); n < maxFailedBulkDeletes || n > maxFailedBulkDeletes+bulkDeletes || o.Body != "Max delete failures exceeded" || o.Status != "400 Bad Request" {
		t.Errorf("%d errors, %q, %q", n, o.Status, o.Body)
	}
	l.must(200, "GET", "/v1/AUTH_ann/c/o", "")
}

// A name reaches nothing outside the account, however it is written.
func TestBulkDeleteStaysInside(t *testing.T) {
	l := newLab(t)
	for _, who := range []string{"ann", "bob"} {
		l.ask(who, "PUT", "/v1/AUTH_"+who+"/c", "")
		l.ask(who, "PUT", "/v1/AUTH_"+who+"/c/o", "x")
	}
	for _, name := range []string{"../AUTH_bob/c/o", "/../AUTH_bob/c/o", "%2e%2e/AUTH_bob/c/o", "//AUTH_bob/c/o", "/v1/AUTH_bob/c/o"} {
		o := l.outcome(l.ask("ann", "POST", "/v1/AUTH_ann?bulk-delete", name+"\n", "Accept: application/json"))
		if o.Deleted != 0 {
			t.Errorf("%q deletes something: %+v", name, o)
		}
	}
	if a := l.ask("bob", "GET", "/v1/AUTH_bob/c/o", ""); a.status != 200 {
		t.Errorf("what is another's is %d", a.status)
	}
}

// slow is a backend on which every removal takes its time.
type slow struct {
	storage.Backend
	takes time.Duration
}

func (s slow) Remove(ctx context.Context, p storage.Path, c storage.Cond) error {
	time.Sleep(s.takes)
	return s.Backend.Remove(ctx, p, c)
}

// TestHeartbeat holds that a client hears something while it waits.
func TestHeartbeat(t *testing.T) {
	for accept, want := range map[string]string{
		"application/json": "  \r\n\r\n{",
		"text/plain":       "  \r\n\r\nNumber Deleted",
		"text/xml":         xmlDeclaration + "  \r\n\r\n<delete>",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLabOver(t, slow{memory.New(), 11 * time.Second})
			l.must(201, "PUT", "/v1/AUTH_ann/c", "")
			l.must(201, "PUT", "/v1/AUTH_ann/c/o", "x")
			a := l.ask("ann", "POST", "/v1/AUTH_ann?bulk-delete", "/c/o\n/c\n", "Accept: "+accept)
			if !strings.HasPrefix(a.body, want) {
				t.Errorf("%s: the answer is %q, want that it begins with %q", accept, a.body, want)
			}
		})
	}
}

// pack makes a tar archive that is compressed.
func pack(t testing.TB, fill func(*tar.Writer)) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func addFile(t testing.TB, w *tar.Writer, h tar.Header, content io.Reader) {
	t.Helper()
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if content != nil {
		if _, err := io.Copy(w, content); err != nil {
			t.Fatal(err)
		}
	}
}

// A file of a gigabyte that is one hole, in two kilobytes.
func TestExtractHoles(t *testing.T) {
	const size = 1 << 30
	block := func(h [512]byte, name string, n int, kind byte) string {
		copy(h[:], name)
		copy(h[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x00%011o\x00", n, 0)+"        "+string(kind))
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return string(h[:])
	}
	pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&511) }
	var records string
	for _, s := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=hole", fmt.Sprint("GNU.sparse.realsize=", size)} {
		records += fmt.Sprintf("%d %s\n", len(s)+len("00 \n"), s)
	}
	archive := block([512]byte{}, "x", len(records), 'x') + pad(records) +
		block([512]byte{}, "hole", 512, '0') + pad(fmt.Sprintf("1\n%d\n0\n", size)) + strings.Repeat("\x00", 1024)
	if h, err := tar.NewReader(strings.NewReader(archive)).Next(); err != nil || h.Size != size || h.Name != "hole" {
		t.Fatalf("the archive is not what it should be: %+v, %v", h, err)
	}
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	o := l.outcome(l.ask("ann", "PUT", "/v1/AUTH_ann/c?extract-archive=tar", archive, "Accept: application/json"))
	if o.Created != 0 || !strings.Contains(o.Body, "unfolds") {
		t.Errorf("the report is %+v", o)
	}
}

func TestExtractHostile(t *testing.T) {
	text := func(name string) func(*tar.Writer) {
		return func(w *tar.Writer) {
			addFile(t, w, tar.Header{Name: name, Size: 1, Mode: 0o644}, strings.NewReader("x"))
		}
	}
	for name, tt := range map[string]struct {
		fill    func(*tar.Writer)
		created int
		body    string // the report's, or part of it
		errors  int
	}{
		"climbing":      {fill: text("../../other/x"), errors: 1},
		"climbing deep": {fill: text("a/../../x"), errors: 1},
		"absolute":      {fill: text("/etc/passwd"), created: 1}, // it is where it was put
		"links": {fill: func(w *tar.Writer) {
			addFile(t, w, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, nil)
			addFile(t, w, tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, nil)
			addFile(t, w, tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}, nil)
		}, body: "Invalid Tar File: No Valid Files"},
		"bomb": {fill: func(w *tar.Writer) {
			addFile(t, w, tar.Header{Name: "zeros", Size: 300 << 20, Mode: 0o644}, io.LimitReader(zeros{}, 300<<20))
		}, body: "unfolds"},
		"too large": {fill: func(w *tar.Writer) {
			addFile(t, w, tar.Header{Name: "large", Size: 2 << 20}, io.LimitReader(zeros{}, 2<<20))
			addFile(t, w, tar.Header{Name: "small", Size: 1}, strings.NewReader("x"))
		}, created: 1, errors: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOver(t, memory.New(), func(c *Config) {
				c.MaxObjectSize = 1 << 20
				if name == "bomb" {
					c.MaxObjectSize = 1 << 30
				}
			})
			l.must(201, "PUT", "/v1/AUTH_ann/c", "")
			a := l.ask("ann", "PUT", "/v1/AUTH_ann/c?extract-archive=tar.gz", pack(t, tt.fill), "Accept: application/json")
			o := l.outcome(a)
			if o.Created != tt.created || len(o.Errors) != tt.errors || !strings.Contains(o.Body, tt.body) {
				t.Errorf("the report is %+v", o)
			}
			in, err := l.store.Stat(newOwner("ann"), storage.Path{Account: "AUTH_ann", Container: "c"})
			if err != nil || in.Objects != int64(tt.created) {
				t.Errorf("there are %d objects, %v, want %d", in.Objects, err, tt.created)
			}
			if account, _ := l.store.Stat(newOwner("ann"), storage.Path{Account: "AUTH_ann"}); account.Containers != 1 {
				t.Errorf("there are %d containers, want 1", account.Containers)
			}
		})
	}
}

// TestExtractOrder holds that files beside each other come to the same as one
// after the other: of two with one name the later one stays.
func TestExtractOrder(t *testing.T) {
	l := newLab(t)
	archive := pack(t, func(w *tar.Writer) {
		for i := range 300 {
			text := fmt.Sprint(i)
			addFile(t, w, tar.Header{Name: fmt.Sprint("n", i%3), Size: int64(len(text))}, strings.NewReader(text))
		}
	})
	o := l.outcome(l.ask("ann", "PUT", "/v1/AUTH_ann/new/dir?extract-archive=tar.gz", archive, "Accept: application/json"))
	if o.Created != 300 || o.Status != "201 Created" {
		t.Errorf("the report is %+v", o)
	}
	for i, want := range []string{"297", "298", "299"} {
		if a := l.must(200, "GET", fmt.Sprint("/v1/AUTH_ann/new/dir/n", i), ""); a.body != want {
			t.Errorf("n%d is %q, want %q", i, a.body, want)
		}
	}
}

// TestExtractBroken holds that an archive which breaks off stores no part of the
// file it broke in, over a connection as it is.
func TestExtractBroken(t *testing.T) {
	l := newLab(t)
	l.must(201, "PUT", "/v1/AUTH_ann/c", "")
	archive := pack(t, func(w *tar.Writer) {
		addFile(t, w, tar.Header{Name: "small", Size: 5}, strings.NewReader("hello"))
		addFile(t, w, tar.Header{Name: "large", Size: 1 << 20}, io.LimitReader(zeros{}, 1<<20))
	})
	addr := l.serve()
	archive = archive[:len(archive)-20]
	res, _, _ := l.wire(addr, "PUT /v1/AUTH_ann/c?extract-archive=tar.gz HTTP/1.1\r\nHost: a\r\nX-Auth-Token: AUTH_tkann\r\nAccept: application/json\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(archive))+archive)
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(text), `"400 Bad Request"`) {
		t.Errorf("the answer is %d %q, %v", res.StatusCode, text, err)
	}
	l.must(200, "GET", "/v1/AUTH_ann/c/small", "")
	l.must(404, "GET", "/v1/AUTH_ann/c/large", "")
}
