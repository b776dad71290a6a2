package main

import (
	"context"
	"math/rand/v2"

	"memstore.dev/memstore/storage"
)

// path is the key as a file.
func (k *key) path() string { return "/" + k.container + "/" + k.object }

// newFile is a file at k of which there is no other. Doors for files tell its
// type by its name.
func (l *load) newFile(k *key, b body) state {
	return state{present: true, kind: storage.TypeByName(k.object), body: b}
}

// file does something as writer i by one of the doors for files, to a file that
// nobody else works on.
func (l *load) file(ctx context.Context, r *rand.Rand, i int) {
	d := l.login(ctx, i, r.IntN(len(l.c.at.files)))
	if d == nil {
		return
	}
	if r.IntN(3) == 0 {
		l.unfinished(ctx, r, d, l.w.parts[i])
		return
	}
	k := l.w.files[i][r.IntN(len(l.w.files[i]))]
	now, ok := k.settled()
	if !ok {
		return
	}
	switch n := r.IntN(10); {
	case n < 6:
		s := l.newFile(k, l.w.newBody(r))
		l.promise(ctx, "upload", func() error { return d.put(k.path(), s.body) }, k, s)
	case n < 7 && now.present:
		l.promise(ctx, "remove", func() error { return d.remove(k.path()) }, k, state{})
	case n < 8 && now.present:
		to := l.w.files[i][r.IntN(len(l.w.files[i]))]
		if _, ok := to.settled(); !ok || to == k {
			return
		}
		now.kind = storage.TypeAfter(now.kind, storage.Path{Object: k.object}, storage.Path{Object: to.object})
		l.promise(ctx, "rename", func() error { return d.rename(k.path(), to.path()) }, k, state{}, to, now)
	case n < 9:
		l.put(ctx, r, k, now, false)
	default:
		l.get(ctx, k, now)
	}
}

// login is writer i's by a door; nil if the store does not answer any more.
func (l *load) login(ctx context.Context, i, door int) fileDoor {
	if l.logins[i] == nil {
		l.logins[i] = make([]fileDoor, len(l.c.at.files))
	}
	if l.logins[i][door] == nil {
		d, err := l.c.at.files[door](ctx)
		if err != nil {
			if !l.struck.Load() && ctx.Err() == nil {
				l.complain(&key{}, "unanswered", "login: %v, and nobody had touched the store", err)
			}
			return nil
		}
		l.logins[i][door] = d
	}
	return l.logins[i][door]
}

func (l *load) logOut(i int) {
	for _, d := range l.logins[i] {
		if d != nil {
			d.close()
		}
	}
}

// promise asks for a change and records what came of it: each key is in the
// state behind it if there was no error.
func (l *load) promise(ctx context.Context, what string, ask func() error, keysAndStates ...any) bool {
	begun := l.w.tick()
	err := ask()
	late := l.struck.Load()
	acked := err == nil && (!late || l.lateAcks)
	ended := int64(never)
	if acked {
		ended = l.w.tick()
		l.acked.Add(1)
	} else {
		l.unanswered.Add(1)
	}
	for i := 0; i < len(keysAndStates); i += 2 {
		k, s := keysAndStates[i].(*key), keysAndStates[i+1].(state)
		k.record(event{begun: begun, ended: ended, acked: acked, state: s})
		if err != nil && !late && ctx.Err() == nil {
			l.complain(k, "unanswered", "%s: %v, and nobody had touched the store", what, err)
		}
	}
	return acked
}

// unfinished leaves an upload unfinished, or goes on with it, or takes away what
// has become of it.
func (l *load) unfinished(ctx context.Context, r *rand.Rand, d fileDoor, k *key) {
	now, ok := k.settled()
	if !ok {
		return
	}
	switch rest := k.leftover(); {
	case now.present:
		l.promise(ctx, "remove", func() error { return d.remove(k.path()) }, k, state{})
	case rest == nil:
		b := newBody(l.w.bodies.Add(1), 2+r.IntN(400<<10))
		n := 1 + r.IntN(b.size-1)
		k.setLeft(&left{body: b, size: int64(n)})
		size, err := d.leave(k.path(), b, n)
		late := l.struck.Load()
		switch {
		case err == nil && (!late || l.lateAcks):
			l.acked.Add(1)
			k.setLeft(nil)
			if size > 0 {
				k.setLeft(&left{body: b, size: size, sure: true})
			}
		case late || ctx.Err() != nil:
			l.unanswered.Add(1)
		default:
			l.complain(k, "unanswered", "leaving an upload: %v, and nobody had touched the store", err)
		}
	case rest.sure:
		s := l.newFile(k, rest.body)
		if l.promise(ctx, "resume", func() error { return d.resume(k.path(), rest.body, rest.size) }, k, s) {
			l.resumed.Add(1)
			k.setLeft(nil)
		}
	}
}
