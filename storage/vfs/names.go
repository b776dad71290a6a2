package vfs

import (
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"memstore.dev/memstore/storage"
)

// resolve turns the name of a file into the path of what keeps it. Names that
// could not be shown in a listing are refused.
func (f *FS) resolve(name string) (storage.Path, error) {
	if !utf8.ValidString(name) {
		return storage.Path{}, &storage.Refusal{Text: "file names must be valid UTF-8"}
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return storage.Path{}, &storage.Refusal{Text: "file names must not contain control characters"}
	}
	container, object, _ := strings.Cut(path.Clean("/" + name)[1:], "/")
	p := storage.Path{Account: f.account, Container: container, Object: object}
	if err := storage.CheckName(p); err != nil {
		return storage.Path{}, err
	}
	return p, nil
}

// hidden reports whether an element of an object's name cannot be that of a
// file: whoever made it speaks another protocol, and finds it there.
func hidden(element string) bool {
	return element == "" || element == "." || element == ".." ||
		!utf8.ValidString(element) || strings.ContainsFunc(element, unicode.IsControl)
}

// base is the last element of p's name.
func base(p storage.Path) string {
	switch {
	case p.IsObject():
		return p.Object[strings.LastIndexByte(p.Object, '/')+1:]
	case p.IsContainer():
		return p.Container
	}
	return "/"
}

// parent is the directory p lies in.
func parent(p storage.Path) storage.Path {
	if i := strings.LastIndexByte(p.Object, '/'); i >= 0 {
		p.Object = p.Object[:i]
		return p
	}
	return p.Parent()
}

// inside is the prefix of the names of what lies in a directory.
func inside(dir storage.Path) string {
	if dir.IsObject() {
		return dir.Object + "/"
	}
	return ""
}

// beneath reports whether p is dir, or lies in it at any depth.
func beneath(p, dir storage.Path) bool {
	switch {
	case p.Account != dir.Account || !dir.IsAccount() && p.Container != dir.Container:
		return false
	case dir.IsObject():
		return p.Object == dir.Object || strings.HasPrefix(p.Object, dir.Object+"/")
	}
	return true
}

// errRootFile is the answer to a file that is to be made beside the containers.
var errRootFile = &storage.Refusal{
	Text: "the top directory holds containers only: put files into one of them, or make one with mkdir",
	Err:  fs.ErrPermission,
}
