package ftp

import "syscall"

// acknowledge has the kernel acknowledge at once what it has received, and is
// about to.
func acknowledge(nc syscall.Conn) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
}
