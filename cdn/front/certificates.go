package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Files are a certificate chain and its key in two files, in PEM, which are read
// again when they change.
type Files struct {
	cert, key string
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // held to look whether they have changed
	looked time.Time
	seen   [2]time.Time
}

// lookEvery is how often the files are looked at.
const lookEvery = 10 * time.Second

// LoadFiles reads a certificate.
func LoadFiles(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: certFile, key: keyFile, log: log}
	f.seen = f.times()
	return f, f.Load(certFile, keyFile)
}

// Load reads the certificate again, from files that may be others; on an error
// the one before stays.
func (f *Files) Load(certFile, keyFile string) error {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cert, f.key = certFile, keyFile
	f.current.Store(&pair)
	return nil
}

// Certificate is what the files hold.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() { // one looks, and the others go on
		changed := false
		if now := time.Now(); now.Sub(f.looked) >= lookEvery {
			f.looked = now
			seen := f.times()
			changed, f.seen = seen != f.seen, seen
		}
		cert, key := f.cert, f.key
		f.mu.Unlock()
		if changed {
			if err := f.Load(cert, key); err != nil {
				f.log.Error("changed certificate not usable, the one before stays", "error", err)
				f.mu.Lock()
				f.seen = [2]time.Time{} // half of a change, perhaps: look again
				f.mu.Unlock()
			} else {
				f.log.Info("certificate reloaded", "file", cert)
			}
		}
	}
	return f.current.Load(), nil
}

func (f *Files) times() (at [2]time.Time) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			at[i] = info.ModTime()
		}
	}
	return at
}

// What SelfSigned keeps, in one file, so that a certificate is never beside the
// key of another.
const selfSignedFile = "self-signed.pem"

// SelfSigned returns a certificate for a domain and all names one label below
// it, and for the machine itself. It is kept in a directory, and made when it is
// not there, about to end, or for other names. Nobody has vouched for it.
func SelfSigned(dir, domain string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	names := []string{domain, "*." + domain, "localhost"}
	name := filepath.Join(dir, selfSignedFile)
	pair, err := tls.LoadX509KeyPair(name, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if err != nil || !slices.Equal(pair.Leaf.DNSNames, names) || time.Until(pair.Leaf.NotAfter) < 30*24*time.Hour {
		if pair, err = selfSign(dir, names); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }, nil
}

func selfSign(dir string, names []string) (pair tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return pair, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0], Organization: []string{"Memstore"}},
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    now.Add(-time.Hour),    // clocks differ
		NotAfter:     now.AddDate(0, 0, 825), // the longest that all browsers and systems accept
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return pair, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair, err
	}
	var text strings.Builder
	pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	if pair, err = tls.X509KeyPair([]byte(text.String()), []byte(text.String())); err != nil {
		return pair, err
	}
	return pair, keep(dir, selfSignedFile, text.String())
}

// keep lets a file appear, for its owner only, whole or not at all. What is lost
// in a power cut is made again.
func keep(dir, name, content string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}
