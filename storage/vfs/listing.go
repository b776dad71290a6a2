package vfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"memstore.dev/memstore/storage"
)

// page is how many entries of a directory are held at a time.
const page = 1000

// A pager reads a directory page by page. Between pages nothing is held open,
// since clients take as long as they like to ask for the next.
type pager struct {
	f   *FS
	dir storage.Path
	in  time.Time // when the container was made

	marker   string
	last     bool             // the store has no more
	ready    []*entry         // to be handed out
	held     []*entry         // see hold
	partials map[string]*seen // of this directory, by name, that were not handed out yet
}

// seen is an upload that shows in a listing.
type seen struct {
	part *partial
	live *upload
}

func (f *FS) newPager(dir storage.Path) (*pager, error) {
	p := &pager{f: f, dir: dir}
	if dir.IsAccount() {
		return p, nil
	}
	container, err := f.store.Stat(f.ctx, storage.Path{Account: dir.Account, Container: dir.Container})
	if err != nil {
		return nil, err
	}
	p.in = container.Created
	p.partials, err = f.partialsIn(dir)
	return p, err
}

// next returns the next entry, or io.EOF.
func (p *pager) next() (*entry, error) {
	for len(p.ready) == 0 {
		if p.last {
			return nil, io.EOF
		}
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	e := p.ready[0]
	p.ready = p.ready[1:]
	return e, nil
}

// read takes a page from the store.
func (p *pager) read() error {
	p.ready = p.ready[:0]
	q := storage.Query{Prefix: inside(p.dir), Marker: p.marker, Limit: page, Meta: true}
	at := storage.Path{Account: p.dir.Account, Container: p.dir.Container}
	if !p.dir.IsAccount() {
		q.Delimiter = "/"
	}
	n := 0
	for in, err := range p.f.store.List(p.f.ctx, at, q) {
		switch {
		case p.dir.IsAccount() && errors.Is(err, fs.ErrPermission):
			p.last = true
			return p.onlyEntered()
		case p.dir.IsAccount() && errors.Is(err, fs.ErrNotExist):
			p.last = true // an account is made with its first container
			return nil
		case err != nil:
			return err
		}
		n++
		if p.dir.IsAccount() {
			p.marker = in.Path.Container
			if !hidden(in.Path.Container) {
				p.ready = append(p.ready, p.f.directory(in.Path, in, in.ModTime))
			}
			continue
		}
		p.marker = in.Path.Object
		p.add(in, in.Path.Object[len(q.Prefix):])
	}
	if n < page {
		p.last = true
		p.release("")
		for _, name := range slices.Sorted(maps.Keys(p.partials)) {
			p.emitPartial(name)
		}
	}
	return nil
}

// onlyEntered lists the containers that the user has named so far, as he may
// not see which others there are.
func (p *pager) onlyEntered() error {
	p.f.mu.Lock()
	names := slices.Sorted(maps.Keys(p.f.entered))
	p.f.mu.Unlock()
	for _, name := range names {
		at := storage.Path{Account: p.dir.Account, Container: name}
		switch in, err := p.f.store.Stat(p.f.ctx, at); {
		case err == nil:
			p.ready = append(p.ready, p.f.directory(at, in, in.ModTime))
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return err
		}
	}
	return nil
}

// add takes an object, or a subdir, of which rest is the name within the
// directory.
//
// A file and a directory may have the same name, and then the subdir comes some
// way behind the object: "a", "a-b", "a/". The object is held until it is
// certain that no subdir follows. Names held are beginnings of each other, so
// that there are never many.
func (p *pager) add(in storage.Info, rest string) {
	name := strings.TrimSuffix(rest, "/")
	if hidden(name) {
		return
	}
	p.release(rest)
	if !in.Subdir && name == rest {
		p.held = append(p.held, p.f.listed(in))
		return
	}
	// A marker "name/" is a subdir to any listing with a delimiter.
	at := p.dir
	at.Object = inside(p.dir) + name
	if n := len(p.held); n > 0 && p.held[n-1].name == name {
		twin := p.held[n-1]
		p.held = p.held[:n-1]
		if twin.IsDir() {
			p.emit(twin)
			return
		}
	}
	p.emit(p.f.directory(at, storage.Info{}, p.in))
}

// listed describes an object of a listing.
func (f *FS) listed(in storage.Info) *entry {
	p := in.Path
	if in = f.whole(in); isMarker(&in) {
		return f.directory(p, in, modTimeOf(&in))
	}
	return f.file(p, in)
}

// release hands out what is held for which no subdir can come, now that the
// listing has reached rest, or ended if that is empty.
func (p *pager) release(rest string) {
	for n := len(p.held); n > 0; n-- {
		e := p.held[n-1]
		if rest != "" && cmp.Compare(rest, e.name+"/") <= 0 {
			return
		}
		p.held = p.held[:n-1]
		p.emit(e)
	}
}

// emit hands out an entry, as the upload to it if there is one to see.
func (p *pager) emit(e *entry) {
	s := p.partials[e.name]
	delete(p.partials, e.name)
	switch {
	case s == nil || e.IsDir():
	case s.live != nil:
		if live := s.live.entry(); live != nil {
			e = live
		}
	case s.part.shownOver(e.object, true):
		e.size, e.modTime, e.partial = s.part.Size, s.part.ModTime, s.part
	}
	p.ready = append(p.ready, e)
}

// emitPartial hands out an upload where there is no object yet.
func (p *pager) emitPartial(name string) {
	s := p.partials[name]
	delete(p.partials, name)
	at := p.dir
	at.Object = inside(p.dir) + name
	switch {
	case s.live != nil:
		if live := s.live.entry(); live != nil {
			p.ready = append(p.ready, live)
		} else if e, err := p.f.lookup(at); err == nil { // it has ended since
			p.ready = append(p.ready, e)
		}
	case s.part.shownOver(storage.Info{}, false):
		e := p.f.file(at, storage.Info{})
		e.size, e.modTime, e.partial = s.part.Size, s.part.ModTime, s.part
		p.ready = append(p.ready, e)
	}
}

// All yields what is in a directory, without ever holding more than a part of
// it. The order is that of the store, nearly: by name.
func (f *FS) All(name string) iter.Seq2[os.FileInfo, error] {
	return func(yield func(os.FileInfo, error) bool) {
		d, err := f.Open(name)
		if err != nil {
			yield(nil, retitle("readdir", name, err))
			return
		}
		defer d.Close()
		for {
			infos, err := d.Readdir(100)
			for _, in := range infos {
				if !yield(in, nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// A dir is an open directory.
type dir struct {
	noFile
	f     *FS
	p     storage.Path
	entry *entry
	pages *pager
}

func (f *FS) openDir(name string, p storage.Path, e *entry) (*dir, error) {
	return &dir{noFile: noFile{noWrite{name}}, f: f, p: p, entry: e}, nil
}

func (d *dir) Stat() (os.FileInfo, error) { return d.entry, nil }

func (d *dir) Close() error {
	d.pages = nil
	return nil
}

// Readdir returns the next n entries, or all that are left if n is not
// positive.
func (d *dir) Readdir(n int) (found []os.FileInfo, err error) {
	if d.pages == nil {
		if d.pages, err = d.f.newPager(d.p); err != nil {
			return nil, failure("readdir", d.name, err)
		}
	}
	for n <= 0 || len(found) < n {
		e, err := d.pages.next()
		if err == io.EOF {
			if n > 0 && len(found) == 0 {
				return nil, io.EOF
			}
			break
		}
		if err != nil {
			return found, failure("readdir", d.name, err)
		}
		found = append(found, e)
	}
	return found, nil
}

// Readdirnames is Readdir, of names.
func (d *dir) Readdirnames(n int) ([]string, error) {
	found, err := d.Readdir(n)
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names, err
}

// Seek to the start begins the listing again, as rewinddir does.
func (d *dir) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, failure("seek", d.name, fs.ErrInvalid)
	}
	d.pages = nil
	return 0, nil
}
