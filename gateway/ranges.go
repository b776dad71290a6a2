package gateway

import (
	"crypto/rand"
	"encoding/hex"
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

// overlap reports whether an end of one lies within the other. Equal stretches
// do not count, in Swift.
func overlap(a, b stretch) bool {
	aEnd, bEnd := a.offset+a.length, b.offset+b.length
	within := func(x, from, to int64) bool { return from < x && x < to }
	return within(b.offset, a.offset, aEnd) || within(bEnd, a.offset, aEnd) ||
		within(a.offset, b.offset, bEnd) || within(aEnd, b.offset, bEnd)
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
	c.describe(in)
	c.set("Content-Range", "bytes */"+strconv.FormatInt(in.Size, 10))
	c.say(http.StatusRequestedRangeNotSatisfiable, in.Type, bare(http.StatusRequestedRangeNotSatisfiable))
	return nil
}

// getRanges sends several stretches of an object in one answer of parts. All
// of them are opened before the first byte is sent, and must be of one
// version: parts of two different objects would look like one that never was.
func (c *call) getRanges(spans []span) error {
	for {
		rc, in, err := c.g.Store.Open(c.ctx, c.path, storage.All)
		if err != nil {
			return c.absent(err)
		}
		list := stretches(spans, in.Size)
		if status := judge(c.r.Header, &in); status != 0 {
			rc.Close()
			return c.answerCondition(status, &in)
		}
		switch {
		case len(list) == 0:
			rc.Close()
			return c.answerRange(&in)
		case in.Size == 0:
			rc.Close()
			c.describe(&in)
			return c.empty()
		}
		rc.Close()
		readers, ok, err := c.openAll(list, in.Version)
		if err == nil && ok {
			err = c.sendParts(&in, list, readers)
		}
		for _, r := range readers {
			r.Close()
		}
		if err != nil || ok {
			return err
		}
		if err := c.ctx.Err(); err != nil { // it changed meanwhile; once more
			return err
		}
	}
}

// openAll opens the stretches of an object, and reports whether all are of
// this version. What it has opened is the caller's to close in any case.
func (c *call) openAll(list []stretch, version uint64) (readers []io.ReadCloser, same bool, err error) {
	for _, s := range list {
		rc, in, err := c.g.Store.Open(c.ctx, c.path, storage.Range{Offset: s.offset, Length: s.length})
		if rc != nil {
			readers = append(readers, rc)
		}
		if in.Version != 0 && in.Version != version {
			return readers, false, nil
		}
		if err != nil {
			return readers, false, err
		}
	}
	return readers, true, nil
}

// sendParts answers with the stretches that readers read: one alone as such,
// several as multipart/byteranges.
func (c *call) sendParts(in *storage.Info, list []stretch, readers []io.ReadCloser) error {
	c.describe(in)
	if len(list) == 1 {
		c.set("Content-Range", contentRange(list[0].offset, list[0].length, in.Size))
		return c.send(http.StatusPartialContent, readers[0], list[0].length)
	}
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
		if _, err := c.w.WriteString(heads[i]); err != nil {
			return storage.Wrap("get", c.path, err)
		}
		if err := c.stream(readers[i], s.length); err != nil {
			return err
		}
		if _, err := c.w.WriteString("\r\n"); err != nil {
			return storage.Wrap("get", c.path, err)
		}
	}
	_, err := c.w.WriteString("--" + boundary + "--")
	return storage.Wrap("get", c.path, err)
}
