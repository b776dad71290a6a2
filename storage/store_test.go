package storage_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

var (
	account   = storage.Path{Account: "AUTH_ann"}
	container = storage.Path{Account: "AUTH_ann", Container: "pics"}
	object    = storage.Path{Account: "AUTH_ann", Container: "pics", Object: "cat.jpg"}
)

// plain hides the extra powers of a Backend, so that the Store takes the long
// way.
type plain struct{ storage.Backend }

// stores are a Store over a backend with every power and one without any.
func stores(t *testing.T, f func(t *testing.T, s *storage.Store)) {
	t.Run("powers", func(t *testing.T) { f(t, newStore(t, memory.New())) })
	t.Run("plain", func(t *testing.T) { f(t, newStore(t, plain{memory.New()})) })
}

func newStore(t *testing.T, b storage.Backend) *storage.Store {
	t.Helper()
	s := storage.New(b)
	if created, err := s.Make(t.Context(), container, nil); !created || err != nil {
		t.Fatalf("Make(%v) = %v, %v", container, created, err)
	}
	return s
}

func put(t *testing.T, s *storage.Store, in storage.Info, body io.Reader) (storage.Info, error) {
	t.Helper()
	up, err := s.Create(t.Context(), in, storage.Cond{})
	if err != nil {
		return storage.Info{}, err
	}
	defer up.Close()
	if _, err := io.Copy(up, body); err != nil {
		return storage.Info{}, err
	}
	return up.Commit(t.Context())
}

func mustPut(t *testing.T, s *storage.Store, p storage.Path, body string) storage.Info {
	t.Helper()
	in, err := put(t, s, storage.Info{Path: p, Size: int64(len(body))}, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func read(t *testing.T, s *storage.Store, p storage.Path) string {
	t.Helper()
	r, _, err := s.Open(t.Context(), p, storage.All)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func want(t *testing.T, got, target error) {
	t.Helper()
	if !errors.Is(got, target) {
		t.Fatalf("error = %v, want %v", got, target)
	}
}

func TestNamesAndMetadataHaveLimits(t *testing.T) {
	s := newStore(t, memory.New())
	long := func(n int) string { return strings.Repeat("n", n) }
	for _, c := range []struct {
		path storage.Path
		text string
	}{
		{storage.Path{Account: "AUTH_ann", Container: "pics", Object: long(1025)}, "Object name length of 1025 longer than 1024"},
		{storage.Path{Account: "AUTH_ann", Container: long(257), Object: "o"}, "Container name length of 257 longer than 256"},
		{storage.Path{Account: long(257), Container: "pics", Object: "o"}, "Account name length of 257 longer than 256"},
		{storage.Path{Account: "AUTH_ann", Container: "pics", Object: "a\x00b"}, "Invalid UTF8 or contains NULL"},
		{storage.Path{Account: "AUTH_ann", Container: "pics", Object: "a\xffb"}, "Invalid UTF8 or contains NULL"},
	} {
		_, err := put(t, s, storage.Info{Path: c.path, Size: 0}, strings.NewReader(""))
		var r *storage.Refusal
		if !errors.As(err, &r) || r.Text != c.text {
			t.Errorf("put %.40q: %v, want %q", c.path.Object, err, c.text)
		}
	}
	mustPut(t, s, storage.Path{Account: "AUTH_ann", Container: "pics", Object: long(1024)}, "x")

	meta := func(n, name, value int) storage.Meta {
		m := storage.Meta{}
		for i := range n {
			m["X-Object-Meta-"+fmt.Sprintf("%0*d", name, i)] = long(value)
		}
		return m
	}
	for _, c := range []struct {
		meta storage.Meta
		text string
	}{
		{meta(90, 2, 1), ""},
		{meta(91, 2, 1), "Too many metadata items; max 90"},
		{meta(1, 128, 256), ""},
		{meta(1, 129, 1), "Metadata name too long: x-object-meta-" + fmt.Sprintf("%0129d", 0)},
		{meta(1, 1, 257), "Metadata value longer than 256: x-object-meta-0"},
		{meta(16, 2, 254), ""},
		{meta(16, 3, 254), "Total metadata too large; max 4096"},
		{storage.Meta{"X-Object-Meta-": "v"}, "Metadata name cannot be empty"},
		{storage.Meta{"Content-Disposition": long(8193)}, "Header value too long: Content-Disposition"},
	} {
		_, err := put(t, s, storage.Info{Path: object, Meta: c.meta}, strings.NewReader(""))
		if c.text == "" && err != nil || c.text != "" && (err == nil || !strings.HasSuffix(err.Error(), c.text)) {
			t.Errorf("put: %v, want %q", err, c.text)
		}
	}
}

func TestMetadataLimitsHoldOverManySmallSteps(t *testing.T) {
	s := newStore(t, memory.New())
	for i := range 90 {
		if err := s.Merge(t.Context(), container, storage.Meta{fmt.Sprintf("X-Container-Meta-%d", i): "v"}); err != nil {
			t.Fatal(err)
		}
	}
	want(t, s.Merge(t.Context(), container, storage.Meta{"X-Container-Meta-One-More": "v"}), fs.ErrInvalid)
	_, err := s.Make(t.Context(), container, storage.Meta{"X-Container-Meta-One-More": "v"})
	want(t, err, fs.ErrInvalid)
	if err := s.Merge(t.Context(), container, storage.Meta{"X-Container-Meta-0": "", "X-Container-Meta-One-More": "v"}); err != nil {
		t.Fatal("one out, one in: ", err)
	}
}

// contested is a Backend where somebody else always changes metadata first.
type contested struct {
	storage.Backend
	tries int
	tried func()
}

func (b *contested) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	b.tries++
	b.tried()
	return storage.Info{}, storage.ErrPrecondition
}

func TestMergeGivesUp(t *testing.T) {
	b := &contested{Backend: memory.New(), tried: func() {}}
	s := newStore(t, b)
	change := storage.Meta{"X-Container-Meta-A": "b"}
	want(t, s.Merge(t.Context(), container, change), storage.ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	b.tries, b.tried = 0, cancel
	want(t, s.Merge(ctx, container, change), context.Canceled)
	if b.tries != 1 {
		t.Errorf("tried %d times after nobody waited any more", b.tries)
	}
}

func TestMergesLoseNothingToEachOther(t *testing.T) {
	s := newStore(t, memory.New())
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := s.Merge(t.Context(), container, storage.Meta{fmt.Sprintf("X-Container-Meta-%d", i): "v"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	in, err := s.Stat(t.Context(), container)
	if err != nil || len(in.Meta) != 16 {
		t.Fatalf("after 16 merges: %d items, %v", len(in.Meta), err)
	}
}

func TestAccountsAreMadeOnDemand(t *testing.T) {
	s := storage.New(memory.New())
	_, err := s.Stat(t.Context(), account)
	want(t, err, fs.ErrNotExist)
	if err := s.Merge(t.Context(), account, storage.Meta{"X-Account-Meta-Color": "red"}); err != nil {
		t.Fatal(err)
	}
	in, err := s.Stat(t.Context(), account)
	if err != nil || in.Meta["X-Account-Meta-Color"] != "red" {
		t.Fatalf("Stat = %+v, %v", in, err)
	}
	want(t, s.Merge(t.Context(), container, storage.Meta{"X-Container-Meta-Color": "red"}), fs.ErrNotExist)
}

func TestUploadsAreComparedWithWhatWasAnnounced(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB: larger than any buffer
	sum := md5.Sum([]byte(body))
	for _, c := range []struct {
		name string
		size int64
		etag string
		body io.Reader
		err  error
	}{
		{"right", int64(len(body)), hex.EncodeToString(sum[:]), strings.NewReader(body), nil},
		{"unannounced", -1, "", strings.NewReader(body), nil},
		{"wrong ETag", -1, strings.Repeat("0", 32), strings.NewReader(body), storage.ErrChecksum},
		{"short", int64(len(body)), "", strings.NewReader(body[1:]), storage.ErrIncomplete},
		{"long", int64(len(body)) - 1, "", strings.NewReader(body), storage.ErrTooLarge},
		{"small and short", 11, "", strings.NewReader("0123456789"), storage.ErrIncomplete},
		{"small and long", 9, "", strings.NewReader("0123456789"), storage.ErrTooLarge},
		{"cut", -1, "", io.MultiReader(strings.NewReader(body), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
		{"small and cut", 11, "", io.MultiReader(strings.NewReader("0123456789"), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t, memory.New())
			mustPut(t, s, object, "old")
			in, err := put(t, s, storage.Info{Path: object, Size: c.size, ETag: c.etag}, c.body)
			want(t, err, c.err)
			if err != nil {
				if got := read(t, s, object); got != "old" {
					t.Fatalf("a failed upload left %d bytes", len(got))
				}
				return
			}
			if in.ETag != hex.EncodeToString(sum[:]) || in.Size != int64(len(body)) || read(t, s, object) != body {
				t.Fatalf("committed %+v", in)
			}
		})
	}
}

func TestUploadTakesPiecesOfAnySize(t *testing.T) {
	s := newStore(t, memory.New())
	rnd := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	up, err := s.Create(t.Context(), storage.Info{Path: object, Size: -1}, storage.Cond{})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN(100<<10))
		if _, err := up.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	in, err := up.Commit(t.Context())
	sum := md5.Sum(body)
	if err != nil || in.ETag != hex.EncodeToString(sum[:]) || !bytes.Equal([]byte(read(t, s, object)), body) {
		t.Fatalf("Commit = %+v, %v", in, err)
	}
}

func TestQuotas(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		at := func(name string) storage.Path {
			return storage.Path{Account: "AUTH_ann", Container: "pics", Object: name}
		}
		if err := s.Merge(t.Context(), container, storage.Meta{storage.MetaContainerQuotaBytes: "10", storage.MetaContainerQuotaCount: "2"}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, at("a"), "12345678")
		_, err := s.Create(t.Context(), storage.Info{Path: at("b"), Size: 3}, storage.Cond{})
		want(t, err, storage.ErrQuota) // before a byte is sent
		_, err = put(t, s, storage.Info{Path: at("b"), Size: -1}, strings.NewReader("123"))
		want(t, err, storage.ErrQuota) // of unannounced length: at the commit
		mustPut(t, s, at("a"), "1234567890")
		mustPut(t, s, at("b"), "")
		_, err = put(t, s, storage.Info{Path: at("c")}, strings.NewReader(""))
		want(t, err, storage.ErrQuota)
		_, err = s.Copy(t.Context(), storage.Info{Path: at("b")}, storage.Info{Path: at("c")}, storage.Cond{})
		want(t, err, storage.ErrQuota)
		if err := s.Merge(t.Context(), container, storage.Meta{storage.MetaContainerQuotaBytes: "", storage.MetaContainerQuotaCount: ""}); err != nil {
			t.Fatal(err)
		}
		if err := s.Merge(t.Context(), account, storage.Meta{storage.MetaAccountQuotaBytes: "12"}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, at("c"), "12")
		_, err = put(t, s, storage.Info{Path: at("d"), Size: -1}, strings.NewReader("1"))
		want(t, err, storage.ErrQuota)
		mustPut(t, s, at("a"), "123456789") // less than before is never refused
	})
}

func TestConditionsFailBeforeBytesAreSent(t *testing.T) {
	s := newStore(t, memory.New())
	in := mustPut(t, s, object, "old")
	_, err := s.Create(t.Context(), storage.Info{Path: object, Size: 1}, storage.Cond{Absent: true})
	want(t, err, storage.ErrPrecondition)
	_, err = s.Create(t.Context(), storage.Info{Path: object, Size: 1}, storage.Cond{Version: in.Version + 1})
	want(t, err, storage.ErrPrecondition)
	up, err := s.Create(t.Context(), storage.Info{Path: object, Size: 0}, storage.Cond{Version: in.Version})
	if err != nil {
		t.Fatal(err)
	}
	up.Close()
}

func TestCopyAndMove(t *testing.T) {
	stores(t, func(t *testing.T, s *storage.Store) {
		in, err := put(t, s, storage.Info{Path: object, Size: -1, Type: "image/jpeg", Meta: storage.Meta{"X-Object-Meta-Color": "red"}}, strings.NewReader("meow"))
		if err != nil {
			t.Fatal(err)
		}
		other := storage.Path{Account: "AUTH_ann", Container: "pics", Object: "copy.jpg"}
		made, err := s.Copy(t.Context(), storage.Info{Path: object, Version: in.Version}, storage.Info{Path: other, Type: "image/png"}, storage.Cond{})
		if err != nil || made.ETag != in.ETag || made.Type != "image/png" || made.Meta["X-Object-Meta-Color"] != "" {
			t.Fatalf("Copy = %+v, %v", made, err)
		}
		_, err = s.Copy(t.Context(), storage.Info{Path: object, Version: in.Version + 1000}, storage.Info{Path: other}, storage.Cond{})
		want(t, err, storage.ErrPrecondition)
		_, err = s.Copy(t.Context(), storage.Info{Path: object}, storage.Info{Path: other}, storage.Cond{Absent: true})
		want(t, err, storage.ErrPrecondition)

		moved := storage.Path{Account: "AUTH_ann", Container: "pics", Object: "moved.jpg"}
		if _, err := s.Move(t.Context(), object, moved, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Stat(t.Context(), moved)
		if err != nil || got.ETag != in.ETag || got.Type != "image/jpeg" || got.Meta["X-Object-Meta-Color"] != "red" || !got.ModTime.Equal(in.ModTime) {
			t.Fatalf("after Move: %+v, %v; was %+v", got, err, in)
		}
		_, err = s.Stat(t.Context(), object)
		want(t, err, fs.ErrNotExist)
		if read(t, s, moved) != "meow" || read(t, s, other) != "meow" {
			t.Fatal("bytes changed on the way")
		}
	})
}

func TestWatchersHearOfEveryChange(t *testing.T) {
	s := newStore(t, memory.New())
	var heard []string
	s.Watch(func(c storage.Change) { heard = append(heard, c.Op.String()+" "+c.Path.String()) })
	ctx := t.Context()
	in := mustPut(t, s, object, "x")
	steps := []error{
		func() error {
			to := object
			to.Object = "b"
			_, err := s.Copy(ctx, in, storage.Info{Path: to}, storage.Cond{})
			return err
		}(),
		s.Merge(ctx, container, storage.Meta{"X-Container-Meta-A": "b"}),
		func() error { _, err := s.Update(ctx, storage.Info{Path: object}, storage.Cond{}); return err }(),
		s.Remove(ctx, object, storage.Cond{}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, object, storage.Cond{}); err == nil {
		t.Fatal("removed twice")
	}
	const all = "put /AUTH_ann/pics/cat.jpg, put /AUTH_ann/pics/b, update /AUTH_ann/pics, update /AUTH_ann/pics/cat.jpg, remove /AUTH_ann/pics/cat.jpg"
	if got := strings.Join(heard, ", "); got != all {
		t.Fatalf("heard %s\nwant  %s", got, all)
	}
}

func TestSweepRemovesWhatIsDue(t *testing.T) {
	s := newStore(t, memory.New())
	var gone []storage.Path
	for i := range 2500 {
		p := object
		p.Object = fmt.Sprint(i)
		if _, err := put(t, s, storage.Info{Path: p, Size: -1, DeleteAt: time.Now().Add(-time.Hour).Truncate(time.Second)}, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, s, object, "stays")
	s.Watch(func(c storage.Change) { gone = append(gone, c.Path) })
	n, err := s.Sweep(t.Context(), time.Now())
	if n != 2500 || len(gone) != 2500 || err != nil {
		t.Fatalf("Sweep = %d, %v; told of %d", n, err, len(gone))
	}
	if in, err := s.Stat(t.Context(), container); in.Objects != 1 || err != nil {
		t.Fatalf("left %d, %v", in.Objects, err)
	}
}

// strict is a guard that lets nobody but the Store itself pass.
type strict struct{ storage.Backend }

func (s strict) Stat(ctx context.Context, p storage.Path) (storage.Info, error) {
	if !storage.ByStore(ctx) {
		return storage.Info{}, fs.ErrPermission
	}
	return s.Backend.Stat(ctx, p)
}

func (s strict) Update(ctx context.Context, in storage.Info, c storage.Cond) (storage.Info, error) {
	if !storage.ByStore(ctx) {
		return storage.Info{}, fs.ErrPermission
	}
	return s.Backend.Update(ctx, in, c)
}

func TestTheStoresOwnEyesSeeForNobodyElse(t *testing.T) {
	b := memory.New()
	newStore(t, b)
	s := storage.New(strict{b})
	_, err := s.Stat(t.Context(), container)
	want(t, err, fs.ErrPermission)
	want(t, s.Merge(t.Context(), container, storage.Meta{"X-Container-Meta-A": "b"}), fs.ErrPermission)
	want(t, s.Merge(t.Context(), storage.Path{Account: "AUTH_ann", Container: "none"}, nil), fs.ErrPermission)
}

func TestTypeByName(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt": "text/plain", "a.JPG": "image/jpeg", "a.tar.gz": "application/x-tar", "a.tgz": "application/x-tar",
		"a.gz": "application/octet-stream", "a": "application/octet-stream", "dir.txt/a": "application/octet-stream",
		"a.html/": "application/octet-stream", ".html": "application/octet-stream",
	} {
		if got := storage.TypeByName(name); got != want {
			t.Errorf("TypeByName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestRangeResolve(t *testing.T) {
	for _, c := range []struct {
		r           storage.Range
		size        int64
		offset, len int64
		err         error
	}{
		{storage.All, 0, 0, 0, nil},
		{storage.All, 10, 0, 10, nil},
		{storage.Range{Offset: 2, Length: 3}, 10, 2, 3, nil},
		{storage.Range{Offset: 2, Length: 30}, 10, 2, 8, nil},
		{storage.Range{Offset: 9, Length: -1}, 10, 9, 1, nil},
		{storage.Range{Offset: 10, Length: -1}, 10, 0, 0, storage.ErrRange},
		{storage.Range{Offset: -3, Length: -1}, 10, 7, 3, nil},
		{storage.Range{Offset: -30, Length: -1}, 10, 0, 10, nil},
		{storage.Range{Offset: -3, Length: 1}, 10, 7, 1, nil},
		{storage.Range{Offset: 0, Length: 0}, 10, 0, 0, storage.ErrRange},
		{storage.Range{Offset: -1, Length: -1}, 0, 0, 0, storage.ErrRange},
	} {
		offset, n, err := c.r.Resolve(c.size)
		if offset != c.offset || n != c.len || err != c.err {
			t.Errorf("%v.Resolve(%d) = %d, %d, %v, want %d, %d, %v", c.r, c.size, offset, n, err, c.offset, c.len, c.err)
		}
	}
}
