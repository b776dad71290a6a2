package store

// keepInMemory makes a small entry visible.
func (f *Fill) keepInMemory(body []byte) error {
	s, sh := f.s, f.s.shard(f.key)
	sh.change.Lock()
	defer sh.change.Unlock()
	sh.mu.Lock()
	f.leave(sh)
	if f.doomed.Load() || s.closed.Load() {
		sh.mu.Unlock()
		s.notKept.Add(1)
		return ErrNotKept
	}
	e := &Entry{s: s, key: f.key, head: f.head, mem: body, seq: s.seq.Add(1), held: int64(len(f.head) + cap(body))}
	it, old := newItem(e), sh.items[f.key]
	sh.items[f.key] = it
	f.seq.Store(e.seq)
	saved := s.unindex(sh, f.key)
	out := s.mem.add(it, old)
	sh.mu.Unlock()
	if saved {
		s.disk.forget(f.key, e.seq-1)
	}
	s.leave(out)
	s.fills.Add(1)
	if s.disk != nil && !s.disk.pressed.Load() {
		s.saveLater(it) // room that nobody else wants: a restart finds it warm
	}
	return nil
}

// keepOnDisk makes a large entry visible, if all of it is on the disk.
func (f *Fill) keepOnDisk() error {
	s, sh := f.s, f.s.shard(f.key)
	if f.mode == inMemory {
		f.mode = onDisk
		if s.disk == nil {
			f.mode = nowhere
		}
	}
	whole := f.mode == onDisk && f.store() == nil
	sh.change.Lock()
	defer sh.change.Unlock()
	sh.mu.Lock()
	f.leave(sh)
	if f.doomed.Load() || s.closed.Load() {
		sh.mu.Unlock()
		s.notKept.Add(1)
		return ErrNotKept
	}
	_, known := sh.index.slots[f.key]
	sh.mu.Unlock()
	seq := s.seq.Add(1)
	if whole {
		p := &pending{record: record{key: f.key, seq: seq, size: f.disk.size, kind: kindSpread, head: f.head, table: f.disk.table}}
		for _, part := range f.disk.parts {
			p.extents = append(p.extents, part.extent)
			whole = whole && s.disk.alive(part.seg.id)
		}
		log := f.log
		if known {
			log = logMain
		}
		if whole && s.disk.write(log, []*pending{p}, hasty) == nil {
			f.mu.Lock()
			f.disk.seq = seq
			f.mu.Unlock()
			sh.mu.Lock()
			if it := sh.items[f.key]; it != nil {
				delete(sh.items, f.key)
				s.mem.drop(it)
			}
			saved := s.unindex(sh, f.key)
			sh.index.put(f.key, p.place, p.extents)
			f.seq.Store(seq)
			sh.mu.Unlock()
			if saved {
				s.disk.forget(f.key, seq-1)
			}
			s.fills.Add(1)
			return nil
		}
	}
	sh.mu.Lock()
	s.purge(sh, f.key, seq) // what was kept is not what the origin has now
	s.notKept.Add(1)
	return ErrNotKept
}
