package storage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
)

func TestReap(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s := storage.New(b)
	account := storage.Path{Account: "AUTH_ann"}
	for i := range 50 {
		p := storage.Path{Account: "AUTH_ann", Container: fmt.Sprint("c", i%3), Object: fmt.Sprint("o", i)}
		if _, err := s.Make(ctx, p.Parent(), nil); err != nil {
			t.Fatal(err)
		}
		up, err := s.Create(ctx, storage.Info{Path: p, Size: -1}, storage.Cond{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := up.ReadFrom(strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := up.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Make(ctx, storage.Path{Account: "AUTH_bob", Container: "c"}, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Reap(ctx); n != 0 || err != nil {
		t.Fatalf("Reap of nothing = %d, %v", n, err)
	}
	if err := s.Condemn(ctx, storage.Path{Account: "AUTH_none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Condemn of what is not there = %v", err)
	}
	if err := s.Condemn(ctx, account); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Stat(ctx, account); err != nil || in.Meta[storage.MetaDeleted] == "" || in.Objects != 50 {
		t.Errorf("a condemned account is %+v, %v", in, err)
	}
	var mu sync.Mutex
	told := 0
	s.Watch(func(c storage.Change) {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == storage.OpRemove && c.Path.Account == "AUTH_ann" {
			told++
		}
	})
	// Another Store, as after a restart, does not forget what is to be done.
	if n, err := s.Reap(ctx); n != 1 || err != nil {
		t.Fatalf("Reap = %d, %v", n, err)
	}
	if _, err := s.Stat(ctx, account); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reaped account: %v", err)
	}
	if told != 50+3+1 {
		t.Errorf("%d removals were told, want 54", told)
	}
	if in, err := s.Stat(ctx, storage.Path{Account: "AUTH_bob"}); err != nil || in.Containers != 1 {
		t.Errorf("another's account is %+v, %v", in, err)
	}
	// One that is made anew after that has nothing to fear.
	if _, err := s.Make(ctx, storage.Path{Account: "AUTH_ann", Container: "new"}, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := storage.New(b).Reap(ctx); n != 0 || err != nil {
		t.Errorf("Reap again = %d, %v", n, err)
	}
}

// A Store says of which accounts nothing is to be had any more, also after a
// restart, until they are reaped.
func TestGone(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s := storage.New(b)
	for _, name := range []string{"AUTH_ann", "AUTH_bob"} {
		if _, err := s.Make(ctx, storage.Path{Account: name, Container: "c"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantGone := func(when string, s *storage.Store, ann bool) {
		t.Helper()
		if s.Gone("AUTH_ann") != ann || s.Gone("AUTH_bob") {
			t.Errorf("%s: ann's is gone: %v, bob's: %v", when, s.Gone("AUTH_ann"), s.Gone("AUTH_bob"))
		}
	}
	wantGone("before", s, false)
	if err := s.Condemn(ctx, storage.Path{Account: "AUTH_ann"}); err != nil {
		t.Fatal(err)
	}
	wantGone("condemned", s, true)
	s = storage.New(b)
	if err := s.Condemned(ctx); err != nil {
		t.Fatal(err)
	}
	wantGone("after a restart", s, true)
	if _, err := s.Reap(ctx); err != nil {
		t.Fatal(err)
	}
	wantGone("reaped", s, false)
}
