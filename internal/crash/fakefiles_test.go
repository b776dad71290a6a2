package main

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// fakeFiles are the fake's door for files.
type fakeFiles struct{ f *fake }

var errDead = errors.New("the store is dead")

// enter locks the fake as long as it lives.
func (d fakeFiles) enter() (*fakeContainer, error) {
	d.f.mu.Lock()
	if d.f.dead {
		d.f.mu.Unlock()
		return nil, errDead
	}
	return d.f.containers[filed], nil
}

func (d fakeFiles) set(name string, o *fakeObject) error {
	c, err := d.enter()
	if err != nil {
		return err
	}
	defer d.f.mu.Unlock()
	d.f.set(c, strings.TrimPrefix(name, "/"+filed+"/"), o)
	return nil
}

func (d fakeFiles) put(name string, b body) error {
	return d.set(name, &fakeObject{data: b.bytes(), etag: b.etag, kind: storage.TypeByName(name)})
}

func (d fakeFiles) leave(name string, _ body, n int) (int64, error) {
	if _, err := d.enter(); err != nil {
		return 0, err
	}
	defer d.f.mu.Unlock()
	d.f.kept[name] = n
	d.f.undo = append(d.f.undo, func() { delete(d.f.kept, name) })
	return int64(n), nil
}

func (d fakeFiles) resume(name string, b body, from int64) error {
	if err := d.put(name, b); err != nil {
		return err
	}
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	delete(d.f.kept, name)
	d.f.undo = append(d.f.undo, func() { d.f.kept[name] = int(from) })
	return nil
}

func (d fakeFiles) rename(from, to string) error {
	c, err := d.enter()
	if err != nil {
		return err
	}
	o := c.objects[strings.TrimPrefix(from, "/"+filed+"/")]
	d.f.mu.Unlock()
	o.kind = storage.TypeAfter(o.kind, storage.Path{Object: from}, storage.Path{Object: to})
	return errors.Join(d.set(to, &o), d.set(from, nil))
}

func (d fakeFiles) remove(name string) error { return d.set(name, nil) }
func (d fakeFiles) close()                   {}

func (d fakeFiles) list(string) (infos []fs.FileInfo, err error) {
	c, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer d.f.mu.Unlock()
	for name, o := range c.objects {
		infos = append(infos, fakeInfo{name, int64(len(o.data))})
	}
	for name, n := range d.f.kept {
		infos = append(infos, fakeInfo{strings.TrimPrefix(name, "/"+filed+"/"), int64(n)})
	}
	return infos, nil
}

// spoilKept does something to what was left unfinished. It is called with the
// fake locked.
func (f *fake) spoilKept() {
	if f.lie == "leaves an orphan" {
		f.kept["/"+filed+"/0-orphan"] = 7
		return
	}
	for name := range f.kept {
		if f.lie == "keeps too little" {
			f.kept[name]--
		} else {
			delete(f.kept, name)
		}
		return
	}
}

type fakeInfo struct {
	name string
	size int64
}

func (i fakeInfo) Name() string       { return i.name }
func (i fakeInfo) Size() int64        { return i.size }
func (i fakeInfo) Mode() fs.FileMode  { return 0o644 }
func (i fakeInfo) ModTime() time.Time { return time.Time{} }
func (i fakeInfo) IsDir() bool        { return false }
func (i fakeInfo) Sys() any           { return nil }
