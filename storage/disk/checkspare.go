package disk

import (
	"bytes"
	"io"
	"strings"

	"memstore.dev/memstore/storage"
)

// segmentsSuffix ends the names of the containers that clients put the segments
// of large objects in, by a convention that all of them follow.
const segmentsSuffix = "_segments"

// countSpare counts the objects in containers of segments that belong to no
// large object. Nothing is wrong with them: an upload may be under way, or was
// given up, or somebody else's client left them when it replaced the whole.
// Where metadata is encrypted it cannot be told what is a large object.
func (c *checker) countSpare() error {
	for _, place := range c.places {
		if strings.HasPrefix(place.path.Account, ".") {
			return nil // which is where the keys of encryption are told of
		}
	}
	named := make(map[storage.Path]bool)
	var gathered []storage.Path // Object is what names begin with
	err := c.eachObject(func(in *storage.Info, r *row) error {
		if container, prefix, ok := in.Gathers(); ok {
			container.Object = prefix
			gathered = append(gathered, container)
		}
		if !in.IsManifest() {
			return nil
		}
		content, err := c.content(r)
		if err != nil {
			return nil // found by the steps before
		}
		segments, err := storage.ReadManifest(*in, bytes.NewReader(content))
		if err != nil {
			c.find(Finding{Kind: KindDamage, Path: in.Path, Detail: err.Error()})
			return nil
		}
		for i := range segments {
			named[segments[i].Path] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.eachObject(func(in *storage.Info, _ *row) error {
		if !strings.HasSuffix(in.Path.Container, segmentsSuffix) || in.IsManifest() || named[in.Path] {
			return nil
		}
		for _, g := range gathered {
			if g.Account == in.Path.Account && g.Container == in.Path.Container && strings.HasPrefix(in.Path.Object, g.Object) {
				return nil
			}
		}
		c.report.Spare++
		c.report.SpareBytes += in.Size
		return nil
	})
}

// eachObject calls f for each object that can be read, with its row.
func (c *checker) eachObject(f func(in *storage.Info, r *row) error) error {
	return scan(c.db, tableRow, func(key, value []byte) error {
		id, name, ok := splitName(key)
		place := c.places[id]
		r, err := decodeRow(value, true, "")
		if !ok || place == nil || err != nil || hiddenIn(c.hidden, key) != nil {
			return c.ctx.Err()
		}
		p := place.path
		p.Object = name
		if err := f(&storage.Info{Path: p, Size: r.size, Meta: r.meta}, &r); err != nil {
			return err
		}
		return c.ctx.Err()
	})
}

// content reads the bytes of an object, all of them.
func (c *checker) content(r *row) (content []byte, err error) {
	b, err := readBlob(c.db, r.blob)
	if err != nil {
		return nil, err
	}
	if b.home == homeInline {
		_, err = lookup(c.db, idKey(tableInline, r.blob), func(value []byte) error {
			data, err := decodeInline(value)
			content = bytes.Clone(data)
			return err
		})
		return content, err
	}
	f, err := openPlain(blobPath(c.dir, r.blob))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content = make([]byte, b.size)
	_, err = io.ReadFull(f, content)
	return content, err
}
