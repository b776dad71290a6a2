package store

// saveLater has an entry in memory written to the disk soon, if the disk keeps
// up.
func (s *Store) saveLater(it *item) {
	if s.disk == nil || it.queued.Swap(true) {
		return
	}
	select {
	case s.saves <- it:
	default:
		it.queued.Store(false) // its next first use may find room
	}
}

const saveBatch = 1 << 20

// save writes entries from memory to the disk, many in one write.
func (s *Store) save(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case it := <-s.saves:
			batch := []*item{it}
			for size := it.entry.Load().held; size < saveBatch && len(s.saves) > 0; {
				it := <-s.saves
				batch = append(batch, it)
				size += it.entry.Load().held
			}
			s.saveItems(batch)
		}
	}
}

// saveItems writes a batch: to the main log what was used again, to probation
// what was not.
func (s *Store) saveItems(batch []*item) {
	var logs [2][]*pending
	for _, it := range batch {
		sh := s.shard(it.key)
		sh.mu.Lock()
		e := it.entry.Load()
		_, saving := sh.saving[it.key]
		p, _, saved := sh.index.get(it.key, false)
		if sh.items[it.key] != it || saving || saved && p.seq == e.seq {
			sh.mu.Unlock()
			continue
		}
		sh.saving[it.key] = e.seq // from here on, Remove knows that there may be a record
		sh.mu.Unlock()
		log := logProbation
		if it.freq.Load() > 0 {
			log = logMain
		}
		logs[log] = append(logs[log], &pending{
			record: record{key: it.key, seq: e.seq, size: int64(len(e.mem)), kind: kindInline, head: e.head, table: sums(e.mem)},
			body:   e.mem,
			still: func() bool {
				sh.mu.RLock()
				defer sh.mu.RUnlock()
				return sh.saving[e.key] == e.seq
			},
		})
	}
	for log, batch := range logs {
		if len(batch) == 0 {
			continue
		}
		err := s.disk.write(log, batch, patient)
		for _, p := range batch {
			sh := s.shard(p.key)
			sh.mu.Lock()
			if sh.saving[p.key] == p.seq { // else it was removed or replaced
				delete(sh.saving, p.key)
				if err == nil {
					sh.index.put(p.key, p.place, nil)
				}
			}
			if it := sh.items[p.key]; err != nil && it != nil {
				it.queued.Store(false)
			}
			sh.mu.Unlock()
		}
	}
}

// saveAll writes what is only in memory when the store closes: first what was
// used again, then, if the disk has room to spare, the rest.
func (s *Store) saveAll() {
	s.mem.mu.Lock()
	var again, once []*item
	for it := s.mem.main.back; it != nil; it = it.prev {
		again = append(again, it)
	}
	for it := s.mem.small.back; it != nil; it = it.prev {
		if it.freq.Load() > 0 {
			again = append(again, it)
		} else {
			once = append(once, it)
		}
	}
	s.mem.mu.Unlock()
	if !s.disk.pressed.Load() {
		again = append(again, once...)
	}
	for len(again) > 0 {
		n, size := 0, int64(0)
		for ; n < len(again) && size < saveBatch; n++ {
			size += again[n].size
		}
		s.saveItems(again[:n])
		again = again[n:]
	}
}
