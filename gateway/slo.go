package gateway

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// putManifest makes a static large object of segments that are there already,
// and that must be what the client says they are.
func (c *call) putManifest() error {
	if c.r.Header.Get("X-Copy-From") != "" {
		return c.unlessForbidden(&refusal{status: http.StatusMethodNotAllowed, text: "Multipart Manifest PUTs cannot be COPY requests"})
	}
	if c.id.Stranger() {
		return errUnauthorized // who writes nowhere, and may send much
	}
	list, err := c.readManifest()
	if err != nil {
		return c.unlessForbidden(err)
	}
	in, cond, err := c.upload()
	if err != nil {
		return c.unlessForbidden(err)
	}
	return c.putSegments(list, in, cond, nil)
}

// readManifest reads the manifest that is the body of a request.
func (c *call) readManifest() ([]wanted, error) {
	n := c.r.ContentLength
	if n == 0 && c.r.Header["Content-Length"] == nil && c.r.ProtoMajor == 1 {
		return nil, &refusal{status: http.StatusLengthRequired, hangUp: true}
	}
	if n > storage.MaxManifest {
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, hangUp: true,
			text: fmt.Sprintf("Manifest File > %d bytes", storage.MaxManifest),
		}
	}
	text, err := io.ReadAll(io.LimitReader(&c.body, storage.MaxManifest))
	if err != nil {
		if c.body.err != nil {
			return nil, c.body.err
		}
		return nil, err
	}
	list, err := parseManifest(text, c.path)
	if err != nil {
		return nil, err
	}
	objects := 0
	for i := range list {
		if list[i].data == nil {
			objects++
		}
	}
	if objects > storage.MaxSegments {
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge,
			text:   fmt.Sprintf("Number of object-backed segments must be <= %d", storage.MaxSegments),
		}
	}
	return list, nil
}

// putSegments makes the object in of the segments in a list, and answers. copied
// is the source if the list is that of another manifest.
func (c *call) putSegments(list []wanted, in storage.Info, cond storage.Cond, copied *storage.Info) error {
	kind, _ := reportFormat(c.r.Header)
	beats, _ := param(c.r.URL.RawQuery, "heartbeat")
	heartbeat := copied == nil && truth(beats)
	alive := pulse{c: c}
	if heartbeat {
		// Who may not put here is told so while there is a status to tell it by.
		if err := c.unlessForbidden(nil); err != nil {
			return err
		}
		c.set("Content-Type", kind)
		c.notSniffed()
		c.w.WriteHeader(http.StatusAccepted)
		alive.beat()
	}
	r := report{root: "upload"}
	segments, err := c.look(list, &r, func() {
		if heartbeat {
			alive.beat()
		}
	})
	if err == nil && len(r.errors) == 0 {
		in.Size = -1
		var was storage.Info
		if was, err = c.g.Store.PutManifest(c.ctx, in, segments, cond); err == nil {
			in = was
		}
	}
	if !heartbeat {
		switch {
		case err != nil:
			return err
		case len(r.errors) > 0:
			return c.answerReport(http.StatusBadRequest, kind, &r)
		case copied != nil:
			return c.copied(copied, &in)
		}
		c.set("Etag", `"`+in.ETag+`"`)
		c.set("Last-Modified", httpDate(in.ModTime))
		c.tellVersion(&in)
		return c.done(http.StatusCreated)
	}
	status, text := http.StatusCreated, ""
	switch {
	case err != nil:
		answer := c.answerTo(err)
		status, text = answer.status, answer.text
		if text == "" {
			text = statusText(status) + "\n" + sentences[status].text
		}
	case len(r.errors) > 0:
		status = http.StatusBadRequest
		text = statusText(status) + "\n" + sentences[status].text
	}
	r.add("Response Status", statusLine(status))
	if status == http.StatusCreated {
		r.add("Etag", `"`+in.ETag+`"`)
		r.add("Last Modified", httpDate(in.ModTime))
	}
	r.add("Response Body", text)
	_, werr := c.w.Write(r.append([]byte("\r\n\r\n"), kind))
	return errors.Join(c.internal(err), storage.Wrap("put", c.path, werr))
}

// internal is err if it is one that the log is to have.
func (c *call) internal(err error) error {
	if err != nil && c.answerTo(err).status == http.StatusInternalServerError {
		return err
	}
	return nil
}

// answerReport sends a report in chunks, as Swift does, whose length nobody
// knows beforehand.
func (c *call) answerReport(status int, kind string, r *report) error {
	c.set("Content-Type", kind)
	c.notSniffed()
	c.w.WriteHeader(status)
	c.w.Flush()
	_, err := c.w.Write(r.append(nil, kind))
	return storage.Wrap("put", c.path, err)
}

// look finds the segments of a list, and reports what is not as it should be.
// Each object is looked at once, however often it is named.
func (c *call) look(list []wanted, r *report, each func()) ([]storage.Segment, error) {
	segments := make([]storage.Segment, len(list))
	at := make(map[storage.Path][]int, len(list))
	var order []storage.Path
	for i := range list {
		if list[i].data != nil {
			segments[i].Data = list[i].data
			continue
		}
		p := list[i].path
		if at[p] == nil {
			order = append(order, p)
		}
		at[p] = append(at[p], i)
	}
	for _, p := range order {
		each()
		in, err := c.g.Store.Stat(c.ctx, p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		for _, i := range at[p] {
			if err != nil {
				r.fail(quote(list[i].name), statusLine(c.answerTo(err).status))
				continue
			}
			segments[i] = list[i].segment(&in, i == len(list)-1, r)
		}
	}
	return segments, nil
}

// segment is what is wanted as it is found, and what is wrong with that goes to
// the report.
func (w *wanted) segment(in *storage.Info, last bool, r *report) storage.Segment {
	name := quote(w.name)
	g := storage.SegmentOf(*in)
	g.Path, g.ModTime = w.path, ceil(in.ModTime)
	g.Type, _, _ = strings.Cut(g.Type, ";")
	if w.part != nil {
		offset, length, ok := w.part.within(in.Size)
		switch {
		case !ok:
			r.fail(name, "Unsatisfiable Range")
		case offset != 0 || length != in.Size:
			g.Part, g.First, g.Last = true, offset, offset+length-1
		}
	}
	if g.Len() < 1 && !last {
		r.fail(name, "Too small; each segment must be at least 1 byte.")
	}
	if w.size != nil && *w.size != in.Size {
		r.fail(name, "Size Mismatch")
	}
	if w.etag != nil && *w.etag != in.ETag {
		r.fail(name, "Etag Mismatch")
	}
	return g
}

// rawManifest is a manifest in the form in which clients put it.
func rawManifest(segments []storage.Segment) []byte {
	b := []byte{'['}
	for i := range segments {
		if i > 0 {
			b = append(b, ", "...)
		}
		g := &segments[i]
		if g.Data != nil {
			b = append(b, `{"data": "`...)
			b = append(base64.StdEncoding.AppendEncode(b, g.Data), `"}`...)
			continue
		}
		b = storage.AppendJSON(append(b, `{"etag": `...), g.ETag)
		b = storage.AppendJSON(append(b, `, "path": `...), "/"+g.Path.Container+"/"+g.Path.Object)
		if g.Part {
			b = fmt.Appendf(b, `, "range": "%d-%d"`, g.First, g.Last)
		}
		b = strconv.AppendInt(append(b, `, "size_bytes": `...), g.Size, 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// copyManifest copies a static large object as what it is: the copy has the same
// segments, which are looked at again.
func (c *call) copyManifest(source *storage.Info, target storage.Info, cond storage.Cond) error {
	segments, _, err := c.g.Store.Manifest(storage.OfVersion(c.ctx, c.versionParam()), source.Path)
	if err != nil {
		return err
	}
	list := make([]wanted, len(segments))
	for i := range segments {
		list[i] = wantedAgain(&segments[i], target.Path.Account)
	}
	return c.putSegments(list, target, cond, source)
}

// wantedAgain is a segment of a manifest as a client would want it, in an
// account.
func wantedAgain(g *storage.Segment, account string) wanted {
	if g.Data != nil {
		return wanted{data: g.Data}
	}
	w := wanted{name: "/" + g.Path.Container + "/" + g.Path.Object, path: g.Path, etag: &g.ETag, size: &g.Size}
	w.path.Account = account
	if g.Part {
		w.part = &span{g.First, g.Last}
	}
	return w
}
