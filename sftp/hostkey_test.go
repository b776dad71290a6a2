package sftp

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func types(keys []ssh.Signer) []string {
	var list []string
	for _, k := range keys {
		list = append(list, k.PublicKey().Type())
	}
	return list
}

func TestHostKeysAreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	// Several processes may start at once.
	var wg sync.WaitGroup
	var first [8][]ssh.Signer
	for i := range first {
		wg.Go(func() {
			keys, err := HostKeys(dir)
			if err != nil {
				t.Error(err)
			}
			first[i] = keys
		})
	}
	wg.Wait()
	if got := types(first[0]); !slices.Equal(got, []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256}) {
		t.Errorf("keys = %v", got)
	}
	for _, keys := range first[1:] {
		for i, k := range keys {
			if string(k.PublicKey().Marshal()) != string(first[0][i].PublicKey().Marshal()) {
				t.Errorf("another %s than the first had", k.PublicKey().Type())
			}
		}
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if info, _ := f.Info(); info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
	if len(files) != 2 {
		t.Errorf("%d files are left, want 2", len(files))
	}
	text, err := os.ReadFile(filepath.Join(dir, "ssh_host_ed25519_key"))
	if err != nil || !strings.HasPrefix(string(text), "-----BEGIN OPENSSH PRIVATE KEY-----\n") {
		t.Errorf("key file: %v, %.40q", err, text)
	}
}

func TestHostKeysThatAreNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := HostKeys(dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "ssh_host_ecdsa_key")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := HostKeys(dir); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a key that others may read: %v", err)
	}
	os.Chmod(name, 0o600)
	os.WriteFile(name, []byte("torn"), 0o600)
	if _, err := HostKeys(dir); err == nil {
		t.Error("a file that holds no key was taken for one")
	}
	if text, _ := os.ReadFile(name); string(text) != "torn" {
		t.Error("a file that could not be read was replaced")
	}
}

func TestOfferedHostKeys(t *testing.T) {
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ssh_host_rsa_key"), pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := HostKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keys       []ssh.Signer
		compatible bool
		want       []string
	}{
		"today's":          {keys, false, []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSA}},
		"older clients":    {keys, true, []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256}},
		"nothing but NIST": {keys[1:2], false, []string{ssh.KeyAlgoECDSA256}},
	} {
		if got := types(hostKeys(c.keys, c.compatible)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	rsaKey := hostKeys(keys, false)[1].(ssh.MultiAlgorithmSigner)
	if got := rsaKey.Algorithms(); slices.Contains(got, ssh.KeyAlgoRSA) || len(got) != 2 {
		t.Errorf("an RSA key signs with %v: SHA-1 must not be among them", got)
	}
}

// Old clients are refused unless the server is told to be compatible.
func TestCompatible(t *testing.T) {
	for _, compatible := range []bool{false, true} {
		b := start(t, memFs(t), func(s *Server) { s.Compatible = compatible })
		for name, weaken := range map[string]func(*ssh.ClientConfig){
			"a MAC over the plain text": func(c *ssh.ClientConfig) {
				c.MACs, c.Ciphers = []string{ssh.HMACSHA256}, []string{ssh.CipherAES128CTR}
			},
			"a NIST curve": func(c *ssh.ClientConfig) { c.KeyExchanges = []string{ssh.KeyExchangeECDHP256} },
		} {
			config := clientConfig()
			weaken(config)
			c, err := ssh.Dial("tcp", b.addr, config)
			if (err == nil) != compatible {
				t.Errorf("compatible %v: %s: %v", compatible, name, err)
			}
			if err == nil {
				c.Close()
			}
		}
		for name, weaken := range map[string]func(*ssh.ClientConfig){
			"SHA-1 in the key exchange": func(c *ssh.ClientConfig) { c.KeyExchanges = []string{ssh.InsecureKeyExchangeDH14SHA1} },
			"SHA-1 in the MAC": func(c *ssh.ClientConfig) {
				c.MACs, c.Ciphers = []string{ssh.HMACSHA1}, []string{ssh.CipherAES128CTR}
			},
			"CBC": func(c *ssh.ClientConfig) { c.Ciphers = []string{ssh.InsecureCipherAES128CBC} },
		} {
			config := clientConfig()
			weaken(config)
			if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
				c.Close()
				t.Errorf("compatible %v: %s was accepted", compatible, name)
			}
		}
	}
}

func TestCipherIsTheFastOne(t *testing.T) {
	if !fastAES() {
		t.Skip("this processor has no instructions for AES")
	}
	b := start(t, memFs(t))
	config := clientConfig()
	config.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128GCM} // as OpenSSH prefers
	c, err := ssh.Dial("tcp", b.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Conn.(ssh.AlgorithmsConnMetadata).Algorithms(); got.Read.Cipher != ssh.CipherAES128GCM {
		t.Errorf("algorithms = %+v", got)
	}
}
