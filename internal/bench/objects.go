package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// content is what bodies are made of.
var content = func() []byte {
	b := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{'b'}).Read(b)
	return b
}()

// objects measures PUT, GET, HEAD and DELETE of objects of one size with so many
// connections.
func (b *bench) objects(ctx context.Context, s *server, sz size, conns int) error {
	container := fmt.Sprintf("/bench-%d-%d", sz.bytes, conns)
	name := func(i int) string { return fmt.Sprintf("%s/o%07d", container, i) }
	setup := s.dial()
	defer setup.close()
	if _, err := setup.expect("PUT", container, nil, 201, 202); err != nil {
		return err
	}
	body := content[:sz.bytes]
	most := sz.most
	if sz.bytes == 64<<20 {
		most = b.plan.large
	}
	var put atomic.Int64
	err := b.line(ctx, s, "put", line("PUT", sz.name, conns), conns, func(c *conn, i int) (int64, bool, error) {
		if i >= most {
			return 0, false, nil
		}
		_, err := c.expect("PUT", name(i), body, 201)
		put.Add(1)
		return int64(len(body)), true, err
	})
	if err != nil {
		return err
	}
	// Requests are numbered in the order they begin, so with every connection
	// done the first so many names are there.
	n := int(put.Load())
	order := rand.Perm(n)
	if b.plan.wants("get") {
		err = b.line(ctx, s, "get", line("GET", sz.name, conns), conns, func(c *conn, i int) (int64, bool, error) {
			r, err := c.expect("GET", name(order[i%n]), nil, 200)
			if err == nil && r.size != int64(len(body)) {
				err = fmt.Errorf("GET %s: %d bytes, want %d", name(order[i%n]), r.size, len(body))
			}
			return r.size, true, err
		})
		if err != nil {
			return err
		}
	}
	if b.plan.wants("head") {
		err = b.line(ctx, s, "head", line("HEAD", sz.name, conns), conns, func(c *conn, i int) (int64, bool, error) {
			_, err := c.expect("HEAD", name(order[i%n]), nil, 200)
			return 0, true, err
		})
		if err != nil {
			return err
		}
	}
	var deleted atomic.Int64
	err = b.line(ctx, s, "delete", line("DELETE", sz.name, conns), conns, func(c *conn, i int) (int64, bool, error) {
		if i >= n {
			return 0, false, nil
		}
		deleted.Add(1)
		_, err := c.expect("DELETE", name(i), nil, 204)
		return 0, true, err
	})
	if err != nil {
		return err
	}
	return b.each(ctx, s, int(deleted.Load()), n, func(c *conn, i int) error { // what there was no time for
		_, err := c.expect("DELETE", name(i), nil, 204)
		return err
	})
}

// each does something for every number from the first up to and without the
// last, on as many connections as make it fast, and measures nothing.
func (b *bench) each(ctx context.Context, s *server, first, last int, do func(c *conn, i int) error) error {
	if first >= last {
		return nil
	}
	_, err := measure(s, 64, forever, func(c *conn, i int) (int64, bool, error) {
		if first+i >= last || ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		return 0, true, do(c, first+i)
	})
	return err
}

// fill fills a container with n objects.
func (b *bench) fill(ctx context.Context, s *server, n int) (container string, err error) {
	container = fmt.Sprintf("/list-%d", n)
	c := s.dial()
	defer c.close()
	if _, err := c.expect("PUT", container, nil, 201, 202); err != nil {
		return "", err
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	order := r.Perm(n) // as a tree is uploaded by many, not in the order of names
	return container, b.each(ctx, s, 0, n, func(c *conn, i int) error {
		_, err := c.expect("PUT", container+"/"+child(order[i], n), content[:16], 201)
		return err
	})
}

// A page is a way to ask for a listing, and how many names it returns.
type page struct {
	what  string
	query string
	names int
}

// pages are what is asked of a container of n objects.
func pages(n int) []page {
	br := branches(n)
	deep := child(n/10*9, n)
	return []page{
		{"full page", "?format=json&limit=10000", min(n, 10_000)},
		{"100 names deep inside", "?format=json&limit=100&marker=" + deep, 100},
		{"prefix, delimiter: objects", "?format=json&prefix=a00/b00/&delimiter=/", leaves},
		{"delimiter: subdirectories", "?format=json&delimiter=/", br},
		{"prefix, delimiter: subdirs", "?format=json&prefix=a00/&delimiter=/", (n/leaves + br - 1) / br},
	}
}

// listings measures pages of a container of n objects.
func (b *bench) listings(ctx context.Context, s *server, container string, n int) error {
	for _, conns := range b.plan.conns {
		for _, p := range pages(n) {
			err := b.line(ctx, s, "list", line("LIST", p.what+" of "+count(n), conns), conns, func(c *conn, i int) (int64, bool, error) {
				r, err := c.expect("GET", container+p.query, nil, 200)
				if err == nil && r.size < int64(10*p.names) {
					err = fmt.Errorf("GET %s%s: %d bytes, too few for %d names", container, p.query, r.size, p.names)
				}
				return r.size, true, err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// points measures single objects in a container of n, and the container.
func (b *bench) points(ctx context.Context, s *server, container string, n int) error {
	order := rand.Perm(n)
	for _, conns := range b.plan.conns {
		for _, method := range []string{"GET", "HEAD"} {
			err := b.line(ctx, s, "flat", line(method, "an object of "+count(n), conns), conns, func(c *conn, i int) (int64, bool, error) {
				r, err := c.expect(method, container+"/"+child(order[i%n], n), nil, 200)
				return r.size, true, err
			})
			if err != nil {
				return err
			}
		}
		err := b.line(ctx, s, "flat", line("HEAD", "the container of "+count(n), conns), conns, func(c *conn, i int) (int64, bool, error) {
			_, err := c.expect("HEAD", container, nil, 200, 204)
			return 0, true, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
