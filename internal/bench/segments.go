package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

const (
	segments    = 1000
	segmentSize = 256 << 10
)

var (
	inSegments = line("GET", fmt.Sprintf("256 MB in %s segments", count(segments)), 1)
	inOnePiece = line("GET", "256 MB in one piece", 1)
)

// largeObjects measures reading an object that is cut up in a thousand segments,
// beside one of as many bytes that is not.
func (b *bench) largeObjects(ctx context.Context, s *server) error {
	c := s.dial()
	defer c.close()
	body := slices.Repeat(content, segments*segmentSize/len(content)+1)[:segments*segmentSize]
	for _, container := range []string{"/large", "/large_segments"} {
		if _, err := c.expect("PUT", container, nil, 201, 202); err != nil {
			return err
		}
	}
	type item struct {
		Path string `json:"path"`
	}
	var manifest []item
	for i := range segments {
		path := fmt.Sprintf("/large_segments/%04d", i)
		if _, err := c.expect("PUT", path, body[i*segmentSize:][:segmentSize], 201); err != nil {
			return err
		}
		manifest = append(manifest, item{path})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if _, err := c.expect("PUT", "/large/cut?multipart-manifest=put", text, 201); err != nil {
		return err
	}
	if _, err := c.expect("PUT", "/large/whole", body, 201); err != nil {
		return err
	}
	for _, l := range []struct{ name, path string }{{inOnePiece, "/large/whole"}, {inSegments, "/large/cut"}} {
		err := b.line(ctx, s, "segments", l.name, 1, func(c *conn, _ int) (int64, bool, error) {
			r, err := c.expect("GET", l.path, nil, 200)
			if err == nil && r.size != int64(len(body)) {
				err = fmt.Errorf("GET %s: %d bytes, want %d", l.path, r.size, len(body))
			}
			return r.size, true, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reportSegments prints how much slower segments are.
func (b *bench) reportSegments(w io.Writer) {
	cut, ok := b.memstore.rows[inSegments]
	whole, and := b.memstore.rows[inOnePiece]
	if ok && and {
		share := whole.p50.Seconds() / cut.p50.Seconds() // for means tell what else the disk does
		fmt.Fprintf(w, "GET of %s segments of 256 KiB: %.1f ms, of as many bytes in one piece %.1f ms: at %.0f %% of its speed (goal: ≥ 80 %%: %s)\n",
			count(segments), cut.p50.Seconds()*1e3, whole.p50.Seconds()*1e3, share*100, b.verdict(share >= 0.8))
	}
}
