package sftp

import (
	"encoding/binary"

	pkgsftp "github.com/pkg/sftp"
)

// Packet types of protocol 3, as far as the filter must know them.
const (
	typeInit          = 1
	typeVersion       = 2
	typeOpen          = 3
	typeClose         = 4
	typeRead          = 5
	typeWrite         = 6
	typeFstat         = 8
	typeFsetstat      = 10
	typeSetstat       = 9
	typeReaddir       = 12
	typeStat          = 17
	typeSymlink       = 20 // the last of protocol 3
	typeStatus        = 101
	typeHandle        = 102
	typeExtended      = 200
	typeExtendedReply = 201
)

// Limits, which limits@openssh.com tells clients. The data of one read or write
// is as much as fits, with its header, into the packets of 256 KiB that pkg/sftp
// takes, and eight SSH packets of 32 KiB carry it without a remainder.
const (
	maxPacket = 256 << 10
	maxData   = 255 << 10
	maxHandle = 256   // the longest handle that protocol 3 knows
	maxSmall  = 34000 // a packet that is not data: names are shorter by far
)

// fields are read off the front of a packet. Once something is missing, bad is
// true and all that follows is zero.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) uint32() uint32 {
	if len(f.rest) < 4 {
		f.rest, f.bad = nil, true
		return 0
	}
	n := binary.BigEndian.Uint32(f.rest)
	f.rest = f.rest[4:]
	return n
}

func (f *fields) uint64() uint64 {
	high := f.uint32()
	return uint64(high)<<32 | uint64(f.uint32())
}

func (f *fields) string() string {
	n := f.uint32()
	if uint64(n) > uint64(len(f.rest)) {
		f.rest, f.bad = nil, true
		return ""
	}
	s := string(f.rest[:n])
	f.rest = f.rest[n:]
	return s
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// packet makes a packet of a type, with its length in front, out of what fill
// appends.
func packet(kind byte, fill func(b []byte) []byte) []byte {
	b := fill([]byte{0, 0, 0, 0, kind})
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// statusPacket answers request id with what a client may know of err.
func statusPacket(id uint32, err error) []byte {
	code, text := uint32(0), "OK"
	if err != nil {
		text = err.Error()
		code = statusCode(err)
	}
	return packet(typeStatus, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, id)
		b = binary.BigEndian.AppendUint32(b, code)
		return appendString(appendString(b, text), "en")
	})
}

func statusCode(err error) uint32 {
	s, ok := err.(*status)
	if !ok {
		return 4
	}
	switch s.code {
	case pkgsftp.ErrSSHFxNoSuchFile:
		return 2
	case pkgsftp.ErrSSHFxPermissionDenied:
		return 3
	case pkgsftp.ErrSSHFxBadMessage:
		return 5
	case pkgsftp.ErrSSHFxOpUnsupported:
		return 8
	}
	return 4 // SSH_FX_FAILURE
}
