package disk

// Space tells how many bytes the file system of the data directory has in all,
// and how many more may be stored: what is free but for the reserve.
func (b *Backend) Space() (total, free uint64, err error) {
	left, size, _, err := freeSpace(b.dir)
	if err != nil {
		return 0, 0, err
	}
	return uint64(size), uint64(max(left-b.space.reserve, 0)), nil
}
