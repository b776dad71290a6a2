package storagetest_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/memory"
	"memstore.dev/memstore/storage/storagetest"
)

// A Faulty that is told nothing is a backend like any other.
func TestFaultyContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		return &storagetest.Faulty{Backend: memory.New()}
	})
}

// basic hides the powers of a backend.
type basic struct{ storage.Backend }

// Neither is the contract broken by having no powers, nor does Run insist.
func TestFaultyContractWithoutPowers(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		return &storagetest.Faulty{Backend: basic{memory.New()}}
	})
}

var (
	errTold   = errors.New("told to fail")
	container = storage.Path{Account: "a", Container: "c"}
	object    = storage.Path{Account: "a", Container: "c", Object: "o"}
)

func faulty(t *testing.T) *storagetest.Faulty {
	f := &storagetest.Faulty{Backend: memory.New()}
	for _, p := range []storage.Path{container.Parent(), container} {
		if _, err := f.Make(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t.Context(), f, "0123456789"); err != nil {
		t.Fatal(err)
	}
	return f
}

func put(ctx context.Context, b storage.Backend, data string) error {
	w, err := b.Create(ctx, storage.Info{Path: object})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.WriteString(w, data); err != nil {
		return err
	}
	_, err = w.Commit(ctx, storage.Info{}, storage.Cond{})
	return err
}

func read(b storage.Backend) (string, error) {
	r, _, err := b.Open(context.Background(), object, storage.All)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func TestFaultyVerbs(t *testing.T) {
	ctx := t.Context()
	drain := func(f *storagetest.Faulty) error {
		for _, err := range f.List(ctx, container, storage.Query{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	calls := map[storagetest.Verb]func(f *storagetest.Faulty) error{
		storagetest.Stat:   func(f *storagetest.Faulty) error { _, err := f.Stat(ctx, object); return err },
		storagetest.List:   drain,
		storagetest.Open:   func(f *storagetest.Faulty) error { _, err := read(f); return err },
		storagetest.Read:   func(f *storagetest.Faulty) error { _, err := read(f); return err },
		storagetest.Create: func(f *storagetest.Faulty) error { return put(ctx, f, "new") },
		storagetest.Write:  func(f *storagetest.Faulty) error { return put(ctx, f, "new") },
		storagetest.Commit: func(f *storagetest.Faulty) error { return put(ctx, f, "new") },
		storagetest.Make:   func(f *storagetest.Faulty) error { _, err := f.Make(ctx, container, nil); return err },
		storagetest.Update: func(f *storagetest.Faulty) error {
			_, err := f.Update(ctx, storage.Info{Path: object}, storage.Cond{})
			return err
		},
		storagetest.Remove: func(f *storagetest.Faulty) error {
			p := object
			p.Object = "gone"
			if err := f.Remove(ctx, p, storage.Cond{}); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
		storagetest.Copy: func(f *storagetest.Faulty) error {
			_, err := f.Copy(ctx, storage.Info{Path: object}, storage.Info{Path: object}, storage.Cond{})
			return err
		},
		storagetest.Move: func(f *storagetest.Faulty) error {
			_, err := f.Move(ctx, object, object, storage.Cond{})
			return err
		},
		storagetest.Expire: func(f *storagetest.Faulty) error { _, err := f.Expire(ctx, time.Now(), 1); return err },
		storagetest.Changes: func(f *storagetest.Faulty) error {
			for _, err := range f.Changes(ctx, 0) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	for verb, call := range calls {
		t.Run(string(verb), func(t *testing.T) {
			f := faulty(t)
			if err := call(f); err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			f.Inject(storagetest.Fault{On: verb, Times: 1, Err: errTold})
			if err := call(f); !errors.Is(err, errTold) {
				t.Errorf("with a fault: error %v", err)
			}
			if err := call(f); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			f.Fail(verb, errTold)
			for range 3 {
				if err := call(f); !errors.Is(err, errTold) {
					t.Errorf("with a lasting fault: error %v", err)
				}
			}
			f.Heal()
			if err := call(f); err != nil {
				t.Errorf("healed: %v", err)
			}
			if f.Calls(verb) == 0 {
				t.Error("nobody counted")
			}
		})
	}
}

func TestFaultySkip(t *testing.T) {
	f := faulty(t)
	f.Inject(storagetest.Fault{On: storagetest.Stat, Skip: 2, Times: 1, Err: errTold})
	for i, want := range []error{nil, nil, errTold, nil} {
		if _, err := f.Stat(t.Context(), object); !errors.Is(err, want) {
			t.Errorf("call %d: error %v, want %v", i, err, want)
		}
	}
	f.Inject(storagetest.Fault{On: storagetest.Read, Skip: 4, Times: 1, Err: errTold})
	if got, err := read(f); got != "0123" || !errors.Is(err, errTold) {
		t.Errorf("a read that fails after four bytes = %q, %v", got, err)
	}
	if got, err := read(f); got != "0123456789" || err != nil {
		t.Errorf("a read after that = %q, %v", got, err)
	}
	f.Inject(storagetest.Fault{On: storagetest.Write, Skip: 4, Times: 1, Err: errTold})
	if err := put(t.Context(), f, "abcdefghij"); !errors.Is(err, errTold) {
		t.Errorf("a write that fails after four bytes: error %v", err)
	}
	if got, err := read(f); got != "0123456789" || err != nil {
		t.Errorf("after a failed write it reads %q, %v", got, err)
	}
}

func TestFaultyLate(t *testing.T) {
	f := faulty(t)
	f.Inject(storagetest.Fault{On: storagetest.Commit, Times: 1, Late: true, Err: errTold})
	if err := put(t.Context(), f, "new"); !errors.Is(err, errTold) {
		t.Errorf("a commit whose answer is lost: error %v", err)
	}
	if got, err := read(f); got != "new" || err != nil {
		t.Errorf("after it, the object reads %q, %v", got, err)
	}
}

func TestFaultyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty(t)
		gate := make(chan struct{})
		f.Inject(storagetest.Fault{On: storagetest.Commit, Wait: gate})
		done := make(chan error, 1)
		go func() { done <- put(t.Context(), f, "new") }()
		synctest.Wait()
		if got, err := read(f); got != "0123456789" || err != nil {
			t.Errorf("while a commit is held up it reads %q, %v", got, err)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Errorf("a commit that was held up: %v", err)
		}
		f.Heal()
		f.Inject(storagetest.Fault{On: storagetest.Stat, Wait: make(chan struct{})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Stat(ctx, object); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call held up beyond its context: error %v", err)
		}
	})
}
