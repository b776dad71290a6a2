package gateway

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"memstore.dev/memstore/storage"
)

const (
	maxBulkContainers    = 10000 // that one archive may make
	maxFailedExtractions = 1000  // after which it is given up

	// An archive may unfold to so many times what was sent of it, beyond a bit
	// that is free. What honest people pack is far below; a bomb is far above.
	maxUnfold  = 100
	freeUnfold = 256 << 20

	// Small files are put beside each other, so that the engine commits them
	// together.
	smallFile  = 256 << 10
	smallFiles = 32
)

// extract stores the files of an archive as objects.
func (c *call) extract() error {
	name, _ := param(c.r.URL.RawQuery, "extract-archive")
	unpack, ok := unpackers[strings.Trim(strings.ToLower(name), ".")]
	if !ok {
		return &refusal{status: http.StatusBadRequest, text: "Unsupported archive format"}
	}
	r := c.newBulkReport("extract", http.StatusCreated, "Number Files Created")
	if !r.ok {
		return r.send()
	}
	if c.unframed() {
		r.status = http.StatusLengthRequired
		return r.send()
	}
	http.NewResponseController(c.w.ResponseWriter).EnableFullDuplex() // unsupported only where it is so anyway
	x := &extraction{c: c, r: r, base: c.path, seen: make(map[string]bool), writing: make(map[storage.Path]bool)}
	err := x.run(unpack)
	x.pending.Wait()
	if c.body.err != nil {
		return c.body.err
	}
	x.judge(err)
	c.settle()
	return r.send()
}

// settle reads what is left of the body, since net/http cannot go on with a
// connection that was read and written at once and has some of it left. Where
// much is left, and it can still be said, the connection ends instead.
func (c *call) settle() {
	const little = 256 << 10
	if c.w.status == 0 {
		io.CopyN(io.Discard, &c.body, little)
	} else {
		io.Copy(io.Discard, &c.body)
	}
	if !c.body.ended {
		c.set("Connection", "close")
	}
}

// unpackers undo the compression of an archive, by its kind.
var unpackers = map[string]func(io.Reader) (io.Reader, error){
	"tar":     func(r io.Reader) (io.Reader, error) { return r, nil },
	"tar.gz":  func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"tar.bz2": func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil },
}

// An extraction is an archive on its way into the store.
type extraction struct {
	c        *call
	r        *bulkReport
	base     storage.Path    // where the names of the archive begin
	seen     map[string]bool // containers that were looked for
	made     int             // containers that were made
	unfolded int64           // bytes that came out

	pending sync.WaitGroup
	slots   chan struct{}

	mu      sync.Mutex
	writing map[storage.Path]bool
	created int
	failed  []failedFile
	bad     int // worst kind of failure
	files   int // in the order of the archive
}

// A failedFile is one that could not be stored, or a container.
type failedFile struct {
	at     int // in the archive
	name   string
	status int
}

// errStopped ends an extraction whose report has been made already.
var errStopped = errors.New("stopped")

// errTruncated is told of an archive that ends before a file's name.
var errTruncated = errors.New("truncated header")

// errBomb is told of an archive that unfolds to much more than it is.
var errBomb = errors.New("it unfolds to too many times its size")

// run reads the archive.
func (x *extraction) run(unpack func(io.Reader) (io.Reader, error)) error {
	x.slots = make(chan struct{}, smallFiles)
	plain, err := unpack(&x.c.body)
	if err != nil {
		return err
	}
	archive := tar.NewReader(&metered{x, plain})
	for {
		x.r.tick()
		if !x.c.current() {
			x.r.status = http.StatusUnauthorized
			return errStopped
		}
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err == io.ErrUnexpectedEOF {
			return errTruncated
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeCont && h.Typeflag != tar.TypeGNUSparse {
			continue // links and devices are nothing that could be stored, and directories need not be
		}
		if err := x.file(h, archive); err != nil {
			return err
		}
		if x.given() {
			return nil
		}
	}
}

// given reports whether so much failed that the rest is given up.
func (x *extraction) given() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.failed) >= maxFailedExtractions
}

// metered counts what comes out of an archive's compression, and later of its
// holes, and stops a bomb.
type metered struct {
	x *extraction
	r io.Reader
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.x.unfolded += int64(n); m.x.bomb(0) {
		return 0, errBomb
	}
	return n, err
}

// bomb reports whether more bytes would be more than an archive may unfold to.
func (x *extraction) bomb(more int64) bool {
	return x.unfolded+more > freeUnfold && (x.unfolded+more)/maxUnfold > x.c.body.read
}

// file stores one file of the archive. An error ends the extraction.
func (x *extraction) file(h *tar.Header, content io.Reader) error {
	x.mu.Lock()
	x.files++
	at := x.files
	x.mu.Unlock()
	name := strings.TrimLeft(strings.TrimPrefix(h.Name, "./"), "/")
	if base := strings.TrimRight(inAccount(x.base), "/"); base != "" {
		name = base + "/" + name
	}
	if !strings.Contains(name, "/") {
		return nil // a file that would be a container
	}
	p, err := split(x.base.Account + "/" + name)
	switch {
	case err != nil:
		x.fail(at, name, http.StatusPreconditionFailed)
		return nil
	case slices.Contains(strings.Split(h.Name, "/"), ".."):
		x.fail(at, name, http.StatusBadRequest) // it would have us look elsewhere
		return nil
	case h.Size > x.c.g.MaxObjectSize:
		x.fail(at, name, http.StatusRequestEntityTooLarge)
		return nil
	case sparse(h) && x.bomb(h.Size):
		return errBomb
	}
	if sparse(h) {
		x.unfolded += h.Size
	}
	failure, err := x.container(at, p.Container)
	if err != nil {
		return err
	}
	in, err := x.info(p, h)
	if err != nil {
		x.fail(at, name, x.c.answerTo(err).status)
		return nil
	}
	if h.Size > smallFile {
		return x.put(at, name, in, content, failure)
	}
	small := make([]byte, h.Size)
	if _, err := io.ReadFull(content, small); err != nil {
		return err
	}
	if x.taken(p) {
		x.pending.Wait() // the same name again: the later one is to stay
	}
	x.mu.Lock()
	x.writing[p] = true
	x.mu.Unlock()
	x.slots <- struct{}{}
	x.pending.Go(func() {
		x.put(at, name, in, bytes.NewReader(small), failure) // what stops all is told by the next file as well
		x.mu.Lock()
		delete(x.writing, p)
		x.mu.Unlock()
		<-x.slots
	})
	return nil
}

// sparse reports whether a file has holes, which come out of next to nothing.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (x *extraction) taken(p storage.Path) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writing[p]
}

// inAccount is a path as it is within its account, "c/a/b".
func inAccount(p storage.Path) string {
	if p.IsObject() {
		return p.Container + "/" + p.Object
	}
	return p.Container
}

// container makes the container of a file if it is missing. Where that may not
// be, the file may perhaps be put all the same, so the failure is told only if it
// cannot.
func (x *extraction) container(at int, name string) (*failedFile, error) {
	if x.seen[name] {
		return nil, nil
	}
	x.seen[name] = true
	c, p := x.c, storage.Path{Account: x.base.Account, Container: name}
	_, err := c.g.Store.Stat(c.ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = c.g.Store.Make(c.ctx, p, nil); err == nil {
			if x.made++; x.made > maxBulkContainers {
				x.r.status, x.r.body = http.StatusBadRequest, fmt.Sprintf("More than %d containers to create from tar.", maxBulkContainers)
				return nil, errStopped
			}
		}
	}
	if err == nil {
		return nil, nil
	}
	status := c.answerTo(err).status
	if status == http.StatusUnauthorized {
		x.r.status = status
		return nil, errStopped
	}
	return &failedFile{at, "/v1" + p.String(), status}, nil
}

// info is the object that a file of the archive becomes: with what the request
// says of all, and what the archive has as extended attributes of this one.
func (x *extraction) info(p storage.Path, h *tar.Header) (storage.Info, error) {
	in := storage.Info{Path: p, Size: h.Size}
	header := make(http.Header)
	for key, values := range x.c.r.Header {
		if strings.HasPrefix(key, objects.meta) {
			header[key] = values
		}
	}
	for _, by := range []string{"SCHILY", "LIBARCHIVE"} {
		for _, record := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			attribute, ok := strings.CutPrefix(record, by+".xattr.user.")
			if name, meta := strings.CutPrefix(attribute, "meta."); ok && meta {
				header.Set(objects.meta+name, h.PAXRecords[record])
			} else if ok && attribute == "mime_type" {
				in.Type = h.PAXRecords[record]
			}
		}
	}
	var err error
	if in.Meta, err = objects.fromHeader(header, false); err != nil {
		return in, err
	}
	if in.DeleteAt, err = expiry(x.c.r.Header, x.c.begun); err != nil {
		return in, err
	}
	return in, checkType(in.Type)
}

// put stores one file.
func (x *extraction) put(at int, name string, in storage.Info, content io.Reader, failure *failedFile) error {
	broken, err := x.c.putBytes(in, content)
	if broken != nil {
		return broken
	}
	if err == nil {
		x.mu.Lock()
		x.created++
		x.mu.Unlock()
		return nil
	}
	if failure != nil {
		x.fail(failure.at, failure.name, failure.status)
	}
	status := x.c.answerTo(err).status
	if status == http.StatusInternalServerError {
		x.c.logFault(err)
	}
	x.fail(at, name, status)
	if status == http.StatusUnauthorized {
		x.mu.Lock()
		x.r.status = status
		x.mu.Unlock()
		return errStopped
	}
	return nil
}

// putBytes stores an object; broken is what was wrong with the reading.
func (c *call) putBytes(in storage.Info, content io.Reader) (broken, err error) {
	if len(in.Path.Container) > storage.MaxContainerName {
		return nil, fs.ErrNotExist // there can be no such container
	}
	up, err := c.g.Store.Create(c.ctx, in, storage.Cond{})
	if err != nil {
		return nil, err
	}
	defer up.Close()
	source := &noting{r: content}
	if _, err := up.ReadFrom(source); err != nil {
		return source.err, err
	}
	_, err = up.Commit(c.ctx)
	return nil, err
}

// noting remembers what a reader failed with.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	count, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return count, err
}

func (x *extraction) fail(at int, name string, status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = append(x.failed, failedFile{at, name[:min(len(name), maxBulkName/2)], status})
	if status/100 == 5 {
		x.bad = http.StatusBadGateway
	}
}

// judge finishes the report: err is what ended the reading of the archive.
func (x *extraction) judge(err error) {
	r := x.r
	r.counts[0].value = x.created
	slices.SortStableFunc(x.failed, func(a, b failedFile) int { return a.at - b.at })
	for _, f := range x.failed {
		r.failed(f.name, f.status)
	}
	switch {
	case errors.Is(err, errStopped) || r.status != http.StatusCreated:
	case err != nil:
		r.status, r.body = http.StatusBadRequest, "Invalid Tar File: "+tarFault(err)
	case len(r.errors) > 0:
		r.status = max(x.bad, http.StatusBadRequest)
	case x.created == 0 && x.c.body.read == 0:
		r.status, r.body = http.StatusBadRequest, "Invalid Tar File: empty file"
	case x.created == 0:
		r.status, r.body = http.StatusBadRequest, "Invalid Tar File: No Valid Files"
	}
}

// tarFault says in words what is wrong with an archive.
func tarFault(err error) string {
	switch {
	case errors.Is(err, errBomb), errors.Is(err, errTruncated):
		return err.Error()
	case errors.Is(err, gzip.ErrHeader):
		return "not a gzip file"
	case errors.As(err, new(bzip2.StructuralError)):
		return "invalid compressed data"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "unexpected end of data"
	}
	return "invalid header"
}
