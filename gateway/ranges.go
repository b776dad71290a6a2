package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// Bounds of what one request may ask for, beyond which Swift answers as if
// nothing asked for were there (RFC 9110, section 14.2 and 17.15).
const (
	maxRanges    = 50
	maxOverlaps  = 2
	maxUnordered = 7 // of ranges that are not in ascending order
)

// A span is one item of a Range header: from first to last, both included, or
// the last bytes if first is negative.
type span struct{ first, last int64 }

// parseRanges reads a Range header. One that is not understood in all its
// parts is none at all.
func parseRanges(header string) []span {
	if header == "" {
		return nil
	}
	header = strings.ReplaceAll(header, " ", "")
	const unit = "bytes="
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) {
		return nil
	}
	var spans []span
	for item := range strings.SplitSeq(header[len(unit):], ",") {
		from, to, ok := strings.Cut(item, "-")
		from = strings.TrimPrefix(from, "+") // Python's int lets it pass
		if !ok || from == "" && to == "" || from != "" && !digits(from) || to != "" && !digits(to) {
			return nil
		}
		s := span{-1, math.MaxInt64}
		if to != "" {
			s.last = position(to)
		}
		if from != "" {
			if s.first = position(from); s.last < s.first {
				return nil
			}
		}
		spans = append(spans, s)
	}
	return spans
}

// position reads a number of any size; what no object can be as large as is
// told as the largest there is.
func position(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// ask is the span in the Store's terms, before the size is known.
func (s span) ask() storage.Range {
	switch {
	case s.first < 0 && s.last == 0:
		return storage.Range{} // no bytes, which none can satisfy
	case s.first < 0:
		return storage.Range{Offset: -s.last, Length: -1}
	case s.last == math.MaxInt64:
		return storage.Range{Offset: s.first, Length: -1}
	}
	return storage.Range{Offset: s.first, Length: s.last - s.first + 1}
}

// within is what the span means in an object of this size, and false if there
// is nothing of it. (The last bytes of an empty object are there, all none of
// them.)
func (s span) within(size int64) (offset, length int64, ok bool) {
	if s.first < 0 {
		length = min(s.last, size)
		return size - length, length, s.last > 0
	}
	if s.first >= size {
		return 0, 0, false
	}
	return s.first, min(s.last, size-1) - s.first + 1, true
}

// A stretch is a span made definite.
type stretch struct{ offset, length int64 }

// stretches finds what of the spans is in an object of this size; nothing also
// if they ask for more than is decent.
func stretches(spans []span, size int64) []stretch {
	var list []stretch
	for _, s := range spans {
		if offset, length, ok := s.within(size); ok {
			list = append(list, stretch{offset, length})
		}
	}
	if len(list) > maxRanges {
		return nil
	}
	overlaps, ordered := 0, true
	for i, a := range list {
		if i > 0 && after(list[i-1], a) {
			ordered = false
		}
		for _, b := range list[i+1:] {
			if overlap(a, b) {
				overlaps++
			}
		}
	}
	if overlaps > maxOverlaps || !ordered && len(list) > maxUnordered {
		return nil
	}
	return list
}

// after reports whether a comes behind b, where it begins or else where it ends.
func after(a, b stretch) bool {
	return a.offset > b.offset || a.offset == b.offset && a.length > b.length
}

// overlap reports whether two stretches have a byte in common. (Swift lets equal
// ones pass, so that one small request can have an object sent fifty times.)
func overlap(a, b stretch) bool {
	return a.offset < b.offset+b.length && b.offset < a.offset+a.length
}

func contentRange(offset, length, size int64) string {
	var room [72]byte
	b := append(room[:0], "bytes "...)
	b = strconv.AppendInt(b, offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, offset+length-1, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, size, 10))
}

// answerRange tells that nothing of what was asked for is in the object.
func (c *call) answerRange(in *storage.Info) error {
	size := "bytes */" + strconv.FormatInt(in.Size, 10)
	if in.Large != nil && !in.Large.Static {
		c.w.Header()["Accept-Ranges"] = acceptRanges
		c.set("Content-Range", size)
		c.say(http.StatusRequestedRangeNotSatisfiable, html, bare(http.StatusRequestedRangeNotSatisfiable))
		return nil
	}
	c.describe(in)
	c.set("Content-Range", size)
	c.say(http.StatusRequestedRangeNotSatisfiable, in.Type, bare(http.StatusRequestedRangeNotSatisfiable))
	return nil
}

// getRanges sends several stretches of an object in one answer of parts, all of
// one version: parts of two different objects would look like one that never
// was. However many they are, it never has more than one reader open.
func (c *call) getRanges(spans []span) error {
	for {
		again, err := c.tryRanges(spans)
		if err != nil || !again {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
}

// tryRanges reports whether the object changed before anything was answered.
func (c *call) tryRanges(spans []span) (again bool, err error) {
	rc, in, err := c.g.Store.Open(c.ctx, c.path, storage.All)
	if err != nil {
		return false, c.absent(err)
	}
	defer func() { rc.Close() }()
	if in.Large != nil && !in.Large.Static {
		spans = nil // as Swift: of what changes all the time, one range at most
	}
	list := stretches(spans, in.Size)
	if status := judge(c.r.Header, &in); status != 0 {
		return false, c.answerCondition(status, &in)
	}
	switch {
	case spans == nil:
		c.describe(&in)
		return false, c.send(http.StatusOK, rc, in.Size)
	case len(list) == 0:
		return false, c.answerRange(&in)
	case in.Size == 0:
		c.describe(&in)
		return false, c.empty()
	}
	if anywhere, ok := rc.(io.ReaderAt); ok && len(list) > 1 {
		return false, c.sendParts(&in, list, func(s stretch) (io.Reader, error) {
			return io.NewSectionReader(anywhere, s.offset, s.length), nil
		})
	}
	// Where a reader knows no way but forward each part is opened when its turn
	// comes, and a lone one goes out by the quickest road there is.
	rc.Close()
	if rc, again, err = c.openStretch(list[0], in.Version); again || err != nil {
		return again, err
	}
	if len(list) == 1 {
		c.describe(&in)
		c.set("Content-Range", contentRange(list[0].offset, list[0].length, in.Size))
		return false, c.send(http.StatusPartialContent, rc, list[0].length)
	}
	opened := true
	return false, c.sendParts(&in, list, func(s stretch) (io.Reader, error) {
		if opened {
			opened = false
			return rc, nil
		}
		rc.Close()
		var changed bool
		if rc, changed, err = c.openStretch(s, in.Version); changed {
			err = storage.Wrap("get", c.path, errChanged)
		}
		return rc, err
	})
}

// errChanged breaks off an answer whose object is not the same any more.
var errChanged = errors.New("changed between two parts of an answer")

// openStretch opens a part of an object, and reports whether it is of another
// version by now. The reader is never nil, so that it can be closed.
func (c *call) openStretch(s stretch, version uint64) (_ io.ReadCloser, changed bool, err error) {
	rc, in, err := c.g.Store.Open(c.ctx, c.path, storage.Range{Offset: s.offset, Length: s.length})
	if rc == nil {
		rc = http.NoBody
	}
	if in.Version != 0 && in.Version != version {
		return rc, true, nil
	}
	return rc, false, err
}

// sendParts answers with several stretches as multipart/byteranges. part is
// called for the reader of each when its turn has come.
func (c *call) sendParts(in *storage.Info, list []stretch, part func(stretch) (io.Reader, error)) error {
	c.describe(in)
	var lot [16]byte
	rand.Read(lot[:])
	boundary := hex.EncodeToString(lot[:])
	heads := make([]string, len(list))
	total := int64(len("--") + len(boundary) + len("--"))
	for i, s := range list {
		heads[i] = fmt.Sprintf("--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n", boundary, in.Type, contentRange(s.offset, s.length, in.Size))
		total += int64(len(heads[i])) + s.length + int64(len("\r\n"))
	}
	c.set("Content-Type", "multipart/byteranges;boundary="+boundary)
	c.set("Content-Length", strconv.FormatInt(total, 10))
	c.w.WriteHeader(http.StatusPartialContent)
	for i, s := range list {
		r, err := part(s)
		if err != nil {
			return err
		}
		if _, err := c.w.WriteString(heads[i]); err != nil {
			return storage.Wrap("get", c.path, err)
		}
		if err := c.stream(r, s.length); err != nil {
			return err
		}
		if _, err := c.w.WriteString("\r\n"); err != nil {
			return storage.Wrap("get", c.path, err)
		}
	}
	_, err := c.w.WriteString("--" + boundary + "--")
	return storage.Wrap("get", c.path, err)
}
