package ftp

import (
	"net"
	"syscall"
)

// acknowledge has the kernel acknowledge at once what it has received, and is
// about to.
func acknowledge(nc *net.TCPConn) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
}
