package sftp

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// serverVersion is how the server introduces itself.
const serverVersion = "SSH-2.0-Memstore"

// greetingPause is how long the server waits to hear what a client that calls
// itself OpenSSH is able to do. OpenSSH says so at once; what only claims to be
// it may wait for the server to begin.
const greetingPause = 500 * time.Millisecond

// greet exchanges versions with a client, and looks at what it offers before the
// server makes its own offer, as the client's order of preference decides and
// OpenSSH prefers AES-CTR with a MAC of its own to AES-GCM, which is more than
// twice as fast. A client that has AES-GCM is offered nothing else; for one that
// has not, or says nothing yet, there is the whole list.
//
// The connection it returns is one on which nothing has happened yet.
func greet(nc net.Conn, config *ssh.ServerConfig, deadline time.Time) (net.Conn, *ssh.ServerConfig, error) {
	g := &greeted{Conn: nc, sent: []byte(serverVersion + "\r\n")}
	if _, err := nc.Write(g.sent); err != nil {
		return nil, nil, err
	}
	if !slices.Contains(config.Ciphers, ssh.CipherAES128GCM) || slices.Contains(config.Ciphers, ssh.CipherChaCha20Poly1305) {
		return g, config, nil // where AES is slow there is nothing to choose
	}
	const longest = 255 // of a version, says RFC 4253
	line, ok := g.until(func(b []byte) int { return bytes.IndexByte(b[:min(len(b), longest)], '\n') + 1 }, longest)
	if !ok || !strings.HasPrefix(string(line), "SSH-2.0-OpenSSH_") {
		return g, config, nil
	}
	nc.SetReadDeadline(earlier(time.Now().Add(greetingPause), deadline))
	offer, ok := g.until(func(b []byte) int { return kexEnd(b, len(line)) }, len(line)+maxSmall)
	nc.SetReadDeadline(deadline)
	if !ok || !offersGCM(offer[len(line):]) {
		return g, config, nil
	}
	own := *config
	own.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	return g, &own, nil
}

// kexEnd is where the packet that starts at a place ends, or 0 if that is not
// known yet.
func kexEnd(b []byte, at int) int {
	f := fields{rest: b[at:]}
	n := int64(f.uint32())
	if end := int64(at) + 4 + n; !f.bad && int64(len(b)) >= end {
		return int(end)
	}
	return 0
}

// offersGCM reports whether a client's first packet, an SSH_MSG_KEXINIT, has
// AES-GCM in both directions.
func offersGCM(p []byte) bool {
	const before, kexInit = 4 + 1 + 1 + 16, 20 // length, padding, type and cookie
	if len(p) < before || p[5] != kexInit {
		return false
	}
	f := fields{rest: p[before:]}
	_, _ = f.string(), f.string() // key exchanges, host keys
	for range 2 {
		ciphers := strings.Split(f.string(), ",")
		if !slices.Contains(ciphers, ssh.CipherAES128GCM) && !slices.Contains(ciphers, ssh.CipherAES256GCM) {
			return false
		}
	}
	return !f.bad
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// A greeted is a connection on which versions have been exchanged, and which
// lets x/crypto do it again: what was read is read once more, and the server's
// version is not sent twice.
type greeted struct {
	net.Conn
	heard []byte // read ahead
	sent  []byte // written ahead
}

// until reads ahead until end, asked about all that was read, says where to stop.
// It gives up when that is more than most, or nothing more comes.
func (g *greeted) until(end func([]byte) int, most int) ([]byte, bool) {
	for {
		if n := end(g.heard); n > 0 {
			return g.heard[:n], true
		}
		if len(g.heard) >= most {
			return nil, false
		}
		g.heard = slices.Grow(g.heard, 4096)
		n, err := g.Conn.Read(g.heard[len(g.heard) : len(g.heard)+4096])
		g.heard = g.heard[:len(g.heard)+n]
		if err != nil {
			return nil, false
		}
	}
}

func (g *greeted) Read(p []byte) (int, error) {
	if len(g.heard) == 0 {
		return g.Conn.Read(p)
	}
	n := copy(p, g.heard)
	if g.heard = g.heard[n:]; len(g.heard) == 0 {
		g.heard = nil
	}
	return n, nil
}

func (g *greeted) Write(p []byte) (int, error) {
	n := min(len(g.sent), len(p))
	g.sent = g.sent[n:]
	if n == len(p) {
		return n, nil
	}
	m, err := g.Conn.Write(p[n:])
	return n + m, err
}
