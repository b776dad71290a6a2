package gateway

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"memstore.dev/memstore/storage"
)

// headObject tells of an object what there is to say. A Range is ignored, as
// in Swift.
func (c *call) headObject() error {
	c.asAsked()
	if answered, err := c.getRaw(); answered {
		return err
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return c.absent(err)
	}
	if status := judge(c.r.Header, &in); status != 0 {
		return c.answerCondition(status, &in)
	}
	c.describe(&in)
	c.set("Content-Length", strconv.FormatInt(in.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// getObject sends an object, or one or several stretches of it.
func (c *call) getObject() error {
	c.asAsked()
	if answered, err := c.getRaw(); answered {
		return err
	}
	ranges := parseRanges(joined(c.r.Header["Range"]))
	if len(ranges) > 1 {
		return c.getRanges(ranges)
	}
	ask := storage.All
	if len(ranges) == 1 {
		ask = ranges[0].ask()
	}
	rc, in, err := c.g.Store.Open(c.ctx, c.path, ask)
	unsatisfiable, incomplete := errors.Is(err, storage.ErrRange), errors.Is(err, storage.ErrSegment)
	if err != nil && !unsatisfiable && !incomplete {
		return c.absent(err)
	}
	if rc != nil {
		defer rc.Close()
	}
	if incomplete && c.id.Stranger() {
		return err // caches, which ask as strangers, are not to go on with what is closed
	}
	if status := judge(c.r.Header, &in); status != 0 {
		return c.answerCondition(status, &in)
	}
	if incomplete {
		return err
	}
	if len(ranges) == 0 {
		c.describe(&in)
		return c.send(http.StatusOK, rc, in.Size)
	}
	offset, length, ok := ranges[0].within(in.Size)
	if !ok {
		return c.answerRange(&in)
	}
	c.describe(&in)
	if in.Size == 0 {
		// The last bytes of nothing are nothing, but cannot be told by their
		// positions.
		return c.empty()
	}
	c.set("Content-Range", contentRange(offset, length, in.Size))
	return c.send(http.StatusPartialContent, rc, length)
}

// small is the size up to which content is read whole before the answer
// begins: it goes out together with the header, in one system call, and if it
// turns out to be damaged the client is told so.
const small = 32 << 10

var smallBuffers = sync.Pool{New: func() any { return new([small]byte) }}

// send answers with the n bytes that r has, whose headers are set already.
func (c *call) send(status int, r io.Reader, n int64) error {
	c.set("Content-Length", strconv.FormatInt(n, 10))
	if n > small {
		c.w.WriteHeader(status)
		return c.stream(r, n)
	}
	room := smallBuffers.Get().(*[small]byte)
	defer smallBuffers.Put(room)
	if _, err := io.ReadFull(r, room[:n]); err != nil {
		return storage.Wrap("get", c.path, short(err))
	}
	c.w.WriteHeader(status)
	_, err := c.w.Write(room[:n])
	return storage.Wrap("get", c.path, err)
}

// stream copies the n bytes that r has to the client; by sendfile, where r and
// the connection know how.
func (c *call) stream(r io.Reader, n int64) error {
	sent, err := io.Copy(&c.w, r)
	if err == nil && sent != n {
		err = short(io.EOF)
	}
	return storage.Wrap("get", c.path, err)
}

// short says of content that ended early that it is damaged.
func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends early", storage.ErrDamaged)
	}
	return err
}

// empty answers with an object that has no bytes.
func (c *call) empty() error {
	c.set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// absent answers for an object that is not there: a client that says it must
// be is told that this did not hold.
func (c *call) absent(err error) error {
	if marker := (*storage.MarkerError)(nil); errors.As(err, &marker) {
		c.set(versionHeader, marker.ID)
		return &refusal{status: http.StatusNotFound, kind: storage.MarkerType}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if c.versionParam() == "" && c.versioned() {
			c.set(versionHeader, storage.NullVersion)
		}
		if v := c.r.Header["If-Match"]; v != nil && listed(joined(v), "*") {
			return &refusal{status: http.StatusPreconditionFailed, silent: true}
		}
	}
	return err
}

// putObject stores an object.
func (c *call) putObject() error {
	h := c.r.Header
	if err := checkDynamic(h); err != nil {
		return c.unlessForbidden(err)
	}
	if c.manifestParam() == "put" {
		return c.putManifest()
	}
	if err := checkLarge(h); err != nil {
		return c.unlessForbidden(err)
	}
	if h.Get("X-Copy-From") != "" {
		return c.putCopy()
	}
	if h[linkTarget] != nil {
		return c.putLink()
	}
	if id := c.versionParam(); id != "" {
		return c.restoreVersion(id)
	}
	in, cond, err := c.upload()
	if err != nil {
		return c.unlessForbidden(err)
	}
	if len(c.path.Container) > storage.MaxContainerName {
		return c.unlessForbidden(fs.ErrNotExist) // there can be no such container
	}
	up, err := c.g.Store.Create(c.ctx, in, cond)
	if err != nil {
		return err
	}
	defer up.Close()
	c.body.left = c.g.MaxObjectSize
	if c.r.ContentLength != 0 {
		if _, err := up.ReadFrom(&c.body); err != nil {
			if c.body.err != nil {
				return c.body.err
			}
			return err
		}
	}
	in, err = up.Commit(c.ctx)
	if err != nil {
		return err
	}
	c.set("Etag", in.ETag)
	c.set("Last-Modified", httpDate(in.ModTime))
	c.tellVersion(&in)
	return c.done(http.StatusCreated)
}

// upload reads from the headers what is to be stored, and what must hold.
func (c *call) upload() (in storage.Info, cond storage.Cond, err error) {
	h := c.r.Header
	if cond, err = onlyIfAbsent(h); err != nil {
		return in, cond, err
	}
	in = storage.Info{Path: c.path, Size: c.r.ContentLength}
	if in.Size > c.g.MaxObjectSize {
		return in, cond, errTooLarge
	}
	if in.Size == 0 && h["Content-Length"] == nil && c.r.ProtoMajor == 1 {
		// Neither a length nor chunks: the server reads an empty body where the
		// client may have sent anything. (HTTP/2 tells where a body ends.)
		return in, cond, &refusal{status: http.StatusLengthRequired, text: "Missing Content-Length header.", kind: plain, hangUp: true}
	}
	if in.DeleteAt, err = expiry(h, c.begun); err != nil {
		return in, cond, err
	}
	if in.Type, err = contentType(h); err != nil {
		return in, cond, err
	}
	in.ETag = strings.ToLower(bareTag(h.Get("Etag")))
	in.Meta, err = objects.fromHeader(h, true)
	return in, cond, err
}

// onlyIfAbsent reads the one condition that an upload can have.
func onlyIfAbsent(h http.Header) (storage.Cond, error) {
	v := h["If-None-Match"]
	if v == nil {
		return storage.Cond{}, nil
	}
	if !listed(joined(v), "*") {
		return storage.Cond{}, badRequest("If-None-Match only supports *")
	}
	return storage.Cond{Absent: true}, nil
}

// postObject replaces the metadata of an object.
func (c *call) postObject() error {
	if c.r.Header[linkTarget] != nil {
		return c.unlessForbidden(badRequest("A PUT request is required to set a symlink target"))
	}
	if err := checkLarge(c.r.Header); err != nil {
		return c.unlessForbidden(err)
	}
	if c.versionParam() != "" {
		return c.unlessForbidden(&refusal{status: http.StatusBadRequest, text: "POST to a specific version is not allowed"})
	}
	in := storage.Info{Path: c.path}
	var err error
	if in.Meta, err = objects.fromHeader(c.r.Header, true); err != nil {
		return c.unlessForbidden(err)
	}
	if in.DeleteAt, err = expiry(c.r.Header, c.begun); err != nil {
		return c.unlessForbidden(err)
	}
	in.Type = c.r.Header.Get("Content-Type")
	if err := checkType(in.Type); err != nil {
		return c.unlessForbidden(err)
	}
	if in, err = c.g.Store.Update(c.ctx, in, storage.Cond{}); err != nil {
		return err
	}
	if in.Link != nil {
		return c.postedLink(in.Link)
	}
	return c.done(http.StatusAccepted)
}

// deleteObject removes an object.
func (c *call) deleteObject() error {
	if c.manifestParam() == "delete" {
		return c.deleteManifest()
	}
	return c.removeObject()
}

// removeObject removes what is stored under the path, and nothing else.
func (c *call) removeObject() error {
	if err := checkLarge(c.r.Header); err != nil {
		return c.unlessForbidden(err)
	}
	if id := c.versionParam(); id != "" {
		return c.deleteVersion(id)
	}
	cond, err := c.ifDeleteAt()
	if err != nil {
		return err
	}
	marker, err := c.g.Store.Delete(c.ctx, c.path, cond)
	if marker != "" {
		c.set(versionHeader, marker)
	}
	if err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// ifDeleteAt is the condition that X-If-Delete-At sets: whoever expires objects
// by the clock takes away only one that is still to go at that second.
func (c *call) ifDeleteAt() (storage.Cond, error) {
	v := c.r.Header.Get("X-If-Delete-At")
	if v == "" {
		return storage.Cond{}, nil
	}
	at, err := strconv.ParseFloat(v, 64)
	if err != nil || !(at >= 0) {
		return storage.Cond{}, c.unlessForbidden(&refusal{status: http.StatusBadRequest, text: "Bad X-If-Delete-At header value"})
	}
	in, err := c.g.Store.Stat(c.ctx, c.path)
	if err != nil {
		return storage.Cond{}, c.absent(err)
	}
	is := 0.0 // of one that is never to go
	if !in.DeleteAt.IsZero() {
		is = float64(in.DeleteAt.Unix())
	}
	if is != at {
		return storage.Cond{}, c.unlessForbidden(&refusal{status: http.StatusPreconditionFailed, text: "X-If-Delete-At and X-Delete-At do not match"})
	}
	return storage.Cond{Version: in.Version}, nil
}
