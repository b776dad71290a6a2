package store

import "sync/atomic"

// index says where on the disk a shard's entries are. A record costs its place
// (32 bytes), its slot in the map (about 27) and its key in its segment's list
// (16), some 80 bytes with slack, and nothing that a garbage collector has to
// look at.
type index struct {
	slots  map[Key]uint32
	places []place
	free   []uint32
	spread map[Key][]extent // of the places that have spreadFlag
}

// A place is where an entry's record is.
type place struct {
	seq   uint64
	size  int64  // of the body
	seg   uint32 // segment and offset of the record
	off   uint32
	meta  uint32 // length of the record without its body
	flags uint32 // only by atomic operations, once it is in the index
}

const (
	usedFlag   = 1 // used since it was written here
	spreadFlag = 2 // the body is not behind the record
)

func (x *index) init() {
	x.slots = make(map[Key]uint32)
	x.spread = make(map[Key][]extent)
}

// get returns the place of k and its extents. A use marks it.
func (x *index) get(k Key, use bool) (place, []extent, bool) {
	i, ok := x.slots[k]
	if !ok {
		return place{}, nil, false
	}
	p := &x.places[i]
	flags := atomic.LoadUint32(&p.flags)
	if use && flags&usedFlag == 0 {
		atomic.OrUint32(&p.flags, usedFlag)
	}
	out := place{p.seq, p.size, p.seg, p.off, p.meta, flags}
	if flags&spreadFlag != 0 {
		return out, x.spread[k], true
	}
	return out, nil, true
}

// put sets the place of k; the shard is locked.
func (x *index) put(k Key, p place, extents []extent) {
	if len(extents) > 0 {
		p.flags |= spreadFlag
		x.spread[k] = extents
	} else {
		delete(x.spread, k)
	}
	if i, ok := x.slots[k]; ok {
		x.places[i] = p
		return
	}
	if n := len(x.free); n > 0 {
		i := x.free[n-1]
		x.free = x.free[:n-1]
		x.slots[k], x.places[i] = i, p
		return
	}
	x.slots[k] = uint32(len(x.places))
	x.places = append(x.places, p)
}

// delete forgets k; the shard is locked.
func (x *index) delete(k Key) {
	i, ok := x.slots[k]
	if !ok {
		return
	}
	delete(x.slots, k)
	delete(x.spread, k)
	x.free = append(x.free, i)
}

// touches reports whether an entry has bytes in a segment.
func touches(p place, extents []extent, seg uint32) bool {
	if p.seg == seg {
		return true
	}
	for _, x := range extents {
		if x.seg == seg {
			return true
		}
	}
	return false
}
