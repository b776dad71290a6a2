package vfs

import (
	"errors"
	"io/fs"

	"memstore.dev/memstore/storage"
)

// StatVFS tells how many bytes may be stored where name is, and how many more.
// Quotas say so, and what the store has; if neither does the answer is
// errors.ErrUnsupported.
func (f *FS) StatVFS(name string) (total, free uint64, err error) {
	p, err := f.resolve(name)
	if err == nil {
		total, free, err = f.space(storage.Path{Account: p.Account, Container: p.Container})
	}
	return total, free, failure("statvfs", name, err)
}

func (f *FS) space(p storage.Path) (total, free uint64, err error) {
	used, most, err := f.store.Usage(f.ctx, p)
	if p.IsAccount() && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		used, most, err = 0, -1, nil // it has nothing yet, or its totals are not for this user
	}
	if err != nil {
		return 0, 0, err
	}
	if f.opt.Space != nil {
		total, free, err = f.opt.Space()
		if err != nil {
			return 0, 0, err
		}
	} else if most < 0 {
		return 0, 0, errors.ErrUnsupported
	}
	if most >= 0 {
		left := uint64(max(most-used, 0))
		if f.opt.Space != nil {
			left = min(left, free)
		}
		return uint64(used) + left, left, nil
	}
	return total, free, nil
}
