package storage_test

import (
	"slices"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/storagetest"
)

// FuzzPage holds Query.Page against the oracle of listings.
func FuzzPage(f *testing.F) {
	storagetest.FuzzPage(f, func(sorted []string) storage.Cursor { return &sliceCursor{names: sorted} })
}

// A sliceCursor walks a sorted slice, and is strict about the rules of Cursor.
type sliceCursor struct {
	names []string
	at    int
	lost  bool // after a move that found nothing, only a seek may follow
}

func (c *sliceCursor) SeekGE(name string) bool {
	c.at, _ = slices.BinarySearch(c.names, name)
	return c.found()
}

func (c *sliceCursor) SeekLT(name string) bool {
	c.at = len(c.names)
	if name != "" {
		c.at, _ = slices.BinarySearch(c.names, name)
	}
	c.at--
	return c.found()
}

func (c *sliceCursor) Next() bool { c.mustStand(); c.at++; return c.found() }
func (c *sliceCursor) Prev() bool { c.mustStand(); c.at--; return c.found() }

func (c *sliceCursor) Name() []byte {
	c.mustStand()
	return []byte(c.names[c.at])
}

func (c *sliceCursor) found() bool {
	c.lost = c.at < 0 || c.at >= len(c.names)
	return !c.lost
}

func (c *sliceCursor) mustStand() {
	if c.lost {
		panic("a cursor was used where it does not stand")
	}
}
