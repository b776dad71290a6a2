package sftp

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// What each client ends up with, by its name and what it prefers.
func TestCipherByClient(t *testing.T) {
	if !fastAES() {
		t.Skip("this processor has no instructions for AES")
	}
	b := start(t, memFs(t))
	for name, c := range map[string]struct {
		version string
		ciphers []string
		want    string
	}{
		"OpenSSH as it comes":         {"SSH-2.0-OpenSSH_9.2p1", []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES128GCM}, ssh.CipherAES128GCM},
		"OpenSSH told to use another": {"SSH-2.0-OpenSSH_9.2p1", []string{ssh.CipherAES256CTR}, ssh.CipherAES256CTR},
		"OpenSSH with the larger key": {"SSH-2.0-OpenSSH_9.2p1", []string{ssh.CipherAES256GCM}, ssh.CipherAES256GCM},
		"another by its preference":   {"SSH-2.0-other", []string{ssh.CipherAES128CTR, ssh.CipherAES128GCM}, ssh.CipherAES128CTR},
		"another without GCM":         {"SSH-2.0-paramiko_2.12", []string{ssh.CipherAES128CTR}, ssh.CipherAES128CTR},
	} {
		config := clientConfig()
		config.ClientVersion, config.Ciphers = c.version, c.ciphers
		conn, err := ssh.Dial("tcp", b.addr, config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := conn.Conn.(ssh.AlgorithmsConnMetadata).Algorithms(); got.Read.Cipher != c.want || got.Write.Cipher != c.want {
			t.Errorf("%s: ciphers %s and %s, want %s", name, got.Read.Cipher, got.Write.Cipher, c.want)
		}
		conn.Close()
	}
}

// One that says it is OpenSSH and then waits for the server, as ssh-audit does,
// is made an offer all the same, and a whole one.
func TestClientThatWaitsForTheOffer(t *testing.T) {
	b := start(t, memFs(t))
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("SSH-2.0-OpenSSH_8.0\r\n"))
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "hmac-sha2") {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	if s := got.String(); strings.Count(s, serverVersion) != 1 || !strings.Contains(s, ssh.CipherAES128CTR) {
		t.Errorf("the server says %q", s)
	}
}

func FuzzGreeting(f *testing.F) {
	offer := func(ciphers string) []byte {
		b := append([]byte{0, 0, 0, 0, 4, 20}, make([]byte, 16)...)
		for _, s := range []string{"kex", "key", ciphers, ciphers} {
			b = appendString(b, s)
		}
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	f.Add(offer(ssh.CipherAES128GCM))
	f.Add(offer("aes128-ctr"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		end := kexEnd(p, 0)
		if end > len(p) || end < 0 {
			t.Fatalf("kexEnd = %d of %d", end, len(p))
		}
		if offersGCM(p) && !strings.Contains(string(p), "-gcm@openssh.com") {
			t.Error("an offer without AES-GCM was taken for one with it")
		}
	})
}
