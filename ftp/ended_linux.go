package ftp

import (
	"net"
	"syscall"
)

// ended reports whether nothing more comes over a connection, without waiting
// and without reading what may have come.
func ended(nc net.Conn) (over bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		over = n == 0 && err == nil || err == syscall.ECONNRESET
	})
	return over || err != nil
}
