package memory

import "memstore.dev/memstore/storage"

// hold reports whether c, but for its quota, is met where there is old, or
// nothing if old is nil.
func hold(c storage.Cond, old *storage.Info) error {
	if c.Absent && old != nil || c.Version != 0 && (old == nil || old.Version != c.Version) {
		return storage.ErrPrecondition
	}
	return nil
}

// within reports whether the step from before to after, which changes p, obeys
// q, if so many bytes more count in the container. What does not grow is not
// refused.
func within(q *storage.Quota, p storage.Path, before, after *state, more int64) error {
	if q == nil {
		return nil
	}
	over := func(bound, old, new int64) bool { return bound >= 0 && new > bound && new > old }
	c0, c1 := before.container(p).info, after.container(p).info
	a0, a1 := before.accounts.get(p.Account).info, after.accounts.get(p.Account).info
	if over(q.ContainerBytes, c0.Size, c1.Size+more) ||
		over(q.ContainerObjects, c0.Objects, c1.Objects) ||
		over(q.AccountBytes, a0.Size, a1.Size) {
		return storage.ErrQuota
	}
	return nil
}
