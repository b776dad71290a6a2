package disk

// Status is how a Backend is, for health checks and metrics.
type Status struct {
	Free        int64  // bytes that the disk has left
	Reserve     int64  // below so many, new data is refused
	Inodes      int64  // that the disk has left; negative if it does not count them
	Full        bool   // new data is refused for want of room
	BallastGone bool   // given up to the index; only removals are possible
	Damages     int64  // times that content was found damaged since Open
	Version     uint64 // of the latest change
	Err         error  // why the Backend has stopped for good; nil if it has not
}

// Status asks the disk, at most once a second, and otherwise memory.
func (b *Backend) Status() Status {
	s := Status{Damages: b.damages.Load(), Err: b.broken(), Reserve: b.space.reserve}
	if b.enter() {
		v := b.look()
		s.Version = v.version
		v.release()
		b.leave()
	}
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	free, inodes, err := b.space.left()
	if err != nil && s.Err == nil {
		s.Err = err
	}
	s.Free, s.Inodes, s.BallastGone = free, inodes, b.space.released && b.space.ballast > 0
	s.Full = free < s.Reserve || inodes >= 0 && inodes < b.space.inodes
	return s
}
