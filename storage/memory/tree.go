package memory

import (
	"hash/maphash"

	"memstore.dev/memstore/storage"
)

// A tree maps names to values in byte order. It is immutable: a change makes a
// new tree that shares all but the path to the change with the old one, so
// whoever holds a tree holds a snapshot, for nothing.
//
// It is a treap whose priorities are a hash of the name: its depth is
// logarithmic with no rotations to write.
type tree[V any] struct {
	root *node[V]
	size int
}

type node[V any] struct {
	name        string
	value       V
	priority    uint64
	left, right *node[V]
}

var seed = maphash.MakeSeed()

// get returns the value of name, or the zero V.
func (t tree[V]) get(name string) (v V) {
	if n := seekGE(t.root, name); n != nil && n.name == name {
		return n.value
	}
	return v
}

// with returns a tree in which name has the value v.
func (t tree[V]) with(name string, v V) tree[V] {
	t = t.without(name)
	left, right := split(t.root, name)
	n := &node[V]{name: name, value: v, priority: maphash.String(seed, name)}
	return tree[V]{join(join(left, n), right), t.size + 1}
}

// without returns a tree in which name has no value.
func (t tree[V]) without(name string) tree[V] {
	if n := seekGE(t.root, name); n == nil || n.name != name {
		return t
	}
	return tree[V]{remove(t.root, name), t.size - 1}
}

// split returns what is before name, and the rest. name itself is not in n.
func split[V any](n *node[V], name string) (before, after *node[V]) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.name < name {
		c.right, after = split(n.right, name)
		return &c, after
	}
	before, c.left = split(n.left, name)
	return before, &c
}

// join returns the union of two trees, the first all before the second.
func join[V any](a, b *node[V]) *node[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}

// remove returns n without name, which is in it.
func remove[V any](n *node[V], name string) *node[V] {
	if n.name == name {
		return join(n.left, n.right)
	}
	c := *n
	if name < n.name {
		c.left = remove(n.left, name)
	} else {
		c.right = remove(n.right, name)
	}
	return &c
}

// seekGE finds the first node whose name is not before name.
func seekGE[V any](n *node[V], name string) (found *node[V]) {
	for n != nil {
		if n.name >= name {
			found, n = n, n.left
		} else {
			n = n.right
		}
	}
	return found
}

// seekGT finds the first node whose name is after name.
func seekGT[V any](n *node[V], name string) (found *node[V]) {
	for n != nil {
		if n.name > name {
			found, n = n, n.left
		} else {
			n = n.right
		}
	}
	return found
}

// seekLT finds the last node whose name is before name; "" means the very last.
func seekLT[V any](n *node[V], name string) (found *node[V]) {
	for n != nil {
		if name == "" || n.name < name {
			found, n = n, n.right
		} else {
			n = n.left
		}
	}
	return found
}

// A cursor walks a tree for storage.Query.Page.
type cursor[V any] struct {
	tree tree[V]
	at   *node[V] // nil when off the tree
	name []byte   // of at
}

var _ storage.Cursor = (*cursor[int])(nil)

func (c *cursor[V]) SeekGE(name string) bool { return c.move(seekGE(c.tree.root, name)) }
func (c *cursor[V]) SeekLT(name string) bool { return c.move(seekLT(c.tree.root, name)) }
func (c *cursor[V]) Next() bool              { return c.move(seekGT(c.tree.root, c.at.name)) }
func (c *cursor[V]) Prev() bool              { return c.move(seekLT(c.tree.root, c.at.name)) }
func (c *cursor[V]) Name() []byte            { return c.name }

func (c *cursor[V]) move(n *node[V]) bool {
	c.at = n
	if n == nil {
		return false
	}
	c.name = append(c.name[:0], n.name...)
	return true
}
