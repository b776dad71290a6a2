package storage

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
)

// Metadata by which owners and operators bound what may be stored, as decimal
// numbers (Swift's container_quotas and account_quotas).
const (
	MetaContainerQuotaBytes = "X-Container-Meta-Quota-Bytes"
	MetaContainerQuotaCount = "X-Container-Meta-Quota-Count"
	MetaAccountQuotaBytes   = "X-Account-Meta-Quota-Bytes" // set by resellers only
)

// room reads the quotas that hold for objects of p's container, nil if there
// are none, beside the container and the account they come from.
func (s *Store) room(ctx context.Context, p Path) (q *Quota, container, account Info, err error) {
	ctx = ownEyes(ctx)
	if container, err = s.b.Stat(ctx, p.Parent()); err != nil {
		return nil, container, account, err
	}
	if account, err = s.b.Stat(ctx, Path{Account: p.Account}); err != nil {
		return nil, container, account, err
	}
	found := Quota{
		ContainerBytes:   bound(container.Meta[MetaContainerQuotaBytes]),
		ContainerObjects: bound(container.Meta[MetaContainerQuotaCount]),
		AccountBytes:     bound(account.Meta[MetaAccountQuotaBytes]),
	}
	if found == (Quota{-1, -1, -1}) {
		return nil, container, account, nil
	}
	if found.ContainerBytes >= 0 && container.Versioned() {
		size := container.Size
		if err := s.addVersions(ctx, &container); err != nil {
			return nil, container, account, err
		}
		found.ContainerBytes -= container.Size - size // the Backend knows of the rest
		found.ContainerBytes, container.Size = max(found.ContainerBytes, 0), size
	}
	return &found, container, account, nil
}

// bound reads a quota; what is no number bounds nothing, as in Swift, which
// refuses such values when they are set.
func bound(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return n
	}
	return -1
}

// admit tells before a byte is read whether an object of this size could be
// committed at p now, so that a client need not send what will be refused. The
// judgement that counts is made at the commit. It tells as well what the
// container does with what is there.
func (s *Store) admit(ctx context.Context, p Path, size int64, c Cond) (*Quota, versioning, error) {
	q, container, account, err := s.room(ctx, p)
	v := versioningOf(container.Meta)
	if err != nil {
		return nil, v, err
	}
	if q == nil && !c.Absent && c.Version == 0 {
		return nil, v, nil
	}
	old, err := s.b.Stat(ownEyes(ctx), p)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return nil, v, err
	}
	if c.Absent && !absent || c.Version != 0 && old.Version != c.Version {
		return nil, v, ErrPrecondition
	}
	if q == nil {
		return nil, v, nil
	}
	more, one := max(size, 0)-old.Size, int64(0)
	if v.mode == idVersions || v.mode == suspendedVersions && old.hasID() {
		more += old.Size // which stays
	}
	if absent {
		one = 1
	}
	over := func(have, delta, bound int64) bool { return bound >= 0 && delta > 0 && have+delta > bound }
	if over(container.Size, more, q.ContainerBytes) || over(container.Objects, one, q.ContainerObjects) ||
		over(account.Size, more, q.AccountBytes) {
		return nil, v, ErrQuota
	}
	return q, v, nil
}

// Usage tells how many bytes there are beneath an account or a container, and
// how many there may be before one of the quotas of the two is exceeded;
// negative if there is no bound.
func (s *Store) Usage(ctx context.Context, p Path) (used, most int64, err error) {
	in, err := s.Stat(ctx, p)
	if err != nil {
		return 0, -1, err
	}
	account := in
	if p.IsContainer() {
		if account, err = s.b.Stat(ownEyes(ctx), p.Parent()); err != nil {
			return 0, -1, Wrap("stat", p, err)
		}
	}
	limit := bound(account.Meta[MetaAccountQuotaBytes])
	if limit >= 0 && p.IsContainer() {
		// What is left of the account is left of the container too.
		limit = max(limit-account.Size, 0) + in.Size
	}
	if own := bound(in.Meta[MetaContainerQuotaBytes]); own >= 0 && (limit < 0 || own < limit) {
		limit = own
	}
	return in.Size, limit, nil
}
