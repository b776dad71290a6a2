package memory

import (
	"encoding/binary"
	"time"

	"memstore.dev/memstore/storage"
)

// A state is everything stored at one moment. Once in place it never changes;
// the next one is made from a copy.
type state struct {
	accounts tree[*account]
	due      tree[storage.Path] // objects that expire, the soonest first
	version  uint64             // of the last change
	clock    time.Time          // the latest time given out by tick
	journal  journal
}

// What a state holds is immutable as well.
type (
	account struct {
		info       storage.Info
		containers tree[*container]
	}
	container struct {
		id      uint64 // the version that made it
		info    storage.Info
		objects tree[*object]
	}
	object struct {
		info storage.Info
		data []byte
	}
)

func (s *state) container(p storage.Path) *container {
	if a := s.accounts.get(p.Account); a != nil {
		return a.containers.get(p.Container)
	}
	return nil
}

// object returns what p names, or nil if it is absent or expired.
func (s *state) object(p storage.Path) *object {
	if c := s.container(p); c != nil {
		if o := c.objects.get(p.Object); o != nil && !o.info.Expired(time.Now()) {
			return o
		}
	}
	return nil
}

// info returns what describes p, or nil if p is absent.
func (s *state) info(p storage.Path) *storage.Info {
	switch {
	case p.IsObject():
		if o := s.object(p); o != nil {
			return &o.info
		}
	case p.IsContainer():
		if c := s.container(p); c != nil {
			return &c.info
		}
	default:
		if a := s.accounts.get(p.Account); a != nil {
			return &a.info
		}
	}
	return nil
}

// put records a new account or container, or the changed metadata of any path,
// as the next version, and returns the Info as it is kept.
func (s *state) put(in storage.Info) *storage.Info {
	op := storage.OpUpdate
	if s.info(in.Path) == nil {
		op = storage.OpPut
	}
	in.Version = s.log(op, in.Path)
	switch {
	case in.Path.IsObject():
		o := &object{in, s.object(in.Path).data}
		s.setObject(in.Path, o)
		return &o.info
	case in.Path.IsContainer():
		c := &container{id: in.Version}
		if old := s.container(in.Path); old != nil {
			*c = *old
		}
		c.info = in
		s.setContainer(in.Path, c)
		return &c.info
	default:
		a := new(account)
		if old := s.accounts.get(in.Path.Account); old != nil {
			*a = *old
		}
		a.info = in
		s.accounts = s.accounts.with(in.Path.Account, a)
		return &a.info
	}
}

// putObject records an object's bytes as the next version.
func (s *state) putObject(in storage.Info, data []byte) *storage.Info {
	in.Version = s.log(storage.OpPut, in.Path)
	o := &object{in, data}
	s.setObject(in.Path, o)
	return &o.info
}

// remove records that p, which exists, is gone.
func (s *state) remove(p storage.Path) {
	s.log(storage.OpRemove, p)
	switch {
	case p.IsObject():
		s.setObject(p, nil)
	case p.IsContainer():
		s.setContainer(p, nil)
	default:
		s.accounts = s.accounts.without(p.Account)
	}
}

// setObject puts o at p, or nothing if o is nil. The container exists.
func (s *state) setObject(p storage.Path, o *object) {
	c := *s.container(p)
	if old := c.objects.get(p.Object); old != nil {
		c.info.Size -= old.info.Size
		c.info.Objects--
		c.objects = c.objects.without(p.Object)
		if !old.info.DeleteAt.IsZero() {
			s.due = s.due.without(dueName(&old.info))
		}
	}
	if o != nil {
		c.info.Size += o.info.Size
		c.info.Objects++
		c.objects = c.objects.with(p.Object, o)
		if !o.info.DeleteAt.IsZero() {
			s.due = s.due.with(dueName(&o.info), p)
		}
	}
	s.setContainer(p.Parent(), &c)
}

// setContainer puts c at p, or nothing if c is nil. The account exists.
func (s *state) setContainer(p storage.Path, c *container) {
	a := *s.accounts.get(p.Account)
	if old := a.containers.get(p.Container); old != nil {
		a.info.Size -= old.info.Size
		a.info.Objects -= old.info.Objects
		a.info.Containers--
		a.containers = a.containers.without(p.Container)
	}
	if c != nil {
		a.info.Size += c.info.Size
		a.info.Objects += c.info.Objects
		a.info.Containers++
		a.containers = a.containers.with(p.Container, c)
	}
	s.accounts = s.accounts.with(p.Account, &a)
}

// dueName sorts objects by DeleteAt. NUL is in no name, so it may part them.
func dueName(in *storage.Info) string {
	t := binary.BigEndian.AppendUint64(nil, uint64(in.DeleteAt.Unix())^1<<63)
	return string(t) + in.Path.Account + "\x00" + in.Path.Container + "\x00" + in.Path.Object
}

// timestamp is the time of a change that is made now.
func timestamp() time.Time { return precise(time.Now()) }

// tick is the time of a change that is made now, later than any before it.
func (s *state) tick() time.Time {
	t := timestamp()
	if !t.After(s.clock) {
		t = s.clock.Add(10 * time.Microsecond)
	}
	s.clock = t
	return t
}

// precise cuts t to what an X-Timestamp can say.
func precise(t time.Time) time.Time { return t.UTC().Truncate(10 * time.Microsecond) }

// later is t, or the ModTime of what is changed should the clock have gone back.
func later(t time.Time, old *storage.Info) time.Time {
	if old != nil && old.ModTime.After(t) {
		return old.ModTime
	}
	return t
}
