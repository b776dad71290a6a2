package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// MoveTree renames a container, or every object whose name begins with
// from.Object, within an account; see TreeMover. Where the Backend cannot, the
// objects are moved one by one: then others see part of the tree at each
// place, and after an error it stays so.
func (s *Store) MoveTree(ctx context.Context, from, to Path) (int64, error) {
	n, err := s.moveTree(ctx, from, to)
	return n, Wrap("move", from, err)
}

func (s *Store) moveTree(ctx context.Context, from, to Path) (int64, error) {
	if err := CheckName(to); err != nil {
		return 0, err
	}
	if from.hidden() {
		return 0, fs.ErrNotExist
	}
	if from.Account != to.Account || from.IsAccount() || from.IsObject() != to.IsObject() {
		return 0, fs.ErrInvalid
	}
	if from.IsObject() {
		if from.Container == to.Container && (strings.HasPrefix(to.Object, from.Object) || strings.HasPrefix(from.Object, to.Object)) {
			return 0, fs.ErrInvalid
		}
		if err := s.survey(ctx, from, to); err != nil {
			return 0, err
		}
	}
	if from.IsObject() {
		home, err := s.b.Stat(ownEyes(ctx), to.Parent())
		if err != nil {
			return 0, err
		}
		keeps, err := s.keeps(ctx, home, from)
		if err != nil {
			return 0, err
		}
		if keeps {
			return s.moveOneByOne(ctx, from, to)
		}
	}
	if m, ok := s.b.(TreeMover); ok {
		n, err := m.MoveTree(ctx, from, to)
		if !errors.Is(err, errors.ErrUnsupported) {
			if err == nil {
				s.tellTree(from, to)
			}
			return n, err
		}
	}
	if from.IsContainer() {
		return s.moveContainer(ctx, from, to)
	}
	return s.moveOneByOne(ctx, from, to)
}

// moveOneByOne moves the objects of a tree where nothing is yet.
func (s *Store) moveOneByOne(ctx context.Context, from, to Path) (int64, error) {
	for _, err := range s.b.List(ctx, to.Parent(), Query{Prefix: to.Object, Limit: 1}) {
		if err == nil {
			err = fs.ErrExist
		}
		return 0, err
	}
	return s.moveEach(ctx, from, to)
}

// survey looks at a tree before it moves: no name may become too long, and
// what moves to another container must have room there.
func (s *Store) survey(ctx context.Context, from, to Path) error {
	longer := len(to.Object) - len(from.Object)
	var q *Quota
	var target Info
	if from.Container != to.Container {
		var err error
		if q, target, _, err = s.room(ctx, to); err != nil {
			return err
		}
	}
	if q == nil && longer <= 0 {
		return nil
	}
	size, objects := target.Size, target.Objects
	for in, err := range s.b.List(ctx, from.Parent(), Query{Prefix: from.Object}) {
		if err != nil {
			return err
		}
		if n := len(in.Path.Object) + longer; n > MaxObjectName {
			return &Refusal{Text: fmt.Sprintf("Object name length of %d longer than %d", n, MaxObjectName)}
		}
		size += in.Size
		objects++
	}
	if q != nil && (q.ContainerBytes >= 0 && size > q.ContainerBytes || q.ContainerObjects >= 0 && objects > q.ContainerObjects) {
		return ErrQuota
	}
	return nil
}

// tellTree tells of a tree that moved, and not of each object in it: that would
// take a listing, by which time it may have moved on.
func (s *Store) tellTree(from, to Path) {
	at := time.Now()
	s.spread(Change{Op: OpPut, Path: to, Time: at, Tree: true})
	s.spread(Change{Op: OpRemove, Path: from, Time: at, Tree: true})
}

// moveContainer makes a container like from and moves everything there.
func (s *Store) moveContainer(ctx context.Context, from, to Path) (int64, error) {
	in, err := s.b.Stat(ctx, from)
	if err != nil {
		return 0, err
	}
	created, err := s.b.Make(ctx, to, in.Meta)
	if err != nil {
		return 0, err
	}
	if !created {
		return 0, fs.ErrExist
	}
	s.tell(OpPut, to, 0, time.Now())
	n, err := s.moveEach(ctx, from, to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	return n, s.Remove(ctx, from, Cond{})
}

// moveEach moves object by object. Names are collected before any of them is
// moved, since a listing need not like what changes beneath it.
func (s *Store) moveEach(ctx context.Context, from, to Path) (n int64, err error) {
	const batch = 1000
	container := Path{Account: from.Account, Container: from.Container}
	for marker := ""; ; {
		var page []Path
		for in, err := range s.b.List(ctx, container, Query{Prefix: from.Object, Marker: marker, Limit: batch}) {
			if err != nil {
				return n, err
			}
			page = append(page, in.Path)
		}
		for _, p := range page {
			target := to
			target.Object += p.Object[len(from.Object):]
			switch _, err := s.Move(ctx, p, target, Cond{}); {
			case err == nil:
				n++
			case !errors.Is(err, fs.ErrNotExist): // else it was removed, or is due
				return n, err
			}
		}
		if len(page) < batch {
			break
		}
		marker = page[batch-1].Object
	}
	if n == 0 {
		return 0, fs.ErrNotExist
	}
	return n, nil
}
