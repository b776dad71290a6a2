package crypt

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memstore.dev/memstore/storage"
	"memstore.dev/memstore/storage/disk"
	"memstore.dev/memstore/storage/memory"
)

var (
	box   = storage.Path{Account: "AUTH_ann", Container: "box"}
	thing = storage.Path{Account: "AUTH_ann", Container: "box", Object: "thing"}
)

func at(name string) storage.Path {
	p := box
	p.Object = name
	return p
}

func sum(data []byte) string {
	s := md5.Sum(data)
	return hex.EncodeToString(s[:])
}

// text is bytes in which every stretch shows what it is.
func text(size int) []byte {
	return bytes.Repeat([]byte("it is not to be seen on the disk. "), size/34+1)[:size]
}

func makeBox(t testing.TB, b storage.Backend) {
	t.Helper()
	for _, p := range []storage.Path{{Account: box.Account}, box} {
		if _, err := b.Make(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t testing.TB, b storage.Backend, p storage.Path, data []byte, m storage.Meta) storage.Info {
	t.Helper()
	w, err := b.Create(t.Context(), storage.Info{Path: p, Size: int64(len(data)), Meta: m})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	in, err := w.Commit(t.Context(), storage.Info{ETag: sum(data), Type: "text/plain", Meta: m}, storage.Cond{})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func get(t testing.TB, b storage.Backend, p storage.Path) []byte {
	t.Helper()
	r, _, err := b.Open(t.Context(), p, storage.All)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func want(t testing.TB, b storage.Backend, p storage.Path, data []byte) {
	t.Helper()
	if got := get(t, b, p); !bytes.Equal(got, data) {
		t.Errorf("%s reads %d bytes with MD5 %s, want %d with %s", p, len(got), sum(got), len(data), sum(data))
	}
	in, err := b.Stat(t.Context(), p)
	if err != nil || in.ETag != sum(data) || in.Size != int64(len(data)) {
		t.Errorf("Stat(%s) = %d bytes, ETag %q, %v; want %d, %s", p, in.Size, in.ETag, err, len(data), sum(data))
	}
}

func stager(t testing.TB, b storage.Backend, key string) storage.Stage {
	t.Helper()
	g, err := b.(storage.Stager).Stage(t.Context(), thing, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func writeAt(t testing.TB, g storage.Stage, data []byte, off int64) {
	t.Helper()
	if n, err := g.WriteAt(data, off); n != len(data) || err != nil {
		t.Fatalf("WriteAt of %d bytes at %d = %d, %v", len(data), off, n, err)
	}
}

// TestHidden looks at what the Backend behind has been given.
func TestHidden(t *testing.T) {
	behind := memory.New()
	b := New(behind, NewKeys(), true)
	makeBox(t, b)
	data := text(100_000)
	meta := storage.Meta{"X-Object-Meta-Secret": "it is not to be seen", storage.MetaKind: "static 5 " + sum(nil)}
	seen := put(t, b, thing, data, meta)
	as, err := behind.Stat(t.Context(), thing)
	if err != nil {
		t.Fatal(err)
	}
	if as.Size != seen.Size || as.Version != seen.Version || as.Type != seen.Type {
		t.Errorf("kept as %+v, seen as %+v", as, seen)
	}
	for _, s := range []string{as.ETag, fmt.Sprint(as.Meta), string(get(t, behind, thing))} {
		for _, clear := range []string{"not to be seen", "Secret", sum(data), sum(nil), "static"} {
			if strings.Contains(s, clear) {
				t.Errorf("%q can be read in what is kept", clear)
			}
		}
	}
	for in, err := range behind.List(t.Context(), box, storage.Query{}) {
		if err != nil || len(in.Meta) != 1 || !sealed(in.Meta[storage.MetaKind]) || !sealed(in.ETag) {
			t.Errorf("listed as %+v, %v", in, err)
		}
	}
	for in, err := range b.List(t.Context(), box, storage.Query{}) {
		if err != nil || in.ETag != sum(data) || in.Meta[storage.MetaKind] != meta[storage.MetaKind] {
			t.Errorf("seen in the listing as %+v, %v", in, err)
		}
	}

	// Equal content does not show.
	put(t, b, at("again"), data, meta)
	again, err := behind.Stat(t.Context(), at("again"))
	if err != nil || again.ETag == as.ETag || again.Meta[metaSealed] == as.Meta[metaSealed] || bytes.Equal(get(t, behind, thing), get(t, behind, at("again"))) {
		t.Errorf("the same bytes twice are kept as %+v and %+v, %v", as, again, err)
	}

	// A copy is known by its bytes, and by nothing else.
	if _, err := b.Copy(t.Context(), storage.Info{Path: thing}, storage.Info{Path: at("copy"), Meta: meta}, storage.Cond{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(get(t, behind, at("copy")), get(t, behind, thing)) {
		t.Error("the bytes of a copy were moved")
	}
	want(t, b, at("copy"), data)

	g := stager(t, b, "k")
	writeAt(t, g, data, 0)
	if err := g.Keep([]byte("a note that is not to be seen")); err != nil {
		t.Fatal(err)
	}
	for k, err := range behind.Staged(t.Context(), "") {
		if err != nil || bytes.Contains(k.Note, []byte("not to be")) {
			t.Errorf("kept with the note %q, %v", k.Note, err)
		}
	}
	raw, err := behind.Stage(t.Context(), thing, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	got := make([]byte, 1000)
	if _, err := raw.ReadAt(got, 50_000); err != nil || bytes.Contains(got, []byte("not to be")) {
		t.Errorf("a kept upload reads %q, %v", got[:40], err)
	}
}

// TestOnAndOff reads and goes on with what was stored before encryption was
// switched on, and with what is encrypted after it was switched off.
func TestOnAndOff(t *testing.T) {
	keys := NewKeys()
	for name, open := range map[string]func(*testing.T) storage.Backend{
		"memory": func(*testing.T) storage.Backend { return memory.New() }, "disk": openDisk,
	} {
		t.Run(name, func(t *testing.T) {
			behind := open(t)
			modes := map[bool]storage.Backend{true: New(behind, keys, true), false: New(behind, keys, false)}
			makeBox(t, behind)
			for before, b := range modes {
				after := modes[!before]
				for _, size := range []int{0, 10, 300_000} {
					data, note := text(size), []byte("note")
					put(t, b, thing, data, storage.Meta{"X-Object-Meta-A": "1"})
					want(t, after, thing, data)

					// An upload goes on from the object's bytes, and over them.
					g := stager(t, after, "")
					if err := g.(storage.Cloner).Clone(t.Context(), storage.Info{Path: thing}); err != nil {
						t.Fatal(err)
					}
					changed := append(bytes.Clone(data), "and more"...)
					writeAt(t, g, []byte("and more"), int64(size))
					writeAt(t, g, []byte("X"), 3)
					changed[3] = 'X'
					if _, err := g.Commit(t.Context(), storage.Info{ETag: sum(changed)}, storage.Cond{}); err != nil {
						t.Fatal(err)
					}
					want(t, after, thing, changed)
					want(t, b, thing, changed)

					// So does one that was cut off.
					g = stager(t, b, "k")
					writeAt(t, g, data, 0)
					if err := g.Keep(note); err != nil {
						t.Fatal(err)
					}
					g = stager(t, after, "k")
					if !bytes.Equal(g.Note(), note) {
						t.Errorf("the note is %q", g.Note())
					}
					writeAt(t, g, []byte("and more"), int64(size))
					all := append(bytes.Clone(data), "and more"...)
					if _, err := g.Commit(t.Context(), storage.Info{ETag: sum(all)}, storage.Cond{}); err != nil {
						t.Fatal(err)
					}
					want(t, b, thing, all)
				}
			}

			// What is written over while nothing is to be encrypted, all of it, is as
			// though nothing ever had been.
			put(t, modes[true], thing, text(1000), nil)
			g := stager(t, modes[false], "")
			if err := g.(storage.Cloner).Clone(t.Context(), storage.Info{Path: thing}); err != nil {
				t.Fatal(err)
			}
			clear := bytes.ToUpper(text(1000))
			writeAt(t, g, clear, 0)
			if _, err := g.Commit(t.Context(), storage.Info{ETag: sum(clear)}, storage.Cond{}); err != nil {
				t.Fatal(err)
			}
			want(t, behind, thing, clear)
		})
	}
}

// TestRotate reads with the keys before, and needs each.
func TestRotate(t *testing.T) {
	behind := memory.New()
	first := NewKeys()
	second := first.Rotate()
	data := text(5000)
	b, err := Attach(t.Context(), behind, first, true)
	if err != nil {
		t.Fatal(err)
	}
	makeBox(t, b)
	put(t, b, thing, data, storage.Meta{"X-Object-Meta-A": "1"})
	if b, err = Attach(t.Context(), behind, second, true); err != nil {
		t.Fatal(err)
	}
	put(t, b, at("new"), data, nil)
	want(t, b, thing, data)
	want(t, b, at("new"), data)

	for name, keys := range map[string]*Keys{"none": nil, "the first": first, "the second": {second.roots[1:]}, "others": NewKeys()} {
		if _, err := Attach(t.Context(), behind, keys, false); !errors.Is(err, ErrNoKey) {
			t.Errorf("with %s: %v", name, err)
		}
	}
	// As it would be, should that have been no hindrance.
	b = New(behind, NewKeys(), true)
	if _, err := b.Stat(t.Context(), thing); !errors.Is(err, ErrNoKey) {
		t.Errorf("Stat without the key: %v", err)
	}
	if _, _, err := b.Open(t.Context(), thing, storage.All); !errors.Is(err, ErrNoKey) {
		t.Errorf("Open without the key: %v", err)
	}
	for _, err := range b.List(t.Context(), box, storage.Query{}) {
		if !errors.Is(err, ErrNoKey) {
			t.Errorf("List without the key: %v", err)
		}
	}
	g := stager(t, New(behind, first, true), "k")
	writeAt(t, g, data, 0)
	if err := g.Keep([]byte("note")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.(storage.Stager).Stage(t.Context(), thing, "k"); !errors.Is(err, ErrNoKey) {
		t.Errorf("Stage without the key: %v", err)
	}
	if g := stager(t, New(behind, first, true), "k"); g.Size() != int64(len(data)) || string(g.Note()) != "note" {
		t.Errorf("the key has come back, and what was kept is %d bytes, %q", g.Size(), g.Note())
	}

	// A store in which nothing is encrypted needs no keys, and stays itself.
	fresh := memory.New()
	if b, err := Attach(t.Context(), fresh, nil, true); b != storage.Backend(fresh) || err != nil {
		t.Errorf("Attach without keys = %v, %v", b, err)
	}
}

// TestDamaged changes what is sealed.
func TestDamaged(t *testing.T) {
	behind := memory.New()
	b := New(behind, NewKeys(), true)
	makeBox(t, b)
	in := put(t, b, thing, text(100), storage.Meta{"A": "b"})
	kept, err := behind.Stat(t.Context(), thing)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(etag, meta string) {
		t.Helper()
		w, err := behind.Create(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context(), storage.Info{ETag: etag, Meta: storage.Meta{metaSealed: meta}}, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	for i := sealedHead; i < len(kept.ETag); i++ {
		commit(flip(kept.ETag, i), "")
		if _, err := b.Stat(t.Context(), thing); !errors.Is(err, storage.ErrDamaged) {
			t.Fatalf("byte %d of what is in place of the ETag changed: %v", i, err)
		}
	}
	meta := kept.Meta[metaSealed]
	for name, s := range map[string]string{"cut short": meta[:len(meta)-1], "changed": flip(meta, len(meta)-1), "another's": kept.ETag, "mark alone": sealedMark} {
		commit(kept.ETag, s)
		_, _, err := b.Open(t.Context(), thing, storage.All)
		if !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("metadata %s: %v", name, err)
		}
	}
}

// TestOnDisk has the engine look after what is encrypted, without the key.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	open := func(dir string) *disk.Backend {
		t.Helper()
		b, err := disk.Open(dir, disk.Options{Log: slog.New(slog.DiscardHandler), Reserve: 1 << 20, Ballast: -1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	shut := func(b *disk.Backend) {
		t.Helper()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(dir string, o disk.CheckOptions, want int) {
		t.Helper()
		o.ReadData = true
		report, err := disk.Check(t.Context(), dir, o)
		if err != nil || len(report.Findings) != want {
			t.Fatalf("Check found %v, %v; want %d things", report.Findings, err, want)
		}
	}
	small, large := text(5000), text(1_000_000)
	keys := NewKeys()
	engine := open(dir)
	b, err := Attach(t.Context(), engine, keys, true)
	if err != nil {
		t.Fatal(err)
	}
	makeBox(t, b)
	put(t, b, at("small"), small, nil)
	put(t, b, at("large"), large, storage.Meta{"X-Object-Meta-A": "b"})
	shut(engine)
	check(dir, disk.CheckOptions{}, 0)

	// A backup is encrypted too, says which key it needs, and comes back.
	if err := disk.Backup(t.Context(), dir, dir+".copy", nil); err != nil {
		t.Fatal(err)
	}
	if err := disk.Restore(t.Context(), dir+".copy", dir+".again", nil); err != nil {
		t.Fatal(err)
	}
	engine = open(dir + ".again")
	if _, err := Attach(t.Context(), engine, nil, true); !errors.Is(err, ErrNoKey) {
		t.Errorf("a restored store without its key: %v", err)
	}
	b = New(engine, keys, true)
	want(t, b, at("small"), small)
	want(t, b, at("large"), large)
	shut(engine)

	// So does what a lost index is made of anew: files say what they are.
	if err := os.RemoveAll(filepath.Join(dir, "meta")); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Check(t.Context(), dir, disk.CheckOptions{Salvage: true, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	engine = open(dir)
	b = New(engine, keys, true)
	want(t, b, at("large"), large)
	if in, err := b.Stat(t.Context(), at("large")); err != nil || in.Meta["X-Object-Meta-A"] != "b" {
		t.Errorf("salvaged as %+v, %v", in, err)
	}
	shut(engine)

	// A byte that rots is found without the key, and never handed out.
	rotten := ""
	filepath.WalkDir(filepath.Join(dir, "blobs"), func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rotten = name
		}
		return err
	})
	f, err := os.OpenFile(rotten, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	byteAt := make([]byte, 1)
	if _, err := f.ReadAt(byteAt, 500_000); err != nil {
		t.Fatal(err)
	}
	byteAt[0] ^= 1
	if _, err := f.WriteAt(byteAt, 500_000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	check(dir, disk.CheckOptions{}, 1)
	engine = open(dir)
	defer shut(engine)
	r, _, err := New(engine, keys, true).Open(t.Context(), at("large"), storage.All)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if !errors.Is(err, storage.ErrDamaged) || !bytes.Equal(got, large[:len(got)]) {
		t.Errorf("reading what has rotted: %d bytes, %v", len(got), err)
	}
}

func TestKeysText(t *testing.T) {
	keys := NewKeys().Rotate()
	written, err := keys.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	read := new(Keys)
	if err := read.UnmarshalText(written); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(read.List()), fmt.Sprint(keys.List()); got != want {
		t.Errorf("read %s, want %s", got, want)
	}
	if plain, err := read.open(sealsNote, string(keys.seal(sealsNote, []byte("x")))); string(plain) != "x" || err != nil {
		t.Errorf("the keys that were read open %q, %v", plain, err)
	}
	lines := strings.Split(strings.TrimSpace(string(written)), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	other, _ := NewKeys().MarshalText()
	for name, bad := range map[string]string{
		"nothing":            "",
		"comments":           "# nothing\n\n",
		"a word too few":     strings.Join(fields[:3], " "),
		"another kind":       "memstore-key-9 " + strings.Join(fields[1:], " "),
		"a name that is not": fields[0] + " 0123456789abcdef " + fields[2] + " " + fields[3],
		"a time that is not": fields[0] + " " + fields[1] + " yesterday " + fields[3],
		"a short secret":     strings.Join(fields[:3], " ") + " c2VjcmV0",
		"a changed secret":   strings.Join(fields[:3], " ") + " " + strings.Fields(strings.TrimSpace(string(other)))[len(strings.Fields(strings.TrimSpace(string(other))))-1],
	} {
		err := new(Keys).UnmarshalText([]byte(bad))
		if err == nil {
			t.Errorf("%s: read", name)
		} else if strings.Contains(err.Error(), fields[3]) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}
