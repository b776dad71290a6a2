package main

import (
	"net"
	"os"
	"strings"
)

// notifySystemd tells the service manager of a change of state, as sd_notify(3)
// does; without one it does nothing. That it cannot be told is nothing a server
// should fail for.
func notifySystemd(state string) {
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return
	}
	if rest, ok := strings.CutPrefix(addr, "@"); ok {
		addr = "\x00" + rest
	}
	conn, err := net.Dial("unixgram", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
