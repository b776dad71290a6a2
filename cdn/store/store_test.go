package store

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func key(n int) (k Key) {
	k[0], k[1], k[2], k[15] = byte(n), byte(n>>8), byte(n>>16), byte(n)
	return k
}

func open(t testing.TB, opt Options) *Store {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, k Key, head, body string) {
	t.Helper()
	f := s.Create(k, []byte(head), int64(len(body)))
	if _, err := io.WriteString(f, body); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
}

func body(t testing.TB, e *Entry, off, n int64) string {
	t.Helper()
	r := e.Reader(context.Background(), off, n)
	defer r.Close()
	b, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRoundTrip(t *testing.T) {
	s := open(t, Options{})
	put(t, s, key(1), "head", "the body")
	e := s.Get(key(1))
	if e == nil {
		t.Fatal("Get = nil")
	}
	defer e.Release()
	if got := body(t, e, 4, 100); got != "body" || string(e.Head()) != "head" {
		t.Errorf("read %q, head %q", got, e.Head())
	}
	if !s.SetHead(key(1), e, []byte("new")) {
		t.Error("SetHead of what is kept = false")
	}
	if s.SetHead(key(1), e, []byte("newer")) {
		t.Error("SetHead of what was replaced = true")
	}
	s.Remove(key(1))
	if s.Get(key(1)) != nil {
		t.Error("Get after Remove finds something")
	}
}

func TestFollower(t *testing.T) {
	s := open(t, Options{})
	f := s.Create(key(1), nil, -1)
	e := f.Entry()
	defer e.Release()
	got := make(chan string)
	go func() {
		var b strings.Builder
		if _, err := io.Copy(&b, e.Reader(context.Background(), 0, -1)); err != nil {
			t.Error(err)
		}
		got <- b.String()
	}()
	var want strings.Builder
	for i := range 50 {
		part := strings.Repeat(string(rune('a'+i%26)), 10_000)
		want.WriteString(part)
		io.WriteString(f, part)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if <-got != want.String() {
		t.Error("follower read something else")
	}
	if !s.SetHead(key(1), e, []byte("h")) {
		t.Error("the fill's entry is not what is kept")
	}
}

func TestRemoveDoomsFill(t *testing.T) {
	s := open(t, Options{})
	f := s.Create(key(1), nil, 3)
	io.WriteString(f, "abc")
	s.Remove(key(1))
	if err := f.Commit(); !errors.Is(err, ErrNotKept) {
		t.Errorf("Commit = %v, want ErrNotKept", err)
	}
	if s.Get(key(1)) != nil {
		t.Error("a fill that began before Remove is kept")
	}
}
