package store

// A pending is an entry to be written, and the place it was written to.
type pending struct {
	record
	body  []byte // behind the record; none if it is spread
	place place

	// still, if it is set, says whether the entry is still there to be written,
	// when it is the record's turn. A removal from then on is in the journal
	// that goes with the record's place; one before might be in the last one,
	// and the record in nothing but the tail that is read after it.
	still func() bool
}

// write appends records to a log, those that are next to each other in one
// write.
func (d *disk) write(log int, batch []*pending, h haste) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var buf []byte
	var g *segment
	var start int64
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		err := d.fault("write")
		if err == nil {
			_, err = g.file.WriteAt(buf, start)
		}
		d.written.Add(int64(len(buf)))
		buf = buf[:0]
		if err != nil {
			return d.fail(err)
		}
		d.works()
		return nil
	}
	for _, p := range batch {
		meta := p.meta()
		p.length = meta + int64(len(p.body))
		next := d.active[log]
		if next == nil || next != g || next.length-next.tail < p.length {
			if err := flush(); err != nil {
				return err
			}
			var err error
			if g, err = d.room(log, p.length, h); err != nil {
				return err
			}
			start = g.tail
		}
		if p.still != nil && !p.still() {
			continue
		}
		p.place = place{p.seq, p.size, g.id, uint32(g.tail), uint32(meta), 0}
		buf = p.append(buf, g.nonce)
		buf = append(buf, p.body...)
		g.tail += aligned(p.length)
		for len(buf) < int(min(g.tail, g.length)-start) {
			buf = append(buf, 0)
		}
		g.keys = append(g.keys, p.key)
	}
	return flush()
}

// leastExtent is how small a rest of a segment is worth an extent of its own.
const leastExtent = 4 * blockSize

// reserve takes room for want bytes of a body, or for fewer if that is what a
// segment has left. Whoever gets it holds a reference to the segment.
func (d *disk) reserve(log int, k Key, want int64, h haste) (*segment, extent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	want = min(want, d.segmentSize/4&^(blockSize-1))
	g, err := d.room(log, recordHeader+min(want, leastExtent), h)
	if err != nil {
		return nil, extent{}, err
	}
	if left := g.length - g.tail - recordHeader; want > left {
		want = left &^ (blockSize - 1)
	}
	rec := record{key: k, size: want, length: recordHeader + want, kind: kindData}
	err = d.fault("write")
	if err == nil {
		_, err = g.file.WriteAt(rec.append(nil, g.nonce), g.tail)
	}
	if err != nil {
		return nil, extent{}, d.fail(err)
	}
	x := extent{g.id, uint32(g.tail + recordHeader), uint32(want)}
	g.tail += aligned(rec.length)
	g.keys = append(g.keys, k)
	g.acquire()
	return g, x, nil
}

// fill writes a part of a body into its extent.
func (d *disk) fill(g *segment, off int64, b []byte) error {
	err := d.fault("write")
	if err == nil {
		_, err = g.file.WriteAt(b, off)
	}
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.fail(err)
	}
	d.written.Add(int64(len(b)))
	if d.isDown.Load() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.works()
	}
	return nil
}
