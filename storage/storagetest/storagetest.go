// Package storagetest is the contract of storage.Backend in executable form.
// A backend that passes Run may stand beneath every door of Memstore:
//
//	func TestContract(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storage.Backend { return memory.New() })
//	}
//
// The package also has what tests of others need of a backend: Listing, the
// plainest way to say what a listing contains, and Faulty, a backend that
// fails when it is told to.
package storagetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"testing"

	"memstore.dev/memstore/storage"
)

// Run tests that the backends which open returns keep every promise of
// storage.Backend, and of the extra powers they have: a power is tested if the
// backend has its interface and does not answer errors.ErrUnsupported.
//
// Each subtest opens a backend of its own, which must be empty; open uses
// t.Cleanup to close it.
func Run(t *testing.T, open func(t *testing.T) storage.Backend) {
	concerns := []struct {
		name string
		test func(*suite)
	}{
		{"Names", (*suite).testNames},
		{"Neighbours", (*suite).testNeighbours},
		{"Missing", (*suite).testMissing},
		{"Nonsense", (*suite).testNonsense},
		{"Cancelled", (*suite).testCancelled},
		{"Make", (*suite).testMake},
		{"Remove", (*suite).testRemove},
		{"Update", (*suite).testUpdate},
		{"Versions", (*suite).testVersions},
		{"ModTime", (*suite).testModTime},
		{"MetaIsCopied", (*suite).testMetaIsCopied},
		{"Sizes", (*suite).testSizes},
		{"ReadAt", (*suite).testReadAt},
		{"Overwrite", (*suite).testOverwrite},
		{"Readers", (*suite).testReaders},
		{"Abandoned", (*suite).testAbandoned},
		{"MadeAgain", (*suite).testMadeAgain},
		{"TwoWriters", (*suite).testTwoWriters},
		{"WholeOrNot", (*suite).testWholeOrNot},
		{"Listing", (*suite).testListing},
		{"ListingOfContainers", (*suite).testListingOfContainers},
		{"ListingRandom", (*suite).testListingRandom},
		{"ListingTellsKinds", (*suite).testListingTellsKinds},
		{"ListingSnapshot", (*suite).testListingSnapshot},
		{"Totals", (*suite).testTotals},
		{"Conditions", (*suite).testConditions},
		{"Races", (*suite).testRaces},
		{"Quota", (*suite).testQuota},
		{"Expiry", (*suite).testExpiry},
		{"Copy", (*suite).testCopy},
		{"Move", (*suite).testMove},
		{"MoveTree", (*suite).testMoveTree},
		{"MoveContainer", (*suite).testMoveContainer},
		{"MoveTreeWhole", (*suite).testMoveTreeWhole},
		{"Stage", (*suite).testStage},
		{"StageShape", (*suite).testStageShape},
		{"StageApart", (*suite).testStageApart},
		{"StageKept", (*suite).testStageKept},
		{"StageLoad", (*suite).testStageLoad},
		{"StageClone", (*suite).testStageClone},
		{"Expire", (*suite).testExpire},
		{"Keep", (*suite).testKeep},
		{"Journal", (*suite).testJournal},
		{"History", (*suite).testHistory},
	}
	for _, c := range concerns {
		t.Run(c.name, func(t *testing.T) { c.test(&suite{T: t, b: open(t), ctx: t.Context()}) })
	}
}

// A suite is one subtest at work on one backend.
type suite struct {
	*testing.T
	b   storage.Backend
	ctx context.Context
}

// in is a path in the account most tests live in.
func in(names ...string) storage.Path {
	p := storage.Path{Account: "AUTH_test"}
	if len(names) > 0 {
		p.Container = names[0]
	}
	if len(names) > 1 {
		p.Object = names[1]
	}
	return p
}

// container makes the account and the container of p, if they are missing.
func (s *suite) container(p storage.Path) {
	s.Helper()
	for _, p := range []storage.Path{{Account: p.Account}, {Account: p.Account, Container: p.Container}} {
		if _, err := s.b.Make(s.ctx, p, nil); err != nil {
			s.Fatalf("Make(%q): %v", p, err)
		}
	}
}

// put stores data, and then holds the answer against what was asked.
func (s *suite) put(p storage.Path, data []byte) storage.Info {
	s.Helper()
	return s.putInfo(storage.Info{Path: p, Type: "text/plain"}, data)
}

func (s *suite) putInfo(in storage.Info, data []byte) storage.Info {
	s.Helper()
	in.ETag = etag(data)
	put, err := write(s.ctx, s.b, in, data, storage.Cond{})
	if err != nil {
		s.Fatalf("put of %d bytes at %q: %v", len(data), in.Path, err)
	}
	if put.Path != in.Path || put.Size != int64(len(data)) || put.ETag != in.ETag || put.Type != in.Type ||
		!put.DeleteAt.Equal(in.DeleteAt) || !sameMeta(put.Meta, in.Meta) || put.Version == 0 {
		s.Fatalf("put of %d bytes as %+v answered %+v", len(data), in, put)
	}
	return put
}

// write is the whole life of a Writer.
func write(ctx context.Context, b storage.Backend, in storage.Info, data []byte, c storage.Cond) (storage.Info, error) {
	in.Size = int64(len(data))
	w, err := b.Create(ctx, in)
	if err != nil {
		return storage.Info{}, err
	}
	defer w.Close()
	if n, err := w.Write(data); err != nil {
		return storage.Info{}, err
	} else if n != len(data) {
		return storage.Info{}, fmt.Errorf("wrote %d of %d bytes without an error", n, len(data))
	}
	in.ETag = etag(data)
	return w.Commit(ctx, in, c)
}

// read returns all of an object.
func (s *suite) read(p storage.Path) []byte {
	s.Helper()
	r, in, err := s.b.Open(s.ctx, p, storage.All)
	if err != nil {
		s.Fatalf("Open(%q): %v", p, err)
	}
	data, err := drain(r)
	if err != nil {
		s.Fatalf("reading %q: %v", p, err)
	}
	if int64(len(data)) != in.Size {
		s.Fatalf("read %d bytes of %q, whose Size is %d", len(data), p, in.Size)
	}
	return data
}

// wantObject checks an object's bytes, and that Stat agrees with Open.
func (s *suite) wantObject(p storage.Path, want []byte) storage.Info {
	s.Helper()
	if got := s.read(p); !bytes.Equal(got, want) {
		s.Fatalf("%q reads %s, want %s", p, brief(got), brief(want))
	}
	in := s.stat(p)
	if in.Size != int64(len(want)) || in.ETag != etag(want) {
		s.Fatalf("Stat(%q) has Size %d and ETag %s, want %d and %s", p, in.Size, in.ETag, len(want), etag(want))
	}
	return in
}

func (s *suite) stat(p storage.Path) storage.Info {
	s.Helper()
	in, err := s.b.Stat(s.ctx, p)
	if err != nil {
		s.Fatalf("Stat(%q): %v", p, err)
	}
	if in.Path != p {
		s.Fatalf("Stat(%q) has Path %q", p, in.Path)
	}
	return in
}

// wantErr checks that err is of the kind want.
func (s *suite) wantErr(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// wantUsage checks an account's or container's totals.
func (s *suite) wantUsage(p storage.Path, containers, objects, size int64) {
	s.Helper()
	in := s.stat(p)
	if in.Containers != containers || in.Objects != objects || in.Size != size {
		s.Errorf("%q has %d containers, %d objects, %d bytes; want %d, %d, %d",
			p, in.Containers, in.Objects, in.Size, containers, objects, size)
	}
}

// remove deletes what must be there.
func (s *suite) remove(p storage.Path) {
	s.Helper()
	if err := s.b.Remove(s.ctx, p, storage.Cond{}); err != nil {
		s.Fatalf("Remove(%q): %v", p, err)
	}
}

// list returns a whole listing.
func (s *suite) list(p storage.Path, q storage.Query) []storage.Info {
	s.Helper()
	entries, err := list(s.ctx, s.b, p, q)
	if err != nil {
		s.Fatalf("List(%q, %+v): %v", p, q, err)
	}
	return entries
}

func list(ctx context.Context, b storage.Backend, p storage.Path, q storage.Query) (entries []storage.Info, err error) {
	for in, err := range b.List(ctx, p, q) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, in)
	}
	return entries, nil
}

// drain reads a reader to its end and closes it.
func drain(r io.ReadCloser) ([]byte, error) {
	data, err := io.ReadAll(r)
	if closed := r.Close(); err == nil {
		err = closed
	}
	return data, err
}

func etag(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

// sameMeta compares; no Meta and an empty one are the same.
func sameMeta(a, b storage.Meta) bool { return maps.Equal(a, b) }

// content is size bytes no stretch of which looks like another, the same for
// the same seed.
func content(seed uint64, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	data := make([]byte, size)
	r.Read(data)
	return data
}

// brief says which bytes these are, without all of them.
func brief(data []byte) string {
	if len(data) <= 40 {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%d bytes with MD5 %s", len(data), etag(data))
}
