package vfs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// A partial is an upload by the session's user that is not finished: cut off
// and kept, or under way in another of his sessions.
type partial struct {
	storage.Kept
	note note
}

// A note is what is kept beside the bytes of an upload.
type note struct {
	// Base is the object that was there when the upload began, as identity
	// tells it, or empty. When another is there the upload is out of date: what
	// its client counts on is no more.
	Base string `json:"base,omitempty"`

	// Amends says that the upload changes that object rather than replaces it:
	// it keeps type and metadata.
	Amends bool `json:"amends,omitempty"`
}

// identity names the bytes of an object, whatever its metadata becomes.
func identity(in storage.Info, exists bool) string {
	if !exists {
		return ""
	}
	return in.ETag + "@" + strconv.FormatInt(in.Created.UnixMicro(), 10)
}

func (n note) marshal() []byte {
	b, _ := json.Marshal(n) // of strings and booleans, which cannot fail
	return b
}

// shownOver reports whether the user is to see the upload in place of the
// object at its path.
//
// Of one that was cut off he must see the size also where it was to replace an
// object, or his client would go on at the end of the wrong one. While one is
// under way in another session he sees the object, as everybody else does.
func (p *partial) shownOver(in storage.Info, exists bool) bool {
	if p.Open {
		return !exists
	}
	return p.note.Base == identity(in, exists)
}

// errUnfinished meets who wants to read what did not come in full.
var errUnfinished = &explained{
	text: "the upload of this file is not finished: resume or remove it",
	kind: fs.ErrPermission,
}

// key is under what the user's upload to p is kept, empty if it is not. Of a
// prefix it is the prefix of keys.
func (f *FS) key(p storage.Path) string {
	if f.opt.Owner == "" || f.opt.Keep < 0 {
		return ""
	}
	// NUL is in no name, so that no key can be mistaken for another's.
	return strings.Join([]string{f.opt.Owner, p.Account, p.Container, p.Object}, "\x00")
}

// findPartial returns the user's unfinished upload to p, nil if there is none.
func (f *FS) findPartial(p storage.Path) (*partial, error) {
	key := f.key(p)
	if key == "" {
		return nil, nil
	}
	for k, err := range f.store.Staged(f.ctx, key) {
		if err != nil {
			return nil, nobody(err)
		}
		if k.Key != key {
			break // the exact key comes first
		}
		return f.fresh(k), nil
	}
	return nil, nil
}

// nobody turns the refusal to look into having found nothing: one who has no
// name has nothing that is kept.
func nobody(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// fresh is what is kept as a partial, nil if it is too old. That is dropped
// here, should nobody sweep.
func (f *FS) fresh(k storage.Kept) *partial {
	if !k.Open && time.Since(k.ModTime) > f.opt.Keep {
		f.store.Forget(f.ctx, k.Key)
		return nil
	}
	p := &partial{Kept: k}
	if json.Unmarshal(k.Note, &p.note) != nil {
		return nil
	}
	return p
}

// partialsIn returns the unfinished uploads of the user to files of a directory,
// by name.
func (f *FS) partialsIn(d storage.Path) (map[string]*seen, error) {
	found := map[string]*seen{}
	at := d
	at.Object = inside(d)
	if prefix := f.key(at); prefix != "" {
		for k, err := range f.store.Staged(f.ctx, prefix) {
			if err != nil {
				if err = nobody(err); err != nil {
					return nil, err
				}
				break
			}
			if name := k.Key[len(prefix):]; !strings.Contains(name, "/") {
				if p := f.fresh(k); p != nil {
					found[name] = &seen{part: p}
				}
			}
		}
	}
	for _, u := range f.uploadsBeneath(d) {
		if p := u.where(); parent(p) == d {
			found[base(p)] = &seen{live: u}
		}
	}
	return found, nil
}

// movePartials has kept uploads to from, and beneath, kept as such to another
// place. What is under way elsewhere stays.
func (f *FS) movePartials(from, to storage.Path) error {
	prefix := f.key(from)
	if prefix == "" {
		return nil
	}
	var keys []string
	for k, err := range f.store.Staged(f.ctx, prefix) {
		if err != nil {
			return nobody(err)
		}
		if rest := k.Key[len(prefix):]; !k.Open && (rest == "" || rest[0] == '/' || from.IsContainer()) {
			keys = append(keys, k.Key)
		}
	}
	for _, key := range keys {
		p, q := from, to
		p.Object += key[len(prefix):]
		q.Object += key[len(prefix):]
		if err := f.movePartial(p, q); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (f *FS) movePartial(from, to storage.Path) error {
	// Opened for where it is going: where it comes from may be no more.
	old, err := f.store.Stage(f.ctx, storage.Info{Path: to, Size: -1}, f.key(from), storage.Cond{})
	if err != nil {
		return err
	}
	err = f.restage(old, to, func(next *storage.Staging) error { return next.Keep() })
	if err != nil {
		return errors.Join(err, old.Keep())
	}
	return old.Close()
}

// restage copies what old has to a stage for another path, and hands that to f.
func (f *FS) restage(old *storage.Staging, to storage.Path, then func(*storage.Staging) error) error {
	in := old.Info
	in.Path, in.Size = to, -1
	next, err := f.store.Stage(f.ctx, in, f.key(to), storage.Cond{})
	if errors.Is(err, fs.ErrExist) {
		next, err = f.store.Stage(f.ctx, in, "", storage.Cond{})
	}
	if err != nil {
		return err
	}
	err = next.Truncate(0) // what was kept there is replaced
	for off, size, buf := int64(0), old.Size(), make([]byte, 256<<10); err == nil && off < size; {
		var n int
		n, err = old.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n > 0 {
			_, err = next.WriteAt(buf[:n], off)
			off += int64(n)
		}
	}
	if err == nil {
		next.SetNote(old.Note())
		err = then(next)
	}
	if err != nil {
		next.Close()
	}
	return err
}
