package store

import "time"

// keep is the disk tier's own goroutine: it makes room before it is needed,
// takes out of the index what is gone, and writes a snapshot each minute.
func (d *disk) keep(stop <-chan struct{}) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if d.changed() {
				d.save()
			}
		case <-d.wake:
			d.makeRoom(stop)
			if d.journalLength() > 8<<20 {
				d.save()
			}
		}
	}
}

// makeRoom gives up segments until the next can be made without a wait.
func (d *disk) makeRoom(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		d.mu.Lock()
		gone := d.gone
		d.gone = nil
		var g *segment
		if d.short() {
			g = d.victim(d.space())
		}
		if g != nil && !g.acquire() {
			g = nil
		}
		d.mu.Unlock()
		for _, g := range gone {
			d.sweep(g)
		}
		if g == nil {
			if len(gone) == 0 {
				return
			}
			continue
		}
		d.rescue(g)
		d.mu.Lock()
		if d.alive(g.id) {
			d.drop(g)
		}
		g.release() // now, for its space to be there
		if d.made != nil {
			close(d.made)
			d.made = nil
		}
		d.mu.Unlock()
	}
}

// sweep takes out of the index what was in a segment that is gone.
func (d *disk) sweep(g *segment) {
	for _, k := range d.keysOf(g) {
		sh := d.s.shard(k)
		sh.mu.Lock()
		if p, extents, ok := sh.index.get(k, false); ok && touches(p, extents, g.id) {
			sh.index.delete(k)
			d.evicted.Add(1)
			if g.log == logProbation && p.flags&usedFlag == 0 {
				d.ghostMu.Lock()
				d.ghost.add(k, p.size)
				d.ghostMu.Unlock()
			}
		}
		sh.mu.Unlock()
	}
}

func (d *disk) keysOf(g *segment) []Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	return g.keys
}

// rescue writes those entries of a segment to the main log that were used since
// they came there; of a segment of that log itself, up to three quarters of it:
// a round must gain room even if all are in use.
func (d *disk) rescue(g *segment) {
	budget := d.segmentSize
	if g.log == logMain {
		budget = d.segmentSize / 4 * 3
	}
	for _, k := range d.keysOf(g) {
		sh := d.s.shard(k)
		sh.mu.RLock()
		p, extents, ok := sh.index.get(k, false)
		it := sh.items[k]
		hot := it != nil && it.freq.Load() > 0
		sh.mu.RUnlock()
		if !ok || !touches(p, extents, g.id) || p.flags&usedFlag == 0 && !hot {
			continue
		}
		cost := int64(p.meta)
		if extents == nil {
			cost += p.size
		}
		for _, x := range extents {
			if x.seg == g.id {
				cost += int64(x.length)
			}
		}
		if cost > budget || !d.move(k, p, extents, g) {
			continue
		}
		budget -= cost
	}
}

// move writes what an entry has in g to the main log, and reports whether it
// did.
func (d *disk) move(k Key, p place, extents []extent, g *segment) bool {
	e := d.entry(k, p, extents)
	if e == nil {
		return false
	}
	defer e.Release()
	b := e.disk
	next := &pending{record: record{key: k, seq: p.seq, size: p.size, kind: kindSpread, head: e.head, table: b.table}}
	if extents == nil && p.size <= d.segmentSize/8 {
		body, buf := make([]byte, 0, p.size), make([]byte, blockSize)
		for i := range int64(len(b.table)) {
			block, err := b.block(i, buf)
			if err != nil {
				d.s.damage(k, p.seq, err)
				return false
			}
			body = append(body, block...)
		}
		next.kind, next.body = kindInline, body
	} else {
		next.extents = make([]extent, 0, len(b.parts))
		i := int64(0)
		for _, part := range b.parts {
			n := blocksOf(int64(part.length))
			if part.seg != g {
				next.extents = append(next.extents, part.extent)
				i += n
				continue
			}
			copied, err := d.copyExtent(b, i, n)
			if err != nil {
				return false
			}
			next.extents = append(next.extents, copied...)
			i += n
		}
	}
	sh := d.s.shard(k)
	next.still = func() bool {
		sh.mu.RLock()
		defer sh.mu.RUnlock()
		now, _, ok := sh.index.get(k, false)
		return ok && now.seq == p.seq
	}
	if d.write(logMain, []*pending{next}, hasty) != nil {
		return false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now, _, ok := sh.index.get(k, false)
	if !ok || now.seq != p.seq { // removed meanwhile, and so is this copy: the journal has its number
		return false
	}
	sh.index.put(k, next.place, next.extents)
	return true
}

// copyExtent writes n blocks of a body, from the i-th, to the main log.
func (d *disk) copyExtent(b *stored, i, n int64) ([]extent, error) {
	var out []extent
	buf := make([]byte, blockSize)
	left := min((i+n)*blockSize, b.size) - i*blockSize
	for left > 0 {
		g, x, err := d.reserve(logMain, b.key, left, hasty)
		if err != nil {
			return nil, err
		}
		for off := int64(0); off < int64(x.length) && err == nil; i++ {
			var block []byte
			if block, err = b.block(i, buf); err == nil {
				err = d.fill(g, int64(x.off)+off, block)
				off += int64(len(block))
			} else {
				d.s.damage(b.key, b.seq, err)
			}
		}
		g.release()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
		left -= int64(x.length)
	}
	return out, nil
}
