package memory

import (
	"context"
	"io/fs"
	"strings"

	"memstore.dev/memstore/storage"
)

// MoveTree renames a container, or all objects with a prefix.
func (b *Backend) MoveTree(ctx context.Context, from, to storage.Path) (n int64, err error) {
	err = b.change(ctx, from, func(s *state) (err error) {
		n, err = s.moveTree(from, to)
		return err
	})
	if err != nil {
		return 0, storage.Wrap("move", from, err)
	}
	return n, nil
}

func (s *state) moveTree(from, to storage.Path) (int64, error) {
	switch {
	case from.Account != to.Account, from.IsAccount(), to.Container == "", from.IsObject() != to.IsObject():
		return 0, fs.ErrInvalid
	case from.IsContainer():
		return s.moveContainer(from, to)
	case from.Container == to.Container && (strings.HasPrefix(to.Object, from.Object) || strings.HasPrefix(from.Object, to.Object)):
		return 0, fs.ErrInvalid // one within the other
	}
	source, target := s.container(from), s.container(to)
	if source == nil || target == nil {
		return 0, fs.ErrNotExist
	}
	if found := seekGE(target.objects.root, to.Object); found != nil && strings.HasPrefix(found.name, to.Object) {
		return 0, fs.ErrExist
	}
	var n int64
	for at := seekGE(source.objects.root, from.Object); at != nil && strings.HasPrefix(at.name, from.Object); at = seekGT(source.objects.root, at.name) {
		p := to
		p.Object += at.name[len(from.Object):]
		s.moveObject(at.value, p)
		n++
	}
	if n == 0 {
		return 0, fs.ErrNotExist
	}
	return n, nil
}

func (s *state) moveContainer(from, to storage.Path) (n int64, err error) {
	source := s.container(from)
	switch {
	case source == nil:
		return 0, fs.ErrNotExist
	case s.container(to) != nil:
		return 0, fs.ErrExist
	}
	in := source.info
	in.Path, in.Size, in.Objects = to, 0, 0
	s.put(in)
	for at := seekGE(source.objects.root, ""); at != nil; at = seekGT(source.objects.root, at.name) {
		p := to
		p.Object = at.name
		s.moveObject(at.value, p)
		n++
	}
	s.remove(from)
	return n, nil
}

// moveObject puts an object elsewhere, expired or not.
func (s *state) moveObject(o *object, to storage.Path) {
	s.remove(o.info.Path)
	in := o.info
	in.Path = to
	s.putObject(in, o.data)
}
